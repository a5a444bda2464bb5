"""Pictures in figures."""

from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from colorexp import viz


def grid(
    rows: Sequence[Sequence[np.ndarray | None]], *, columns: Sequence[str], labels: Sequence[str] = (), width: float = 1.7
) -> Figure:
    """Pictures in rows and named columns; a missing one stays empty, and of none at all the figure says so.

    Args:
        rows: (H, W, 3) or (H, W) uint8 pictures; one height per row looks best.
        columns: Names over the columns.
        labels: Names beside the rows.
        width: Of a column in inches.
    """
    if not rows or not columns:
        return viz.nothing()
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


def alone(rgb: np.ndarray, *, width: float = 8.0) -> Figure:
    """One picture (H, W, 3) without a frame."""
    figure = plt.figure(figsize=(width, width * rgb.shape[0] / rgb.shape[1]), layout="none")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(rgb)
    axis.axis("off")
    plt.close(figure)
    return figure
