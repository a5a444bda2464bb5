"""Stars on pictures, and distributions over colours."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from colorexp.viz import INK, pictures


class Star(NamedTuple):
    """A place of a picture that is marked, and by which colour."""

    row: int
    col: int
    rgb: tuple[float, float, float]
    """In 0..1."""


def starred(
    rows: Sequence[Sequence[np.ndarray | None]],
    marked: Mapping[tuple[int, int], Sequence[Star]],
    *,
    columns: Sequence[str],
    labels: Sequence[str] = (),
    width: float = 1.7,
) -> Figure:
    """A `pictures.grid` with stars on it.

    Args:
        rows: Pictures, as for the grid.
        marked: Stars by row and column of the grid.
        columns: Names over the columns.
        labels: Names beside the rows.
        width: Of a column in inches.
    """
    figure = pictures.grid(rows, columns=columns, labels=labels, width=width)
    for (row, column), listed in marked.items():
        _stars(figure.axes[row * len(columns) + column], listed)
    return figure


def _stars(axis: Axes, listed: Sequence[Star]) -> None:
    for star in listed:
        axis.plot(star.col, star.row, marker="*", markersize=8, color=star.rgb, markeredgecolor="white", markeredgewidth=0.7)


class Distribution(NamedTuple):
    """Probabilities of colours at one place."""

    name: str
    prob: np.ndarray
    """Shape (bins,)."""
    rgb: np.ndarray
    """How the bins look there, in 0..1. Shape (bins, 3)."""
    peaks: Sequence[int]
    """Bins, the most probable first."""


def distributions(rgb: np.ndarray, listed: Sequence[Star], shown: Sequence[Distribution]) -> Figure:
    """A picture with numbered stars, and beside it the probabilities over bins at some of them in the bins' own colours.

    Args:
        rgb: The picture, (H, W, 3) uint8.
        listed: Its stars, counted from 1.
        shown: Distributions, a line each, with their peaks as squares.
    """
    figure, axes = plt.subplots(len(shown), 3, figsize=(9, 1.15 * len(shown) + 0.4), squeeze=False, width_ratios=[3, 5, 1.2])
    grid = axes[0][0].get_gridspec()
    for axis in axes[:, 0]:
        axis.remove()
    place = figure.add_subplot(grid[:, 0])
    place.imshow(rgb, interpolation="lanczos")
    place.axis("off")
    _stars(place, listed)
    for number, star in enumerate(listed, start=1):
        place.annotate(str(number), (star.col, star.row), xytext=(5, 3), textcoords="offset points", fontsize=8, color="white")
    for (_, line, swatches), one in zip(axes, shown, strict=True):
        line.bar(np.arange(len(one.prob)), one.prob, width=1.0, color=one.rgb)
        line.plot(one.peaks, one.prob[list(one.peaks)], linestyle="none", marker="v", markersize=4, color=INK)
        line.set(xlim=(-0.5, len(one.prob) - 0.5), ylabel=one.name, xticks=[])
        swatches.imshow(one.rgb[list(one.peaks)][None])
        for number, peak in enumerate(one.peaks):
            swatches.text(number, 0.85, f"{one.prob[peak]:.2f}", ha="center", fontsize=7)
        swatches.axis("off")
    axes[0][1].set_title("probability of the 313 bins")
    axes[0][2].set_title("peaks")
    axes[-1][1].set_xlabel("bin")
    plt.close(figure)
    return figure
