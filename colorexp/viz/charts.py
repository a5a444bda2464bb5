"""Numbers in figures."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

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


def histogram_ab(a_counts: np.ndarray, b_counts: np.ndarray) -> Figure:
    """Share of pixels over a and over b, 256 one-unit cells each, on a logarithmic scale."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 2.4), sharey=True)
    for axis, counts, name in zip(axes, (a_counts, b_counts), "ab", strict=True):
        axis.fill_between(np.arange(-128, 128), counts / counts.sum(), step="post", color=ACCENTS[0])
        axis.set(xlabel=f"{name} (CIELAB units)", yscale="log", xlim=(-110, 110))
    axes[0].set_ylabel("share of training pixels")
    plt.close(figure)
    return figure
