"""Histories as curves."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from colorexp import viz

PANELS = 4
"""Side by side, before the next row."""


def per_epoch(history: pd.DataFrame, *, quantities: Sequence[str] = ("accuracy", "loss"), title: str = "") -> Figure:
    """Training and validation means per epoch, one panel per quantity that there is.

    Args:
        history: With columns `epoch`, `train/<quantity>`, `val/<quantity>`.
        quantities: Which to draw.
        title: Over the figure.
    """
    quantities = [name for name in quantities if f"train/{name}" in history or f"val/{name}" in history]
    if not quantities:
        return viz.nothing()
    across = min(PANELS, len(quantities))
    down = -(-len(quantities) // across)
    figure, axes = plt.subplots(down, across, figsize=(min(4 * across, 12), 2.8 * down), squeeze=False)
    for axis in axes.flat[len(quantities) :]:
        axis.remove()
    for axis, quantity in zip(axes.flat, quantities, strict=False):
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


def side_by_side(histories: Mapping[str, pd.DataFrame], *, quantities: Sequence[str]) -> Figure:
    """One panel per quantity and stage, training left and validation right, one line per run, shared axes.

    Args:
        histories: By label, as for `per_epoch`.
        quantities: Which to draw, a row each.
    """
    if not histories:
        return viz.nothing()
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
