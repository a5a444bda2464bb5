"""What DISCO's exhibits show, as Markdown made from their numbers, so that it is true whatever a run gives."""

from collections.abc import Mapping, Sequence

import pandas as pd

from colorexp.report import disco, tables
from colorexp.report.disco import Row
from colorexp.report.disco_claims import CLAIMS
from colorexp.report.phrases import counted, interval, listed

UNITS = {"psnr": " dB", "chroma error": " ab units", "spread": " ab units"}
DECIMALS = {"ssim": 3, "lpips": 3}


def frameworks(table: pd.DataFrame) -> str:
    """Frameworks by every quantity, largest first, and what the paper says of them; from `disco_frameworks.frameworks`."""
    lines = []
    found = table.dropna(subset=["measured"])
    for quantity, part in found.groupby("quantity", sort=False):
        true = part[part["framework"] == disco.TRUTH]["measured"]
        ours = part[part["framework"] != disco.TRUTH].sort_values("measured", ascending=False)
        told = [
            f"{row['framework'].split()[0].lower()} {row['measured']:.3g} (paper: {row['paper']})"
            for row in ours.to_dict("records")
        ]
        if told:
            truth = f"; the truth {true.iloc[0]:.3g}" if len(true) else ""
            lines.append(f"{str(quantity).capitalize()}, largest first: {', '.join(told)}{truth}.")
    return listed(lines)


def versus(
    exhibit: str, rows: Mapping[str, Row | None], first: str, others: Sequence[str], quantities: Sequence[str] = ("colorfulness",)
) -> str:
    """A row minus others on test sets that are large enough for paired intervals, and the paper's differences; a line for each.

    Args:
        exhibit: As in published/disco.csv.
        rows: By the paper's names.
        first: The row.
        others: Those that it is compared with; what the profile leaves out is passed over.
        quantities: Of `disco.MEASURES`.
    """
    lines = []
    for other in others:
        gaps = [gap for dataset in disco.test_sets() if (gap := _gaps(rows[first], rows[other], quantities, dataset))]
        if gaps:
            lines.append(f"{first} minus {other}: {'; '.join(gaps)}. {_printed(exhibit, first, other, quantities)}")
    return listed(lines)


def _gaps(first: Row | None, other: Row | None, quantities: Sequence[str], dataset: str) -> str | None:
    told = []
    for quantity in disco.asked(quantities, dataset):
        sides = [disco.cell(row, quantity, dataset, labels={"row": f"{row}"}) for row in (first, other)]
        found = tables.difference(*sides)
        if found is None or found.low is None:
            continue
        decimals = DECIMALS.get(quantity, 2)
        said = f"{found.mean:+.{decimals}f}{UNITS.get(quantity, '')}"
        told.append(f"{quantity} {said} {interval(found.low, found.high, decimals=decimals)}")
    return f"{', '.join(told)} on {dataset}" if told else None


def _printed(exhibit: str, first: str, other: str, quantities: Sequence[str]) -> str:
    table = tables.published(disco.PAPER, exhibit).dropna(subset=["value"])
    values = table.set_index(["method", "dataset", "metric"])["value"].to_dict()
    told = []
    for dataset in dict.fromkeys(table["dataset"]):
        shared = [q for q in quantities if {(first, dataset, q), (other, dataset, q)} <= values.keys()]
        gaps = [f"{q} {values[first, dataset, q] - values[other, dataset, q]:+.4g}" for q in shared]
        told += [f"{', '.join(gaps)} on {disco.PRINTED_ON[dataset]}"] if gaps else []
    return f"The paper: {'; '.join(told)}." if told else "The paper prints no such difference."


def kernel_distances(table: pd.DataFrame, label: str) -> str:
    """Rows by their KID, best first, and the published FID beside; a stand-in says so. From `disco.compared`.

    Args:
        table: With the quantities `kid` and `fid`.
        label: Column that names the rows.
    """
    fid = table[table["quantity"] == "fid"].dropna(subset=["published"])
    printed = {str(d): part.set_index(label)["published"] for d, part in fid.groupby("pictures")}
    lines = []
    for dataset, part in table[table["quantity"] == "kid"].dropna(subset=["measured"]).groupby("pictures", sort=False):
        part = part.drop_duplicates("measured").sort_values("measured")
        told = ", ".join(f"{row[label]} {row['measured']:.3g}" for row in part.to_dict("records"))
        random = (
            " (an Inception with random weights: it compares textures, not things)"
            if part["metric"].iloc[0].endswith(tables.STAND_IN)
            else ""
        )
        lines.append(f"KID on {dataset}{random}, best first: {told}.")
    for dataset, values in printed.items():
        ordered = sorted(values.drop_duplicates().to_dict().items(), key=lambda item: float(item[1]))
        told = ", ".join(f"{name!s} {value:g}" for name, value in ordered)
        lines.append(f"Published FID on {dataset}, best first: {told}.")
    return listed(lines)


def anchors(table: pd.DataFrame) -> str:
    """How colourfulness, chroma error and FID or KID change with the number of anchors in inference; from `disco.by_anchors`."""
    lines = []
    for measure, part in table.dropna(subset=["measured"]).groupby("measure", sort=False):
        for name, rows in part.groupby("trained with", sort=False):
            rows = rows.sort_values("anchors")
            values, counts = rows["measured"].tolist(), rows["anchors"].tolist()
            falls = [f"{a} to {b}" for a, b, x, y in zip(counts, counts[1:], values, values[1:], strict=False) if y < x]
            against = str(measure).startswith(("FID", "KID")) and values[-1] < values[0]
            lines.append(
                f"{measure}, trained with {name}: {values[0]:.3g} with {counts[0]}, {values[-1]:.3g} with "
                f"{counts[-1]}; {'falls from ' + ', '.join(falls) if falls else 'it never falls'}"
                f"{', where the paper says that it grows.' if against else '.'}"
            )
    return listed(lines)


def refinement(table: pd.DataFrame) -> str:
    """What refinement takes from the spread inside objects whose anchors are wrong; from `showcase.anomalies`."""
    lines = []
    for situation, part in table.groupby("situation", sort=False) if len(table) else ():
        told = []
        for quantity, rows in part.groupby("quantity", sort=False):
            values = {str(row["refinement"]): row for row in rows.to_dict("records")}
            gap = values["before minus after"]
            said = f"{-gap['measured']:+.2f} {interval(-gap['high'], -gap['low'])}"
            told.append(f"{quantity} {values['before']['measured']:.3g} before, {values['after']['measured']:.3g} after, {said}")
        lines.append(f"{str(situation).capitalize()}: {'; '.join(told)}.")
    return listed(lines)


def verdicts(table: pd.DataFrame) -> str:
    """How many claims hold, and of those that do not, what may be the cause; from `disco_claims.claims`."""
    return counted(table, {claim.text: claim.otherwise for claim in CLAIMS}, decimals=2)
