"""The smallest projects, runs and batches that tests train."""

import inspect
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from ruamel.yaml import YAML
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from colorexp import color, config, paths, runs
from colorexp.config import GROUPS, Run
from colorexp.data import pairlist, pairs
from colorexp.data.fetch import fetch
from colorexp.data.prepare import prepare
from colorexp.types import Batch

ROOT = Path(__file__).parents[1]
SCENES = {"size": 64, "train": 12, "val": 4, "test": 4, "workers": 1}
SMALL = {
    "channels": (4, 4, 8, 8),
    "bottleneck": 8,
    "last": 4,
    "patch": 8,
    "feedforward": 8,
    "bottleneck_feedforward": 8,
    "width": 24,
}
"""Constructor arguments that make a network small, whichever of them it has; a run that is smaller already stays so."""

SMALLER = {"Exemplar": {"width": 2, "reference_side": 32}}
"""The same of networks to which `SMALL` is large."""

INIT = "artifacts/prepared/scenes/stats.json"
"""Runs that start from another run start from their seed here."""

QUICK: dict[str, Any] = {
    "train_on": {"scenes": 1, "photos": 1},
    "train_limit": 4,
    "validate_on": "scenes",
    "evaluate_on": ["scenes"],
    "size": 32,
    "train_size": None,
    "train_view": "crop",
    "eval_view": "whole",
    "hints": "3%",
    "protocols": ["3%", "0"],
    "epochs": 1,
    "batch": 4,
    "metrics": ["psnr", "ab_error"],
    "accelerator": "cpu",
    "threads": 1,
    "workers": 0,
    "samples": 0,
    "features": None,
}
"""Two optimiser steps at 32 pixels."""


def make_project(folder: Path, *, prepared: Path | None = None, **smoke: Any) -> Path:
    """A project in the profile smoke with a dozen scenes, in which data and pairs are made or those of another project are used.

    Args:
        folder: Is made.
        prepared: Another project.
        smoke: What the profile changes for `user_guided`, besides what it changes anyway.
    """
    folder.mkdir(parents=True)
    (folder / "dvc.yaml").touch()
    yaml = YAML()
    params = yaml.load((ROOT / "params.yaml").read_text())
    params["profile"] = "smoke"
    params["profiles"]["smoke"]["datasets"]["scenes"].update(SCENES)
    params["profiles"]["smoke"]["user_guided"].update(smoke)
    with (folder / "params.yaml").open("w") as file:
        yaml.dump(params, file)
    if prepared:
        (folder / "artifacts").mkdir()
        (folder / "artifacts" / "prepared").symlink_to(prepared / "artifacts" / "prepared")
        shutil.copytree(prepared / "artifacts" / "pairs", folder / "artifacts" / "pairs")
    else:
        with chdir(folder):
            fetch(folder / "data" / "bundled")
            for name in ("scenes", "photos"):
                prepare(replace(config.dataset(name), workers=1))
                pairlist.write(paths.pairs(name), pairs.find(config.dataset(name)))
    return folder


def copy_data(project: Path) -> Path:
    """Replace the shared data of a project by a copy that may be changed, and return the copy."""
    link = project / "artifacts" / "prepared"
    original = link.resolve()
    link.unlink()
    shutil.copytree(original, link)
    return link


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Environment variables for a while; for fixtures that outlive a test."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def change(cfg: Run, **values: Any) -> Run:
    """Change keys of a run by name, wherever they belong: to a group, to the run, or to the model's and task's options."""
    for key, value in values.items():
        group = next((g for g, kind in GROUPS.items() if key in {f.name for f in fields(kind)}), None)
        if group:
            cfg = replace(cfg, **{group: replace(getattr(cfg, group), **{key: value})})
        elif key in {f.name for f in fields(Run)} - {"options"}:
            cfg = replace(cfg, **{key: value})
        else:
            cfg = replace(cfg, options={**cfg.options, key: value})
    return cfg


def small_options(cfg: Run) -> dict[str, Any]:
    """The options that make the run's network small."""
    network = runs.resolve(cfg.model, torch.nn.Module)
    takes = inspect.signature(network).parameters
    return {
        key: min(value, cfg.options.get(key, value)) if isinstance(value, int) else list(value)
        for key, value in {**SMALL, **SMALLER.get(network.__name__, {})}.items()
        if key in takes
    }


def tiny(name: str, **values: Any) -> Run:
    """A run at smoke scale with a small network, on one CPU thread, present in every profile."""
    cfg = config.load(name, profile="smoke")
    cfg = change(cfg, **small_options(cfg), accelerator="cpu", threads=1, profiles=list(config.PROFILES), init=INIT)
    return change(cfg, **values)


def quick(name: str, **values: Any) -> Run:
    """A tiny run that is trained in a fraction of a second."""
    return change(tiny(name), **{**QUICK, **values})


def make_batch(
    height: int = 32, width: int = 32, pictures: int = 2, *, hints: float = 0.05, seed: int = 0, references: bool = False
) -> Batch:
    """Smooth pictures in gamut with hinted pixels; references are others, every second one counts as the picture's own copy."""
    rng = torch.Generator().manual_seed(seed)
    lab = _smooth(pictures, height, width, rng)
    mask = torch.rand(pictures, 1, height, width, generator=rng) < hints
    ab = lab[:, 1:].contiguous()
    names, draws = [f"made/{i}" for i in range(pictures)], list(range(pictures))
    batch: Batch = {"id": names, "draw": draws, "L": lab[:, :1].contiguous(), "ab": ab, "hint_mask": mask, "hint_ab": ab * mask}
    if references:
        other, own = _smooth(pictures, 40, 24, rng), torch.arange(pictures) % 2 == 0
        batch |= {"reference_L": other[:, :1].contiguous(), "reference_ab": other[:, 1:].contiguous(), "reference_own": own}
        batch |= {"reference_id": names, "reference_kind": ["own" if one else "nearest" for one in own]}
    return batch


def _smooth(count: int, height: int, width: int, rng: torch.Generator) -> Tensor:
    """Lab of pictures in gamut."""
    coarse = torch.rand(count, 3, 5, 5, generator=rng)
    return color.rgb_to_lab(torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear"))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 1, height: int = 32, width: int = 32, *, seed: int = 0) -> Tensor:
    """Inputs of point-interactive networks, as their task makes them."""
    x = torch.rand(count, 4, height, width, generator=rng(seed)) - 0.5
    hinted = (torch.rand(count, 1, height, width, generator=rng(seed + 1)) < 0.1).float()
    return torch.cat([x[:, :1], x[:, 1:3] * hinted, hinted], 1)


def seeded(family: Callable[..., nn.Module], **options: Any) -> nn.Module:
    """A network whose biases, norms and tables are no special values, the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = family(**options).eval()
        for parameter in network.parameters():
            if parameter.ndim == 1 or parameter.std() < 0.1:
                parameter.data += 0.2 * torch.randn_like(parameter)
    return network


def multiply_adds(call: Callable[[], object]) -> float:
    """Of everything that torch's counter sees."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 2


def clone(batch: Batch) -> dict[str, Any]:
    """A copy that shares nothing."""
    return {key: value.clone() if isinstance(value, Tensor) else list(value) for key, value in batch.items()}


def same(one: Any, other: Any) -> bool:
    """Whether two batches are equal bit for bit."""
    return one.keys() == other.keys() and all(
        torch.equal(value, other[key]) if isinstance(value, Tensor) else value == other[key] for key, value in one.items()
    )
