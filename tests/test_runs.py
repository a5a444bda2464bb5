"""Training one run: what it writes, that a seed is its bytes, that a kill loses nothing, that what fails says why."""

import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import killed_training
import pandas as pd
import pytest
import torch
from pytorch_lightning import Callback
from tiny import QUICK, ROOT, change, environment, make_batch, make_project, quick, small_options

from colorexp import config, evaluation, paths, runs, weights
from colorexp.config import Run
from colorexp.data import pairlist, store
from colorexp.data.datamodule import Fixed
from colorexp.tasks.callbacks import Lines

MAIN = "user_guided/res_unet"
RESULT = ("model.safetensors", "history.csv", "run.json")


@pytest.fixture(scope="module")
def trained(tiny_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A run after four epochs, as the pipeline leaves it."""
    folder = make_project(tmp_path_factory.mktemp("runs") / "project", prepared=tiny_project)
    with chdir(folder), environment(WANDB_MODE="disabled"):
        cfg = quick(MAIN, epochs=4, lr=3e-2)
        history = runs.train(runs.build(cfg))
        yield SimpleNamespace(project=folder, cfg=cfg, history=history, out=paths.run(MAIN))


def train(cfg: Run, out: str = "result") -> Path:
    experiment = runs.build(cfg, out=out)
    runs.train(experiment)
    return experiment.out


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULT}


def checkpoints(project: Path) -> list[Path]:
    return sorted((project / "scratch").rglob("*.ckpt"))


def interrupt(monkeypatch: pytest.MonkeyPatch, error: BaseException, *, epoch: int = 0) -> None:
    """Make training fail at the end of an epoch."""

    class Failing(Lines):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == epoch:
                raise error

    monkeypatch.setattr(runs, "Lines", Failing)


# What a training leaves


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_in_a_terminal_and_quiet_lines_elsewhere(prepared: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    trainer = runs.Trainer
    monkeypatch.setattr(runs, "Trainer", lambda **options: seen.append(trainer(**options)) or seen[0])
    train(quick(MAIN))
    bars = seen[0].progress_bar_callback
    assert (bars is not None and bars.is_enabled) is terminal
    assert any(isinstance(callback, Lines) for callback in seen[0].callbacks) is not terminal


def test_history_has_a_row_per_epoch(trained: SimpleNamespace) -> None:
    history = trained.history
    assert history["epoch"].tolist() == [0, 1, 2, 3]
    assert history["step"].tolist() == [2, 4, 6, 8]
    measured = {f"{stage}/{name}" for stage in ("train", "val") for name in ("loss", "cross_entropy", "accuracy")}
    assert set(history.columns) == {"epoch", "step", "lr", *measured}
    assert history.notna().all(None)
    assert history["lr"].tolist() == pytest.approx([3e-2] * 4)
    assert pd.read_csv(trained.out / "history.csv").equals(history)


def test_training_learns(trained: SimpleNamespace) -> None:
    assert trained.history["train/loss"].iloc[-1] < 0.95 * trained.history["train/loss"].iloc[0]


def test_the_card_says_what_was_trained_on_what(trained: SimpleNamespace) -> None:
    card = json.loads((trained.out / "run.json").read_text())
    assert card["status"] == "trained"
    assert config.from_dict(card["config"]).training() == trained.cfg.training()
    assert "evaluation" not in card["config"]
    assert set(card["provenance"]["data"]) == {"scenes", "photos"}
    assert card["parameters"] == sum(p.numel() for p in runs.build_task(trained.cfg).model.parameters())


def test_timings_lie_apart_so_that_results_are_the_same_every_time(trained: SimpleNamespace) -> None:
    clocks = json.loads(paths.timings(f"train/{MAIN}").read_text())
    assert clocks["steps"] == 8
    assert clocks["images_per_second"] == pytest.approx(8 * 4 / clocks["train_seconds"])
    assert {path.name for path in trained.out.iterdir()} == set(RESULT)


def test_nothing_is_left_to_resume_from(trained: SimpleNamespace) -> None:
    """A forced second training shall train, not load."""
    assert checkpoints(trained.project) == []
    assert not list((trained.project / "scratch").rglob("*.safetensors"))


def test_a_run_is_rebuilt_from_its_folder_alone(trained: SimpleNamespace, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for name in ("run.json", "model.safetensors"):
        (copy / name).write_bytes((trained.out / name).read_bytes())
    cfg, task = runs.load(copy)
    assert cfg.training() == trained.cfg.training()
    assert not task.training
    assert torch.equal(task.predict(make_batch()).ab, runs.load(trained.out)[1].predict(make_batch()).ab)
    state = weights.read(copy / "model.safetensors")
    assert all(torch.equal(tensor, state[name]) for name, tensor in task.model.state_dict().items())


def test_loaded_statistics_are_those_the_loss_was_trained_with(trained: SimpleNamespace) -> None:
    task = runs.load(trained.out, evaluating=True)[1]
    assert torch.equal(task.weights, runs.build(trained.cfg, out="unused").task.weights)
    assert torch.equal(runs.load(trained.out)[1].weights, torch.ones_like(task.weights))


@pytest.mark.parametrize(("monitor", "mode"), [("val/loss", "min"), ("val/loss", "max"), ("val/accuracy", "max")])
def test_the_kept_epoch_is_the_best_by_what_is_monitored(prepared: Path, monitor: str, mode: str) -> None:
    out = train(quick(MAIN, epochs=4, lr=3e-2, monitor=monitor, monitor_mode=mode))
    history, best = runs.read_history(out), json.loads((out / "run.json").read_text())["best"]
    epoch = int(history[monitor].idxmin() if mode == "min" else history[monitor].idxmax())
    assert best == {"epoch": epoch, "value": pytest.approx(history[monitor][epoch])}
    task = runs.load(out, evaluating=True)[1]
    experiment = runs.build(quick(MAIN))
    raw = next(iter(experiment.data.val_dataloader()))  # all four validation pictures
    batch = experiment.data.on_after_batch_transfer(raw, 0)
    with torch.no_grad():
        terms = task.loss(batch, task(batch))
    assert float(terms[monitor.removeprefix("val/")]) == pytest.approx(history[monitor][epoch], rel=1e-4)


def test_an_unknown_monitor_is_named_with_what_there_is(prepared: Path) -> None:
    """Before the first epoch: a misspelling must not cost a training."""
    with pytest.raises(
        ValueError, match=r"res_unet\.monitor = 'val/psnr'; this task offers val/loss, val/cross_entropy, val/accuracy"
    ):
        runs.build(quick(MAIN, monitor="val/psnr"))
    with pytest.raises(ValueError, match=r"monitor = 'val/acuracy' \(did you mean 'val/accuracy'\?\)"):
        runs.build_task(quick(MAIN, monitor="val/acuracy"))
    runs.build_task(quick("user_guided/spread", monitor="val/accuracy"))  # has nothing to train


def test_a_summary_says_what_will_be_trained(trained: SimpleNamespace) -> None:
    shown = runs.build(trained.cfg, out="unused").summary()[MAIN]
    assert shown["model"] == "ResUNet"
    assert shown["optimiser steps"] == 8


def test_a_tiny_training_warns_of_nothing(prepared: Path) -> None:
    """Advice to raise a logging interval or a number of workers is noise where an epoch has two steps."""
    with warnings.catch_warnings(record=True) as heard:
        train(quick(MAIN))
    assert [str(warning.message) for warning in heard] == []


def test_a_baseline_without_parameters_is_written_at_once(prepared: Path) -> None:
    out = train(quick("user_guided/spread"))
    assert len(runs.read_history(out)) == 0
    cfg, task = runs.load(out)
    assert cfg.name == "user_guided/spread"
    rows = evaluation.evaluate(quick(cfg.name), task).rows
    assert len(rows) == 8  # four scenes under two protocols


# A seed is bytes


def test_a_seed_is_the_bytes_of_a_training(prepared: Path, tiny_project: Path, tmp_path: Path) -> None:
    first = content(train(quick(MAIN)))
    again = content(train(quick(MAIN), out="again"))
    with chdir(make_project(tmp_path / "other", prepared=tiny_project)):
        torch.rand(7)
        elsewhere = content(train(quick(MAIN)))
    assert first == again == elsewhere
    other = content(train(quick(MAIN, seed=1), out="other"))
    assert all(other[name] != first[name] for name in RESULT)


def test_a_second_training_of_a_finished_run_trains(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    monkeypatch.setattr(Lines, "on_train_epoch_end", lambda self, trainer, module: steps.append(trainer.global_step))
    train(quick(MAIN))
    train(quick(MAIN))
    assert steps == [2, 2]


def test_threads_are_pinned(trained: SimpleNamespace) -> None:
    """Bits depend on them."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        runs.build(trained.cfg, out="unused")
        assert torch.get_num_threads() == trained.cfg.hardware.threads == 1
        torch.set_num_threads(3)
        runs.load(trained.out)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


# Resumption


@pytest.fixture(scope="module")
def killed(tiny_project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Projects in which a training was killed, by the moment."""
    folder = tmp_path_factory.mktemp("killed")
    projects = {moment: make_project(folder / str(n), prepared=tiny_project) for n, moment in enumerate(killed_training.MOMENTS)}
    done = subprocess.run(
        [sys.executable, killed_training.__file__, *(f"{moment}={project}" for moment, project in projects.items())],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "WANDB_MODE": "disabled"},
        capture_output=True,
        text=True,
    )
    ends = [line.rsplit(" ", 1) for line in done.stdout.splitlines() if line.startswith(killed_training.MOMENTS)]
    assert ends == [[moment, str(-signal.SIGKILL)] for moment in projects], done.stderr
    return projects


@pytest.fixture(scope="module")
def uninterrupted(tiny_project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = make_project(tmp_path_factory.mktemp("whole") / "project", prepared=tiny_project)
    with chdir(folder), environment(WANDB_MODE="disabled"):
        return content(train(quick(MAIN, **killed_training.VALUES)))


@pytest.mark.parametrize("moment", killed_training.MOMENTS)
def test_a_killed_training_goes_on_and_ends_with_the_same_bytes(
    moment: str, killed: dict[str, Path], uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    class Counting(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            seen.append(trainer.fit_loop.epoch_loop.batch_progress.total.ready)

    monkeypatch.chdir(killed[moment])
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(runs, "Lines", Counting)
    assert not (killed[moment] / "result").exists()
    assert len(checkpoints(killed[moment])) == (moment != "before-any-checkpoint")
    resumed = content(train(quick(MAIN, **killed_training.VALUES)))
    assert resumed == uninterrupted
    first = {"before-any-checkpoint": 1, "at-an-epoch's-end": 17, "at-the-end": None}.get(moment, 13)
    assert seen == (list(range(first, 25)) if first else []), "what had been trained is not trained again"
    assert checkpoints(killed[moment]) == []


def test_a_failed_training_leaves_its_checkpoint_and_no_result(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(monkeypatch, OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space left"):
        train(quick(MAIN, epochs=2, checkpoint_every=1))
    assert not (prepared / "result").exists()
    assert [path.name for path in checkpoints(prepared)] == ["last.ckpt"]


def test_another_configuration_does_not_resume_from_this_one(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(monkeypatch, OSError("stop"), epoch=1)
    with pytest.raises(OSError, match="stop"):
        train(quick(MAIN, epochs=3))
    monkeypatch.undo()
    monkeypatch.chdir(prepared)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert len(runs.read_history(train(quick(MAIN, epochs=3, lr=1e-4)))) == 3
    assert len(checkpoints(prepared)) == 1


def test_another_list_of_pairs_does_not_resume_from_this_one(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the epochs after other references would be a training that nothing describes."""
    cfg = quick(MAIN, epochs=3, references={"nearest": 1.0}, reference_size=16)
    with monkeypatch.context() as patch:
        interrupt(patch, OSError("stop"), epoch=1)
        with pytest.raises(OSError, match="stop"):
            train(cfg)
    listed = pairlist.read(paths.pairs("scenes"))
    pairlist.write(paths.pairs("scenes"), [pair._replace(reference="scenes/train-00000") for pair in listed])
    out = train(cfg)
    assert len(checkpoints(prepared)) == 1, "that of the first list"
    hashed = json.loads((out / "run.json").read_text())["provenance"]["data"]
    assert set(hashed) == {"photos", "scenes", "pairs/photos", "pairs/scenes"}


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_damaged_checkpoint_is_named(prepared: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    interrupt(monkeypatch, OSError("stop"), epoch=1)
    with pytest.raises(OSError, match="stop"):
        train(quick(MAIN, epochs=3))
    (checkpoint,) = checkpoints(prepared)
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes({"cut": whole[: len(whole) // 2], "text": b"no checkpoint", "empty": b""}[damage])
    with pytest.raises(ValueError, match=r"last\.ckpt is damaged"):
        train(quick(MAIN, epochs=3))


def test_ctrl_c_is_no_result(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(monkeypatch, KeyboardInterrupt())
    with pytest.raises((RuntimeError, SystemExit, KeyboardInterrupt)):
        train(quick(MAIN, epochs=2))
    assert not (prepared / "result").exists()


def test_two_processes_do_not_train_one_run(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = []

    class Second(Lines):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            with pytest.raises(RuntimeError, match="in use: another process trains this run") as error:
                train(quick(MAIN), out="second")
            refused.append(error)

    monkeypatch.setattr(runs, "Lines", Second)
    train(quick(MAIN))
    assert len(refused) == 1
    assert not (prepared / "second").exists()


# What fails says why


def test_a_loss_that_is_no_number_names_the_pictures(prepared: Path) -> None:
    with pytest.raises(FloatingPointError) as error:
        train(quick(MAIN, lr=1e30, epochs=3))
    message = str(error.value)
    assert message.startswith(("the loss is nan at step", "the loss is inf at step"))
    named = message.partition("pictures: ")[2].split(", ")
    tables = {name: store.manifest(paths.prepared(name)) for name in ("scenes", "photos")}
    trainable = {f"{name}/{i}" for name, table in tables.items() for i in table[table["split"] == "train"]["id"]}
    assert len(named) == 4
    assert set(named) <= trainable
    assert not (prepared / "result").exists()


def test_a_run_that_was_not_trained_is_named(project: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"artifacts/runs/user_guided/res_unet holds no trained run.*dvc repro"):
        runs.load(paths.run(MAIN))


def test_a_run_outside_the_profile_is_neither_built_nor_loaded(prepared: Path) -> None:
    cfg = config.load("user_guided/trans_unet")
    with pytest.raises(ValueError, match=r"not run in this profile: user_guided/trans_unet belongs to cpu, gpu, paper, .* smoke"):
        runs.build(cfg)
    folder = paths.run(cfg.name)
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"status": "not run in this profile", "reason": cfg.absence}))
    with pytest.raises(ValueError, match="trans_unet: not run in this profile"):
        runs.load(folder)


def test_data_that_was_not_prepared_is_named(project: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"prepared/scenes is not prepared; run `dvc repro` or `colorexp prepare scenes`"):
        runs.build(quick(MAIN))


def test_weights_of_another_model_are_refused_with_every_name(trained: SimpleNamespace, tmp_path: Path) -> None:
    other = runs.build_task(quick("user_guided/simple_unet"))
    weights.save(other.model, tmp_path / "model.safetensors")
    (tmp_path / "run.json").write_bytes((trained.out / "run.json").read_bytes())
    with pytest.raises(ValueError, match="does not fit ResUNet") as error:
        runs.load(tmp_path)
    expected = {f"missing {n}" for n in runs.build_task(trained.cfg).model.state_dict().keys() - other.model.state_dict().keys()}
    assert expected
    assert all(problem in str(error.value) for problem in expected)


def test_damaged_weights_are_named(trained: SimpleNamespace, tmp_path: Path) -> None:
    for name in RESULT:
        (tmp_path / name).write_bytes((trained.out / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        runs.load(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"downsmaple": "max"},
            r"runs\.user_guided\.res_unet has the unknown key 'downsmaple'.*ResUNet or BinClassifier.*'downsample'",
        ),
        ({"epoch": 3}, r"unknown key 'epoch'.*did you mean 'epochs'"),
        ({"last": "3"}, r"runs\.user_guided\.res_unet\.last = '3': .*integer"),
        ({"last": 3.5}, r"res_unet\.last = 3\.5"),
        ({"downsample": "mean"}, r"res_unet\.downsample = 'mean': .*'max' or 'strided'"),
        ({"bins": 1}, r"params\.yaml: runs\.user_guided\.res_unet: bins must be None or at least 2, got 1"),
        ({"bins": 0}, r"res_unet: bins must be None or at least 2, got 0"),
        ({"bins": 48}, r"res_unet: bins must be 2, 4, \.\.\. 128 or 256 to be counted from one-unit cells, got 48"),
        ({"class_weight_power": 2.0}, r"class_weight_power must be in \[0, 1\], got 2\.0"),
        ({"model": "colorexp.models.unet:ResNet"}, r"'colorexp\.models\.unet:ResNet' names no class"),
        ({"model": "colorexp.models.vnet:ResUNet"}, r"'colorexp\.models\.vnet:ResUNet' names no class"),
        ({"model": "colorexp.models.unet"}, r"'colorexp\.models\.unet' names no class .*expected 'module:Class'"),
        ({"model": "colorexp.tasks.classify:encode"}, r"'colorexp\.tasks\.classify:encode' is no Module"),
        ({"task": "colorexp.models.unet:ResUNet"}, r"'colorexp\.models\.unet:ResUNet' is no Colorizer"),
    ],
)
def test_an_option_that_does_not_fit_is_named(project: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        runs.build_task(quick(MAIN, **values))


def test_a_network_of_references_is_not_trained_without_any(prepared: Path) -> None:
    with pytest.raises(
        ValueError, match=r"runs\.exemplar\.exemplar\.references is empty; .* of the kinds own, own_palette, nearest, same_class"
    ):
        runs.build(quick("exemplar/exemplar", references={}))
    assert not runs.build(quick("exemplar/automatic", references={})).task.takes_reference
    assert runs.build(quick("exemplar/mean_std")).task.takes_reference


def test_bins_that_are_not_weighted_need_not_be_counted(project: Path) -> None:
    assert runs.build_task(quick(MAIN, bins=48, class_weight_power=0.0)).weights.shape == (2, 48)


# Where a run starts


def test_a_run_starts_from_the_weights_of_another(trained: SimpleNamespace, prepared: Path) -> None:
    source = paths.run(MAIN)
    source.parent.mkdir(parents=True)
    source.symlink_to(trained.out)
    cfg = quick(MAIN, init=f"artifacts/runs/{MAIN}", seed=5)
    start = runs.build(cfg, out="unused").task.model.state_dict()
    given = weights.read(trained.out / "model.safetensors")
    assert all(torch.equal(tensor, given[name]) for name, tensor in start.items())
    drawn = runs.build(change(cfg, init="artifacts/prepared/scenes/stats.json"), out="unused").task.model.state_dict()
    assert any(not torch.equal(tensor, given[name]) for name, tensor in drawn.items())
    with pytest.raises(ValueError, match=r"artifacts/runs/user_guided/res_unet does not fit SimpleUNet"):
        runs.build(quick("user_guided/simple_unet", init=cfg.init))
    with pytest.raises(FileNotFoundError, match=r"nowhere holds no trained run \(no run\.json\)"):
        runs.build(quick(MAIN, init="nowhere"))


@pytest.mark.parametrize("name", ["adacolvit/adacolvit_t", "adacolvit/icolorit_t_d6"])
def test_a_start_of_other_sizes_is_refused(prepared: Path, name: str) -> None:
    """Weights alone do not tell the number of heads where there are no relative position biases."""
    sizes = {"width": 24, "depth": 2, "heads": 3, "patch": 8}
    parent = train(quick("adacolvit/icolorit_t", **sizes, relative_positions=False, hint_patch=2), out="parent")
    cfg = quick(name, **sizes, init="parent", hint_patch=2)
    if "relative_positions" in cfg.options:
        cfg = change(cfg, relative_positions=False)
    given = weights.read(parent / "model.safetensors")
    start = runs.build(cfg, out="unused").task.model.state_dict()
    assert all(torch.equal(start[key], tensor) for key, tensor in given.items())
    with pytest.raises(ValueError, match=rf"runs\.{name.replace('/', '.')} cannot start from parent: heads: parent 3, this run 6$"):
        runs.build(change(cfg, heads=6), out="unused")
    with pytest.raises(
        ValueError, match=r"parent: patch: parent 8, this run 4; width: parent 24, this run 48; depth: parent 2, this run 3$"
    ):
        runs.build(change(cfg, patch=4, width=48, depth=3), out="unused")
    (parent / "run.json").unlink()
    with pytest.raises(FileNotFoundError, match="parent holds no trained run"):
        runs.build(cfg, out="unused")


# Several processes


class Reached(Exception):
    pass


def trainer_arguments(cfg: Run, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    def trainer(**arguments: Any) -> None:
        raise Reached(arguments)

    monkeypatch.setattr(runs, "Trainer", trainer)
    with pytest.raises(Reached) as reached:
        runs.train(runs.build(cfg, out="unused"))
    return reached.value.args[0]


def test_params_reach_the_trainer(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a worker of torchrun")
    hardware = {"accelerator": "cpu", "devices": 2, "num_nodes": 3, "strategy": "fsdp", "precision": "bf16-mixed"}
    given = trainer_arguments(quick(MAIN, **hardware, clip=0.5, accumulate=2, epochs=7), monkeypatch)
    expected = {**hardware, "gradient_clip_val": 0.5, "accumulate_grad_batches": 2, "max_epochs": 7, "deterministic": True}
    assert {key: given[key] for key in expected} == expected


def test_several_nodes_explain_how_they_are_started(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with pytest.raises(
        RuntimeError, match=r"wants 2 nodes: start `torchrun --nnodes=2 .* -m colorexp\.train user_guided/res_unet`"
    ):
        train(quick(MAIN, num_nodes=2))


def test_a_worker_that_fails_fails_the_training(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torchrun itself, which takes its time: the command, and what becomes of its exit status."""
    commands: list[list[str]] = []
    real = subprocess.Popen

    def popen(command: list[str], **rest: Any) -> Any:
        commands.append(command)
        return real([sys.executable, "-c", "print('no luck'); raise SystemExit(3)"], **rest)

    monkeypatch.setattr(runs.subprocess, "Popen", popen)
    with pytest.raises(RuntimeError, match=r"training user_guided/res_unet in several processes failed \(exit 3\)"):
        train(change(quick(MAIN, devices=2), profile="paper"))
    command = " ".join(commands[0])
    assert "--nproc-per-node=2" in command
    assert f"-m colorexp.train {MAIN} --profile paper --out {prepared / 'result'}" in command


@pytest.mark.parametrize(("batch", "world"), [(4, 2), (4, 3), (3, 2), (1, 4), (64, 4)])
def test_every_process_validates_its_part(trained: SimpleNamespace, batch: int, world: int) -> None:
    """A process without a batch would not take part in the means, and the others would wait for it."""
    validation = runs.build(trained.cfg, out="unused").data._val
    parts = [Fixed(validation, batch, "validation", rank=rank, world=world).batches for rank in range(world)]
    assert all(parts)
    assert sorted(draw.index for part in parts for draws in part for draw in draws) == [0, 1, 2, 3]


def test_more_processes_than_validation_pictures_are_refused(trained: SimpleNamespace) -> None:
    validation = runs.build(trained.cfg, out="unused").data._val
    with pytest.raises(ValueError, match="4 validation pictures are too few for 5 processes"):
        Fixed(validation, 4, "validation", rank=0, world=5)


def test_two_processes_equal_one_that_accumulates(tiny_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainable parameters within 1e-5; the running statistics of batch norm are each process's own."""
    values = {**QUICK, **small_options(config.load(MAIN, profile="smoke")), "devices": 2, "strategy": "ddp"}
    project = make_project(tmp_path / "project", prepared=tiny_project, res_unet=values)
    monkeypatch.chdir(project)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cfg = config.load(MAIN)
    experiment = runs.build(cfg, out="two")
    start = {name: p.detach().clone() for name, p in experiment.task.model.named_parameters()}
    history = runs.train(experiment)
    alone = runs.train(runs.build(change(cfg, devices=1, strategy="auto", accumulate=2), out="one"))
    two, one = (weights.read(project / name / "model.safetensors") for name in ("two", "one"))
    assert all(torch.allclose(two[name], one[name], rtol=0, atol=1e-5) for name in start)
    assert max(float((two[name] - tensor).abs().max()) for name, tensor in start.items()) > 1e-3
    assert history["train/loss"].tolist() == pytest.approx(alone["train/loss"].tolist(), rel=1e-5)
    assert history["step"].tolist() == alone["step"].tolist() == [2]
