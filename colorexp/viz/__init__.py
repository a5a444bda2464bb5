"""Tensors and tables -> matplotlib figures. Nothing else imports matplotlib.

One module per reader: a change to a paper's maps must not re-run trainings, whose notebooks draw curves.
"""

from cycler import cycler
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

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


def nothing() -> Figure:
    """What stands for a figure whose runs have no results."""
    figure = plt.figure(figsize=(4, 0.5))
    figure.text(0.5, 0.5, "not run: there is nothing to show", ha="center", va="center")
    plt.close(figure)
    return figure
