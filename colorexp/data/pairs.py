"""Which reference every picture is given: the nearest or the farthest of its split in deep-feature space, or a palette.

Source: "Yes, Attention Is All You Need, for Exemplar based Colorization", section 4.1.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from colorexp import backbones, paths, seeding
from colorexp.backbones import Backbone
from colorexp.config import Dataset, Hardware
from colorexp.data import palettes, store
from colorexp.data.pairlist import Pair
from colorexp.data.palettes import Palette
from colorexp.data.store import Shards

LAYER, LAYER_OF_STAND_IN = "relu5_1", "relu3_1"
"""Random weights lose on their way down what a picture shows: on scenes, neighbours in the third block share more backgrounds and
colours than those in the fifth."""
GRID = 2
"""Feature maps are averaged over so many rows and columns: what is where matters a little."""
SIDE, SIDE_OF_STAND_IN = 224, 64
"""Pictures are squashed to this side: the one VGG19 was trained at; random weights see no more in more pixels."""
BLOCK = 1024
"""Pictures that are compared with as many others at once."""

Features = NDArray[np.float32]
Doubles = NDArray[np.float64]
Indices = NDArray[np.int64]


class Neighbours(NamedTuple):
    """For every one of N vectors two of the others, by index, and how far they are."""

    nearest: Indices
    nearest_distance: Doubles
    farthest: Indices
    farthest_distance: Doubles


def neighbours(features: Features, *, block: int = BLOCK) -> Neighbours:
    """The nearest and the farthest other vector of each, exact; among equally distant ones that of the smallest index.

    Products of whole blocks of vectors tell which others come into question, and their differences decide, so that the result does
    not depend on `block`. Beside the vectors themselves, which may be mapped from disk, memory is that of a few blocks.

    Args:
        features: Shape (N, D), N at least 2.
        block: Vectors that are compared with as many others at once.

    Raises:
        ValueError: If there are fewer than two vectors, some number is not finite, or `block` is below 1.
    """
    count = len(features)
    if count < 2 or block < 1:
        raise ValueError(f"expected at least 2 vectors and blocks of at least 1, got {count} and {block}")
    index, cost = np.zeros((2, count), np.int64), np.full((2, count), np.inf)
    for start in range(0, count, block):
        rows = features[start : start + block].astype(np.float64)
        if not np.isfinite(rows).all():
            raise ValueError("some features are NaN or infinite")
        for first in range(0, count, block):
            columns = features[first : first + block].astype(np.float64)
            squared = _by_products(rows, columns)
            for which, sign in enumerate((1, -1)):
                wanted = sign * squared
                if first == start:
                    np.fill_diagonal(wanted, np.inf)  # nobody is a neighbour of itself
                best, where = _cheapest(wanted, sign, rows, columns)
                better = best < cost[which, start : start + block]
                cost[which, start : start + block][better] = best[better]
                index[which, start : start + block][better] = first + where[better]
    distance = np.sqrt(np.abs(cost))
    return Neighbours(index[0], distance[0], index[1], distance[1])


def _by_products(rows: Doubles, columns: Doubles) -> Doubles:
    squared = -2 * (rows @ columns.T)
    squared += np.square(rows).sum(1)[:, None]
    squared += np.square(columns).sum(1)
    return squared


def _cheapest(wanted: Doubles, sign: int, rows: Doubles, columns: Doubles) -> tuple[Doubles, Indices]:
    """Per row of `wanted`, `sign` times rounded squared distances: the smallest as differences tell it, and its column."""
    largest = np.square(rows).sum(1) + np.square(columns).sum(1).max()
    slack = 8 * (rows.shape[1] + 8) * np.finfo(np.float64).eps * largest  # no sum of so many products is farther off
    row, column = np.nonzero((wanted <= (wanted.min(1) + slack)[:, None]) & np.isfinite(wanted))
    best, where = np.full(len(rows), np.inf), np.zeros(len(rows), np.int64)
    for some in (slice(i, i + len(rows)) for i in range(0, len(row), len(rows))):  # rising columns: an earlier one wins a tie
        exact = sign * np.square(rows[row[some]] - columns[column[some]]).sum(1)
        order = np.lexsort((column[some], exact, row[some]))
        mine, at = np.unique(row[some][order], return_index=True)
        chosen = order[at]
        better = exact[chosen] < best[mine]
        best[mine[better]] = exact[chosen][better]
        where[mine[better]] = column[some][chosen][better]
    return best, where


@torch.no_grad()
def described(shards: Shards, order: Sequence[int], backbone: Backbone, *, batch: int = 32) -> Iterator[Features]:
    """One vector per picture, some pictures at a time.

    Args:
        shards: A split of a prepared data set.
        order: Which of its pictures, in which order.
        backbone: VGG19 up to one layer.
        batch: Pictures at a time.

    Yields:
        Means of the feature maps over squares. Shape (n, C * GRID * GRID), C 512 or, of the stand-in, 256.

    Unspecified: which features of VGG19 the paper compares; we take the first ReLU of its last block.
    """
    side = SIDE if backbone.pretrained else SIDE_OF_STAND_IN
    for start in range(0, len(order), batch):
        some = [torch.tensor(shards[i].rgb).permute(2, 0, 1)[None].float() for i in order[start : start + batch]]
        squashed = torch.cat([F.interpolate(rgb, (side, side), mode="bilinear", antialias=True) for rgb in some])
        (maps,) = backbone.network(squashed / 255)
        yield F.adaptive_avg_pool2d(maps, GRID).flatten(1).numpy()


def find(cfg: Dataset, *, folder: Path | None = None, published: Path | None = None) -> list[Pair]:
    """References for all pictures of a prepared data set: `related` ones in every split, `independent` ones for test pictures.

    Related is the nearest picture of the same split. Independent is the farthest for half of the test pictures and a palette for
    the others; which half, and which palette, depends on the seed and the picture. A split of one picture has no neighbours.

    Args:
        cfg: The data set.
        folder: With VGG19's weights; torch's own download folder is looked at as well.
        published: The Palette-and-Text data, instead of palettes that are drawn.

    Raises:
        FileNotFoundError: If the data set has not been prepared, or there are no palettes in `published`.

    Source: section 4.1.

    Deviation: the paper chooses pictures at random, others for each subset; here both subsets hold every test picture.
    """
    torch.set_num_threads(Hardware().threads)
    layer = LAYER if backbones.find_weights(backbones.VGG19_FILE, folder) else LAYER_OF_STAND_IN
    backbone = backbones.vgg19([layer], folder=folder)
    label = backbone.name.replace("vgg19", f"vgg19_{layer}")
    given = palettes.read(published) if published else []
    table = store.manifest(paths.prepared(cfg.name))
    found: list[Pair] = []
    for split in store.SPLITS:
        ids = table[table["split"] == split]["id"].tolist()
        order = sorted(range(len(ids)), key=ids.__getitem__)
        names, far = [ids[i] for i in order], []
        if len(names) > 1:
            near = _of_split(Shards(paths.prepared(cfg.name), split), order, backbone)
            found += _named(split, "nearest", cfg.name, names, near.nearest, near.nearest_distance, label)
            far = _named(split, "farthest", cfg.name, names, near.farthest, near.farthest_distance, label)
        if split == "test":
            found += _independent(cfg, names, far, given)
    return found


def _of_split(shards: Shards, order: list[int], backbone: Backbone) -> Neighbours:
    """Vectors are kept on disk: those of a hundred thousand pictures fill a gigabyte."""
    with tempfile.TemporaryFile() as file:
        for part in described(shards, order, backbone):
            part.tofile(file)
        file.flush()
        return neighbours(np.memmap(file, np.float32, "r").reshape(len(order), -1))


def _named(split: str, kind: str, dataset: str, names: list[str], index: Indices, distance: Doubles, label: str) -> list[Pair]:
    subset = "related" if kind == "nearest" else "independent"
    chosen = zip(names, index.tolist(), distance.tolist(), strict=True)
    return [Pair(split, name, subset, kind, f"{dataset}/{names[i]}", f"{d:.6g}", label) for name, i, d in chosen]


def _independent(cfg: Dataset, names: list[str], far: list[Pair], given: list[Palette]) -> list[Pair]:
    shuffled = sorted(names, key=lambda name: seeding.seed_of(cfg.seed, "independent", cfg.name, name))
    half = set(shuffled[: (len(far) + 1) // 2])
    found = [pair for pair in far if pair.image in half]
    for name in names:
        if name not in half:
            rng = seeding.generator(cfg.seed, "palette", cfg.name, name)
            palette = given[int(torch.randint(len(given), (), generator=rng))] if given else palettes.draw(rng)
            found.append(Pair("test", name, "independent", "palette", palettes.name(palette)))
    return found
