"""Tables and figures of reports/ as data that templates show."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pandas as pd
from markupsafe import Markup
from PIL import Image

from colorexp.absent import NOT_RUN
from colorexp.report import tables

SPREAD = ("quantity", "object", "hints")
"""Labels whose values become columns of a table that people read; the first that a table has."""
PROVENANCE = ("metric", "made_by", "dataset", "profile", "seeds", "n", "machine", "repeats", "note")
"""Columns that say where the numbers of a row come from."""
ASIDE = ("profile", "seeds", "machine", "repeats")
"""Those of them that need no column where they are the same in every row."""
MEASURED = ("measured", "difference", "low", "high", "std")


class Cell(NamedTuple):
    """What a table shows at one place."""

    text: str
    value: str = ""
    """The number by which it is sorted, where it begins with one."""
    title: str = ""
    """Where a measured number comes from."""

    @property
    def is_number(self) -> bool:
        """Whether there is nothing else."""
        return bool(self.value) and " " not in self.text


class View(NamedTuple):
    """How a notebook shows a table."""

    rows: Sequence[str] = ()
    """As `tables.wide` is asked for it."""
    column: str = ""
    dropped: Sequence[str] = ()


@dataclass(frozen=True)
class Html:
    """Sanitised HTML."""

    kind: ClassVar = "html"
    html: Markup
    heading: str = ""
    anchor: str = ""


@dataclass(frozen=True)
class Code:
    """Source of a cell."""

    kind: ClassVar = "code"
    text: str


@dataclass(frozen=True)
class Figure:
    """A picture beside the page."""

    kind: ClassVar = "figure"
    anchor: str
    title: str
    caption: str
    href: str
    width: int
    height: int


@dataclass(frozen=True)
class Table:
    """Rows, and the files that hold the same."""

    kind: ClassVar = "table"
    anchor: str
    title: str
    caption: str
    files: Mapping[str, str]
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    left_out: int


@dataclass(frozen=True)
class Missing:
    """An exhibit that has a caption and no file."""

    kind: ClassVar = "missing"
    anchor: str
    title: str
    caption: str


Block = Html | Code | Figure | Table | Missing


@dataclass
class Shelf:
    """All exhibits below a folder of reports, each of which is taken once."""

    reports: Path
    captions: Mapping[str, str]
    papers: Sequence[str]
    hashes: Mapping[str, str]
    """Of data sets, by name."""
    taken: set[str] = field(default_factory=set)

    def take(self, file: str, view: View | None = None) -> list[Block]:
        """The exhibit in `figures/<stem>.png` or `<tables or timings>/<stem>.csv`; nothing where it was taken or is missing.

        Args:
            file: Relative to the folder of reports.
            view: How a notebook shows the table.
        """
        path = self.reports / file
        if file in self.taken or not path.is_file():
            return []
        self.taken.add(file)
        return [self._figure(path) if path.suffix == ".png" else self._table(path, view)]

    def rest(self, paper: str) -> list[Block]:
        """What nobody took of a paper, or of none of them: figures first, then the paper's own tables."""
        files = [
            path for pattern in ("figures/*.png", "tables/*.csv", "timings/*.csv") for path in sorted(self.reports.glob(pattern))
        ]
        own = [path for path in files if self._paper(path.stem) == paper]
        own.sort(key=lambda path: (path.suffix != ".png", "_table" not in path.stem))
        return [block for path in own for block in self.take(path.relative_to(self.reports).as_posix())]

    def absent(self, paper: str) -> list[str]:
        """Stems of a paper, or of none, that have a caption and no file."""
        places = ("figures/{}.png", "tables/{}.csv", "timings/{}.csv")
        own = [stem for stem in self.captions if self._paper(stem) == paper]
        return [stem for stem in own if not any((self.reports / place.format(stem)).is_file() for place in places)]

    def missing(self, stem: str) -> Missing:
        """That an exhibit has not been made."""
        return Missing(stem, self._title(stem), self.captions.get(stem, ""))

    def _paper(self, stem: str) -> str:
        return next((paper for paper in self.papers if stem.startswith(f"{paper}_")), "")

    def _title(self, stem: str) -> str:
        rest = stem.removeprefix(f"{self._paper(stem)}_").replace("_", " ")
        return re.sub(r"^([a-z]+)(\d+)$", r"\1 \2", rest).capitalize()

    def _figure(self, path: Path) -> Figure:
        with Image.open(path) as picture:
            width, height = picture.size
        return Figure(path.stem, self._title(path.stem), self.captions.get(path.stem, ""), f"figures/{path.name}", width, height)

    def _table(self, path: Path, view: View | None) -> Table:
        frame, left_out = _shown(pd.read_csv(path))
        view = view or _view(frame)
        columns, rows = _wide(frame, view, self.hashes) if view.column else long(frame, self.hashes, dropped=view.dropped)
        folder = path.parent.name
        forms = [path, *(other for other in (path.with_suffix(".md"), path.with_suffix(".tex")) if other.is_file())]
        files = {form.suffix[1:]: f"{folder}/{form.name}" for form in forms}
        twin = (self.reports / "figures" / f"{path.stem}.png").is_file()
        title = self._title(path.stem) + (" in numbers" if twin else "")
        return Table(f"{path.stem}-table", title, self.captions.get(path.stem, ""), files, columns, rows, left_out)


def _shown(frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Without the cells of absent runs that the paper does not print either, and how many those are."""
    if "note" not in frame:
        return frame, 0
    absent = frame["note"].fillna("").astype(str).str.startswith(NOT_RUN)
    frame = frame.assign(note=frame["note"].mask(absent, NOT_RUN))
    absent &= frame["published"].isna() if "published" in frame else True
    return frame[~absent], int(absent.sum())


def _view(frame: pd.DataFrame) -> View:
    """A column per quantity, where a table has quantities."""
    labels = [str(name) for name in frame.columns[: list(frame.columns).index("published")]] if "published" in frame else []
    spread = next((name for name in SPREAD if name in labels), None)
    return View([label for label in labels if label != spread], spread) if spread else View()


def _wide(frame: pd.DataFrame, view: View, hashes: Mapping[str, str]) -> tuple[list[str], list[list[Cell]]]:
    """As `tables.wide` writes it, every number with the provenance of its own row."""
    keys, spread = view.rows, view.column
    shown = _said(tables.wide(frame, rows=keys, column=spread))
    told = {
        (*(_text(record[key]) for key in keys), _text(record[spread])): _provenance(record, hashes)
        for record in frame.to_dict("records")
    }
    rows = []
    for record in shown.to_dict("records"):
        line = tuple(_text(record.get(key)) for key in keys)
        rows.append([_cell(value, told.get((*line, str(name)), "") if _leading(value) else "") for name, value in record.items()])
    return [str(name) for name in shown.columns], rows


def long(frame: pd.DataFrame, hashes: Mapping[str, str], *, dropped: Sequence[str] = ()) -> tuple[list[str], list[list[Cell]]]:
    """Columns that say something, and a line per row; what is the same in all rows is told by its numbers alone."""
    same = [name for name in ASIDE if name in frame and len(set(frame[name])) == 1]
    told = [_provenance(record, hashes) for record in frame.to_dict("records")]
    measured = {name for name in frame if name in MEASURED or ("machine" in frame and frame[name].dtype == float)}
    shown = _said(frame.drop(columns=[name for name in {"made_by", *same, *dropped} if name in frame]))
    rows = [
        [_cell(value, title if name in measured else "") for name, value in record.items()]
        for record, title in zip(shown.to_dict("records"), told, strict=True)
    ]
    return [str(name) for name in shown.columns], rows


def _said(frame: pd.DataFrame) -> pd.DataFrame:
    """Without columns of nothing."""
    return frame[[name for name in frame if frame[name].fillna("").astype(str).any()]]


def _provenance(record: Mapping[Any, Any], hashes: Mapping[str, str]) -> str:
    parts = []
    for name in PROVENANCE:
        value = record.get(name)
        if value is None or pd.isna(value) or value == "":
            continue
        known = hashes.get(str(value).split(" ")[0]) if name == "dataset" else None
        parts.append(f"{name}: {_text(value)}" + (f" {known}" if known else ""))
    return "\n".join(parts)


def _text(value: Any) -> str:  # noqa: ANN401  whatever a table holds
    if value is None or pd.isna(value):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _leading(text: object) -> str:
    """The number that a text begins with, or nothing."""
    first = str(text).replace("−", "-").split(" ")[0].rstrip("%")
    try:
        return str(float(first))
    except ValueError:
        return ""


def _cell(value: Any, title: str) -> Cell:  # noqa: ANN401  whatever a table holds
    if value is None or pd.isna(value):
        return Cell("")
    if isinstance(value, float):
        return Cell(f"{round(value, 9):.5g}", repr(value), title)
    text = re.sub(r"\[(\S+), (\S+)\]", "[\\1,\N{NO-BREAK SPACE}\\2]", str(value))
    text = text.replace("– (", "–\N{NO-BREAK SPACE}(")
    return Cell(text, _leading(value), title)
