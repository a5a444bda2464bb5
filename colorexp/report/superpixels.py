"""What survives of true chroma when superpixels, or squares, carry one colour each: DISCO's Figure 3 and its numbers."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from colorexp.evaluation import Results
from colorexp.report import tables
from colorexp.report.phrases import interval, listed
from colorexp.report.tables import Cell

METHODS = {"soft superpixels": "superpixels/spixnet", "mini-patches": "superpixels/mini_patches"}
"""Runs, the better one first."""
SHOWN = "0"
"""Protocol under which sample pictures are kept: none has hints."""
GAIN = "mini-patches minus soft superpixels"


def reconstruction(measured: Mapping[str, Results]) -> pd.DataFrame:
    """Chroma error and PSNR of what is reconstructed, by method and test set, and how much larger the error of mini-patches is.

    Args:
        measured: Results by names of `METHODS`.

    Returns:
        As `tables.comparison`, labelled by method, pictures and quantity; the difference is paired over pictures.
    """
    rows = {name: found.rows[~found.rows["near_gray"]].set_index(["dataset", "image"]) for name, found in measured.items()}
    cells = []
    for dataset in dict.fromkeys(next(iter(rows.values())).index.get_level_values("dataset")):
        parts = {name: frame.loc[dataset] for name, frame in rows.items()}
        for name, part in parts.items():
            cells += [_cell(name, str(dataset), metric, part[metric]) for metric in ("ab_error", "psnr")]
        better, worse = (parts[name]["ab_error"] for name in METHODS)
        cells.append(_cell(GAIN, str(dataset), "ab_error", worse - better))
    return tables.comparison(cells)


def _cell(method: str, dataset: str, metric: str, values: "pd.Series[float]") -> Cell:
    labels = {"method": method, "pictures": dataset, "quantity": metric}
    made_by = tables.made_by(METHODS.get(method, METHODS["soft superpixels"]))
    return Cell(labels, metric, values=values, dataset=f"{dataset} (test)", seeds=1, made_by=made_by)


def gains(table: pd.DataFrame) -> str:
    """Whether superpixels keep more chroma than mini-patches; from `reconstruction`."""
    lines = []
    for row in table[table["method"] == GAIN].to_dict("records"):
        said = {"holds": "they keep more", "does not hold": "they keep less"}.get(tables.verdict(row["low"], row["high"]), "")
        told = f"On {row['pictures']} the error of mini-patches is {row['measured']:+.2f} ab units "
        lines.append(told + f"{interval(row['low'], row['high'])} above that of superpixels{': ' if said else ''}{said}.")
    return listed(lines)


def figure3(measured: Mapping[str, Results], *, each: int) -> tuple[list[list[np.ndarray]], list[str]]:
    """Rows of pictures (H, W, 3) uint8: truth, borders of superpixels on it, what either method reconstructs; and their names.

    Args:
        measured: Results by names of `METHODS`.
        each: Pictures of every test set, the first ones.
    """
    soft, square = (measured[name].samples for name in METHODS)
    names = [label.removesuffix(".truth") for label in soft if label.endswith(".truth")]
    datasets = dict.fromkeys(name.split("/")[0] for name in names)
    chosen = [n for dataset in datasets for n in [n for n in names if n.startswith(f"{dataset}/")][:each]]
    rows = []
    for name in chosen:
        truth, kept = soft[f"{name}.truth"], f"{name}.{SHOWN}"
        rows.append([truth, bordered(truth, soft[f"{kept}.superpixels"]), soft[kept], square[kept]])
    return rows, [n.split("/")[1] for n in chosen]


def bordered(rgb: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) on which the pixels are white where the plane (H, W) is not 0."""
    return np.where(borders[..., None] > 0, np.uint8(255), rgb)
