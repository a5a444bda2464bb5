"""One quantity against another, a line per group."""

import itertools
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from colorexp.viz import ACCENTS, INK, nothing

DASHES = ("-", "--", "-.", (0, (3, 1, 1, 1, 1, 1)))
"""Of lines whose colours repeat."""


def panels(
    table: pd.DataFrame,
    *,
    panel: str,
    x: str,
    y: str,
    line: str,
    row: str | None = None,
    xlabel: str = "",
    ylabel: str = "",
    labelled: bool = False,
    by_rank: bool = False,
    baseline: str | None = None,
) -> Figure:
    """One panel per value of a column, one line with markers per group; rows without a value are left out.

    Args:
        table: Long form.
        panel: Column whose values become panels.
        x: Column along the axis.
        y: Column up the axis.
        line: Column whose values become lines, in their first order.
        row: Column whose values become rows of panels and name what stands up their axes; None is one row.
        xlabel: Instead of the column's name.
        ylabel: Instead of the column's name.
        labelled: Whether points bear the name of their line, for lines of one point; otherwise there is a legend.
        baseline: Name of a line that is drawn gray and dotted.
        by_rank: Whether the values along the axis stand evenly apart, as counts like 0, 1, 2, 5, ..., 200 are read best.
    """
    table = table.dropna(subset=[x, y])
    if table.empty:
        return nothing()
    names = list(dict.fromkeys(table[panel]))
    rows = list(dict.fromkeys(table[row])) if row else [None]
    size = (3.6 * len(names) + (0 if labelled else 1.4), 3.1 * len(rows))
    figure, axes = plt.subplots(len(rows), len(names), figsize=size, squeeze=False)
    others = itertools.cycle(itertools.product(DASHES, ACCENTS))
    styles = {name: (":", INK) if name == baseline else next(others) for name in dict.fromkeys(table[line])}
    ranks = {value: rank for rank, value in enumerate(sorted(table[x].unique()))} if by_rank else None
    for kind, across in zip(rows, axes, strict=False):
        shown = table if kind is None else table[table[row] == kind]
        for name, axis in zip(names, across, strict=False):
            _panel(axis, shown[shown[panel] == name], x=x, y=y, line=line, ranks=ranks, labelled=labelled, styles=styles)
            axis.set(title=str(name), xlabel=xlabel or x)
        across[0].set_ylabel(ylabel or kind or y)
    if not labelled:
        axes[0][-1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))  # beside the panels, not on their lines
    plt.close(figure)
    return figure


def _panel(
    axis: Axes,
    table: pd.DataFrame,
    *,
    x: str,
    y: str,
    line: str,
    ranks: dict[float, int] | None,
    labelled: bool,
    styles: Mapping[Any, tuple[Any, str]],
) -> None:
    for group, rows in table.groupby(line, sort=False):
        rows = rows.sort_values(x)
        at = rows[x].map(ranks) if ranks else rows[x]
        dash, colour = styles[group]
        axis.plot(at, rows[y], marker=".", label=str(group), linestyle=dash, color=colour)
    if ranks:
        axis.xaxis.set_major_locator(FixedLocator(list(ranks.values())))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xticks(list(ranks.values()), [f"{value:g}" for value in ranks])
    else:
        axis.margins(x=0.15, y=0.25 if labelled else None)
    if labelled:
        _name(
            axis,
            [(str(name), (ranks[left] if ranks else left, up)) for name, left, up in table[[line, x, y]].itertuples(index=False)],
        )


def _name(axis: Axes, points: list[tuple[str, tuple[float, float]]]) -> None:
    """Names beside points, in their colours, from the lowest up; what would lie on another name or point moves above it."""
    colours = {drawn.get_label(): drawn.get_color() for drawn in axis.lines}
    axis.autoscale_view()
    at = {name: axis.transData.transform(point) for name, point in points}
    names: list[tuple[float, float]] = []
    for name, point in sorted(points, key=lambda named: named[1][1]):
        left, bottom = at[name]
        up = bottom + 4
        while any(abs(left - x) < 70 and abs(up - y) < 12 for x, y in names) or any(
            left < x < left + 75 and up - 5 < y < up + 10 for x, y in at.values()
        ):
            up += 2
        names.append((left, up))
        axis.annotate(name, point, fontsize=7, color=colours[name], xytext=(5, up - bottom), textcoords="offset pixels")
