"""Numbers in figures."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from colorexp.viz import ACCENTS, INK


def bars(table: pd.DataFrame, *, value: str, label: str, low: str = "low", high: str = "high", unit: str = "") -> Figure:
    """Horizontal bars with intervals where they are known.

    Args:
        table: One bar per row, drawn from top to bottom.
        value: Column of the bar's length.
        label: Column of the bar's name.
        low: Column of the interval's lower end; may be absent.
        high: Column of the interval's upper end.
        unit: Under the axis.
    """
    figure, axis = plt.subplots(figsize=(5, 0.32 * len(table) + 0.8))
    names = table[label].astype(str)
    axis.barh(names, table[value], color=ACCENTS[0], height=0.6)
    if low in table and table[low].notna().any():
        spread = np.stack([table[value] - table[low], table[high] - table[value]]).astype(float)
        axis.errorbar(table[value], names, xerr=spread, fmt="none", ecolor=INK, elinewidth=1, capsize=2)
    axis.invert_yaxis()
    axis.set_xlabel(unit or value)
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
