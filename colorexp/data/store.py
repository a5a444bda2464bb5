"""Prepared pictures on disk: Arrow shards that are read without copying, and their statistics."""

import json
import os
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor

from colorexp import color, paths

MAPS = ("instance_map", "class_map", "mode_map")
SPLITS = ("train", "val", "test")

SCHEMA = pa.schema(
    [("id", pa.string()), ("height", pa.int32()), ("width", pa.int32()), ("rgb", pa.large_binary())]
    + [(name, pa.large_binary()) for name in MAPS]
)


class Record(NamedTuple):
    """One prepared picture."""

    id: str
    """Name within its dataset."""
    rgb: np.ndarray
    """(H, W, 3) uint8, read-only."""
    maps: dict[str, np.ndarray]
    """`instance_map`, `class_map`, `mode_map` where the source knows them, (H, W) uint8."""


def write_shard(path: Path, records: Iterable[Record]) -> int:
    """Write records as one Arrow file, a record batch each, and return how many.

    Raises:
        OSError: If the disk is full or the file cannot be written; an older file under that name survives.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    count = 0
    try:
        with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            for record in records:
                writer.write_batch(_as_batch(record))
                count += 1
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def _as_batch(record: Record) -> pa.RecordBatch:
    height, width = record.rgb.shape[:2]
    columns = [pa.array([record.id]), pa.array([height], pa.int32()), pa.array([width], pa.int32())]
    for array in (record.rgb, *(record.maps.get(name) for name in MAPS)):
        if array is None:
            columns.append(pa.array([None], pa.large_binary()))
        else:
            pixels = pa.py_buffer(np.ascontiguousarray(array))
            offsets = pa.py_buffer(np.array([0, pixels.size], np.int64))
            columns.append(pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pixels]))
    return pa.record_batch(columns, schema=SCHEMA)


class Shards(Sequence[Record]):
    """The pictures of one split, memory-mapped: opening costs nothing, reading copies nothing.

    Args:
        folder: A prepared dataset.
        split: `train`, `val` or `test`.

    Raises:
        FileNotFoundError: If the dataset has not been prepared.
        ValueError: If the split is unknown.
    """

    def __init__(self, folder: Path, split: str) -> None:
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        if not (folder / "manifest.parquet").is_file():
            raise FileNotFoundError(f"{paths.shown(folder)} is not prepared; run `dvc repro` or `colorexp prepare {folder.name}`")
        self._files = sorted(folder.glob(f"{split}-*.arrow"))

    @classmethod
    def of_file(cls, path: Path) -> "Shards":
        """The pictures of a single shard."""
        shards = cls.__new__(cls)
        shards._files = [path]
        return shards

    @cached_property
    def _readers(self) -> list[pa.RecordBatchFileReader]:
        return [pa.ipc.open_file(pa.memory_map(str(file))) for file in self._files]

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(reader.num_record_batches for reader in self._readers))

    def __getstate__(self) -> dict[str, object]:
        return {"_files": self._files}  # maps are reopened in a worker

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def _row(self, index: int) -> pa.RecordBatch:
        if not 0 <= index < len(self):
            raise IndexError(index)
        shard = bisect_right(self._ends, index)
        return self._readers[shard].get_batch(index - (self._ends[shard - 1] if shard else 0))

    def size_of(self, index: int) -> tuple[int, int]:
        """Stored height and width of one picture."""
        row = self._row(index)
        return row["height"][0].as_py(), row["width"][0].as_py()

    def __getitem__(self, index: int) -> Record:  # type: ignore[override]  # no slices
        row = self._row(index)
        size = (row["height"][0].as_py(), row["width"][0].as_py())
        planes = {name: np.frombuffer(row[name].buffers()[2], np.uint8) for name in ("rgb", *MAPS) if row[name][0].is_valid}
        rgb = planes.pop("rgb").reshape(*size, 3)
        return Record(row["id"][0].as_py(), rgb, {name: plane.reshape(size) for name, plane in planes.items()})


def manifest(folder: Path) -> pd.DataFrame:
    """One row per kept picture: id, split, position in its split, source, sizes, checksum, shares of near-gray pixels.

    Raises:
        FileNotFoundError: If the dataset has not been prepared.
    """
    path = folder / "manifest.parquet"
    if not path.is_file():
        raise FileNotFoundError(f"{paths.shown(folder)} is not prepared; run `dvc repro` or `colorexp prepare {folder.name}`")
    return pd.read_parquet(path)


GRAY_LIMIT = 0.7
"""A picture leaves when more of its pixels than this are near gray (User Guided Image Colorization, section 4.1)."""


def kept(table: pd.DataFrame, near_gray_filter: str) -> pd.Series:
    """Which rows of a manifest pass a near-gray filter.

    Args:
        table: From `manifest`.
        near_gray_filter: `none`; `joint` drops a picture when more than 70% of its pixels have both |a| and |b| small;
            `marginal` drops it when at least 70% have a, and at least 70% have b, in the bins 14..18 of 32.

    Source: User Guided Image Colorization, section 4.1 (joint); `marginal` is the test of its released code, whose range
        [-16, 24) is not symmetric.
    """
    if near_gray_filter == "joint":
        return table["gray_joint"] <= GRAY_LIMIT
    if near_gray_filter == "marginal":
        return ~((table["gray_a"] >= GRAY_LIMIT) & (table["gray_b"] >= GRAY_LIMIT))
    return pd.Series(True, index=table.index)


class Statistics(NamedTuple):
    """Colours of training pictures."""

    images: int
    pixels: int
    a_counts: Tensor
    """(256,) int64, pixels per one-unit cell of a."""
    b_counts: Tensor
    """(256,) int64, the same for b."""
    prior: Tensor
    """(313,) float64, mean soft code over the gamut bins."""

    def class_weights(self, bins: int) -> Tensor:
        """Inverse-frequency class weights of a and b. Shape (2, K).

        Source: User Guided Image Colorization, eq. 1.
        """
        return color.inverse_frequency_weights(color.rebin(torch.stack([self.a_counts, self.b_counts]), bins=bins))


def statistics(folder: Path, near_gray_filter: str) -> Statistics:
    """Statistics of a prepared dataset's training pictures that pass a filter.

    Raises:
        FileNotFoundError: If the dataset has not been prepared.
    """
    path = folder / "stats.json"
    if not path.is_file():
        raise FileNotFoundError(f"{paths.shown(folder)} is not prepared; run `dvc repro` or `colorexp prepare {folder.name}`")
    raw = json.loads(path.read_text())[near_gray_filter]
    a_counts, b_counts = (torch.tensor(raw[key], dtype=torch.int64) for key in ("a_counts", "b_counts"))
    return Statistics(raw["images"], raw["pixels"], a_counts, b_counts, torch.tensor(raw["prior"], dtype=torch.float64))


def combine(parts: Mapping[str, Statistics], repeats: Mapping[str, int]) -> Statistics:
    """Statistics of several datasets, each counted as often as training sees its pictures."""
    total = sum(repeats[name] * part.pixels for name, part in parts.items())
    return Statistics(
        sum(part.images for part in parts.values()),
        total,
        torch.stack([repeats[name] * part.a_counts for name, part in parts.items()]).sum(0),
        torch.stack([repeats[name] * part.b_counts for name, part in parts.items()]).sum(0),
        torch.stack([repeats[name] * part.pixels / total * part.prior for name, part in parts.items()]).sum(0),
    )
