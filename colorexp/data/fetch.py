"""Copies the photographs that installed dependencies carry, byte for byte: `python -m colorexp.data.fetch FOLDER`.

Names, sources, licences, splits and checksums stand in bundled.csv beside this file, which is copied along.
"""

import csv
import hashlib
import importlib.metadata
import importlib.util
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from colorexp import paths

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
        elif _checksum(path) != photo.sha256:
            problems.append(f"{photo.file} is altered")
    if problems:
        raise ValueError(f"{paths.shown(folder)}: {'; '.join(problems)}. `dvc repro` restores data/bundled when it is removed")


def fetch(folder: Path) -> None:
    """Copy the photographs and their catalogue into `folder`, which holds nothing else.

    Raises:
        ValueError: If an installed package lacks a photograph or ships another version of it; all of them are named, and nothing is
            copied.
    """
    sources, problems = {}, []
    for photo in catalogue():
        spec = importlib.util.find_spec(photo.package)
        source = Path(spec.origin).parent / photo.path if spec and spec.origin else None
        if source is None or not source.is_file():
            problems.append(f"{_installed(photo.package)} lacks {photo.file} ({photo.package}/{photo.path})")
        elif (found := _checksum(source)) != photo.sha256:
            problems.append(f"{_installed(photo.package)} has another {photo.file}: sha256 {found[:12]}, not {photo.sha256[:12]}")
        else:
            sources[photo.file] = source
    if problems:
        raise ValueError(
            f"{'; '.join(problems)}. The photographs are those of the versions in requirements.lock; "
            "`pip install -r requirements.lock`, as `make install` does for a new .venv, brings them back"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in sources.items():
        shutil.copyfile(source, folder / name)
    shutil.copyfile(CATALOGUE, folder / CATALOGUE.name)


def _installed(package: str) -> str:
    """The distribution that an import comes from, with its version: `scikit-image 0.25.2`."""
    names = importlib.metadata.packages_distributions().get(package)
    return f"{names[0]} {importlib.metadata.version(names[0])}" if names else f"{package} (not installed)"


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
    print("photographs copied; of data/ only data/bundled is managed, files of your own beside it are never touched")
