"""The exhibits of DISCO: which run, and which way of colouring, stands beside which printed row."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from colorexp import backbones, config, evaluation, metrics, paths
from colorexp.report import tables
from colorexp.report.tables import Cell
from colorexp.tasks import anchors

PAPER = "disco"
PROTOCOL = "0"
"""No picture has hints."""
TRUTH = "Ground truth"


class Row(NamedTuple):
    """What fills a row of a table."""

    run: str
    """Without the paper; `external/disco/<method>` of a method from elsewhere."""
    way: str = ""
    """How its task colours pictures, see `evaluation.KEYS`."""


OURS = "DISCO"
GIVEN = "DISCO (ground-truth anchor colors)"
METHODS = {
    "CIColor": Row("cicolor"),
    "UGColor": Row("ugcolor"),
    "DeOldify": None,
    "InstColor": None,
    "ChromaGAN": None,
    "ColTran": Row("coltran"),
    OURS: Row("disco"),
    GIVEN: Row("disco", "truth_colors"),
}
"""The rows of Table 3; of the methods without a row of results only the printed numbers are shown."""
VARIANTS = {
    "No anchor branch": Row("disco_no_anchors"),
    "Dual branch": Row("disco"),
    "Mini-patch primitive": Row("disco_mini_patches"),
    "Soft superpixel": Row("disco"),
    "No refinement": Row("disco_no_refinement"),
    "Post refinement": Row("disco_post_refinement"),
    "Joint refinement": Row("disco"),
    "Ground-truth color": Row("disco", "truth_clusters"),
    "Learned feature": Row("disco"),
    "Random locations": Row("disco", "random"),
    "Paper-literal losses and optimiser": Row("disco_paper"),
    "Calm (lambda 0.8)": Row("disco_calm"),
    "Random locations, also in training": Row("disco_random"),
}
"""The rows of Table 4; random locations of the paper's supplement, which has no number; and what else was trained.

The numbers of the last two are from the README of the released code.
"""
TRAINED_WITH = {5: "disco_a5", 8: "disco", 11: "disco_a11"}
"""Runs of Figure 11 by their number of anchors."""
TRIED = anchors.COUNTS
"""Numbers of anchors in inference."""
PRINTED_ON = {"imagenet-ctest10k": "ctest10k", "coco-stuff-val": "coco", "legacy-photo": "legacy"}
"""The paper's data sets, and ours that hold the same pictures."""
NO_TRUTH = "legacy"
SCENES = "scenes"
"""Where objects are known."""
MEASURES = {
    "colorfulness": "cf_signed",
    "psnr": "psnr",
    "ssim": "ssim",
    "lpips": "lpips_alex",
    "chroma error": "ab_error",
    "spread": "spread",
}
"""Per picture, by the paper's names where it has one."""
SETS = {"fid": "features", "kid": "features", "is": "logits"}
"""Of whole sets of pictures, and what they are computed from."""
OF_OBJECTS = ("spread", "spread_true", "mode_coverage")
"""Measures that only scenes have."""
NOT_REBUILT = "not rebuilt here"


def row_of(row: Row) -> Row:
    """A row with `disco/<run>` instead of the run; params.yaml says which variant stands for the paper's (`exhibit_run`)."""
    if tables.is_external(row.run):
        return row
    literal = row.run == "disco" and config.exhibit_run(PAPER) == "paper"
    return Row(f"{PAPER}/{row.run}{'_paper' if literal else ''}", row.way)


def main() -> str:
    """The run that stands for the paper's own."""
    return row_of(Row("disco")).run


def test_sets() -> list[str]:
    """Data sets on which it is evaluated in this profile."""
    return list(config.load(main()).evaluation.evaluate_on)


def measured_on(metric: str | tuple[str, str]) -> str:
    """The data set of an exhibit that has no column for it: scenes where objects are asked for, else the first test set.

    Args:
        metric: A name, two names, or the ratio `one/other`.
    """
    names = metric.split("/") if isinstance(metric, str) else metric
    return SCENES if set(names) & set(OF_OBJECTS) else test_sets()[0]


def cell(row: Row | None, quantity: str, dataset: str, *, labels: Mapping[str, str], published: float | None = None) -> Cell:
    """One number of a row on a data set.

    Args:
        row: None for a method that is not rebuilt.
        quantity: Of `MEASURES` or `SETS`.
        dataset: Where it is measured.
        labels: Of the cell.
        published: What the paper prints.
    """
    if row is None:
        return Cell(dict(labels), quantity, published, dataset=dataset, note=NOT_REBUILT)
    run, way = row_of(row)
    if quantity in SETS:
        return _of_sets(run, way, quantity, dataset, Cell(dict(labels), quantity, published, dataset=dataset))
    return tables.tested(run, MEASURES[quantity], dataset=dataset, protocol=PROTOCOL, labels=labels, published=published, way=way)


def _of_sets(run: str, way: str, quantity: str, dataset: str, empty: Cell) -> Cell:
    """FID, KID or Inception Score from kept features; the metric's name says which Inception, and whether it is a stand-in."""
    if why := tables.absence(run):
        return empty._replace(note=why)
    cfg = config.load(main() if tables.is_external(run) else run)  # those from elsewhere are measured like ours
    stored = kept_features(run) if cfg.evaluation.features else {}
    names = [f"{dataset}/{label}/{SETS[quantity]}" for label in (evaluation.label(PROTOCOL, way), "truth")]
    if not all(name in stored for name in names):
        missing = "Inception's features" if dataset in test_sets() else f"{dataset}, which this profile lacks"
        return empty._replace(note=f"{tables.NOT_MEASURED}: {missing}")
    ours, truth = (torch.from_numpy(stored[name]) for name in names)
    if quantity == "fid" and len(ours) < metrics.FID_MINIMUM:
        reason = f"FID needs {metrics.FID_MINIMUM} pictures, there are {len(ours)}"
        return empty._replace(note=f"{tables.NOT_MEASURED}: {reason}")
    if len(ours) < tables.INTERVAL_MINIMUM:
        return empty._replace(note=f"{tables.NOT_MEASURED}: {len(ours)} pictures say nothing of a distribution")
    value = metrics.inception_score(ours) if quantity == "is" else getattr(metrics, quantity)(ours, truth)
    network = extractor(str(cfg.evaluation.features), cfg.evaluation.weights)
    notes = [f"{len(ours)} pictures", "stand-in: an Inception with random weights" if network.endswith(tables.STAND_IN) else ""]
    note = "; ".join(filter(None, [*notes, tables.reduced(run)]))
    seeds = None if tables.is_external(run) else 1
    found = empty._replace(metric=f"{quantity}_{network}", values=value, dataset=f"{dataset} (test)")
    return found._replace(seeds=seeds, note=note, made_by=tables.made_by(run))


@lru_cache
def extractor(name: str, folder: str | None) -> str:
    """Name of the Inception that features come from; ends in `_random` where its weights are not at hand."""
    return backbones.INCEPTIONS[name](folder=paths.resolve(folder) if folder else None).name


def kept_features(run: str) -> Mapping[str, np.ndarray]:
    """Features and logits that an evaluation kept, by `<dataset>/<label>/features` and `/logits`."""
    stored: Mapping[str, np.ndarray] = np.load(paths.features(run))
    return stored


# Tables 3, 4 and 5


def with_elsewhere(rows: Mapping[str, Row | None]) -> dict[str, Row | None]:
    """The rows of a table and methods from elsewhere: in the row of their printed name if the table has it, else below.

    Only those without hints compete here.
    """
    found, printed = dict(rows), {name.lower(): name for name, row in rows.items() if row is None}
    for method in tables.from_elsewhere(PAPER):
        if "@" not in method:
            found[printed.get(method.lower(), method)] = Row(f"{tables.EXTERNAL}/{PAPER}/{method}")
    return found


def latency(row: Row) -> float | None:
    """Milliseconds per picture at the published size as the efficiency stage measured it; None where it did not."""
    return timed(row).get("latency_ms")


def timed(row: Row) -> dict[str, float]:
    """Numbers of a row in reports/timings, one line for all variants of a network; none where it is not there.

    Of the networks of Table 5 the time is the mean over pictures, of others the median over rounds.
    """
    found: dict[str, float] = {}
    for name in ("efficiency", "disco_pictures"):
        path = paths.resolve(f"reports/timings/{name}.csv")
        table = pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=["run"])
        for line in table[table["run"] == f"{PAPER}/{row.run}"].select_dtypes("number").dropna(axis=1).to_dict("records"):
            found |= {str(column): float(value) for column, value in line.items()}
    return found


def compared(
    exhibit: str,
    rows: Mapping[str, Row | None],
    quantities: Sequence[str],
    *,
    label: str = "method",
    more: Sequence[Cell] = (),
) -> pd.DataFrame:
    """Published beside measured for one of the paper's tables.

    Rows of the exhibit's own data sets carry the printed numbers, whether the profile has the pictures or not; the profile's other
    test sets follow.

    Args:
        exhibit: As in published/disco.csv.
        rows: By the paper's names, in the table's order.
        quantities: Of `MEASURES` and `SETS`.
        label: Name of the column of those names.
        more: Further cells with the same labels, which come last.
    """
    table = tables.published(PAPER, exhibit)
    table = table.assign(dataset=table["dataset"].replace(PRINTED_ON))
    printed = table.dropna(subset=["value"]).set_index(["method", "dataset", "metric"])["value"].to_dict()
    theirs, ours = dict.fromkeys(table["dataset"]), [name for name in test_sets() if name not in PRINTED_ON.values()]
    cells = []
    for name, row in rows.items():
        for dataset in [*theirs, *(ours if row else ())]:
            for quantity in asked(quantities, dataset):
                labels = {label: name, "pictures": dataset, "quantity": quantity}
                cells.append(cell(row, quantity, dataset, labels=labels, published=printed.get((name, dataset, quantity))))
    return tables.comparison([*cells, *more])


def asked(quantities: Sequence[str], dataset: str) -> list[str]:
    """Gray photographs have no truth to compare with, other sets need no Inception Score, and only scenes know their objects."""
    if dataset == NO_TRUTH:
        return [q for q in quantities if q in ("colorfulness", "is")]
    return [q for q in quantities if q != "is" and (dataset == SCENES or q not in OF_OBJECTS)]


def costs() -> pd.DataFrame:
    """Table 5: parameters, multiply-adds and time of one picture at the published size, from the efficiency stage."""
    printed = tables.published(PAPER, "table5").set_index(["method", "metric"])["value"]
    scales = {"params_m": ("parameters", 1e-6), "gflops": ("multiply_adds_g", 1.0), "time_ms": ("latency_ms", 1.0)}
    cells = []
    for name, row in METHODS.items():
        found = timed(row) if row else {}
        for quantity, (column, factor) in scales.items() if name != GIVEN else ():
            value = found[column] * factor if column in found else None
            note = "" if value is not None else NOT_REBUILT if row is None else f"{tables.NOT_MEASURED}: {column}"
            labels = {"method": name, "quantity": quantity}
            cells.append(Cell(labels, column, float(printed[name, quantity]), value, "one picture, 256x256", note=note))
    return tables.comparison(cells)


# Figure 11


def by_anchors() -> pd.DataFrame:
    """Colourfulness, chroma error and FID by number of anchors in training and in inference, on the first test set (Figure 11).

    Returns:
        As `tables.comparison`, labelled by `trained with`, `anchors` (a number), `quantity`, and last `measure`, as a figure names
        it: a stand-in says so. KID takes the place of FID where there are too few pictures for it.
    """
    dataset, cells = test_sets()[0], []
    distance = "kid" if cell(Row("disco"), "fid", dataset, labels={}).values is None else "fid"
    for trained, run in TRAINED_WITH.items():
        for tried in TRIED:
            way = "" if tried == trained else f"anchors_{tried}"
            for quantity in ("colorfulness", "chroma error", distance):
                labels = {"trained with": f"{trained} anchors", "anchors": str(tried), "quantity": quantity}
                cells.append(cell(Row(run, way), quantity, dataset, labels=labels))
    table = tables.comparison(cells)
    stand_in = table["metric"].str.endswith(tables.STAND_IN)
    measure = table["quantity"].replace(distance, distance.upper())
    measure = measure.mask(stand_in, f"{distance.upper()} (stand-in: random weights)")
    return table.assign(anchors=table["anchors"].astype(int), measure=measure)


# Pictures that evaluations kept


def samples(*, photographs: int, scenes: int) -> list[str]:
    """Kept sample pictures `<dataset>/<image>`: so many photographs with a truth, then scenes; without either, the first ones."""
    names = kept()
    own = [n for n in names if n.startswith("photos/")] or [n for n in names if not n.startswith((f"{SCENES}/", f"{NO_TRUTH}/"))]
    return own[:photographs] + kept(SCENES)[:scenes] or names[: photographs + scenes]


def kept(dataset: str = "") -> list[str]:
    """Sample pictures `<dataset>/<image>` of the run that stands for the paper's, of one data set or of all."""
    names = [n.removesuffix(".truth") for n in tables.samples(main()) if n.endswith(".truth")]
    return [n for n in names if not dataset or n.startswith(f"{dataset}/")]


def side_by_side(rows: Mapping[str, Row], names: Sequence[str]) -> tuple[list[list["np.ndarray | None"]], list[str]]:
    """Sample pictures in lines: gray, what every row made of it, truth; and the columns' names. What the profile lacks is left out.

    Args:
        rows: By title.
        names: From `samples`.
    """
    found = {title: row_of(row) for title, row in rows.items()}
    found = {title: row for title, row in found.items() if not tables.absence(row.run)}
    parts = [(main(), f"{PROTOCOL}.input"), *((row.run, evaluation.label(PROTOCOL, row.way)) for row in found.values())]
    parts.append((main(), "truth"))
    return [[tables.sample(run, f"{name}.{part}") for run, part in parts] for name in names], ["gray", *found, "truth"]
