"""Exhibits of the exemplar paper: results per image -> comparison tables, and sample pictures side by side."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
import pandas as pd

from colorexp import config, evaluation
from colorexp.report import tables
from colorexp.report.tables import Cell

PAPER = "exemplar"


class Row(NamedTuple):
    """What fills a row of a table."""

    run: str
    """Without the paper."""
    way: str = ""
    """How its task colours pictures, see `evaluation.KEYS`."""


OURS = "Ours"
METHODS = {
    "Larsson": None,
    "Zhang": None,
    "Xiao": None,
    "He": None,
    "Lu": None,
    OURS: Row("exemplar"),
    "Automatic, no reference": Row("automatic"),
    "Histogram only": Row("exemplar", "histogram"),
    "Reference only": Row("no_database"),
    "Lab mean and std": Row("mean_std"),
    "Histogram matching": Row("histogram_matching"),
}
"""The rows of Table 1. The five published methods have printed numbers alone; below ours stand rivals of our own, each of which
does one thing: no reference, the database under the reference's histogram, the reference, and two that learn nothing."""
VARIANTS = {
    "w/o attention in database": Row("no_database"),
    "w/o prior in database": Row("no_prior"),
    "w/o sparse loss": Row("direct_sum"),
    "Full": Row("exemplar"),
    "gate kept, sparse loss of weight 0": Row("no_sparse"),
}
"""The rows of Table 3, whose third is section 4.5.3's: no gate, both sources added; and the other reading of it."""
REFERENCES = {"semantic-related": "related", "semantic-independent": "independent"}
"""The paper's subsets and the pair lists that they are (`data.pairs`)."""
KINDS = {"nearest": "related", "farthest": "independent", "palette": "independent"}
"""Of references, and the pair list that has them."""
MEASURES = {
    "his": "his",
    "as": "aesthetics",
    "colorfulness": "cf_signed",
    "chroma error": "ab_error",
    "spread": "spread",
    "gate entropy": "gate_entropy",
    "mixed": "mixed_share",
    "from the reference": "reference_share",
}
"""By the names that tables use."""
SCENES = "scenes"
OF_OBJECTS = ("spread", "spread_true")
"""Measures that only scenes have."""
NOT_RUN = "not run: needs its own pictures (external/)"


def run_of(row: Row, references: str = "") -> str:
    """`exemplar/<run>`.

    Args:
        row: The row; `external/exemplar/<method>` is a method from elsewhere, which may have sent pictures for each pair list.
        references: The pair list.
    """
    if tables.is_external(row.run):
        alone = f"{row.run.rpartition('/')[2]}@{references}" in tables.from_elsewhere(PAPER)
        return f"{row.run}@{references}" if alone else row.run
    return f"{PAPER}/{row.run}"


def with_elsewhere(rows: Mapping[str, Row | None]) -> dict[str, Row | None]:
    """The rows of a table and methods from elsewhere: in the row of their printed name if the table has it, else below."""
    found, printed = dict(rows), {name.lower(): name for name, row in rows.items() if row is None}
    for method in dict.fromkeys(name.partition("@")[0] for name in tables.from_elsewhere(PAPER)):
        found[printed.get(method.lower(), method)] = Row(f"{tables.EXTERNAL}/{PAPER}/{method}")
    return found


def main() -> str:
    """The run that stands for the paper's own in Table 1 and the figures; params.yaml says which variant it is (`exhibit_run`).

    Ablations are compared with `exemplar/exemplar`, of which they differ in one thing.
    """
    return f"{PAPER}/exemplar{'_paper' if config.exhibit_run(PAPER) == 'paper' else ''}"


def methods() -> dict[str, Row | None]:
    """`METHODS` with the run that stands for the paper's own."""
    short = main().partition("/")[2]
    return {name: row._replace(run=short) if row and row.run == "exemplar" else row for name, row in METHODS.items()}


def test_sets() -> list[str]:
    """Data sets on which it is evaluated in this profile."""
    return list(config.load(main()).evaluation.evaluate_on)


def cell(
    row: Row | None,
    quantity: str,
    dataset: str,
    references: str,
    *,
    labels: Mapping[str, str],
    published: float | None = None,
    kind: str = "",
) -> Cell:
    """One number of a row on a data set under one of `REFERENCES`' pair lists; None is a method that is not rebuilt.

    With `kind`, of `KINDS`, only pictures count whose reference is of that kind.
    """
    if row is None:
        return Cell(dict(labels), MEASURES[quantity], published, dataset=dataset, note=NOT_RUN)
    run = run_of(row, references)
    if tables.is_external(run) and run.rpartition("/")[2] not in tables.from_elsewhere(PAPER):
        note = f"{tables.NOT_MEASURED}: no pictures after references of the list {references}"
        return Cell(dict(labels), MEASURES[quantity], published, dataset=dataset, note=note)
    measure = {"dataset": dataset, "protocol": references, "labels": labels, "published": published, "way": row.way, "kind": kind}
    found = tables.tested(run, MEASURES[quantity], **measure)  # type: ignore[arg-type]  # of several types
    if quantity == "as" and found.values is None and found.note.startswith(tables.NOT_MEASURED):
        return found._replace(note=f"{tables.NOT_MEASURED}: no weights of an aesthetic model")
    return found


def compared(
    exhibit: str, rows: Mapping[str, Row | None], quantities: Sequence[str], *, label: str = "method", more: Sequence[Cell] = ()
) -> pd.DataFrame:
    """Published beside measured for one of the paper's tables, on every test set and under both subsets.

    Args:
        exhibit: As in published/exemplar.csv.
        rows: By the paper's names, in the table's order.
        quantities: Of `MEASURES`.
        label: Name of the column of those names.
        more: Further cells with the same labels, which come last.
    """
    printed = tables.published(PAPER, exhibit).set_index(["method", "dataset", "metric"])["value"].to_dict()
    cells = []
    for name, row in rows.items():
        for dataset in test_sets()[: None if row else 1]:
            for subset, references in REFERENCES.items():
                for quantity in (q for q in quantities if dataset == SCENES or q not in OF_OBJECTS):
                    labels = {label: name, "pictures": dataset, "references": subset, "quantity": quantity}
                    cells.append(
                        cell(row, quantity, dataset, references, labels=labels, published=printed.get((name, subset, quantity)))
                    )
    return tables.comparison([*cells, *more])


def by_kind(rows: Mapping[str, Row], quantities: Sequence[str]) -> pd.DataFrame:
    """The same numbers on scenes, or else the first test set, by kind of reference."""
    dataset, cells = SCENES if SCENES in test_sets() else test_sets()[0], []
    for kind, references in KINDS.items():
        for name, row in rows.items():
            for quantity in quantities:
                labels = {"reference": kind, "method": name, "quantity": quantity}
                cells.append(cell(row, quantity, dataset, references, labels=labels, kind=kind))
    return tables.comparison(cells)


# Pictures that evaluations kept


def kept(dataset: str) -> list[str]:
    """Names of a data set's sample pictures."""
    prefix = f"{dataset}/"
    return [n.removesuffix(".truth") for n in tables.samples(main()) if n.startswith(prefix) and n.endswith(".truth")]


class Example(NamedTuple):
    """A sample picture under a reference."""

    name: str
    """`<dataset>/<image>`."""
    kind: str
    """Of `KINDS`."""


def examples(kind: str, *, count: int | None = None) -> list[Example]:
    """Sample pictures whose reference is of a kind, the first of every data set in turn; scenes come after photographs."""
    named, rows = [], tables.results(main())
    for dataset in sorted(test_sets(), key=lambda name: name == SCENES):
        shown = set(rows[(rows["dataset"] == dataset) & (rows["reference_kind"] == kind)]["image"])
        named.append([name for name in kept(dataset) if name.partition("/")[2] in shown])
    found = [name for turn in zip_longest(*named) for name in turn if name]
    return [Example(name, kind) for name in found[:count]]


def over_transferred(count: int) -> dict[Example, str]:
    """Sample pictures of related pairs in which histogram matching gains most HIS over ours, and both values as labels."""
    his = {}
    for title, run in {"matched": run_of(Row("histogram_matching")), "ours": main()}.items():
        rows = tables.results(run)
        rows = rows[rows["protocol"] == KINDS["nearest"]] if "his" in rows else rows.assign(his=None)  # of a run that is left out
        his[title] = pd.Series(rows["his"].to_numpy("float64"), rows["dataset"] + "/" + rows["image"], dtype="float64")
    names = his["ours"].index
    his["matched"] = his["matched"].reindex(names)
    gain = (his["matched"] - his["ours"]).fillna(0.0)
    best = sorted(examples("nearest"), key=lambda one: -float(gain[one.name]))[:count]
    return {one: f"HIS {his['matched'][one.name]:.2f} / {his['ours'][one.name]:.2f}" for one in best}


def side_by_side(
    rows: Mapping[str, Row], chosen: Sequence[Example], *, gates: bool = False
) -> tuple[list[list["np.ndarray | None"]], list[str]]:
    """Sample pictures in lines: gray, reference, what every row made of it, truth; and the columns' names.

    What the profile lacks is left out.

    Args:
        rows: By title.
        chosen: From `examples`.
        gates: Whether the share of the reference follows each row that has a gate, white where all colour is the reference's.
    """
    found = {title: row for title, row in rows.items() if not tables.absence(run_of(row))}
    titles = ["gray", "reference"]
    columns: list[tuple[str, str]] = [(main(), ".input"), (main(), ".reference")]
    for title, row in found.items():
        titles.append(title)
        columns.append((run_of(row), evaluation.label("", row.way)))
        if gates and _has_gate(row):
            titles.append("its gate")
            columns.append((run_of(row), f"{evaluation.label('', row.way)}.gate"))
    lines = [
        [
            *(tables.sample(run, f"{e.name}.{KINDS[e.kind]}{part}") for run, part in columns),
            tables.sample(main(), f"{e.name}.truth"),
        ]
        for e in chosen
    ]
    return lines, [*titles, "truth"]


def _has_gate(row: Row) -> bool:
    options = config.load(run_of(row)).options
    return options.get("sources", "both") == "both" and options.get("fuse", "gate") == "gate" and not row.way
