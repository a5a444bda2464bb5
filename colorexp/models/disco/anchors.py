"""DISCO's anchors: which superpixels carry a colour of their own, and which colours they can get.

Source: Disentangled Image Colorization via Global Anchors, sections 4.2 and 5.2.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from colorexp import color
from colorexp.nn.kmeans import kmeans
from colorexp.nn.sampling import pick

CANDIDATES = 10
"""The most probable bins, of which diverse colours are chosen."""
SCALE = "disco"
"""Of normalised lightness and chroma, see `color.NORMALISATIONS`."""


class Anchor(NamedTuple):
    """A colour at a place of a picture, to be written down or changed by hand."""

    row: int
    """Pixels from the top, in [0, H)."""
    col: int
    """Pixels from the left, in [0, W)."""
    ab: tuple[float, float]
    """CIELAB units."""


class Located(NamedTuple):
    """Where the anchors are."""

    mask: Tensor
    """Bool, True = anchor. Shape (B, 1, h, w)."""
    clusters: Tensor | None
    """Which superpixels share a colour, int64 in [0, k); None where anchors were not found by clustering. Shape (B, h, w)."""


def locate_by_clusters(points: Tensor, sizes: Tensor, count: int, generators: Sequence[Generator]) -> Located:
    """Take the largest superpixel of every cluster.

    Args:
        points: Colours or colour features of the superpixels. Shape (B, C, h, w).
        sizes: Of the superpixels. Shape (B, 1, h, w).
        count: Clusters.
        generators: One per picture.

    Returns:
        As many anchors as clusters that are not empty: fewer than `count` where there are fewer distinct superpixels.

    Source: section 4.2.

    Unspecified: which of equally large superpixels; it is the first, row by row.
    """
    labels = kmeans(points.flatten(2).transpose(1, 2), count, generators).labels
    members = F.one_hot(labels, count).bool()  # (B, N, k)
    largest = torch.where(members, sizes.flatten(1)[..., None], -1).argmax(1)  # (B, k)
    chosen = F.one_hot(largest, labels.shape[1]).bool() & members.any(1)[..., None]
    return Located(chosen.any(1).view(sizes.shape), labels.view(sizes[:, 0].shape))


def locate_at_random(sizes: Tensor, count: int, generators: Sequence[Generator]) -> Located:
    """Take `count` superpixels (all if there are fewer) of every picture at random; `sizes` (B, 1, h, w) tells how many there are.

    Source: section 5.4, the baseline that scatters anchors randomly.
    """
    superpixels = sizes[0].numel()
    mask = torch.zeros(len(sizes), superpixels, dtype=torch.bool)
    for row, generator in zip(mask, generators, strict=True):
        row[torch.randperm(superpixels, generator=generator, device=generator.device)[:count].cpu()] = True
    return Located(mask.view(sizes.shape).to(sizes.device), None)


def distinct_colours(prob: Tensor, centres: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Three colours per superpixel that are likely and far apart.

    Args:
        prob: Probabilities of the bins, or logits. Shape (B, bins, h, w).
        centres: Of the bins. Shape (bins, 2).

    Returns:
        The most probable bin; of the ten most probable the one farthest from it; the one farthest from both. Each (B, h, w), int64.

    Source: section 5.2, diverse colorization.

    Deviation: the paper samples; these are the released code's three colours, for which nothing is drawn. `draw_colours` samples.
    """
    likely = prob.topk(CANDIDATES, dim=1).indices  # (B, 10, h, w)
    colours = centres[likely]
    first = likely[:, 0]
    from_first = (colours - centres[first][:, None]).norm(dim=-1)
    second = _pick(likely, from_first)
    from_both = from_first + (colours - centres[second][:, None]).norm(dim=-1)
    return first, second, _pick(likely, from_both)


def _pick(candidates: Tensor, score: Tensor) -> Tensor:
    return candidates.gather(1, score.argmax(1, keepdim=True)).squeeze(1)


def draw_colours(logits: Tensor, temperature: float, generators: Sequence[Generator]) -> Tensor:
    """Draw a bin for every superpixel, each picture with its own generator.

    Args:
        logits: Shape (B, bins, h, w).
        temperature: Divides the logits; above 0. Towards 0 the most probable bin is drawn.
        generators: One per picture.

    Returns:
        int64. Shape (B, h, w).

    Raises:
        ValueError: If `temperature` is not above 0.

    Source: section 4.3, "freely sample the anchor colors from the predicted distribution".
    """
    size = tuple(logits.shape[2:])
    uniform = torch.stack([torch.rand(size, generator=g, device=g.device).to(logits.device) for g in generators])
    return pick(logits.float(), uniform, temperature=temperature)


def set_anchors(
    anchors: Sequence[Sequence[Anchor]], owners: Tensor, grid: tuple[int, int], centres: Tensor
) -> tuple[Located, Tensor]:
    """Give colours to the superpixels that lie under some pixels; of two anchors in one superpixel the later counts.

    Args:
        anchors: Those of every picture.
        owners: Every pixel's superpixel, row by row. Shape (B, H, W).
        grid: Rows h and columns w of superpixels.
        centres: Normalised centres of the bins. Shape (bins, 2).

    Returns:
        Where anchors are, and every superpixel's bin (of no meaning where there is no anchor), int64, (B, h, w).

    Raises:
        ValueError: If there is not one list per picture, an anchor lies outside of its picture or its colour outside of the gamut,
            which are the squares around the bins' centres.
    """
    if len(anchors) != len(owners):
        raise ValueError(f"every picture needs its list of anchors: {len(owners)} pictures, got {len(anchors)} lists")
    height, width = owners.shape[1:]
    mask = torch.zeros(len(owners), 1, *grid, dtype=torch.bool)
    index = torch.zeros(len(owners), *grid, dtype=torch.int64)
    for i, listed in enumerate(anchors):
        for anchor in listed:
            if not (isinstance(anchor.row, int) and isinstance(anchor.col, int)):
                raise ValueError(f"picture {i}: {anchor} must stand at whole pixels")
            if not (0 <= anchor.row < height and 0 <= anchor.col < width):
                raise ValueError(f"picture {i}: {anchor} lies outside of its {height}x{width} pixels")
            at = divmod(int(owners[i, anchor.row, anchor.col]), grid[1])
            mask[i, 0][at], index[i][at] = True, _bin_of(anchor, i, centres)
    return Located(mask.to(owners.device), None), index.to(owners.device)


def _bin_of(anchor: Anchor, picture: int, centres: Tensor) -> int:
    _, ab_n = color.normalise(torch.zeros(()), torch.tensor(anchor.ab, dtype=torch.float32), SCALE)
    _, half = color.normalise(torch.zeros(()), torch.tensor(color.GAMUT_PITCH / 2), SCALE)
    apart = (centres.cpu().float() - ab_n).abs().amax(1)
    if not apart.min() <= half + 1e-6:
        raise ValueError(f"picture {picture}: the colour of {anchor} lies outside of the gamut")
    return int(apart.argmin())


def list_anchors(mask: Tensor, index: Tensor, owners: Tensor, centres: Tensor) -> list[list[Anchor]]:
    """Write anchors down; `set_anchors` takes them back.

    Args:
        mask: Bool, True = anchor. Shape (B, 1, h, w).
        index: Bins. Shape (B, h, w).
        owners: Every pixel's superpixel, row by row. Shape (B, H, W).
        centres: Normalised centres of the bins. Shape (bins, 2).

    Returns:
        Per picture, row by row. An anchor stands at the pixel of its superpixel that is nearest to the superpixel's middle; a
        superpixel to which no pixel belongs is left out.
    """
    _, ab = color.denormalise(torch.zeros(()), centres.cpu().float(), SCALE)
    listed = []
    for marked, bins, owner in zip(mask.flatten(1), index.flatten(1), owners, strict=True):
        mine: list[Anchor] = []
        for token in marked.nonzero().flatten().tolist():
            pixels = (owner == token).nonzero()
            if len(pixels):
                row, col = pixels[(pixels - pixels.float().mean(0)).norm(dim=1).argmin()].tolist()
                a, b = ab[bins[token].item()].tolist()
                mine.append(Anchor(row, col, (round(a, 3), round(b, 3))))
        listed.append(mine)
    return listed
