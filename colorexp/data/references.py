"""Which reference a picture is given: drawn anew for every appearance in training, listed for an evaluation."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from colorexp import paths
from colorexp.data import pairlist, palettes, store
from colorexp.data.images import BadImage, open_image
from colorexp.data.pairlist import Pair
from colorexp.data.store import Shards
from colorexp.schema import Referencing
from colorexp.seeding import generator

STRIPES = 256
"""Side of a palette's picture, before it is brought to the size of a reference."""
ZOOM, BEND = 0.5, 0.15
"""A copy warped in full strength shows at least this share of each side; its points move by up to this share of half a side."""
GRID = 4
"""Points per side at which a warp is drawn; between them it is smooth."""


OWN = ("own", "own_palette")
"""Kinds whose colours are the picture's, which are then the truth."""


class Reference(NamedTuple):
    """A picture whose colours another one is to take."""

    rgb: Tensor
    """uint8 (3, h, w), of any size."""
    name: str
    """`<dataset>/<name>`, `palettes/...`, or a file relative to the project."""
    kind: str
    """How it was found: one of `pairlist.KINDS`, of `OWN`, or `same_class`."""


class References(Protocol):
    """Gives every picture a reference."""

    size: int
    """Side of the squares that references are brought to."""
    only: frozenset[str] | None
    """The pictures, `<dataset>/<name>`, that have one; None if all have."""

    def __call__(self, identity: str, rgb: Tensor, key: Sequence[str | int]) -> Reference:
        """The reference of a picture `<dataset>/<name>` that shows `rgb`, uint8 (3, h, w), in the draw named by `key`."""
        ...


class Library:
    """Pictures by the names that lists of pairs use."""

    def __init__(self) -> None:
        self._places: dict[str, dict[str, tuple[str, int]]] = {}
        self._shards: dict[tuple[str, str], Shards] = {}

    def __call__(self, name: str) -> Tensor:
        """One picture. uint8, shape (3, h, w).

        Raises:
            ValueError: If it is a malformed palette or a file that cannot be used.
            FileNotFoundError: If there is no such picture.
        """
        if name.startswith(palettes.PREFIX):
            return palettes.picture(palettes.parse(name), STRIPES)
        dataset, _, image = name.partition("/")
        if place := self._of(dataset).get(image):
            split, row = place
            shards = self._shards.setdefault((dataset, split), Shards(paths.prepared(dataset), split))
            return torch.tensor(shards[row].rgb).permute(2, 0, 1)
        if self.lacks(name):
            raise FileNotFoundError(f"there is no reference {name}: no picture of a prepared data set, no file")
        return read(paths.root() / name)

    def lacks(self, name: str) -> bool:
        """Whether there is no such picture, of a data set or a file."""
        if name.startswith(palettes.PREFIX):
            return False
        dataset, _, image = name.partition("/")
        return image not in self._of(dataset) and not (paths.root() / name).is_file()

    def _of(self, dataset: str) -> dict[str, tuple[str, int]]:
        """Split and row of every picture of a prepared data set; of anything else none."""
        if dataset not in self._places:
            folder = paths.prepared(dataset)
            table = store.manifest(folder) if (folder / "manifest.parquet").is_file() else pd.DataFrame({"id": [], "split": []})
            rows = table.groupby("split").cumcount()
            self._places[dataset] = {i: (s, int(r)) for i, s, r in zip(table["id"], table["split"], rows, strict=True)}
        return self._places[dataset]


def read(file: Path) -> Tensor:
    """A picture's file as a reference. uint8, shape (3, h, w).

    Raises:
        BadImage: If it cannot be used; the file is named.
    """
    try:
        opened = open_image(file)
    except BadImage as reason:
        raise BadImage(f"{paths.shown(file)}: {reason}") from None
    return torch.from_numpy(np.array(opened.rgb)).permute(2, 0, 1)


class Listed:
    """References as a list of pairs names them.

    Args:
        pairs: Of one subset.
        dataset: Whose test pictures the list is for.
        size: Side of the squares that references are brought to.
        source: Names the list in errors.

    Raises:
        ValueError: If the list is empty, or names a malformed palette.
        FileNotFoundError: If it names pictures or references that do not exist; all of them are listed.
    """

    def __init__(self, pairs: Iterable[Pair], dataset: str, *, size: int, source: str) -> None:
        self.size = size
        self._library = Library()
        self._pairs = {f"{dataset}/{pair.image}": pair for pair in pairs}
        self.only: frozenset[str] | None = frozenset(self._pairs)
        if not self._pairs:
            raise ValueError(f"{source} gives no test picture of {dataset} such a reference")
        table = store.manifest(paths.prepared(dataset))
        known = {f"{dataset}/{name}" for name in table[table["split"] == "test"]["id"]}
        missing = [f"test picture {name}" for name in self._pairs if name not in known]
        missing += dict.fromkeys(f"reference {p.reference}" for p in self._pairs.values() if self._library.lacks(p.reference))
        if missing:
            raise FileNotFoundError(f"{source} names {len(missing)} missing pictures: {', '.join(missing)}")
        for pair in self._pairs.values():
            if pair.reference.startswith(palettes.PREFIX):
                palettes.parse(pair.reference)

    def __call__(self, identity: str, rgb: Tensor, key: Sequence[str | int]) -> Reference:
        """The listed one, whatever the draw."""
        pair = self._pairs[identity]
        return Reference(self._library(pair.reference), pair.reference, pair.kind)


class Drawn:
    """References for training and validation: for every appearance of a picture a kind is drawn, then one of that kind.

    A picture that has no other of the kind takes a warped copy of itself.

    Args:
        names: Data sets.
        split: `train` or `val`.
        asked: Kinds with their weights, strength of warps, size.

    Raises:
        FileNotFoundError: If nearest references are asked for and there is no list of pairs.

    Source: "Yes, Attention Is All You Need, for Exemplar based Colorization", section 3.3: the losses need a truth, which a picture
        has under a reference of its own alone.

    Unspecified: which references the paper trains with. Ours are copies of the picture itself, palettes of its own colours, its
        nearest neighbour (section 4.1), or a picture that shows something of the same class: on scenes one of its objects' classes,
        in folders the same folder. A palette shows nothing that corresponds: without it, a copy's places always tell the truth, and
        nothing teaches the gate when to leave them and the database how to follow a histogram.
    """

    only: frozenset[str] | None = None

    def __init__(self, names: Iterable[str], split: str, *, asked: Referencing) -> None:
        self.size, self._warp = asked.reference_size, asked.reference_warp
        self._kinds = list(asked.references)
        self._weights = torch.tensor([asked.references[kind] for kind in self._kinds])
        self._library = Library()
        self._nearest: dict[str, str] = {}
        self._classes: dict[str, list[str]] = {}
        self._members: dict[str, list[str]] = defaultdict(list)
        for name in names:
            if "nearest" in self._kinds:
                pairs = [pair for pair in pairlist.read(paths.pairs(name)) if pair.split == split and pair.kind == "nearest"]
                self._nearest |= {f"{name}/{pair.image}": pair.reference for pair in pairs}
            if "same_class" in self._kinds:
                self._classes |= classes(name, split)
        for identity, shown in self._classes.items():
            for label in shown:
                self._members[label].append(identity)

    def __call__(self, identity: str, rgb: Tensor, key: Sequence[str | int]) -> Reference:
        """One of a kind."""
        rng = generator(*key, identity, "reference")
        kind = self._kinds[int(torch.multinomial(self._weights, 1, generator=rng))]
        if kind == "own_palette":
            palette = palettes.of_picture(rgb, rng)
            return Reference(palettes.picture(palette, STRIPES), palettes.name(palette), kind)
        other = self._nearest.get(identity) if kind == "nearest" else self._alike(identity, rng) if kind == "same_class" else None
        if other is None:
            return Reference(warped(rgb, self._warp, rng), identity, "own")
        return Reference(self._library(other), other, kind)

    def _alike(self, identity: str, rng: Generator) -> str | None:
        """Another picture of a class that is drawn from the picture's."""
        groups = [self._members[label] for label in self._classes.get(identity, ()) if len(self._members[label]) > 1]
        if not groups:
            return None
        group = groups[int(torch.randint(len(groups), (), generator=rng))]
        others = [name for name in group if name != identity]
        return others[int(torch.randint(len(others), (), generator=rng))]


def classes(dataset: str, split: str) -> dict[str, list[str]]:
    """What every picture of a split shows, as labels: classes of a scene's objects, else the folder that the picture lies in."""
    found = {}
    for record in Shards(paths.prepared(dataset), split):
        folder = record.id.rpartition("/")[0]
        labels = [folder] if folder else []
        if record.maps:
            labels = [str(label) for label in np.unique(record.maps["class_map"][record.maps["instance_map"] > 0])]
        found[f"{dataset}/{record.id}"] = [f"{dataset}/{label}" for label in labels]
    return found


def warped(rgb: Tensor, strength: float, rng: Generator) -> Tensor:
    """A copy that shows a part of a picture, bent, and mirrored half of the time; its colours are the picture's.

    Args:
        rgb: uint8, shape (3, h, w).
        strength: 0 (an unchanged copy) to 1.
        rng: Draws the part, the bend and whether it is mirrored.

    Returns:
        The same shape.

    Unspecified: the paper says nothing of such copies; its predecessor's lists suggest shuffled crops of the same picture.
    """
    if strength == 0:
        return rgb
    share, left, top, mirrored = torch.rand(4, generator=rng).tolist()
    zoom = 1 - strength * (1 - ZOOM) * share
    bend = strength * BEND * (2 * torch.rand(1, 2, GRID, GRID, generator=rng) - 1)
    offset = (1 - zoom) * (2 * torch.tensor([left, top]) - 1)
    place = F.affine_grid(torch.eye(2, 3)[None], [1, 3, *rgb.shape[1:]], align_corners=False)
    if mirrored < 0.5:
        place = place * torch.tensor([-1.0, 1.0])
    moved = F.interpolate(bend, rgb.shape[1:], mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    grid = zoom * place + offset + zoom * moved
    copy = F.grid_sample(rgb[None].float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return copy[0].add_(0.5).to(torch.uint8)
