"""Numbers in figures."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import ScalarFormatter

from colorexp.viz import ACCENTS, INK


def dots(table: pd.DataFrame, *, value: str, label: str, low: str, high: str, unit: str) -> Figure:
    """Numbers of very different size with their intervals, each written beside its dot; the axis is logarithmic.

    Args:
        table: One dot per row, drawn from top to bottom.
        value: Column of what is drawn, above 0.
        label: Column of the dot's name.
        low: Column of the interval's lower end.
        high: Column of the interval's upper end.
        unit: Under the axis.
    """
    figure, axis = plt.subplots(figsize=(7, 0.26 * len(table) + 0.8))
    names = table[label].astype(str)
    spread = np.stack([table[value] - table[low], table[high] - table[value]]).astype(float)
    axis.errorbar(table[value], names, xerr=spread, fmt="o", color=ACCENTS[0], ecolor=INK, markersize=5, elinewidth=1)
    for name, at, most in zip(names, table[value], table[high], strict=True):
        said = f"{at:.3g}" if at < 1000 else f"{at:.0f}"
        axis.annotate(said, (most, name), (6, 0), textcoords="offset points", va="center", fontsize=7, color=INK)
    axis.set(xscale="log", xlabel=unit)
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.margins(x=0.1, y=0.02)
    axis.grid(axis="y", alpha=0.4)
    axis.invert_yaxis()
    plt.close(figure)
    return figure


def stacked(table: pd.DataFrame, *, bar: str, part: str, share: str, text: str) -> Figure:
    """Horizontal bars of length 1, cut into parts, each with its number where there is room.

    Args:
        table: One row per part of a bar; bars are drawn from top to bottom.
        bar: Column of the bar's name.
        part: Column of the part's name, for the legend.
        share: Column of the part's length.
        text: Column of what is written on it.
    """
    names, parts = (list(dict.fromkeys(table[column])) for column in (bar, part))
    figure, axis = plt.subplots(figsize=(7, 0.36 * len(names) + 0.9))
    ends = dict.fromkeys(names, 0.0)
    for name, accent in zip(parts, ACCENTS, strict=False):
        for row in table[table[part] == name].to_dict("records"):
            where, start, length = names.index(row[bar]), ends[row[bar]], row[share]
            axis.barh(where, length, left=start, color=accent, height=0.7)
            if length > ROOM:
                axis.text(start + length / 2, where, row[text], ha="center", va="center", color="white", size="small")
            ends[row[bar]] += length
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set(xlim=(0, 1), xlabel="share of the whole")
    keys = [Patch(color=accent, label=name) for name, accent in zip(parts, ACCENTS, strict=False)]
    axis.legend(handles=keys, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(parts), frameon=False)
    plt.close(figure)
    return figure


ROOM = 0.06
"""Share of a bar that a number needs."""


def histogram_ab(a_counts: np.ndarray, b_counts: np.ndarray) -> Figure:
    """Share of pixels over a and over b, 256 one-unit cells each, on a logarithmic scale."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 2.4), sharey=True)
    for axis, counts, name in zip(axes, (a_counts, b_counts), "ab", strict=True):
        axis.fill_between(np.arange(-128, 128), counts / counts.sum(), step="post", color=ACCENTS[0])
        axis.set(xlabel=f"{name} (CIELAB units)", yscale="log", xlim=(-110, 110))
    axes[0].set_ylabel("share of training pixels")
    plt.close(figure)
    return figure
