"""What DISCO's Table 1 rates in words, as numbers, and what scenes alone can tell of the frameworks."""

from collections.abc import Mapping

import pandas as pd

from colorexp.report import disco, tables
from colorexp.report.disco import Row
from colorexp.report.tables import Cell

FRAMEWORKS = {
    "Regression model": "UGColor",
    "Classification model": "CIColor",
    "Autoregression model": "ColTran",
    "Disentangled model": disco.OURS,
}
"""The rows of Table 1."""
_FEATURES = {
    "colorfulness": ("cf_signed", "colorfulness", ""),
    "spread inside objects": ("spread", "consistence", "samples"),
    "spread over chroma": ("spread/chroma", "consistence", "samples"),
    "difference of two colourings": ("diversity", "diversity", "samples"),
    "modes reached": ("mode_coverage", "diversity", "samples"),
}
"""Metric, the paper's word for it, and the way of colouring that it is measured in."""
_TRUE_FEATURES = {
    "colorfulness": "true_cf_signed",
    "spread inside objects": "spread_true",
    "spread over chroma": "spread_true/true_chroma",
}
_SAMPLED = {"spread": "spread", "difference of two": "diversity", "modes reached": "mode_coverage"}


def frameworks() -> pd.DataFrame:
    """Table 1 in numbers: what the paper rates in words, of four frameworks and of the true pictures.

    Returns:
        As `tables.comparison`, labelled by framework, what the paper says of it, and quantity: colourfulness; spread of chroma
        inside objects of a sampled colouring, also over the picture's mean chroma, since a gray picture has none; distance between
        two colourings of a picture and share of an object's modes that several of them reach; milliseconds per picture at the
        published size. What asks for objects is measured on scenes, the rest on the first test set.

    Unspecified: how the paper rates; it says low, fair, high, yes and no.
    """
    words = tables.published(disco.PAPER, "table1").set_index(["method", "metric"])["printed"]
    cells = []
    for name, method in FRAMEWORKS.items():
        row = disco.METHODS[method]
        assert row is not None
        for quantity, (metric, rated, way) in _FEATURES.items():
            labels = {"framework": name, "paper": f"{rated} {words[name, rated]}", "quantity": quantity}
            cells.append(_feature(row._replace(way=way), metric, disco.measured_on(metric), labels))
        labels = {"framework": name, "paper": f"efficiency {words[name, 'efficiency']}", "quantity": "ms per picture"}
        cells.append(Cell(labels, "latency_ms", values=disco.latency(row), dataset="256x256", note=_no_latency(row)))
    for quantity, metric in _TRUE_FEATURES.items():
        labels = {"framework": disco.TRUTH, "paper": "", "quantity": quantity}
        cells.append(_feature(Row("disco"), metric, disco.measured_on(metric), labels))
    return tables.comparison(cells)


def scenes() -> pd.DataFrame:
    """What photographs cannot tell, on scenes: spread of chroma inside objects and modes reached, see `structure`."""
    cells = []
    asked = {"spread": ("spread", ""), "mean chroma": ("chroma", ""), "chroma error": ("ab_error", "")}
    asked |= {f"{name}, sampled": (metric, "samples") for name, metric in _SAMPLED.items()}
    asked |= {f"{name}, distinct": (metric, "distinct") for name, metric in _SAMPLED.items()}
    shown = [row for row in disco.METHODS.values() if row and not row.way] + [Row("disco_no_anchors"), Row("disco_mini_patches")]
    for row in shown:
        for quantity, (metric, way) in asked.items():
            labels = {"run": disco.row_of(row).run.split("/")[1], "quantity": quantity}
            cells.append(_feature(row._replace(way=way), metric, disco.SCENES, labels))
    for quantity, metric in {"spread": "spread_true", "mean chroma": "true_chroma", "chroma error": "true_chroma"}.items():
        about = "gray" if quantity == "chroma error" else disco.TRUTH
        cells.append(_feature(Row("disco"), metric, disco.SCENES, {"run": about, "quantity": quantity}))
    return tables.comparison(cells)


def _feature(row: Row, metric: str, dataset: str, labels: Mapping[str, str]) -> Cell:
    """A measure, or the ratio of two, picture by picture."""
    run, way = disco.row_of(row)
    found = [
        tables.tested(run, name, dataset=dataset, protocol=disco.PROTOCOL, labels=labels, way=way) for name in metric.split("/")
    ]
    one, other = found[0], found[-1]
    if len(found) == 1 or not (isinstance(one.values, pd.Series) and isinstance(other.values, pd.Series)):
        return one
    return one._replace(metric=metric, values=one.values / other.values)


def _no_latency(row: Row) -> str:
    return "" if disco.latency(row) is not None else f"{tables.NOT_MEASURED}: latency"
