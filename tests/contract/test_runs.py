"""Every key of params.yaml has an effect: a flag that nobody reads would publish seed noise as a finding.

The fingerprint of a run is what it writes: its history over a few optimiser steps, and the numbers of its evaluation.
"""

import json
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import INIT, QUICK, ROOT, change, copy_data, environment, make_project, quick, small_options
from torch import nn

from colorexp import config, evaluation, hints, paths, runs
from colorexp.config import GROUPS, Run
from colorexp.data import pairlist
from colorexp.data.prepare import prepare
from colorexp.tasks.base import Colorizer

MAIN = "user_guided/res_unet"
AFTER_REFERENCES = "exemplar/exemplar"

with chdir(ROOT):
    RUNS = config.runs()
    VARIANTS = [
        (name, profile)
        for name in RUNS
        for profile in config.PROFILES
        if config.parent(name) and config.load(name, profile=profile).present
    ]
    STARTS = [
        (name, profile)
        for name in RUNS
        for profile in ("gpu", "paper")
        if (_start := config.load(name, profile=profile)).present and not _start.init.startswith(runs.PREPARED)
    ]
    OPTIONS: dict[tuple[str, str, str], str] = {}
    for _run in sorted((config.load(name, profile="smoke") for name in RUNS), key=lambda run: run.parent is not None):
        for _key in _run.options:  # one run per network and task is enough, if possible the one that others vary
            OPTIONS.setdefault((_run.model, _run.task, _key), _run.name)

CHANGED: dict[str, Any] = {
    # data
    "train_on": {"scenes": 2, "photos": 1},
    "validate_on": "folder",
    "evaluate_on": ["photos"],
    "size": 48,
    "train_size": 24,
    "train_view": "resized_crop",
    "eval_view": ("squash", {"evaluate_on": ["photos"]}),
    "flip": True,
    "near_gray_filter": "none",
    "train_limit": 5,
    # hinting
    "hints": "60",
    "hint_patch": 2,
    "hint_layout": "cells",
    "protocols": ["6%", "0"],
    "hint_files": {"scenes": "hint_files"},
    # references
    "references": {"own": 1.0},
    "reference_warp": 0.1,
    "reference_size": 48,
    "pairs": ["independent"],
    "pair_lists": {"scenes": "pair_list.csv"},
    "ways": ["reference"],
    # fitting
    "epochs": 2,
    "batch": 2,
    "accumulate": 2,
    "optimizer": "sgd",
    "lr": 1e-2,
    "betas": (0.5, 0.9),
    "weight_decay": 0.5,
    "schedule": "cosine",
    "lr_end": (1e-3, {"schedule": "linear"}),
    "warmup": 1.0,
    "clip": 0.01,
    "monitor_mode": ("max", {"epochs": 2}),
    # evaluation
    "metrics": ["psnr", "ssim"],
    # run
    "seed": 1,
    # options of models and tasks
    "bins": 16,
    "hint_encoding": "bins",
    "hint_scale": 100.0,
    "lambda_patch": 0.5,
    "class_weight_power": 0.25,
    "decode_temperature": 0.5,
    "last": 3,
    "downsample": "strided",
    "tokens": "columns",
    "patch": 16,
    "feedforward": 12,
    "bottleneck_layers": 1,
    "bottleneck_feedforward": 12,
    "power": 4.0,
    "width": 48,
    "depth": 5,
    "huber_delta": 0.5,
    "heads": 2,
    "relative_positions": False,
    "groups": 4,
    "prune": ("patches", {"beta2": None}),
    "keep_bias": 1.0,
    "decision_lr": 10.0,
    "beta1": 0.9,
    "beta2": 0.9,
    "sparsity_weight": 10.0,
    "window": 4,
    "depths": [2, 2, 2],
    "keep_ratio": 0.5,
    "ratio_weight": 5.0,
    "distill_weight": 2.0,
    "backbone_lr": 1.0,
    "frozen_epochs": 1,
    "patch_ratio": 0.3,
    "layer_ratio": 0.3,
    "head_ratio": 0.3,
    "usage_weight": 5.0,
    "halting_center": 0.0,
    "ponder_weight": 0.5,
    "prior_weight": 0.5,
    "cell": 4,
    "position_weight": 0.1,
    "token_width": 12,
    "layers": 2,
    "dropout": 0.5,
    "superpixel_width": 8,
    "anchors": 3,
    "primitives": "superpixels",
    "refine": "joint",
    "locate": "features",
    "rebalance": 0.2,
    "perceptual_weight": 50.0,
    "perceptual_layers": 2,
    "temperature": 0.5,
    "variant": "paper",
    "sources": ("database", {"references": {"own": 1.0}}),
    "fuse": "gate",
    "prior": True,
    "reference_side": 64,
    "l1_weight": 10.0,
    "gan_weight": 10.0,
    "perceptual_layer": "relu3_1",
    "critic_width": 8,
    "sparse_weight": 10.0,
    "histogram_weight": 10.0,
    "database_weight": 10.0,
    "scales": 1,
}
"""Another value for every key, and what must be set besides for the key to mean something."""
OF_NETWORKS: dict[tuple[str, str], Any] = {
    ("colorexp.models.exemplar:Exemplar", "width"): 4,
    ("colorexp.models.exemplar:Exemplar", "bins"): 313,
}
"""Another value for options that other networks have under the same name."""

EXEMPT = {
    **{f.name: "where and how fast a run is computed, not what" for f in fields(GROUPS["hardware"])},
    "monitor": "test_runs.py: the kept epoch is the best by what is monitored",
    "checkpoint_every": "test_runs.py: a resumed training ends with the same bytes",
    "features": "test_evaluation.py: features are kept beside the rows",
    "features_of": "test_evaluation.py: of so many pictures features are kept",
    "samples": "test_evaluation.py: pictures are kept beside the rows",
    "repeats": "test_evaluation.py: rows of further draws stand beside those of the first",
    "eval_batch": "a picture's result does not depend on its neighbours, see below",
    "weights": "a path",
}
EXEMPT_OPTIONS = {
    ("user_guided/res_unet_regression", "bins"): "a regressor has none",
    ("adacolvit/adacolvit_t_random", "decide"): "test_models_vit.py: other decisions want other ratios",
    ("adacolvit/uformer_s", "heads"): "test_models_restoration.py: as many as depths",
}


@pytest.fixture(scope="module")
def laboratory(tiny_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The tiny project with a second dataset that has validation pictures, hint files and a list of pairs; fingerprints so far."""
    folder = make_project(tmp_path_factory.mktemp("contract") / "project", prepared=tiny_project)
    with chdir(folder), environment(WANDB_MODE="disabled"):
        copy_data(folder)
        prepare(replace(config.dataset("scenes"), seed=1, train=1, test=1), out=paths.prepared("folder"))
        cfg = quick(MAIN)
        evaluation.write_hints(change(cfg, protocols=["12"]), folder / "drawn")
        for protocol in cfg.evaluation.protocols:
            there = folder / "hint_files" / hints.folder_name(protocol, cfg.hinting.hint_patch)
            there.parent.mkdir(exist_ok=True)
            there.symlink_to(folder / "drawn" / "scenes" / hints.folder_name("12", cfg.hinting.hint_patch))
        given = [pair._replace(kind="given", reference="palettes/ff0000-0000ff") for pair in pairlist.read(paths.pairs("scenes"))]
        pairlist.write(folder / "pair_list.csv", given)
        yield {}


def fingerprint(cfg: Run, known: dict[str, str] | None = None) -> str:
    """Train, evaluate, and take all numbers, rounded; names of protocols and datasets are left out, they differ for nothing."""
    key = json.dumps(cfg.as_dict(), sort_keys=True)
    if known is None or key not in known:
        experiment = runs.build(change(cfg, profiles=[cfg.profile]), out="out")
        history = runs.train(experiment)
        rows = evaluation.evaluate(cfg, runs.load(experiment.out, evaluating=True)[1]).rows
        numbers = rows.drop(columns=[*evaluation.KEYS, *evaluation.REFERENCE_KEYS], errors="ignore").T.to_numpy().tolist()
        found = json.dumps([history.to_numpy().tolist(), numbers], default=float)
        found = json.dumps(json.loads(found, parse_float=lambda text: f"{float(text):.5g}"))
        if known is None:
            return found
        known[key] = found
    return known[key]


def flat(cfg: Run) -> dict[str, Any]:
    """A run's values by key, without what only names it."""
    values = cfg.as_dict()
    rest = {key: value for key, value in values.items() if key not in (*GROUPS, "options", "name", "parent", "profiles")}
    return rest | values["options"] | {key: value for group in GROUPS for key, value in values[group].items()}


def test_a_fingerprint_is_reproducible(laboratory: dict[str, str]) -> None:
    """Else every difference below would be noise."""
    cfg = quick(MAIN)
    assert fingerprint(cfg) == fingerprint(cfg, laboratory)


@pytest.mark.parametrize("values", [{"eval_batch": 1}, {"checkpoint_every": 1}, {"samples": 3}, {"monitor": "val/accuracy"}])
def test_what_is_exempt_has_no_effect(values: dict[str, Any], laboratory: dict[str, str]) -> None:
    cfg = quick(MAIN)
    assert fingerprint(change(cfg, **values)) == fingerprint(cfg, laboratory)


@pytest.mark.parametrize("key", [f.name for group in GROUPS.values() for f in fields(group)])
def test_every_common_key_has_an_effect(key: str, laboratory: dict[str, str]) -> None:
    if key in EXEMPT:
        assert key not in CHANGED
        return
    assert key in CHANGED, f"give {key} another value in CHANGED, or a reason in EXEMPT"
    name = AFTER_REFERENCES if key in (*config.GROUPS["referencing"].__dataclass_fields__, "pairs", "pair_lists", "ways") else MAIN
    assert_another_value_has_an_effect(quick(name), key, CHANGED[key], laboratory)


def assert_another_value_has_an_effect(cfg: Run, key: str, changed: Any, laboratory: dict[str, str]) -> None:
    value, usual = changed if isinstance(changed, tuple) and key != "betas" else (changed, {})
    cfg = change(cfg, **usual)
    assert flat(cfg)[key] != value
    assert fingerprint(change(cfg, **{key: value})) != fingerprint(cfg, laboratory)


@pytest.mark.parametrize(("name", "key"), [(name, key) for (_, _, key), name in OPTIONS.items()])
def test_every_option_of_a_model_or_task_has_an_effect(name: str, key: str, laboratory: dict[str, str]) -> None:
    if (name, key) in EXEMPT_OPTIONS:
        return
    assert key in CHANGED, f"give {key} another value in CHANGED, or a reason in EXEMPT_OPTIONS"
    cfg = quick(name)
    assert_another_value_has_an_effect(cfg, key, OF_NETWORKS.get((cfg.model, key), CHANGED[key]), laboratory)


def test_no_other_value_is_given_for_a_key_that_is_gone() -> None:
    assert OF_NETWORKS.keys() <= {(model, key) for model, _, key in OPTIONS}
    common = {f.name for group in GROUPS.values() for f in fields(group)}
    options = {key for _, _, key in OPTIONS}
    assert CHANGED.keys() <= common | options | {"seed"}
    assert EXEMPT.keys() <= common
    assert set(EXEMPT_OPTIONS) <= {(name, key) for (_, _, key), name in OPTIONS.items()}


def test_the_seed_has_an_effect(laboratory: dict[str, str]) -> None:
    cfg = quick(MAIN)
    assert fingerprint(change(cfg, seed=CHANGED["seed"])) != fingerprint(cfg, laboratory)


@pytest.mark.parametrize(("name", "profile"), VARIANTS)
def test_every_variant_differs_from_its_parent(name: str, profile: str, laboratory: dict[str, str]) -> None:
    """In every profile that runs it: a profile's value may hide the one thing that a run varies."""
    parent = config.parent(name)
    assert parent is not None
    own, other = (config.load(n, profile=profile) for n in (name, parent))
    assert flat(own) != flat(other), f"in the profile {profile} this is {parent} again"
    if profile == "gpu":
        return  # differs from `paper` in epochs and schedule alone
    alike = {key: value for key, value in QUICK.items() if flat(own)[key] == flat(other)[key]}
    one, two = (change(cfg, **{**alike, **small_options(cfg), "init": INIT}) for cfg in (own, other))
    assert fingerprint(one, laboratory) != fingerprint(two, laboratory)


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
@pytest.mark.parametrize(("name", "profile"), STARTS)
def test_a_run_can_start_from_its_start(name: str, profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the profiles that nothing trains here; else it would be found out when the start has been trained."""
    monkeypatch.chdir(ROOT)
    own = config.load(name, profile=profile)
    network, start = (built_without_memory(cfg) for cfg in (own, config.load(own.init.split("runs/")[1], profile=profile)))
    load = getattr(network, "start_from", network.load_state_dict)
    load(start.state_dict())


def built_without_memory(cfg: Run) -> Any:
    model, task = runs.resolve(cfg.model, nn.Module), runs.resolve(cfg.task, Colorizer)
    with torch.device("meta"):
        return model(**runs._route(cfg, model, task)[0])


@pytest.mark.parametrize("name", RUNS)
def test_a_run_differs_from_every_other_in_its_profiles(name: str) -> None:
    for profile in config.PROFILES:
        own = config.load(name, profile=profile)
        others = [config.load(other, profile=profile) for other in RUNS if other != name]
        assert not own.present or flat(own) not in [flat(other) for other in others if other.present]
