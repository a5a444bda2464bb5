"""Figures of exemplar colorization that kept sample pictures cannot tell: the trained network is asked where it looks."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from colorexp import color, evaluation, paths, runs
from colorexp.config import Run
from colorexp.models.exemplar import Exemplar
from colorexp.nn.padding import pad_to_multiple
from colorexp.report import exemplar
from colorexp.report.exemplar import KINDS, Example
from colorexp.tasks.exemplar import ExemplarColorizer
from colorexp.types import Batch
from colorexp.viz.marks import Star

SCALE = "disco"
CELL = 8
"""Pixels along a position of the database's distributions."""
MULTIPLE = 16
"""Sides that the network works on are multiples of it."""
MARGIN = 8
"""Pixels from the border that points keep."""
DIM = 0.25
"""How bright a reference is where the attention does not look."""
POINT_L = 65.0
"""Lightness at which the database's colours are shown."""
COLOURS = ((1.0, 0.85, 0.1), (0.2, 0.9, 1.0), (1.0, 0.35, 0.75), (0.5, 1.0, 0.3))
"""Of the points of a picture."""


@lru_cache
def trained() -> tuple[Run, ExemplarColorizer]:
    """The run that stands for the paper's own.

    Raises:
        FileNotFoundError: If it has not been trained.
    """
    cfg, task = runs.load(paths.run(exemplar.main()), evaluating=True)
    assert isinstance(task, ExemplarColorizer)
    return cfg, task


def pair(example: Example) -> Batch:
    """A test picture and its reference alone in a batch, as evaluations show them."""
    cfg, _ = trained()
    dataset, _, image = example.name.partition("/")
    return evaluation.one(cfg, dataset, KINDS[example.kind], image)


class Posterior(NamedTuple):
    """What a position takes its database colour from."""

    shown: dict[str, np.ndarray]
    """Probabilities over the database's colours by title. Shapes (bins,)."""
    centres: np.ndarray
    """In ab units. Shape (bins, 2)."""
    rgb: np.ndarray
    """In 0..1. Shape (bins, 3)."""
    picture: np.ndarray
    """The gray picture, (H, W, 3) uint8."""
    place: tuple[int, int]
    """Row and column of the position in it."""


@torch.no_grad()
def posterior(candidates: Sequence[Example]) -> Posterior | None:
    """Likelihood, prior and posterior at one position (Figure 3): of all candidates the one where the last differs most.

    What differs is told by half the sum of absolute differences between likelihood and posterior. The prior is the histogram as the
    network counts it; the likelihood is what the database says under one that prefers no colour, in both variants.

    Args:
        candidates: Pictures under references; of none nothing is known.
    """
    best: tuple[float, Batch, tuple[int, int], _Asked] | None = None
    for batch in map(pair, candidates):
        asked = _ask(batch)
        moved = (asked.likelihood - asked.posterior).abs().sum(0) / 2
        row, col = divmod(int(moved.argmax()), moved.shape[1])
        if best is None or float(moved[row, col]) > best[0]:
            best = float(moved[row, col]), batch, (row, col), asked
    if best is None:
        return None
    _, batch, (row, col), asked = best
    shown = {"likelihood": asked.likelihood[:, row, col], "prior (the reference)": asked.prior}
    shown |= {"posterior": asked.posterior[:, row, col]}
    L = torch.full((len(asked.centres), 1), POINT_L)
    rgb = color.lab_to_rgb(torch.cat([L, asked.centres], 1)[..., None, None]).flatten(1)
    gray = _as_rgb(batch["L"], torch.zeros_like(batch["ab"]))
    height, width = gray.shape[:2]
    place = min(row * CELL + CELL // 2, height - 1), min(col * CELL + CELL // 2, width - 1)
    return Posterior({title: prob.numpy() for title, prob in shown.items()}, asked.centres.numpy(), rgb.numpy(), gray, place)


class _Asked(NamedTuple):
    """What a network says of the database's colours, (bins,) and (bins, h, w), and those, in ab units (bins, 2)."""

    prior: Tensor
    likelihood: Tensor
    posterior: Tensor
    centres: Tensor


def _ask(batch: Batch) -> _Asked:
    """Of a batch's first picture."""
    _, task = trained()
    network = task.model
    assert isinstance(network, Exemplar)
    assert network.database is not None
    L_n, reference_L_n, reference_ab_n = task.inputs(batch)
    assert reference_L_n is not None
    assert reference_ab_n is not None
    deepest = network.extractor(pad_to_multiple(L_n, MULTIPLE)).conv6
    prior = network.describe(reference_L_n, reference_ab_n).histogram
    assert prior is not None
    height, width = (-(-side // CELL) for side in L_n.shape[-2:])
    found = []
    for histogram in (torch.full_like(prior, 1 / prior.shape[1]), prior):
        found.append(network.database(deepest, histogram).posterior[0, :, :height, :width])
    centres = color.denormalise(torch.zeros(()), network.database.centres_n, SCALE)[1]
    return _Asked(prior[0], found[0], found[1], centres)


class Looks(NamedTuple):
    """Pictures in lines with points, and where in the reference each looks."""

    rows: list[list[np.ndarray | None]]
    stars: dict[tuple[int, int], list[Star]]
    columns: list[str]


@torch.no_grad()
def correspondences(chosen: Sequence[Example], *, points: int) -> Looks:
    """For some pixels of a picture, where in the reference the attention looks.

    Points are those of a grid where the attention is most sure of itself, farther from each other (down and across together) than
    the height over their number.

    Args:
        chosen: Pictures under references.
        points: How many of each, at most 4. Where a picture is too small for so many, the last columns stay empty.
    """
    if not 1 <= points <= len(COLOURS):
        raise ValueError(f"points must be 1 to {len(COLOURS)}, got {points}")
    rows: list[list[np.ndarray | None]] = []
    stars: dict[tuple[int, int], list[Star]] = {}
    for line, example in enumerate(chosen):
        batch, (_, task) = pair(example), trained()
        network = task.model
        assert isinstance(network, Exemplar)
        L_n, reference_L_n, _ = task.inputs(batch)
        assert reference_L_n is not None
        height, width = L_n.shape[-2:]
        grid = [(r, c) for r in range(MARGIN, height - MARGIN, MARGIN) for c in range(MARGIN, width - MARGIN, MARGIN)]
        weights = network.matches(L_n, reference_L_n, [r for r, _ in grid], [c for _, c in grid])[0]
        sure = sorted(range(len(grid)), key=lambda i: -float(weights[i].max()))
        picked: list[int] = []
        for i in sure:
            if all(abs(grid[i][0] - grid[j][0]) + abs(grid[i][1] - grid[j][1]) > height // points for j in picked):
                picked.append(i)
        picked = picked[:points]
        reference = _as_rgb(batch["reference_L"], batch["reference_ab"])
        made = _as_rgb(batch["L"], task.predict(batch).ab)
        gray = _as_rgb(batch["L"], torch.zeros_like(batch["ab"]))
        lit = [_lit(reference, weights[i]) for i in picked]
        rows.append([gray, reference, *lit, *[None] * (points - len(lit)), made])
        stars[line, 0] = [Star(*grid[i], COLOURS[n]) for n, i in enumerate(picked)]
        stars |= {(line, 2 + n): [_peak(weights[i], reference, COLOURS[n])] for n, i in enumerate(picked)}
    return Looks(rows, stars, ["gray", "reference", *(f"point {n + 1}" for n in range(points)), "ours"])


def _lit(reference: np.ndarray, weight: Tensor) -> np.ndarray:
    heat = F.interpolate(weight[None, None], reference.shape[:2], mode="bilinear")[0, 0]
    light = DIM + (1 - DIM) * (heat / heat.max()).sqrt()
    return (reference * light[..., None].numpy()).round().astype(np.uint8)


def _peak(weight: Tensor, reference: np.ndarray, rgb: tuple[float, float, float]) -> Star:
    row, col = divmod(int(weight.argmax()), weight.shape[1])
    step = reference.shape[0] / weight.shape[0], reference.shape[1] / weight.shape[1]
    return Star(int((row + 0.5) * step[0]), int((col + 0.5) * step[1]), rgb)


def _as_rgb(L: Tensor, ab: Tensor) -> np.ndarray:
    return color.to_8bit(color.lab_to_rgb(torch.cat([L, ab], 1)))[0].permute(1, 2, 0).numpy()
