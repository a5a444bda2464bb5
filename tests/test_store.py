"""Shards give back what was written, in any process, and say what is wrong where something is."""

import errno
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from colorexp.data import store
from colorexp.data.store import Record, Shards, Statistics, write_shard


def record(seed: int, *, mapped: bool = False) -> Record:
    rng = np.random.default_rng(seed)
    height, width = 5 + seed, 9
    maps = {name: rng.integers(0, 9, (height, width), dtype=np.uint8) for name in store.MAPS} if mapped else {}
    return Record(f"folder/{seed}", rng.integers(0, 256, (height, width, 3), dtype=np.uint8), maps)


def same(one: Record, other: Record) -> bool:
    planes = (one.rgb, *one.maps.values()), (other.rgb, *other.maps.values())
    return (
        one.id == other.id
        and list(one.maps) == list(other.maps)
        and all(np.array_equal(*pair) for pair in zip(*planes, strict=True))
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three shards of training pictures, one of validation, none of test."""
    for number, seeds in enumerate([(0, 1), (2,), (3, 4, 5)]):
        write_shard(tmp_path / f"train-{number:05d}.arrow", (record(s, mapped=s % 2 == 1) for s in seeds))
    write_shard(tmp_path / "val-00000.arrow", [record(6)])
    pd.DataFrame({"id": ["folder/0"]}).to_parquet(tmp_path / "manifest.parquet")
    return tmp_path


def test_what_was_written_is_read(folder: Path) -> None:
    train = Shards(folder, "train")
    assert len(train) == 6
    assert all(same(found, record(s, mapped=s % 2 == 1)) for s, found in enumerate(train))
    assert [train.size_of(s) for s in range(6)] == [(5 + s, 9) for s in range(6)]
    assert len(Shards(folder, "val")) == 1
    assert len(Shards(folder, "test")) == 0


def test_one_shard_alone_can_be_read(folder: Path) -> None:
    assert [found.id for found in Shards.of_file(folder / "train-00002.arrow")] == ["folder/3", "folder/4", "folder/5"]


def test_the_number_written_is_returned(tmp_path: Path) -> None:
    assert write_shard(tmp_path / "new" / "train-00000.arrow", (record(s) for s in range(3))) == 3
    assert write_shard(tmp_path / "new" / "train-00001.arrow", []) == 0


def test_nothing_is_copied_or_can_be_overwritten(folder: Path) -> None:
    rgb = Shards(folder, "train")[3].rgb
    with pytest.raises(ValueError, match="read-only"):
        rgb[0, 0, 0] = 0


@pytest.mark.parametrize("index", [6, 100, -1])
def test_positions_outside_are_refused(folder: Path, index: int) -> None:
    train = Shards(folder, "train")
    with pytest.raises(IndexError):
        train[index]
    with pytest.raises(IndexError):
        train.size_of(index)


def test_shards_travel_to_workers(folder: Path) -> None:
    """Open maps cannot be pickled; a worker opens its own."""
    train = Shards(folder, "train")
    assert train[4].id == "folder/4"
    copy = pickle.loads(pickle.dumps(train))
    assert same(copy[4], train[4])
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        assert same(pool.submit(train.__getitem__, 5).result(), train[5])


def test_unknown_splits_and_unprepared_datasets_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train, val, test, got 'dev'"):
        Shards(folder, "dev")
    nowhere = tmp_path / "flowers"
    for read in (
        lambda: Shards(nowhere, "train"),
        lambda: store.manifest(nowhere),
        lambda: store.statistics(nowhere, "none"),
    ):
        with pytest.raises(FileNotFoundError, match=r"flowers is not prepared; run .*`colorexp prepare flowers`"):
            read()


def test_a_full_disk_leaves_the_old_shard(folder: Path) -> None:
    def until_full() -> Iterator[Record]:
        yield record(7)
        raise OSError(errno.ENOSPC, "No space left on device")

    before = sorted((path.name, path.read_bytes()) for path in folder.iterdir())
    for name in ("train-00000.arrow", "train-00003.arrow"):
        with pytest.raises(OSError, match="No space left"):
            write_shard(folder / name, until_full())
    assert sorted((path.name, path.read_bytes()) for path in folder.iterdir()) == before


def test_filters_mean_more_than_and_at_least() -> None:
    table = pd.DataFrame({"gray_joint": [0.7, 0.71], "gray_a": [0.7, 0.69], "gray_b": [0.7, 1.0]}, index=[5, 9])
    assert store.kept(table, "none").to_dict() == {5: True, 9: True}
    assert store.kept(table, "joint").to_dict() == {5: True, 9: False}
    assert store.kept(table, "marginal").to_dict() == {5: False, 9: True}


def statistics(seed: int) -> Statistics:
    rng = torch.Generator().manual_seed(seed)
    a, b = torch.randint(0, 50, (2, 256), generator=rng)
    prior = torch.rand(313, generator=rng, dtype=torch.float64)
    return Statistics(seed + 1, int(a.sum()), a, b, prior / prior.sum())


def test_statistics_are_combined_as_often_as_pictures_are_seen() -> None:
    parts = {"photos": statistics(0), "scenes": statistics(1)}
    both = store.combine(parts, {"photos": 3, "scenes": 1})
    photos, once = parts["photos"], parts["scenes"]
    assert both.images == 3
    assert both.pixels == 3 * photos.pixels + once.pixels
    assert torch.equal(both.a_counts, 3 * photos.a_counts + once.a_counts)
    assert torch.equal(both.b_counts, 3 * photos.b_counts + once.b_counts)
    pixels = 3 * photos.pixels * photos.prior + once.pixels * once.prior
    assert torch.allclose(both.prior, pixels / both.pixels)


def test_one_dataset_is_combined_to_its_own_weights() -> None:
    alone = statistics(2)
    again = store.combine({"photos": alone}, {"photos": 5})
    assert torch.equal(again.class_weights(32), alone.class_weights(32))
    assert alone.class_weights(32).sum(1).tolist() == pytest.approx([1, 1])
