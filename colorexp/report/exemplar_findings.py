"""What the exemplar paper's exhibits show, as Markdown made from their numbers, so that it is true whatever a run gives."""

from collections.abc import Mapping

import pandas as pd

from colorexp.report import exemplar, tables
from colorexp.report.exemplar import Row
from colorexp.report.phrases import interval, listed

TOLD = ("his", "chroma error", "spread")
DECIMALS = {"his": 3, "gate entropy": 3, "mixed": 3, "from the reference": 3}


def versus(exhibit: str, rows: Mapping[str, Row | None], first: str) -> str:
    """A row minus every other one that was measured, on test sets large enough for paired intervals, and the paper's differences.

    Args:
        exhibit: As in published/exemplar.csv.
        rows: By the paper's names.
        first: The row.
    """
    printed = tables.published(exemplar.PAPER, exhibit).set_index(["method", "dataset", "metric"])["value"].to_dict()
    lines = []
    for other, row in rows.items():
        told = []
        for subset, references in exemplar.REFERENCES.items() if other != first and row else ():
            gaps = _gaps(rows[first], row, references)
            theirs = [
                f"{quantity} {printed[first, subset, quantity] - printed[other, subset, quantity]:+.2f}"
                for quantity in ("his", "as")
                if {(first, subset, quantity), (other, subset, quantity)} <= printed.keys()
            ]
            paper = f" (the paper: {', '.join(theirs)})" if theirs else ""
            told += [f"{subset} {gaps}{paper}"] if gaps else []
        if told:
            lines.append(f"{first} minus {other}: {'; '.join(told)}.")
    return listed(lines)


def _gaps(one: Row | None, other: Row | None, references: str) -> str:
    told = []
    for dataset in exemplar.test_sets():
        for quantity in (q for q in TOLD if dataset == exemplar.SCENES or q not in exemplar.OF_OBJECTS):
            sides = [exemplar.cell(row, quantity, dataset, references, labels={"row": f"{row}"}) for row in (one, other)]
            found = tables.difference(*sides)
            if found is not None and found.low is not None:
                decimals = DECIMALS.get(quantity, 2)
                told.append(
                    f"{quantity} {found.mean:+.{decimals}f} {interval(found.low, found.high, decimals=decimals)} on {dataset}"
                )
    return ", ".join(told)


def by_kind(table: pd.DataFrame) -> str:
    """HIS and the share of the reference by kind of reference, all rows; from `exemplar.by_kind`."""
    lines = []
    for quantity, name in {"his": "HIS", "from the reference": "Share of pixels that are mostly the reference's"}.items():
        for kind, part in table[table["quantity"] == quantity].dropna(subset=["measured"]).groupby("reference", sort=False):
            told = ", ".join(f"{row['method']} {row['measured']:.3f}" for row in part.to_dict("records"))
            lines.append(f"{name}, {kind}: {told}.")
    return listed(lines)


def gate(rows: Mapping[str, Row]) -> str:
    """Entropy of the gate, share of mixed pixels and share of the reference of all rows that have a gate."""
    lines = []
    for dataset in exemplar.test_sets():
        for subset, references in exemplar.REFERENCES.items():
            for quantity in ("gate entropy", "mixed", "from the reference"):
                found = {n: exemplar.cell(r, quantity, dataset, references, labels={"row": n}) for n, r in rows.items()}
                means = {name: float(cell.values.mean()) for name, cell in found.items() if cell.values is not None}  # type: ignore[union-attr]  # one value per picture
                if means:
                    told = ", ".join(f"{name} {mean:.3f}" for name, mean in means.items())
                    lines.append(f"{quantity.capitalize()}, {subset}, {dataset}: {told}.")
    return listed(lines)
