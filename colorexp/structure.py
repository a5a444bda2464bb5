"""What only pictures with known objects can tell of a colouring: whether an object is of one piece, and which colours it is given.

Pure functions, one value per image; ab is physical. Photographs have no such maps: these measures belong to the scenes.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

SMALLEST = 12
"""Pixels below which an object is not counted: its outline, where colours mix, would be most of it."""
RADIUS = 20.0
"""Half the least distance between two modes of a class in the scenes, in ab units: nothing is near two of them."""
_LABELS = 256


class Consistency(NamedTuple):
    """Chroma spread inside objects, in ab units, each (B,)."""

    predicted: Tensor
    true: Tensor


def structural_consistency(ab: Tensor, target: Tensor, instance_map: Tensor, *, smallest: int = SMALLEST) -> Consistency:
    """How much colours vary inside objects, of a prediction and of the truth.

    Both are 0 for a gray picture, and the truth's is not 0: an object has shading and parts of other colours. A coherent colouring
    is about as colourful as the truth and varies about as much.

    Args:
        ab: Predicted chroma. Shape (B, 2, H, W).
        target: True chroma. Shape (B, 2, H, W).
        instance_map: 0 = not counted. Shape (B, H, W), uint8.
        smallest: Objects of fewer pixels are not counted.

    Returns:
        Both spreads, see `chroma_spread`.
    """
    return Consistency(*(chroma_spread(x, instance_map, smallest=smallest) for x in (ab, target)))


def chroma_spread(ab: Tensor, instance_map: Tensor, *, smallest: int = SMALLEST) -> Tensor:
    """Root mean squared distance of an object's pixels from their mean colour, mean over objects.

    Args:
        ab: Chroma. Shape (B, 2, H, W).
        instance_map: 0 = not counted; times `mode_map > 0` it leaves out parts that have a colour of their own. Shape (B, H, W).
        smallest: Objects of fewer pixels are not counted.

    Returns:
        Shape (B,); NaN where no object counts.

    Unspecified: DISCO speaks of structural consistency and has no measure of it.
    """
    labels = _labels(instance_map)
    colours = ab.flatten(2)
    pixels, mean = _per_object(colours, labels)
    own = mean.gather(2, labels[:, None].expand_as(colours))
    _, variance = _per_object((colours - own).square().sum(1, keepdim=True), labels)
    return _object_mean(variance[:, 0].sqrt(), pixels >= smallest)


def mode_coverage(
    samples: Tensor,
    class_map: Tensor,
    instance_map: Tensor,
    modes: Sequence[Tensor],
    *,
    radius: float = RADIUS,
    smallest: int = SMALLEST,
) -> Tensor:
    """Share of the colours an object could have that several colourings of the picture reach, mean over objects.

    A colouring gives an object the mode that is nearest to its mean colour, if nearer than `radius`, else none.

    Args:
        samples: K colourings. Shape (K, B, 2, H, W).
        class_map: Codes from 1. Shape (B, H, W), uint8.
        instance_map: 0 = not counted. Shape (B, H, W), uint8.
        modes: Centres (M, 2) of every class, the first being that of code 1; classes with fewer than two are not counted.
        radius: In ab units.
        smallest: Objects of fewer pixels are not counted.

    Returns:
        Distinct modes reached over modes that K colourings can reach, min(M, K). Shape (B,); NaN where no object counts.

    Raises:
        ValueError: If `samples` is not (K, B, 2, H, W).

    Unspecified: DISCO shows diverse colourings and does not measure them.
    """
    _check(samples)
    labels = _labels(instance_map)
    table, count = _table(modes, samples)
    kind = torch.zeros(len(labels), _LABELS, dtype=torch.long, device=labels.device)
    kind = kind.scatter_reduce(1, labels, class_map.flatten(1).long(), "amax")  # (B, 256)
    centres, count = table[kind], count[kind]  # (B, 256, M, 2), (B, 256)
    reached = torch.zeros(centres.shape[:-1], dtype=torch.bool, device=labels.device)
    pixels = torch.zeros_like(count)
    for ab in samples:
        pixels, mean = _per_object(ab.flatten(2), labels)
        distance = (mean.transpose(1, 2).unsqueeze(2) - centres).square().sum(3).sqrt().nan_to_num(torch.inf)
        nearest = distance == distance.amin(2, keepdim=True)
        reached = reached | (nearest & (distance < radius))
    share = reached.sum(2) / count.clamp(min=1, max=len(samples))
    return _object_mean(share, (pixels >= smallest) & (count >= 2))


def diversity(samples: Tensor) -> Tensor:
    """Mean distance between the colours that two of several colourings give to a pixel; noise is diverse too.

    Args:
        samples: K colourings, K at least 2. Shape (K, B, 2, H, W).

    Returns:
        In ab units. Shape (B,).

    Raises:
        ValueError: If `samples` is not (K, B, 2, H, W) or K is below 2.

    Unspecified: DISCO's Table 1 says yes or no.
    """
    _check(samples)
    if len(samples) < 2:
        raise ValueError(f"diversity needs at least 2 colourings, got {len(samples)}")
    pairs = torch.combinations(torch.arange(len(samples)))
    return torch.stack([(samples[i] - samples[j]).square().sum(1).sqrt().flatten(1).mean(1) for i, j in pairs]).mean(0)


@lru_cache(maxsize=1)
def scene_modes() -> tuple[Tensor, ...]:
    """Mode centres (M, 2) of everything a scene's class map names, in the order of its codes, ab units."""
    from colorexp.data.scenes import KINDS  # whoever brings modes of their own needs no scenes

    return tuple(torch.tensor([(mode.a, mode.b) for mode in kind.modes]) for kind in KINDS)


def _table(modes: Sequence[Tensor], like: Tensor) -> tuple[Tensor, Tensor]:
    """Centres by code, infinitely far where a class has fewer, (C + 1, M, 2), and their number (C + 1,); code 0 has none."""
    count = torch.tensor([0, *(len(centres) for centres in modes)], device=like.device)
    table = like.new_full((len(count), int(count.max()), 2), torch.inf)
    for code, centres in enumerate(modes, start=1):
        table[code, : len(centres)] = centres
    return table, count


def _labels(instance_map: Tensor) -> Tensor:
    return instance_map.flatten(1).long()


def _per_object(values: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels of every label (B, 256) and their mean of `values` (B, C, P); NaN where there are none. Shape (B, C, 256)."""
    zeros = values.new_zeros(*values.shape[:2], _LABELS)
    pixels = zeros[:, 0].scatter_add(1, labels, torch.ones_like(values[:, 0]))
    total = zeros.scatter_add(2, labels[:, None].expand_as(values), values)
    return pixels, total / pixels[:, None]


def _object_mean(values: Tensor, counts: Tensor) -> Tensor:
    """Mean of values (B, 256) over the objects that count, the background never among them. Shape (B,)."""
    objects = counts & (torch.arange(_LABELS, device=counts.device) > 0)
    return torch.where(objects, values, torch.nan).nanmean(1)


def _check(samples: Tensor) -> None:
    if samples.ndim != 5 or samples.shape[2] != 2:
        raise ValueError(f"samples must be (K, B, 2, H, W), got {tuple(samples.shape)}")
