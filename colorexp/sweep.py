"""Figures 6 and 7 of AdaColViT: trained networks, asked again, for more or less than they were trained to keep and for pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from colorexp import color, config, evaluation, paths, runs
from colorexp.config import Evaluation, Run
from colorexp.models.vit import AdaColViT
from colorexp.report import adacolvit, tables
from colorexp.report.tables import Cell
from colorexp.tasks.point import PointColorizer

THRESHOLDS = (0.1, 0.5, 0.8, 0.98)
"""Probabilities above which learned decisions keep something; trainings have 0.5."""
SHARES = (0.4, 0.5, 0.7, 0.85, 1.0)
"""Of patches and layers that random decisions keep, beside the share of their training."""
HINTS = "10"
WITH_RANDOM = ("random_setting", "random_gflops", "difference", "low", "high")
WITH_BOTH = ("both_gflops", "both_difference", "both_low", "both_high")
"""Columns of a point's comparisons with random selection and with selecting both."""


class Point(NamedTuple):
    """One network with one setting on the test pictures."""

    selection: str
    setting: str
    as_trained: bool
    gflops: float
    """Mean of the pictures' own multiply-adds, in billions."""
    psnr: "pd.Series[float]"
    """By picture."""


def selection() -> pd.DataFrame:
    """What is selected, what it costs and what it gives at 10 hints, on the first test set.

    Returns:
        selection, setting, as_trained, pictures, gflops (mean of the pictures' own multiply-adds), psnr, n and made_by; for what is
        learned its paired difference to random selection of the same cost, with its 95% interval; and for patches or layers alone
        that of selecting both, minus it. A curve's PSNR at a cost lies, picture by picture, on the line between the neighbouring
        points; beyond the curve's ends it is that of the nearest point, whose cost stands beside (`random_gflops`, `both_gflops`).

    Raises:
        FileNotFoundError: If a run of the profile has not been trained.

    Source: Figure 6.

    Deviation: the paper's Figure 6 trains a network for every beta; here trained networks are swept at inference, by the threshold
        of learned decisions and the share of random ones, since one training per point costs more than the whole default profile.
    """
    dataset = adacolvit.test_sets()[0]
    present = {name: run for name, run in adacolvit.SELECTIONS.items() if not tables.absence(f"{adacolvit.PAPER}/{run}")}
    points = [point for name, run in present.items() for point in _points(name, f"{adacolvit.PAPER}/{run}", dataset)]
    columns = [*Point._fields, "pictures", "n", *WITH_RANDOM, *WITH_BOTH, "made_by"]
    return pd.DataFrame([_row(point, points, dataset) for point in points], columns=columns)


def _points(name: str, run: str, dataset: str) -> Iterator[Point]:
    if name == adacolvit.DENSE:
        rows = tables.results(run)
        yield _point(name, "dense", True, rows[(rows["dataset"] == dataset) & (rows["protocol"] == HINTS)])
        return
    options = config.load(run).options
    random = options.get("decide") == "random"
    own = options["patch_ratio"] if random else options.get("threshold", 0.5)
    for value in sorted({*(SHARES if random else THRESHOLDS), own}):
        changed = {"patch_ratio": value, "layer_ratio": value} if random else {"threshold": value}
        yield _point(name, f"{'share' if random else 'threshold'} {value:g}", value == own, _evaluated(run, changed, dataset))


def only_psnr(cfg: Run, dataset: str) -> Run:
    """A run whose evaluation is PSNR at 10 hints on one dataset and nothing else."""
    return replace(
        cfg,
        evaluation=Evaluation(evaluate_on=[dataset], protocols=[HINTS], metrics=["psnr"], samples=0),
    )


def _evaluated(run: str, options: dict[str, float], dataset: str) -> pd.DataFrame:
    cfg, task = runs.load(paths.run(run), options=options)
    torch.set_num_threads(1)  # so small a network on so few pictures waits for a second one longer than that works
    assert isinstance(task, PointColorizer)
    assert isinstance(task.model, AdaColViT)
    return evaluation.evaluate(only_psnr(cfg, dataset), task).rows


def _point(name: str, setting: str, as_trained: bool, rows: pd.DataFrame) -> Point:
    counted = rows[~rows["near_gray"]].set_index("image")
    return Point(name, setting, as_trained, float(counted["multiply_adds_m"].mean()) / 1000, counted["psnr"])


def _row(point: Point, points: list[Point], dataset: str) -> dict[str, object]:
    row: dict[str, object] = point._asdict() | {"pictures": dataset, "psnr": point.psnr.mean(), "n": len(point.psnr)}
    row |= {"made_by": tables.made_by(f"{adacolvit.PAPER}/{adacolvit.SELECTIONS[point.selection]}")}
    row |= dict.fromkeys((*WITH_RANDOM, *WITH_BOTH))
    if point.selection in (adacolvit.RANDOM, adacolvit.DENSE):
        return row
    drawn, both = ([other for other in points if other.selection == name] for name in (adacolvit.RANDOM, adacolvit.BOTH))
    if drawn:
        random = _at(point.gflops, drawn)
        found = _difference(point, random)
        row |= {"random_setting": random.setting, "random_gflops": random.gflops}
        row |= {"difference": found.mean, "low": found.low, "high": found.high}
    if both and point.selection != adacolvit.BOTH:
        rival = _at(point.gflops, both)
        found = _difference(rival, point)
        row |= {"both_gflops": rival.gflops, "both_difference": found.mean, "both_low": found.low, "both_high": found.high}
    return row


def _at(gflops: float, curve: list[Point]) -> Point:
    """A curve at a cost: on the line between the neighbouring points, or the nearest point beyond its ends."""
    ordered = sorted(curve, key=lambda point: point.gflops)
    for one, other in pairwise(ordered):
        if one.gflops <= gflops <= other.gflops and one.gflops < other.gflops:
            share = (gflops - one.gflops) / (other.gflops - one.gflops)
            psnr = (1 - share) * one.psnr + share * other.psnr
            return Point(one.selection, f"{one.setting} to {other.setting}", False, gflops, psnr)
    return min(ordered, key=lambda point: abs(point.gflops - gflops))


def _difference(one: Point, other: Point) -> tables.Difference:
    found = tables.difference(*(Cell({"at": f"{p.selection} {p.setting}"}, "psnr", values=p.psnr) for p in (one, other)))
    assert found is not None
    return found


@torch.no_grad()
def colored(run: str, pictures: Sequence[str], *, hints: str = HINTS) -> list[tuple[np.ndarray, np.ndarray]]:
    """Test pictures as they are and as a run colours them with the hints of its evaluation (Figure 7).

    Args:
        run: `<paper>/<run>`.
        pictures: Names `<dataset>/<image>`.
        hints: Of the run's protocols.

    Returns:
        The true picture and the colored one per name. Shape (H, W, 3) each, uint8.

    Raises:
        FileNotFoundError: If the run has not been trained and pictures are asked for.
        ValueError: If a data set has no such test picture.
    """
    if not len(pictures):
        return []
    cfg, task = runs.load(paths.run(run), evaluating=True)
    torch.set_num_threads(1)
    found = []
    for dataset, _, image in (name.partition("/") for name in pictures):
        batch = evaluation.one(cfg, dataset, hints, image)
        ab = torch.cat([batch["ab"], task.predict(batch).ab])
        rgb = color.to_8bit(color.lab_to_rgb(torch.cat([batch["L"].expand(2, -1, -1, -1), ab], 1)))
        truth, made = rgb.permute(0, 2, 3, 1).numpy()
        found.append((truth, made))
    return found
