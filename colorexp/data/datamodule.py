"""Prepared pictures -> batches. Every draw is a function of (seed, epoch, picture, purpose); batches of (seed, step)."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from pytorch_lightning import LightningDataModule
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from colorexp import color, hints, paths
from colorexp.config import Data, Fitting, Hardware, Hinting, Referencing, View
from colorexp.data import store
from colorexp.data.references import OWN, Drawn, References
from colorexp.data.store import Shards, Statistics
from colorexp.seeding import generator, seed_of
from colorexp.types import Batch


class Draw(NamedTuple):
    """One appearance of a picture: which, and what its random draws are seeded by."""

    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody calls
    key: tuple[str | int, ...]


class View2D(NamedTuple):
    """How a stored picture becomes a network's picture."""

    kind: View
    size: int
    flip: bool = False

    def apply(self, planes: Tensor, rng: Generator) -> Tensor:
        """Cut and resize (C, h, w) uint8 planes; the first three are colours, the rest labels, which are never mixed.

        `whole` scales the short side to `size`, `squash` both sides; `crop` cuts size x size at random (smaller pictures are scaled
        up first); `resized_crop` cuts 8 to 100% of the area at an aspect of 3/4 to 4/3 and scales it.

        Source: AdaColViT, section 4.1 (`resized_crop`); User Guided Image Colorization, section 4.1 (`squash`).
        """
        height, width = planes.shape[-2:]
        if self.kind == "squash":
            planes = resize(planes, (self.size, self.size))
        elif self.kind in ("whole", "crop"):
            scale = self.size / min(height, width)
            if self.kind == "whole" or scale > 1:
                planes = resize(planes, (max(self.size, round(height * scale)), max(self.size, round(width * scale))))
            if self.kind == "crop":
                planes = _cut(planes, self.size, self.size, rng)
        else:
            planes = resize(_cut(planes, *_random_area(height, width, rng), rng), (self.size, self.size))
        if self.flip and torch.rand((), generator=rng) < 0.5:
            planes = planes.flip(-1)
        return planes


def _cut(planes: Tensor, height: int, width: int, rng: Generator) -> Tensor:
    top = int(torch.randint(0, planes.shape[-2] - height + 1, (), generator=rng))
    left = int(torch.randint(0, planes.shape[-1] - width + 1, (), generator=rng))
    return planes[..., top : top + height, left : left + width]


def _random_area(height: int, width: int, rng: Generator) -> tuple[int, int]:
    for _ in range(10):
        area = height * width * (0.08 + 0.92 * torch.rand((), generator=rng).item())
        aspect = (4 / 3) ** (2 * torch.rand((), generator=rng).item() - 1)
        rows, cols = round((area / aspect) ** 0.5), round((area * aspect) ** 0.5)
        if 1 <= rows <= height and 1 <= cols <= width:
            return rows, cols
    side = min(height, width)
    return side, side


def resize(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring (C, h, w) uint8 planes to a size; the first three are colours, the rest labels, which are never mixed."""
    if tuple(planes.shape[-2:]) == size:
        return planes
    wide = F.interpolate(planes[None, :3].float(), size, mode="bicubic", antialias=True)
    rgb = wide.clamp_(0, 255).add_(0.5).to(torch.uint8)  # round() takes as long as the interpolation
    if len(planes) == 3:
        return rgb[0]
    labels = F.interpolate(planes[None, 3:], size, mode="nearest-exact")
    return torch.cat([rgb, labels], 1)[0]


class Pictures(Dataset[dict[str, Any]]):
    """Pictures of several prepared datasets under one split and filter, addressed by a `Draw`.

    Args:
        names: Datasets.
        split: `train`, `val` or `test`.
        data: What the run asks for.
        view: How pictures are cut.
        choose: Hint positions for a picture of a size, from its draw's generator and its id.
        patch: Side of a hint in pixels.
        references: Gives every picture a reference; only pictures that have one are shown.
        locate: Where prepared datasets lie.

    Raises:
        ValueError: If a dataset has no picture in that split.
    """

    def __init__(
        self,
        names: Sequence[str],
        split: str,
        *,
        data: Data,
        view: View2D,
        choose: Callable[[tuple[int, int], Generator, str], Tensor],
        patch: int,
        references: References | None = None,
        locate: Callable[[str], Path] = paths.prepared,
    ) -> None:
        self.view, self.choose, self.patch, self.references = view, choose, patch, references
        self.mapped = split != "train"  # only measures ask what a pixel shows
        self.shards = {name: Shards(locate(name), split) for name in names}
        self.entries: list[tuple[str, int]] = []
        self.near_gray: list[bool] = []
        for name in names:
            table = store.manifest(locate(name))
            table = table[table["split"] == split].reset_index(drop=True)
            kept = store.kept(table, data.near_gray_filter)
            rows = table.index[kept] if split != "test" else table.index  # a test picture is measured, and marked
            if split == "train" and data.train_limit:
                rows = rows[: data.train_limit]
            if references and references.only is not None:
                rows = rows[(f"{name}/" + table["id"][rows]).isin(references.only)]
            if len(rows) == 0:
                reason = "" if len(table) == 0 else f" left by the near-gray filter {data.near_gray_filter!r}"
                raise ValueError(f"the dataset {name!r} has no {split} picture{reason}")
            self.entries += [(name, int(row)) for row in rows]
            self.near_gray += [not kept[row] for row in rows]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        identity, planes, maps = self._cut(draw)
        size = (planes.shape[-2], planes.shape[-1])
        corners = self._corners(draw, identity, size)
        mask = hints.rasterise(corners, size, patch=self.patch)
        sample = {"id": identity, "draw": seed_of(*draw.key, identity), "rgb": planes[:3], "hint_mask": mask}
        return sample | dict(zip(maps, planes[3:], strict=True)) | self._reference(draw, identity, planes[:3])

    def _reference(self, draw: Draw, identity: str, rgb: Tensor) -> dict[str, Any]:
        if self.references is None:
            return {}
        found = self.references(identity, rgb, draw.key)
        square = resize(found.rgb, (self.references.size, self.references.size))
        own = torch.tensor(found.kind in OWN)
        return {"reference_rgb": square, "reference_own": own, "reference_id": found.name, "reference_kind": found.kind}

    def name_of(self, draw: Draw) -> str:
        """A picture's name within its dataset."""
        name, row = self.entries[draw.index]
        return self.shards[name][row].id

    def corners(self, draw: Draw) -> tuple[str, Tensor]:
        """A picture's name within its dataset and the hints of that draw."""
        identity, planes, _ = self._cut(draw)
        return identity.partition("/")[2], self._corners(draw, identity, (planes.shape[-2], planes.shape[-1]))

    def _corners(self, draw: Draw, identity: str, size: tuple[int, int]) -> Tensor:
        return self.choose(size, generator(*draw.key, identity, "hints"), identity.partition("/")[2])

    def _cut(self, draw: Draw) -> tuple[str, Tensor, list[str]]:
        name, row = self.entries[draw.index]
        record = self.shards[name][row]
        identity = f"{name}/{record.id}"
        maps = record.maps if self.mapped else {}
        planes = np.dstack([record.rgb, *maps.values()])  # a copy: tensors do not like memory that is read-only
        cut = self.view.apply(torch.from_numpy(planes).permute(2, 0, 1), generator(*draw.key, identity, "picture"))
        return identity, cut, list(maps)


class StepSampler(Sampler[list[Draw]]):
    """Batches of training pictures: batch n is a function of the seed and n.

    An epoch shows every picture of dataset d `repeats[d]` times in an order drawn for that epoch; what is left after the last whole
    batch is not shown, and a set smaller than a batch is shown again until the batch is full. Each process takes its slice of every
    batch, so the number of processes changes nothing but the speed.

    Args:
        pictures: The training set.
        repeats: Appearances per epoch, by dataset.
        seed: The run's.
        batch: Pictures per optimiser step.
        parts: Into how many micro-batches a batch is cut (accumulated parts times processes).
        position: The number of micro-batches already seen, for exact resumption.
        rank: Of this process.
        world: Number of processes.

    Raises:
        ValueError: If the batch cannot be cut into equal parts.
    """

    def __init__(
        self,
        pictures: Pictures,
        repeats: Mapping[str, int],
        *,
        seed: int,
        batch: int,
        parts: int,
        position: Callable[[], int],
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if batch % parts:
            raise ValueError(f"batch {batch} cannot be cut into {parts} equal parts (accumulate x processes)")
        self.pictures, self.seed, self.batch, self.parts = pictures, seed, batch, parts
        self.position, self.rank, self.world = position, rank, world
        self.slots = [(i, n) for i, (name, _) in enumerate(pictures.entries) for n in range(repeats[name])]

    @property
    def steps(self) -> int:
        """Optimiser steps per epoch."""
        return max(1, len(self.slots) // self.batch)

    def __len__(self) -> int:
        return self.steps * self.parts // self.world

    def __iter__(self) -> Iterator[list[Draw]]:
        epoch, done = divmod(self.position(), len(self))
        order = self._order(epoch)
        size = self.batch // self.parts
        for number in range(done, len(self)):
            step, part = divmod(number, self.parts // self.world)
            start = step * self.batch + (part * self.world + self.rank) * size
            yield [Draw(i, (self.seed, "train", epoch, n)) for i, n in order[start : start + size]]

    def _order(self, epoch: int) -> list[tuple[int, int]]:
        order: list[tuple[int, int]] = []
        lap = 0
        while len(order) < self.steps * self.batch:
            shuffled = torch.randperm(len(self.slots), generator=generator(self.seed, "order", epoch, lap)).tolist()
            turns = max(n for _, n in self.slots) + 1
            order += [(self.slots[i][0], self.slots[i][1] + lap * turns) for i in shuffled]
            lap += 1
        return order


class Fixed(Sampler[list[Draw]]):
    """Batches of neighbouring pictures of equal size, whose draws do not depend on any run: the same for everybody.

    Args:
        pictures: The validation or test set.
        batch: Largest number of pictures per batch.
        purpose: Names the draws, for example the evaluation protocol.
        rank: Of this process.
        world: Number of processes; each takes every `world`-th batch.

    Raises:
        ValueError: If there are fewer pictures than processes.
    """

    def __init__(self, pictures: Pictures, batch: int, purpose: str, *, rank: int = 0, world: int = 1) -> None:
        groups: dict[tuple[str, tuple[int, int]], list[Draw]] = {}
        for index, (name, row) in enumerate(pictures.entries):
            shape = pictures.shards[name].size_of(row)
            groups.setdefault((name, shape), []).append(Draw(index, ("evaluation", purpose)))
        batches = _chunks(groups.values(), batch)
        while len(batches) < world and batch > 1:  # a process without a batch would not take part in the means
            batch = (batch + 1) // 2
            batches = _chunks(groups.values(), batch)
        if len(batches) < world:
            raise ValueError(f"{len(pictures)} {purpose} pictures are too few for {world} processes")
        self.batches = batches[rank::world]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Draw]]:
        return iter(self.batches)


def _chunks(groups: Iterable[list[Draw]], size: int) -> list[list[Draw]]:
    return [group[i : i + size] for group in groups for i in range(0, len(group), size)]


def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Stack samples of one size; names and seeds stay lists. Maps that only some samples have are left out."""
    shared = set.intersection(*(set(sample) for sample in samples))
    lists = [key for key in ("id", "draw", "reference_id", "reference_kind") if key in shared]
    stacked = {key: torch.stack([s[key] for s in samples]) for key in sorted(shared - set(lists))}
    return {key: [s[key] for s in samples] for key in lists} | stacked


def to_physical(raw: Mapping[str, Any], *, patch: int, layout: hints.Layout) -> Batch:
    """Bytes -> physical Lab, of pictures and references, and hint colours, on whatever device the bytes are."""
    lab = color.rgb_to_lab(color.from_8bit(raw["rgb"]))
    L, ab = lab[:, :1].contiguous(), lab[:, 1:].contiguous()
    shown = hints.colours(ab, raw["hint_mask"], patch=patch, layout=layout)
    rest = {key: value for key, value in raw.items() if key not in ("rgb", "reference_rgb")}
    if "reference_rgb" in raw:
        reference = color.rgb_to_lab(color.from_8bit(raw["reference_rgb"]))
        rest |= {"reference_L": reference[:, :1].contiguous(), "reference_ab": reference[:, 1:].contiguous()}
    return cast(Batch, {**rest, "L": L, "ab": ab, "hint_ab": shown})


class ColorizationData(LightningDataModule):
    """Training and validation batches of one run.

    Args:
        data: Which pictures, and how they are cut.
        hinting: Which colours are revealed.
        referencing: Which references pictures are given, if any.
        fitting: Batch size and accumulation.
        hardware: Worker processes.
        seed: The run's.
    """

    def __init__(
        self, *, data: Data, hinting: Hinting, referencing: Referencing, fitting: Fitting, hardware: Hardware, seed: int
    ) -> None:
        super().__init__()
        self.data, self.hinting, self.referencing = data, hinting, referencing
        self.fitting, self.hardware, self.seed = fitting, hardware, seed
        amount = hints.Amount.parse(hinting.hints)
        self._train = self._pictures(list(data.train_on), "train", data.train_view, amount)
        self._val = self._pictures([data.validate_on], "val", data.eval_view, amount)

    def _pictures(self, names: list[str], split: str, kind: View, amount: hints.Amount) -> Pictures:
        training = split == "train"
        size = self.data.train_size if training and self.data.train_size else self.data.size
        view = View2D(kind, size, flip=self.data.flip and training)
        choose = partial(_choose, amount=amount, patch=self.hinting.hint_patch, layout=self.hinting.hint_layout)
        patch, asked = self.hinting.hint_patch, self.referencing
        references = Drawn(names, split, asked=asked) if asked.references else None
        return Pictures(names, split, data=self.data, view=view, choose=choose, patch=patch, references=references)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps per epoch, whatever the number of processes."""
        return self._sampler().steps

    def _sampler(self, *, rank: int = 0, world: int = 1, position: Callable[[], int] = lambda: 0) -> StepSampler:
        parts = self.fitting.accumulate * world
        size = {"seed": self.seed, "batch": self.fitting.batch, "parts": parts}
        return StepSampler(self._train, self.data.train_on, **size, position=position, rank=rank, world=world)

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Batches from where the trainer stands."""
        trainer = self.trainer
        assert trainer is not None
        progress = trainer.fit_loop.epoch_loop.batch_progress.total
        sampler = self._sampler(rank=trainer.global_rank, world=trainer.world_size, position=lambda: progress.ready)
        return self._loader(self._train, sampler)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """All validation pictures, each with the same cut and the same hints every time."""
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        return self._loader(self._val, Fixed(self._val, self.fitting.batch, "validation", rank=rank, world=world))

    def _loader(self, pictures: Pictures, sampler: Sampler[list[Draw]]) -> DataLoader[dict[str, Any]]:
        workers = self.hardware.workers
        return DataLoader(
            pictures,
            batch_sampler=sampler,
            collate_fn=collate,
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=workers > 0,
        )

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Batch:  # noqa: ANN401  Lightning's signature
        """Lab and hint colours are computed where the network runs."""
        return to_physical(batch, patch=self.hinting.hint_patch, layout=self.hinting.hint_layout)


def training_statistics(data: Data) -> Statistics:
    """Colours of a run's training pictures, those that pass its filter, as often as training sees them.

    Raises:
        FileNotFoundError: If a dataset has not been prepared.
    """
    parts = {name: store.statistics(paths.prepared(name), data.near_gray_filter) for name in data.train_on}
    return store.combine(parts, data.train_on)


def _choose(
    size: tuple[int, int], rng: Generator, identity: str, *, amount: hints.Amount, patch: int, layout: hints.Layout
) -> Tensor:
    return hints.sample(size, amount=amount, patch=patch, layout=layout, rng=rng)
