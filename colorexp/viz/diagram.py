"""Boxes and arrows."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from colorexp.viz import ACCENTS, INK

WIDE, HIGH = 0.8, 0.72
"""Of a box, in cells of the grid."""
INCHES = (1.8, 1.0)
"""Of a cell."""


class Box(NamedTuple):
    """Something of a network."""

    name: str
    told: Sequence[str] = ()
    """Lines below the name."""
    column: float = 0
    row: float = 0
    """Place in the grid, from the left and from above."""
    accent: int = 0
    """Which colour."""


class Arrow(NamedTuple):
    """From one box to another, by their names."""

    start: str
    end: str
    told: str = ""
    dashed: bool = False


def flow(boxes: Sequence[Box], arrows: Sequence[Arrow]) -> Figure:
    """Draw boxes on a grid, and arrows from border to border: sideways between columns, else up or down."""
    right, low = max(box.column for box in boxes), max(box.row for box in boxes)
    figure, axis = plt.subplots(figsize=(INCHES[0] * (right + 1), INCHES[1] * (low + 1)), layout="none")
    figure.subplots_adjust(0, 0, 1, 1)
    axis.set(xlim=(-0.5, right + 0.5), ylim=(low + 0.5, -0.5))
    axis.axis("off")
    placed = {box.name: box for box in boxes}
    for arrow in arrows:
        _arrow(axis, placed[arrow.start], placed[arrow.end], arrow)
    for box in boxes:
        _box(axis, box)
    plt.close(figure)
    return figure


def _box(axis: Axes, box: Box) -> None:
    colour = ACCENTS[box.accent]
    corner = (box.column - WIDE / 2, box.row - HIGH / 2)
    style = "round,pad=0,rounding_size=0.06"
    axis.add_patch(FancyBboxPatch(corner, WIDE, HIGH, boxstyle=style, facecolor="white", edgecolor=colour, linewidth=1.3))
    axis.add_patch(FancyBboxPatch(corner, WIDE, HIGH, boxstyle=style, facecolor=colour, alpha=0.1, linewidth=0))
    step = 0.16
    top = box.row - step * len(box.told) / 2 + 0.01
    axis.text(box.column, top, box.name, ha="center", va="center", fontsize=8, color=INK, weight="bold")
    for number, line in enumerate(box.told, start=1):
        axis.text(box.column, top + step * number, line, ha="center", va="center", fontsize=7, color=INK)


def _arrow(axis: Axes, start: Box, end: Box, arrow: Arrow) -> None:
    across, down = end.column - start.column, end.row - start.row
    if abs(across) >= WIDE:
        side = WIDE / 2 if across > 0 else -WIDE / 2
        ends = ((start.column + side, start.row), (end.column - side, end.row))
    else:
        side = HIGH / 2 if down > 0 else -HIGH / 2
        ends = ((start.column, start.row + side), (end.column, end.row - side))
    look = {
        "arrowstyle": "-|>",
        "color": INK,
        "linewidth": 1,
        "linestyle": "--" if arrow.dashed else "-",
        "shrinkA": 0,
        "shrinkB": 1,
    }
    axis.annotate("", xy=ends[1], xytext=ends[0], arrowprops=look)
    if arrow.told:
        middle = [(a + b) / 2 for a, b in zip(*ends, strict=True)]
        back = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
        axis.text(middle[0], middle[1], arrow.told, fontsize=7, color=INK, ha="center", va="center", bbox=back)
