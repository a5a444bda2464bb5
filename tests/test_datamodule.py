"""Batches are a function of seed and step: the same after a crash, on any number of processes and workers."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Generator, Tensor

from colorexp import color, hints, paths
from colorexp.config import Data, Fitting, Hardware, Hinting, Referencing
from colorexp.data import store
from colorexp.data.datamodule import ColorizationData, Draw, Fixed, Pictures, StepSampler, View2D, collate, to_physical
from colorexp.data.store import Record, write_shard
from colorexp.seeding import generator


def write_dataset(name: str, sizes: dict[str, Sequence[tuple[int, int]]], *, mapped: bool = False, **gray: set[str]) -> None:
    """A prepared dataset of noise; `gray` names pictures with a near-gray share of 1 by filter."""
    rows, rng = [], np.random.default_rng(list(name.encode()))
    folder = paths.prepared(name)
    for split, shapes in sizes.items():
        records = []
        for number, (height, width) in enumerate(shapes):
            maps = {m: rng.integers(0, 9, (height, width), dtype=np.uint8) for m in store.MAPS} if mapped else {}
            rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            records.append(Record(f"{split}{number}", rgb, maps))
            shares = {key: float(f"{split}{number}" in gray.get(key, ())) for key in ("joint", "marginal")}
            near = {"gray_joint": shares["joint"], "gray_a": shares["marginal"], "gray_b": shares["marginal"]}
            rows.append({"id": f"{split}{number}", "split": split, **near})
        write_shard(folder / f"{split}-00000.arrow", records)
    pd.DataFrame(rows).to_parquet(folder / "manifest.parquet")


@pytest.fixture
def photos(project: Path) -> None:
    """Seven training, three validation and four test pictures, of several sizes."""
    write_dataset(
        "photos",
        {"train": [(20, 24)] * 7, "val": [(16, 20), (20, 16), (16, 20)], "test": [(16, 16)] * 4},
        joint={"train1", "train4", "val0", "test2"},
        marginal={"train1", "test2"},
    )


@pytest.fixture
def scenes(project: Path) -> None:
    write_dataset("scenes", {"train": [(16, 16)] * 5, "val": [(16, 16)] * 2}, mapped=True)


def data(**values: Any) -> Data:
    usual = {"train_on": {"photos": 1}, "validate_on": "photos", "size": 16}
    return Data(**{**usual, "train_view": "crop", "eval_view": "squash", **values})


def four_hints(size: tuple[int, int], rng: Generator, identity: str) -> Tensor:
    return hints.sample(size, amount=hints.Amount.parse("4"), patch=2, layout="cells", rng=rng)


def pictures(names: Sequence[str] = ("photos",), split: str = "train", *, view: View2D | None = None, **values: Any) -> Pictures:
    return Pictures(names, split, data=data(**values), view=view or View2D("crop", 16), choose=four_hints, patch=2)


def sampler(train: Pictures, *, repeats: int = 1, batch: int = 4, parts: int = 1, at: int = 0, **rest: Any) -> StepSampler:
    counts = dict.fromkeys(train.shards, repeats)
    return StepSampler(train, counts, **{"seed": 0, **rest}, batch=batch, parts=parts, position=lambda: at)


def run(sampler_of: Any, steps: int) -> list[list[Draw]]:
    """The first `steps` batches, over as many epochs as that takes."""
    found: list[list[Draw]] = []
    while len(found) < steps:
        found += islice(sampler_of(len(found)), steps - len(found))
    return found


def joined(batches: Iterable[list[Draw]]) -> list[Draw]:
    return list(chain.from_iterable(batches))


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(value, other[key]) if isinstance(value, Tensor) else value == other[key] for key, value in one.items()
    )


# Views


def coordinates(height: int, width: int) -> Tensor:
    """Three smooth colour planes and one label plane of 0 and 200, which is 200 where the first colour is bright."""
    row = torch.linspace(0, 255, height)[:, None].expand(height, width)
    col = torch.linspace(0, 255, width).expand(height, width)
    label = 200.0 * (col > 127)
    return torch.stack([col, row, row, label]).round().to(torch.uint8)


@pytest.mark.parametrize(
    ("kind", "stored", "expected"),
    [
        ("whole", (40, 60), (16, 24)),
        ("whole", (61, 40), (24, 16)),
        ("whole", (8, 10), (16, 20)),
        ("squash", (40, 60), (16, 16)),
        ("crop", (40, 60), (16, 16)),
        ("crop", (16, 16), (16, 16)),
        ("crop", (8, 12), (16, 16)),
        ("resized_crop", (40, 60), (16, 16)),
        ("resized_crop", (5, 90), (16, 16)),
    ],
)
def test_views_have_their_size_and_never_mix_labels(kind: Any, stored: tuple[int, int], expected: tuple[int, int]) -> None:
    for seed in range(5):
        out = View2D(kind, 16, flip=True).apply(coordinates(*stored), generator(seed))
        assert out.shape == (4, *expected)
        assert out.dtype == torch.uint8
        assert set(out[3].unique().tolist()) <= {0, 200}


@pytest.mark.parametrize("kind", ["whole", "squash", "crop", "resized_crop"])
def test_colours_and_labels_stay_together(kind: Any) -> None:
    """Cut, resize and flip move every plane alike."""
    seen = set()
    for seed in range(20):
        out = View2D(kind, 16, flip=True).apply(coordinates(48, 64), generator(seed)).int()
        clear = (out[0] - 127).abs() > 24
        assert torch.equal((out[0] > 127)[clear], (out[3] == 200)[clear])
        seen.add(bool(out[0, 0, 0] > out[0, 0, -1]))
    assert seen == {True, False}


def test_without_flip_left_stays_left() -> None:
    for seed in range(20):
        out = View2D("crop", 16).apply(coordinates(48, 64), generator(seed)).int()
        assert out[0, 0, 0] < out[0, 0, -1]


@pytest.mark.parametrize("kind", ["crop", "resized_crop"])
def test_cuts_are_drawn_from_the_generator(kind: Any) -> None:
    view, planes = View2D(kind, 16), coordinates(48, 64)
    assert torch.equal(view.apply(planes, generator(1)), view.apply(planes, generator(1)))
    assert len({view.apply(planes, generator(seed)).numpy().tobytes() for seed in range(10)}) > 8


@pytest.mark.parametrize("kind", ["whole", "squash"])
def test_whole_pictures_are_not_random(kind: Any) -> None:
    view, planes = View2D(kind, 16), coordinates(48, 64)
    assert len({view.apply(planes, generator(seed)).numpy().tobytes() for seed in range(10)}) == 1


def test_a_crop_shows_stored_pixels() -> None:
    planes = torch.arange(3 * 30 * 30).view(3, 30, 30).to(torch.uint8)
    out = View2D("crop", 16).apply(planes, generator(0))
    windows = planes.unfold(1, 16, 1).unfold(2, 16, 1)
    assert (windows == out[:, None, None]).all(-1).all(-1).all(0).sum() >= 1


def test_resized_crops_cover_the_areas_and_aspects_of_the_paper() -> None:
    row, col = torch.meshgrid(torch.arange(240), torch.arange(240), indexing="ij")
    planes = torch.stack([row, row, row, row, col]).to(torch.uint8)  # the last two tell which pixels are shown
    areas, aspects = [], []
    for seed in range(150):
        shown = View2D("resized_crop", 60).apply(planes, generator(seed)).int()
        height, width = ((int(plane.max() - plane.min()) + 1) * 60 / 59 for plane in shown[3:])
        areas.append(height * width / 240**2)
        aspects.append(width / height)
    assert 0.07 < min(areas) < 0.15
    assert 0.85 < max(areas) < 1.05
    assert 0.73 < min(aspects) < 0.8
    assert 1.25 < max(aspects) < 1.37


# Which pictures


def test_filters_leave_out_training_and_validation_pictures(photos: None) -> None:
    def ids(split: str, near_gray_filter: str) -> list[str]:
        found = pictures(split=split, near_gray_filter=near_gray_filter)
        return [found.shards[name][row].id for name, row in found.entries]

    assert ids("train", "none") == [f"train{i}" for i in range(7)]
    assert ids("train", "joint") == ["train0", "train2", "train3", "train5", "train6"]
    assert ids("train", "marginal") == ["train0", "train2", "train3", "train4", "train5", "train6"]
    assert ids("val", "joint") == ["val1", "val2"]


def test_near_gray_test_pictures_are_measured_and_marked(photos: None) -> None:
    assert pictures(split="test").near_gray == [False] * 4
    assert pictures(split="test", near_gray_filter="joint").near_gray == [False, False, True, False]
    assert pictures(split="train", near_gray_filter="joint").near_gray == [False] * 5


def test_train_limit_counts_per_dataset_after_the_filter(photos: None, scenes: None) -> None:
    found = pictures(["photos", "scenes"], train_limit=3, near_gray_filter="joint")
    assert found.entries == [*(("photos", row) for row in (0, 2, 3)), *(("scenes", row) for row in range(3))]
    assert len(pictures(split="test", train_limit=3)) == 4


def test_a_dataset_without_pictures_is_named(photos: None, scenes: None) -> None:
    with pytest.raises(ValueError, match=r"'scenes' has no test picture$"):
        pictures(["photos", "scenes"], "test")
    write_dataset("dull", {"train": [(16, 16)]}, joint={"train0"})
    with pytest.raises(ValueError, match="'dull' has no train picture left by the near-gray filter 'joint'"):
        pictures(["dull"], near_gray_filter="joint")
    with pytest.raises(FileNotFoundError, match="nowhere is not prepared"):
        pictures(["nowhere"])


def test_a_sample_is_a_function_of_its_draw(photos: None) -> None:
    train = pictures(view=View2D("resized_crop", 16, flip=True))
    one = train[Draw(3, (0, "train", 0, 0))]
    torch.rand(5), np.random.default_rng().random()
    assert equal(one, train[Draw(3, (0, "train", 0, 0))])
    for key in ((1, "train", 0, 0), (0, "train", 1, 0), (0, "train", 0, 1)):
        other = train[Draw(3, key)]
        assert not torch.equal(one["rgb"], other["rgb"])
        assert not torch.equal(one["hint_mask"], other["hint_mask"])


def test_samples_carry_names_hints_and_maps(photos: None, scenes: None) -> None:
    both = pictures(["photos", "scenes"], "val")
    first = both.entries.index(("scenes", 0))
    photo, scene = both[Draw(0, ("x",))], both[Draw(first, ("x",))]
    assert (photo["id"], scene["id"]) == ("photos/val0", "scenes/val0")
    assert photo["rgb"].shape == (3, 16, 16)
    assert photo["hint_mask"].dtype == torch.bool
    assert int(photo["hint_mask"].sum()) == 4 * 2 * 2
    assert set(scene) - set(photo) == set(store.MAPS)
    stored = both.shards["scenes"][0]
    assert np.array_equal(scene["rgb"].permute(1, 2, 0).numpy(), stored.rgb)
    assert all(np.array_equal(scene[name].numpy(), stored.maps[name]) for name in store.MAPS)


def test_training_reads_no_maps(scenes: None) -> None:
    assert not set(pictures(["scenes"])[Draw(0, ("x",))]) & set(store.MAPS)


def test_collate_keeps_what_all_samples_have(photos: None, scenes: None) -> None:
    both = pictures(["photos", "scenes"], "val")
    first = both.entries.index(("scenes", 0))
    mixed = collate([both[Draw(i, ("x",))] for i in (0, first)])
    assert set(mixed) == {"id", "draw", "rgb", "hint_mask"}
    assert mixed["id"] == ["photos/val0", "scenes/val0"]
    assert mixed["rgb"].shape == (2, 3, 16, 16)
    pure = collate([both[Draw(first + i, ("x",))] for i in (0, 1)])
    assert pure["class_map"].shape == (2, 16, 16)


# Training batches


def test_an_epoch_shows_every_picture_equally_often(photos: None) -> None:
    train = pictures()
    draws = [draw for batch in sampler(train, repeats=4, batch=7) for draw in batch]
    assert Counter(draw.index for draw in draws) == dict.fromkeys(range(7), 4)
    assert len(set(draws)) == 28


def test_datasets_appear_as_often_as_asked(photos: None, scenes: None) -> None:
    train = pictures(["photos", "scenes"])
    shown = StepSampler(train, {"photos": 1, "scenes": 3}, seed=0, batch=22, parts=1, position=lambda: 0)
    counts = Counter(train.entries[draw.index][0] for batch in shown for draw in batch)
    assert counts == {"photos": 7, "scenes": 15}


def test_what_is_left_after_the_last_whole_batch_is_not_shown(photos: None) -> None:
    shown = sampler(pictures(), batch=3)
    assert shown.steps == len(shown) == 2
    assert [len(batch) for batch in shown] == [3, 3]


def test_a_small_set_is_repeated_until_the_batch_is_full(photos: None) -> None:
    shown = sampler(pictures(), batch=16)
    assert shown.steps == 1
    (batch,) = shown
    assert set(Counter(draw.index for draw in batch).values()) == {2, 3}
    assert len(set(batch)) == 16  # no appearance twice: each has its own crop and hints


def test_epochs_and_seeds_differ_in_order_and_draws(photos: None) -> None:
    train = pictures()
    first, second, other = sampler(train, batch=7), sampler(train, batch=7, at=1), sampler(train, batch=7, seed=1)
    orders = [[draw.index for draw in next(iter(s))] for s in (first, second, other)]
    assert [sorted(order) for order in orders] == [list(range(7))] * 3
    assert orders[0] != orders[1] != orders[2] != orders[0]
    keys = [{draw.key for draw in next(iter(s))} for s in (first, second, other)]
    assert not keys[0] & keys[1] and not keys[0] & keys[2]


@pytest.mark.parametrize("parts", [1, 2])
def test_training_resumed_anywhere_continues_identically(photos: None, parts: int) -> None:
    train = pictures()

    def from_position(at: int) -> StepSampler:
        return sampler(train, repeats=2, batch=4, parts=parts, at=at)

    length = 3 * len(from_position(0))
    uninterrupted = run(from_position, length)
    for stop in range(length):
        resumed = run(lambda done, stop=stop: from_position(stop + done), length - stop)
        assert resumed == uninterrupted[stop:]


def test_accumulated_parts_join_to_the_batch(photos: None) -> None:
    train = pictures()
    whole, parts = list(sampler(train, repeats=2)), list(sampler(train, repeats=2, parts=4))
    assert len(parts) == 4 * len(whole)
    assert [joined(parts[i : i + 4]) for i in range(0, len(parts), 4)] == whole


@pytest.mark.parametrize(("world", "accumulate"), [(2, 1), (4, 1), (2, 2)])
def test_slices_of_all_processes_join_to_the_batch(photos: None, world: int, accumulate: int) -> None:
    train = pictures()
    whole = list(sampler(train, repeats=2))
    ranks = [list(sampler(train, repeats=2, parts=world * accumulate, rank=rank, world=world)) for rank in range(world)]
    assert {len(slices) for slices in ranks} == {len(whole) * accumulate}
    micro = [joined(together) for together in zip(*ranks, strict=True)]
    assert [joined(micro[i : i + accumulate]) for i in range(0, len(micro), accumulate)] == whole


def test_a_batch_that_cannot_be_cut_is_refused(photos: None) -> None:
    with pytest.raises(ValueError, match="batch 4 cannot be cut into 3 equal parts"):
        sampler(pictures(), batch=4, parts=3)


# Evaluation batches


def test_every_picture_is_evaluated_once(photos: None, scenes: None) -> None:
    both = pictures(["photos", "scenes"], "val", view=View2D("whole", 16))
    batches = list(Fixed(both, 2, "10"))
    assert sorted(draw.index for batch in batches for draw in batch) == list(range(5))
    assert len(Fixed(both, 2, "10")) == len(batches) == 3
    for batch in batches:
        assert collate([both[draw] for draw in batch])["rgb"].shape[0] == len(batch)  # sizes never meet in a batch


def test_processes_share_the_evaluation(photos: None) -> None:
    test = pictures(split="test")
    ranks = [[draw for batch in Fixed(test, 1, "10", rank=rank, world=3) for draw in batch] for rank in range(3)]
    assert sorted(draw.index for draws in ranks for draw in draws) == list(range(4))


def test_protocols_differ_in_hints_and_nothing_else_does(photos: None) -> None:
    test = pictures(split="test", view=View2D("squash", 16))

    def batch(purpose: str) -> dict[str, Any]:
        return collate([test[draw] for draw in next(iter(Fixed(test, 4, purpose)))])

    assert equal(batch("10"), batch("10"))
    assert torch.equal(batch("10")["rgb"], batch("1")["rgb"])
    assert not torch.equal(batch("10")["hint_mask"], batch("1")["hint_mask"])


# Physical units


@pytest.mark.parametrize("layout", ["free", "cells"])
def test_batches_become_physical(layout: Any) -> None:
    rng = generator("physical")
    rgb = torch.randint(0, 256, (3, 3, 9, 12), generator=rng, dtype=torch.uint8)
    corners = torch.tensor([[2, 4], [6, 0]])
    mask = torch.stack([hints.rasterise(corners, (9, 12), patch=2)] * 2 + [torch.zeros(1, 9, 12, dtype=torch.bool)])
    batch = to_physical({"id": list("abc"), "rgb": rgb, "hint_mask": mask}, patch=2, layout=layout)
    assert set(batch) == {"id", "L", "ab", "hint_mask", "hint_ab"}
    lab = color.rgb_to_lab(rgb.float() / 255)
    assert torch.equal(torch.cat([batch["L"], batch["ab"]], 1), lab)
    assert torch.equal(batch["hint_mask"], mask)
    assert not batch["hint_ab"][~mask.expand(3, 2, 9, 12)].any()
    for number in range(2):
        for row, col in corners.tolist():
            window = (number, slice(None), slice(row, row + 2), slice(col, col + 2))
            own = lab[:, 1:][window]
            expected = own if layout == "free" else own.mean((1, 2), keepdim=True).expand(2, 2, 2)
            assert torch.allclose(batch["hint_ab"][window], expected, atol=1e-5)


# The whole module


def module(
    *,
    seed: int = 0,
    workers: int = 0,
    accumulate: int = 1,
    hint_patch: int = 2,
    referencing: Referencing | None = None,
    **values: Any,
) -> ColorizationData:
    return ColorizationData(
        data=data(**values),
        hinting=Hinting(hints="0-8", hint_patch=hint_patch),
        referencing=referencing or Referencing(),
        fitting=Fitting(epochs=1, batch=4, accumulate=accumulate, lr=1e-3),
        hardware=Hardware(workers=workers),
        seed=seed,
    )


def stand_at(module: ColorizationData, position: int, *, rank: int = 0, world: int = 1) -> ColorizationData:
    """What Lightning tells a datamodule."""
    progress = SimpleNamespace(batch_progress=SimpleNamespace(total=SimpleNamespace(ready=position)))
    loop = SimpleNamespace(epoch_loop=progress)
    module.trainer = SimpleNamespace(fit_loop=loop, global_rank=rank, world_size=world)  # type: ignore[assignment]
    return module


def test_workers_change_nothing(photos: None) -> None:
    loaders = [stand_at(module(workers=n, train_view="resized_crop", flip=True), 0).train_dataloader() for n in (0, 2)]
    alone, shared = (list(loader) for loader in loaders)
    assert len(alone) == len(shared) == 1
    assert all(equal(*pair) for pair in zip(alone, shared, strict=True))
    alone, shared = (list(module(workers=n).val_dataloader()) for n in (0, 2))
    assert len(alone) == len(shared) == 2
    assert all(equal(*pair) for pair in zip(alone, shared, strict=True))


def test_training_continues_where_the_trainer_stands(photos: None) -> None:
    common = {"train_on": {"photos": 3}}
    whole = list(stand_at(module(**common), 0).train_dataloader())
    assert len(whole) == module(**common).steps_per_epoch == 5
    later = list(stand_at(module(**common), 2).train_dataloader())
    assert len(later) == 3
    assert all(equal(*pair) for pair in zip(later, whole[2:], strict=True))


def test_two_processes_see_the_batches_of_one(photos: None) -> None:
    whole = list(stand_at(module(), 0).train_dataloader())
    halves = [list(stand_at(module(), 0, rank=rank, world=2).train_dataloader()) for rank in range(2)]
    joined = [collate_again(list(together)) for together in zip(*halves, strict=True)]
    assert all(equal(*pair) for pair in zip(joined, whole, strict=True))
    ranks = [list(stand_at(module(), 0, rank=rank, world=2).val_dataloader()) for rank in range(2)]
    alone = [name for batch in module().val_dataloader() for name in batch["id"]]
    assert sorted(name for batches in ranks for batch in batches for name in batch["id"]) == sorted(alone)


def collate_again(batches: list[dict[str, Any]]) -> dict[str, Any]:
    def joined(parts: list[Any]) -> Any:
        return torch.cat(parts) if isinstance(parts[0], torch.Tensor) else [value for part in parts for value in part]

    return {key: joined([batch[key] for batch in batches]) for key in batches[0]}


def test_accumulation_cuts_batches_but_not_steps(photos: None) -> None:
    halved = stand_at(module(accumulate=2), 0)
    assert halved.steps_per_epoch == module().steps_per_epoch
    batches = list(halved.train_dataloader())
    assert [len(batch["id"]) for batch in batches] == [2, 2]
    (whole,) = stand_at(module(), 0).train_dataloader()
    assert equal(collate_again(batches), whole)


def test_validation_is_the_same_for_every_run(photos: None) -> None:
    one, other = (list(module(seed=seed, eval_view="crop", flip=True).val_dataloader()) for seed in (0, 7))
    assert all(equal(*pair) for pair in zip(one, other, strict=True))
    (one,), (other,) = (stand_at(module(seed=seed), 0).train_dataloader() for seed in (0, 7))
    assert not equal(one, other)


def test_only_training_pictures_flip(project: Path) -> None:
    write_dataset("photos", {"train": [(16, 16)] * 4, "val": [(16, 16)] * 8})
    plain, flipped = (stand_at(module(flip=flip), 0) for flip in (False, True))
    assert not equal(next(iter(plain.train_dataloader())), next(iter(flipped.train_dataloader())))
    assert all(equal(*pair) for pair in zip(plain.val_dataloader(), flipped.val_dataloader(), strict=True))


def test_training_pictures_may_have_their_own_size(photos: None) -> None:
    small = stand_at(module(train_size=8), 0)
    assert {batch["rgb"].shape[-2:] for batch in small.train_dataloader()} == {(8, 8)}
    assert {batch["rgb"].shape[-2:] for batch in small.val_dataloader()} == {(16, 16)}


def test_batches_arrive_in_physical_units(photos: None) -> None:
    run_data = module()
    raw = next(iter(run_data.val_dataloader()))
    batch = run_data.on_after_batch_transfer(raw, 0)
    assert equal(dict(batch), dict(to_physical(raw, patch=2, layout="cells")))
