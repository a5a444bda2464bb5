"""Turns of phrase that sentences made from numbers share."""

from collections.abc import Mapping, Sequence

import pandas as pd

from colorexp.report import tables

NOTHING = "This profile has nothing to compare here."


def listed(lines: Sequence[str]) -> str:
    """A Markdown list, or that there is nothing."""
    return "\n".join(f"- {line}" for line in lines) or NOTHING


def interval(low: float | None, high: float | None, *, decimals: int = 2) -> str:
    """A 95% interval in brackets, and whether it leaves the sign open."""
    if low is None or high is None or pd.isna(low):
        return "(too few pictures for an interval)"
    return f"[{low:+.{decimals}f}, {high:+.{decimals}f}]" + (", undecided" if low <= 0 <= high else "")


def against_claim(low: float | None, high: float | None) -> str:
    """`tables.verdict` as part of a sentence."""
    return {"holds": "as the claim says", "does not hold": "against the claim"}.get(tables.verdict(low, high), "undecided")


def counted(table: pd.DataFrame, causes: Mapping[str, str], *, decimals: int) -> str:
    """How many claims of `tables.claims` hold; of those that do not, the difference and what may be the cause.

    Args:
        table: From there.
        causes: By claim.
        decimals: Of differences.
    """
    names = {"holds": "Held", "does not hold": "Did not hold", "undecided": "Undecided", "": "Not measured here"}
    lines = []
    for verdict, name in names.items():
        part = table[table["verdict"] == verdict]
        if len(part):
            lines.append(f"{name}: {len(part)} of {len(table)}.")
        for row in part.to_dict("records") if verdict not in ("holds", "") else ():
            found = f"{row['difference']:+.{decimals}f} {interval(row['low'], row['high'], decimals=decimals)}"
            lines.append(f"{row['claim']}: {found}. {causes[row['claim']]}")
    return listed(lines)
