"""Distributions over the ab plane."""

from collections.abc import Mapping

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from colorexp.viz import INK

AREA = 260.0
"""Of the marker of the most probable colour of a panel, in square points."""


def distributions(
    shown: Mapping[str, np.ndarray], centres: np.ndarray, rgb: np.ndarray, *, picture: np.ndarray, place: tuple[int, int]
) -> Figure:
    """A picture with one marked pixel, and beside it distributions over colours, each a disc whose area is its probability.

    Args:
        shown: Probabilities by title. Shapes (K,).
        centres: The colours in ab units. Shape (K, 2).
        rgb: How they look at the pixel's lightness, in 0..1. Shape (K, 3).
        picture: (H, W, 3) uint8.
        place: Row and column of the pixel.
    """
    figure, axes = plt.subplots(1, len(shown) + 1, figsize=(2.5 * (len(shown) + 1), 2.7))
    axes[0].imshow(picture, interpolation="lanczos")
    axes[0].plot(place[1], place[0], marker="o", markersize=9, color="none", markeredgecolor="white", markeredgewidth=1.6)
    axes[0].plot(place[1], place[0], marker="o", markersize=11, color="none", markeredgecolor=INK, markeredgewidth=0.8)
    axes[0].axis("off")
    for axis, (title, prob) in zip(axes[1:], shown.items(), strict=True):
        axis.scatter(*centres.T, s=1, color="#999999", linewidths=0)
        axis.scatter(*centres.T, s=AREA * prob / prob.max(), color=rgb, edgecolors=INK, linewidths=0.3)
        best = centres[int(prob.argmax())]
        axis.set(title=f"{title}\npeak {prob.max():.2f} at a {best[0]:.0f}, b {best[1]:.0f}", xlabel="a", aspect="equal")
    axes[1].set_ylabel("b")
    plt.close(figure)
    return figure
