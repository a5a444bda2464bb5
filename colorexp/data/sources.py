"""Where pictures come from: the bundled photographs, procedural scenes, any folder."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from colorexp import config, paths, seeding
from colorexp.config import Dataset
from colorexp.data import fetch
from colorexp.data.images import NOT_OPENED, SUFFIXES


class Item(NamedTuple):
    """One picture before it is opened."""

    id: str
    """Unique within the dataset: the relative path without its suffix, or split and number of a scene."""
    split: str
    path: Path | None
    """The file; None for a scene."""
    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody calls
    """Number of a scene within its split; 0 for files."""
    subject: str
    """What must not face itself across a split; the id where nothing is known."""


class Listing(NamedTuple):
    """What a source holds."""

    items: list[Item]
    skipped: list[tuple[str, str]]
    """Name and reason of pictures that are left out before they are opened."""


def listing(cfg: Dataset) -> Listing:
    """Everything that `cfg` describes, in a fixed order.

    Raises:
        ValueError: If a bundled photograph is missing or altered, a folder holds no picture, or a split names missing ones.
        FileNotFoundError: If the folder does not exist.
    """
    config.check_splits(cfg)
    return _SOURCES[cfg.source](cfg)


def _bundled(cfg: Dataset) -> Listing:
    root = paths.root() / cfg.root
    fetch.verify(root)
    items = [Item(Path(p.file).stem, p.split, root / p.file, 0, p.subject) for p in fetch.catalogue()]
    return Listing(sorted(items), [])


def _scenes(cfg: Dataset) -> Listing:
    counts = {"train": cfg.train, "val": cfg.val, "test": cfg.test}
    items = []
    for split, count in counts.items():
        assert isinstance(count, int)
        items += [Item(f"{split}-{i:05d}", split, None, i, f"{split}-{i:05d}") for i in range(count)]
    return Listing(items, [])


def _folder(cfg: Dataset) -> Listing:
    root = paths.root() / cfg.root
    if not root.is_dir():
        raise FileNotFoundError(f"params.yaml: datasets.{cfg.name}.root = {cfg.root!r} is no folder")
    if root.resolve() == paths.bundled().resolve():
        raise ValueError(
            f"params.yaml: datasets.{cfg.name}.root still names data/bundled; point it at a folder of pictures of your own"
        )
    files, skipped = _walk(root)
    if not files:
        raise ValueError(f"no pictures in {cfg.root} (looked for {', '.join(sorted(SUFFIXES))})")
    names = frozenset(files)
    stems = Counter(name.rsplit(".", 1)[0] for name in files)
    split_of = _by_name(cfg, root, files) if cfg.splits else _by_hash(cfg)
    items = []
    for name in files:
        stem = name.rsplit(".", 1)[0]
        identity = stem if stems[stem] == 1 and stem not in names else name  # a.jpg beside a.png keep their suffixes
        items.append(Item(identity, split_of(name), root / name, 0, identity))
    return Listing(items, skipped)


def _walk(root: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Relative names of all pictures below `root`, links followed once, and folders that may not be read."""
    files, skipped, seen = [], [], set()

    def refuse(error: OSError) -> None:
        skipped.append((Path(error.filename).relative_to(root).as_posix() + "/", f"folder: {error.strerror}"))

    for folder, inner, names in os.walk(root, followlinks=True, onerror=refuse):
        real = os.path.realpath(folder)
        inner[:] = [] if real in seen else sorted(name for name in inner if not name.startswith("."))
        if real in seen:
            continue
        seen.add(real)
        for name in names:
            suffix, relative = Path(name).suffix.lower(), (Path(folder) / name).relative_to(root).as_posix()
            if suffix in SUFFIXES and not name.startswith("."):
                files.append(relative)
            elif suffix in NOT_OPENED and not name.startswith("."):
                skipped.append((relative, f"the format {suffix} is not opened"))
    return sorted(files), sorted(skipped)


def _by_hash(cfg: Dataset) -> Callable[[str], str]:
    """A picture's split depends on its name and the seed alone, so adding pictures moves no other."""

    def split_of(name: str) -> str:
        draw = seeding.seed_of(cfg.seed, "split", name) / 2**63
        return "test" if draw < cfg.test else "val" if draw < cfg.test + cfg.val else "train"

    return split_of


def _by_name(cfg: Dataset, root: Path, files: list[str]) -> Callable[[str], str]:
    chosen: dict[str, str] = {}
    for split, where in cfg.splits.items():
        place = root / where
        if place.is_dir():
            names = [name for name in files if Path(name).is_relative_to(where)]
        elif place.is_file():
            names = [line.strip() for line in place.read_text().splitlines() if line.strip()]
            if missing := sorted(set(names) - set(files)):
                raise ValueError(f"{place.name} names {len(missing)} missing pictures: {', '.join(missing[:20])}")
        else:
            raise FileNotFoundError(f"params.yaml: datasets.{cfg.name}.splits.{split} = {where!r} is neither folder nor file")
        if not names:
            raise ValueError(f"params.yaml: datasets.{cfg.name}.splits.{split} = {where!r} holds no picture")
        for name in names:
            if chosen.setdefault(name, split) != split:
                raise ValueError(f"{name} is in the splits {chosen[name]} and {split}")
    held_out = 0.0 if "val" in cfg.splits else float(cfg.val)

    def split_of(name: str) -> str:
        split = chosen.get(name, "train")
        if split == "train" and seeding.seed_of(cfg.seed, "split", name) / 2**63 < held_out:
            return "val"
        return split

    return split_of


_SOURCES: dict[str, Callable[[Dataset], Listing]] = {"bundled": _bundled, "scenes": _scenes, "folder": _folder}
