"""Lists of pairs on disk: which reference each picture is given. Made by the stage `pairs`, or the user's own.

A list is a CSV with the columns `image` (the picture's name within its data set), `subset` and `reference`; `split` is `test` where
it is not given. A reference is `<dataset>/<name>` of a prepared data set, `palettes/<rrggbb>-<rrggbb>-...`, or a picture's file,
relative to the project.
"""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from colorexp import paths

SUBSETS = ("related", "independent")
KINDS = ("nearest", "farthest", "palette", "given")
"""How a reference was found; `given` where a list of the user's does not say."""
NEEDED = ("image", "subset", "reference")


class Pair(NamedTuple):
    """One picture and its reference."""

    split: str
    image: str
    """Name within its data set."""
    subset: str
    """`related` or `independent`."""
    kind: str
    """One of `KINDS`."""
    reference: str
    distance: str = ""
    """Between features, as text of six digits; empty for a palette."""
    features: str = ""
    """What the distance was measured in; ends in `_random` for a stand-in, empty for a palette."""


def write(path: Path, pairs: Iterable[Pair]) -> None:
    """Write a list, sorted by split, picture and subset; the same pairs give the same bytes."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(Pair._fields)
    table.writerows(sorted(pairs))
    paths.write_atomically(path, text.getvalue().encode())


def read(path: Path) -> list[Pair]:
    """Read a list.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If a column is missing or unknown, a cell is empty, a subset or kind is unknown, or a picture stands twice in a
            subset; the line is named.
    """
    where = paths.shown(path)
    if not path.is_file():
        raise FileNotFoundError(f"no list of pairs at {where}; run `dvc repro` or `colorexp pairs {path.stem}`")
    try:
        table = csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), restkey="", restval="")
        columns = table.fieldnames or []
        rows = list(table)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{where} is no CSV in UTF-8: {error}") from None
    if set(NEEDED) - set(columns) or set(columns) - set(Pair._fields):
        raise ValueError(f"{where} has the columns {', '.join(columns) or 'none'}; needed: {', '.join(NEEDED)}; others that "
                         f"may stand there: {', '.join(f for f in Pair._fields if f not in NEEDED)}")  # fmt: skip
    pairs: dict[tuple[str, str, str], Pair] = {}
    for line, row in enumerate(rows, start=2):
        pair = _pair(row, f"{where}, line {line}")
        if pairs.setdefault(pair[:3], pair) is not pair:
            raise ValueError(f"{where}, line {line}: {pair.image} has a reference in the subset {pair.subset} already")
    return list(pairs.values())


def _pair(row: dict[str, str], where: str) -> Pair:
    if empty := [name for name in NEEDED if not row[name]]:
        raise ValueError(f"{where}: {empty[0]} is empty")
    pair = Pair(**{"split": "test", "kind": "given", **{name: text for name, text in row.items() if name and text}})
    for name, known in (("subset", SUBSETS), ("kind", KINDS), ("split", ("train", "val", "test"))):
        if getattr(pair, name) not in known:
            raise ValueError(f"{where}: {name} is {getattr(pair, name)!r}; choose one of {', '.join(known)}")
    return pair
