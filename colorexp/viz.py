"""Tensors and tables -> matplotlib figures. The only module that imports matplotlib."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

INK, ACCENTS = "#333333", ("#3366aa", "#cc6644", "#449966", "#8855aa", "#997733", "#557788")

STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 9,
    "axes.prop_cycle": cycler(color=ACCENTS),
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "figure.constrained_layout.use": True,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}
plt.rcParams.update(STYLE)  # type: ignore[arg-type]  # the stub wants literal keys


def curves(history: pd.DataFrame, *, quantities: Sequence[str] = ("accuracy", "loss"), title: str = "") -> Figure:
    """Training and validation means per epoch, one panel per quantity.

    Args:
        history: With columns `epoch`, `train/<quantity>`, `val/<quantity>`.
        quantities: Which to draw.
        title: Over the figure.
    """
    figure, axes = plt.subplots(1, len(quantities), figsize=(4 * len(quantities), 2.8), squeeze=False)
    for axis, quantity in zip(axes[0], quantities, strict=True):
        for stage, label in (("train", "training"), ("val", "validation")):
            column = f"{stage}/{quantity}"
            if column in history:
                axis.plot(history["epoch"] + 1, history[column], marker=".", label=label)
        axis.set(xlabel="epoch", title=quantity)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_ylim(bottom=0)
        axis.legend()
    figure.suptitle(title, fontsize=10)
    plt.close(figure)  # notebooks show what a cell returns; without this they show it twice
    return figure


def curve_pairs(histories: Mapping[str, pd.DataFrame], *, quantities: Sequence[str]) -> Figure:
    """One panel per quantity and stage, training left and validation right, one line per run, shared axes.

    Args:
        histories: By label, as for `curves`.
        quantities: Which to draw, a row each.
    """
    stages = {"train": "training", "val": "validation"}
    figure, axes = plt.subplots(len(quantities), 2, figsize=(8, 2.6 * len(quantities)), squeeze=False, sharex=True, sharey="row")
    for quantity, line in zip(quantities, axes, strict=True):
        for (stage, title), axis in zip(stages.items(), line, strict=True):
            for label, history in histories.items():
                axis.plot(history["epoch"] + 1, history[f"{stage}/{quantity}"], marker=".", label=label)
            axis.set_title(f"{title} {quantity}")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        line[0].set_ylim(bottom=0)  # after both are drawn: it ends autoscaling
    for axis in axes[-1]:
        axis.set_xlabel("epoch")
    axes[0][0].legend()
    plt.close(figure)
    return figure


def grid(
    rows: Sequence[Sequence[np.ndarray | None]], *, columns: Sequence[str], labels: Sequence[str] = (), width: float = 1.7
) -> Figure:
    """Pictures in rows and named columns; a missing one stays empty.

    Args:
        rows: (H, W, 3) or (H, W) uint8 pictures; one height per row looks best.
        columns: Names over the columns.
        labels: Names beside the rows.
        width: Of a column in inches.
    """
    heights = [max((p.shape[0] / p.shape[1] for p in row if p is not None), default=1.0) for row in rows]
    figure, axes = plt.subplots(
        len(rows), len(columns), figsize=(width * len(columns), width * sum(heights)), squeeze=False, height_ratios=heights
    )
    for row, (pictures, line) in enumerate(zip(rows, axes, strict=True)):
        for column, (picture, axis) in enumerate(zip(pictures, line, strict=True)):
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if picture is not None:
                axis.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="lanczos")
            if row == 0:
                axis.set_title(columns[column], fontsize=8)
            if column == 0 and labels:
                axis.set_ylabel(labels[row], fontsize=8)
    plt.close(figure)
    return figure


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


def picture(rgb: np.ndarray, *, width: float = 8.0) -> Figure:
    """One picture (H, W, 3) without a frame."""
    figure = plt.figure(figsize=(width, width * rgb.shape[0] / rgb.shape[1]), layout="none")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(rgb)
    axis.axis("off")
    plt.close(figure)
    return figure
