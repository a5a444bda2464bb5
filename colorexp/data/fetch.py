"""Copies the photographs that installed dependencies carry, byte for byte: `python -m colorexp.data.fetch FOLDER`.

Names, sources, licences, splits and checksums stand in bundled.csv beside this file, which is copied along.
"""

import csv
import hashlib
import importlib.util
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

CATALOGUE = Path(__file__).with_name("bundled.csv")


class Photograph(NamedTuple):
    """One bundled photograph."""

    file: str
    package: str
    path: str
    split: str
    subject: str
    sha256: str
    licence: str
    source: str


def catalogue() -> list[Photograph]:
    """All bundled photographs, split by subject: two views of one motorcycle never face each other across a split."""
    with CATALOGUE.open(newline="") as file:
        return [Photograph(**row) for row in csv.DictReader(file)]


def verify(folder: Path) -> None:
    """Compare every photograph in `folder` with its checksum.

    Raises:
        ValueError: Naming every photograph that is missing or altered.
    """
    problems = []
    for photo in catalogue():
        path = folder / photo.file
        if not path.is_file():
            problems.append(f"{photo.file} is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != photo.sha256:
            problems.append(f"{photo.file} is altered")
    if problems:
        raise ValueError(f"{folder}: {'; '.join(problems)}. `dvc repro` restores data/bundled when it is removed")


def fetch(folder: Path) -> None:
    """Copy the photographs and their catalogue into `folder`, which holds nothing else.

    Raises:
        ValueError: If an installed package lacks a photograph or ships another version of it; all of them are named.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = []
    for photo in catalogue():
        spec = importlib.util.find_spec(photo.package)
        source = Path(spec.origin).parent / photo.path if spec and spec.origin else None
        if source is None or not source.is_file():
            missing.append(f"{photo.file} ({photo.package}/{photo.path})")
        else:
            shutil.copyfile(source, folder / photo.file)
    if missing:
        raise ValueError(f"the installed packages lack {'; '.join(missing)}")
    shutil.copyfile(CATALOGUE, folder / CATALOGUE.name)
    verify(folder)


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
    print("photographs copied; of data/ only data/bundled is managed, files of your own beside it are never touched")
