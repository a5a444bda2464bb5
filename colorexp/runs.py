"""Build, train and load one run: the only module that meets everybody."""

import difflib
import fcntl
import importlib
import inspect
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

from colorexp import boot  # isort: skip  # noqa: F401  before anything that imports torch

import pandas as pd
import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger
from torch import nn

from colorexp import config, paths, provenance, weights
from colorexp.config import Run
from colorexp.data.datamodule import ColorizationData, training_statistics
from colorexp.data.store import Statistics
from colorexp.schema import ReferenceKind
from colorexp.seeding import seed_of
from colorexp.tasks.base import Colorizer, Setting
from colorexp.tasks.callbacks import Clock, History, Lines, Resume, Samples

WEIGHTS = "model.safetensors"
PREPARED = "artifacts/prepared/"
"""Where the `init` of a run that starts from its seed lies."""
HISTORY = "history.csv"
CARD = "run.json"


class Experiment(NamedTuple):
    """A run, ready to be trained."""

    cfg: Run
    out: Path
    """Where weights, history and run.json go."""
    task: Colorizer
    data: ColorizationData

    def summary(self) -> pd.DataFrame:
        """What will be trained on what, for notebooks."""
        statistics = training_statistics(self.cfg.data)
        rows = {
            "model": self.cfg.model.split(":")[1],
            "task": self.cfg.task.split(":")[1],
            "parameters": sum(p.numel() for p in self.task.model.parameters()),
            "training pictures": statistics.images,
            "optimiser steps": self.data.steps_per_epoch * self.cfg.fitting.epochs,
        }
        return pd.DataFrame({self.cfg.name: rows})


def build(cfg: Run, *, out: Path | str | None = None) -> Experiment:
    """Construct data, network and task of a run, from its seed.

    Args:
        cfg: From `config.load`.
        out: Instead of `paths.run(cfg.name)`; relative to the project.

    Raises:
        ValueError: If a key fits neither model nor task, a value does not fit, the run is not part of the profile, its start has
            other sizes, or it colours after references and is trained without any.
        FileNotFoundError: If the run that it starts from has not been trained.
    """
    if cfg.absence:
        raise ValueError(cfg.absence)
    torch.set_num_threads(cfg.hardware.threads)
    data = ColorizationData(
        data=cfg.data,
        hinting=cfg.hinting,
        referencing=cfg.referencing,
        fitting=cfg.fitting,
        hardware=cfg.hardware,
        seed=cfg.seed,
    )
    task = build_task(cfg, steps_per_epoch=data.steps_per_epoch, statistics=training_statistics(cfg.data))
    if task.takes_reference and not cfg.referencing.references and _is_trained(task):
        kinds = ", ".join(get_args(ReferenceKind))
        raise ValueError(f"{_where(cfg)}.references is empty; this task is trained after references, of the kinds {kinds}")
    if not cfg.init.startswith(PREPARED):
        _check_start(cfg, task.model)
        state = weights.read(paths.root() / cfg.init / WEIGHTS)
        begin = getattr(task.model, "start_from", None)  # of a network that varies another one
        if begin:
            begin(state)
        else:
            weights.load_strictly(task.model, state, what=cfg.init)
    return Experiment(cfg, paths.root() / out if out else paths.run(cfg.name), task, data)


def _check_start(cfg: Run, model: Any) -> None:  # noqa: ANN401  a network, which may say where it must be like its start
    """Names and shapes of weights do not tell every size, for example not into how many heads a width is split."""
    start = config.from_dict(_card(paths.root() / cfg.init)["config"])
    there, here = (_with_defaults(run) for run in (start, cfg))
    names = [name for name in getattr(model, "alike", ()) if name in there and there[name] != here[name]]
    if names:
        apart = "; ".join(f"{name}: parent {there[name]}, this run {here[name]}" for name in names)
        raise ValueError(f"{_where(cfg)} cannot start from {cfg.init}: {apart}")


def _with_defaults(cfg: Run) -> dict[str, Any]:
    """The arguments of a run's network, those included that it leaves alone."""
    defaults = {name: p.default for name, p in _keywords(resolve(cfg.model, nn.Module)).items()}
    return {**defaults, **cfg.options}


def build_task(cfg: Run, *, steps_per_epoch: int = 1, statistics: Statistics | None = None) -> Colorizer:
    """The network and the task of a run, initialised from its seed.

    Raises:
        ValueError: If an option fits neither constructor, is missing, has the wrong type or is refused by its constructor, or if
            `monitor` is none of the task's validation means.
    """
    model_class, task_class = resolve(cfg.model, nn.Module), resolve(cfg.task, Colorizer)
    model_options, task_options = _route(cfg, model_class, task_class)
    setting = Setting(cfg.fitting, cfg.seed, steps_per_epoch, statistics)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(cfg.seed, "init"))
        try:
            model = model_class(**model_options).to(memory_format=torch.channels_last)  # a quarter faster on the CPU
            task = task_class(model, setting, **task_options)
        except ValueError as error:
            raise ValueError(f"{_where(cfg)}: {error}") from error
    _check_monitor(cfg, task)
    for way in cfg.evaluation.ways:
        if way not in task.ways():
            offered = ", ".join(name for name in task.ways() if name) or "none"
            raise ValueError(f"{_where(cfg)}.ways names {way!r}; beside its usual one this task offers: {offered}")
    return task


def _is_trained(task: Colorizer) -> bool:
    return any(p.requires_grad for p in task.model.parameters())


def _where(cfg: Run) -> str:
    return f"params.yaml: runs.{cfg.name.replace('/', '.')}"


def _check_monitor(cfg: Run, task: Colorizer) -> None:
    """The best epoch is chosen by a validation mean of the task; what has nothing to train has no epochs."""
    offered = [f"val/{name}" for name in task.logged]
    monitor = cfg.fitting.monitor
    if monitor not in offered and _is_trained(task):
        close = difflib.get_close_matches(monitor.rpartition("/")[2], task.logged, n=1)
        hint = f" (did you mean 'val/{close[0]}'?)" if close else ""
        raise ValueError(f"{_where(cfg)}.monitor = {monitor!r}{hint}; this task offers {', '.join(offered)}")


def resolve(dotted: str, kind: type) -> Any:  # noqa: ANN401  a class
    """The class that `module:Class` names.

    Raises:
        ValueError: If there is none, or it is no subclass of `kind`.
    """
    module, _, name = dotted.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"params.yaml: {dotted!r} names no class ({error}); expected 'module:Class'") from error
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise ValueError(f"params.yaml: {dotted!r} is no {kind.__name__}")
    return found


def _route(cfg: Run, *classes: type) -> list[dict[str, Any]]:
    """Give every option to the constructors that know its name; the signature is the schema."""
    known = [_keywords(cls) for cls in classes]
    where = _where(cfg)
    for key in cfg.options:
        if not any(key in names for names in known):
            candidates = [name for names in known for name in names] + _config_keys()
            close = difflib.get_close_matches(key, candidates, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            takers = " or ".join(cls.__name__ for cls in classes)
            raise ValueError(f"{where} has the unknown key {key!r}: neither the run nor {takers} takes it{hint}")
    routed = []
    for cls, names in zip(classes, known, strict=True):
        chosen = {key: _checked(cfg.options[key], names[key], f"{where}.{key}") for key in names if key in cfg.options}
        lacking = [n for n, p in names.items() if p.default is inspect.Parameter.empty and n not in chosen]
        if lacking:
            raise ValueError(f"{where} lacks {', '.join(lacking)}, which {cls.__name__} needs")
        routed.append(chosen)
    return routed


def _keywords(cls: type) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(cls, eval_str=True).parameters
    return {name: p for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _checked(value: Any, parameter: inspect.Parameter, where: str) -> Any:  # noqa: ANN401  a YAML value
    if isinstance(value, list):
        value = tuple(value)
    try:
        return TypeAdapter(parameter.annotation, config=ConfigDict(strict=True)).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{where} = {value!r}: {error.errors()[0]['msg']}") from None


def _config_keys() -> list[str]:
    return [name for group in config.GROUPS.values() for name in group.__dataclass_fields__]  # type: ignore[attr-defined]


# Training


def train(experiment: Experiment) -> pd.DataFrame:
    """Train, or go on where a killed training stopped, and write weights, history.csv and run.json.

    With several processes (`devices`, `num_nodes`) this starts torchrun and waits; inside torchrun it is the worker.

    Returns:
        The history, one row per epoch.

    Raises:
        FloatingPointError: If the loss becomes NaN or infinite; the pictures are named.
        RuntimeError: If training was interrupted, or another process trains the same run.
    """
    cfg = experiment.cfg
    if not _is_trained(experiment.task):
        _write_outputs(experiment, pd.DataFrame(columns=["epoch", "step"]), best=None)
        _write_timings(experiment, {"status": "nothing to train"})
    elif _processes(cfg) > 1 and "TORCHELASTIC_RUN_ID" not in os.environ:
        _launch(experiment)
    else:
        history = _fit(experiment)
        if not _rank_zero():  # which alone writes, perhaps later, perhaps on another machine
            return history
    return read_history(experiment.out)


def _rank_zero() -> bool:
    return int(os.environ.get("RANK", 0)) == 0


def _processes(cfg: Run) -> int:
    devices = cfg.hardware.devices
    if devices == "auto":
        return cfg.hardware.num_nodes * (max(1, torch.cuda.device_count()) if cfg.hardware.accelerator != "cpu" else 1)
    return int(devices) * cfg.hardware.num_nodes


def _launch(experiment: Experiment) -> None:
    """torchrun in a process of its own: the one way that also works with CUDA and across nodes."""
    hardware = experiment.cfg.hardware
    if hardware.num_nodes > 1:
        raise RuntimeError(
            f"{experiment.cfg.name} wants {hardware.num_nodes} nodes: start `torchrun --nnodes={hardware.num_nodes} ... "
            f"-m colorexp.train {experiment.cfg.name}` on each of them, then `dvc commit` the stage"
        )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={_processes(experiment.cfg)}"]
    command += ["-m", "colorexp.train", experiment.cfg.name, "--profile", experiment.cfg.profile, "--out", str(experiment.out)]
    with subprocess.Popen(
        command, cwd=paths.root(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=_die_with_parent
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
    if process.returncode or not (experiment.out / CARD).is_file():
        raise RuntimeError(f"training {experiment.cfg.name} in several processes failed (exit {process.returncode})")


def _die_with_parent() -> None:
    if sys.platform == "linux":
        import ctypes
        import signal

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _fit(experiment: Experiment) -> pd.DataFrame:
    cfg = experiment.cfg
    scratch = paths.scratch(f"{cfg.name}-{_key(cfg)}")
    rank_zero = _rank_zero()
    with _alone(scratch) if rank_zero else _nothing():
        last, best = scratch / "last.ckpt", scratch / "best.safetensors"
        history, clock = History(cfg.fitting, best), Clock(cfg.fitting.batch)
        if last.exists():
            weights.unpickle(last)  # a damaged checkpoint is named here, not in the depths of Lightning
        terminal = sys.stdout.isatty()
        trainer = Trainer(
            max_epochs=cfg.fitting.epochs,
            accelerator=cfg.hardware.accelerator,
            devices=cfg.hardware.devices,
            num_nodes=cfg.hardware.num_nodes,
            strategy=cfg.hardware.strategy,
            precision=cfg.hardware.precision,
            accumulate_grad_batches=cfg.fitting.accumulate,
            gradient_clip_val=cfg.fitting.clip or None,
            deterministic=True,
            logger=_loggers(cfg, scratch) if rank_zero else False,
            callbacks=[history, clock, Samples(), Resume(last, cfg.fitting.checkpoint_every), *([] if terminal else [Lines()])],
            enable_progress_bar=terminal,
            enable_model_summary=False,
            enable_checkpointing=True,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            log_every_n_steps=1,  # nothing is logged by step; a longer interval than the epoch makes Lightning warn
        )
        try:
            trainer.fit(experiment.task, datamodule=experiment.data, ckpt_path=last if last.exists() else None, weights_only=True)
        finally:
            _finish_wandb()
        if not trainer.state.finished:
            raise RuntimeError(f"training {cfg.name} was interrupted; started again, it goes on from its last checkpoint")
        if rank_zero:
            weights.load_strictly(experiment.task.model, weights.read(best), what=paths.shown(best))
            _write_outputs(experiment, pd.DataFrame(history.rows), {"epoch": history.best_epoch, "value": history.best_value})
            _write_timings(experiment, clock.report())
            # outputs are written: a forced second run shall train, not load
            for leftover in (last, best):
                leftover.unlink()
        return pd.DataFrame(history.rows)


def _key(cfg: Run) -> str:
    """Names the scratch folder: same key, same result."""
    values = {"config": cfg.training(), "data": _data_hashes(cfg), "code": code_hash(cfg)}
    return provenance.config_hash(values)


def _data_hashes(cfg: Run) -> dict[str, str]:
    """Of the pictures, and of the lists that say which reference each of them has."""
    names = sorted({*cfg.data.train_on, cfg.data.validate_on})
    found = {name: provenance.data_hash(name) for name in names}
    if "nearest" in cfg.referencing.references:
        found |= {f"pairs/{name}": provenance.file_hash(paths.pairs(name)) for name in names}
    return found


def code_hash(cfg: Run) -> str:
    """Of everything the run's training can execute."""
    return provenance.code_hash(["colorexp.runs", cfg.model.partition(":")[0], cfg.task.partition(":")[0]])


@contextmanager
def _alone(scratch: Path) -> Iterator[None]:
    """Hold the scratch folder's lock: an orphan of a killed stage must not write beside its successor."""
    scratch.mkdir(parents=True, exist_ok=True)
    with (scratch / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(
                f"{paths.shown(scratch)} is in use: another process trains this run (an orphan of a killed one?)"
            ) from None
        # Lightning writes a temporary file and moves it: that is atomic only within one file system
        before, tempfile.tempdir = tempfile.tempdir, str(scratch)
        try:
            yield
        finally:
            tempfile.tempdir = before


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _loggers(cfg: Run, scratch: Path) -> list[Logger]:
    found: list[Logger] = [CSVLogger(scratch, name="csv")]
    if os.environ["WANDB_MODE"] != "disabled":
        import wandb

        settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
        # a new id every time: two offline parts of one id would overwrite each other when synced; the group holds them together
        paths.wandb().mkdir(parents=True, exist_ok=True)
        run = wandb.init(
            project="colorexp",
            group=cfg.name,
            name=cfg.name,
            job_type=cfg.profile,
            tags=[cfg.paper],
            config=cfg.as_dict(),
            dir=paths.wandb(),
            settings=settings,
        )
        found.append(WandbLogger(experiment=run))
    return found


def _finish_wandb() -> None:
    if "wandb" in sys.modules:
        import wandb

        wandb.finish()


def _write_outputs(experiment: Experiment, history: pd.DataFrame, best: dict[str, Any] | None) -> None:
    cfg, out = experiment.cfg, experiment.out
    weights.save(experiment.task.model, out / WEIGHTS)
    paths.write_atomically(out / HISTORY, history.to_csv(index=False).encode())
    card = {
        "status": "trained",
        "config": cfg.training(),
        "best": best,
        "parameters": sum(p.numel() for p in experiment.task.model.parameters()),
        "provenance": {
            "config": provenance.config_hash(cfg.training()),
            "data": _data_hashes(cfg),
            "code": code_hash(cfg),
        },
    }
    _write_json(out / CARD, card)


def _write_timings(experiment: Experiment, clocks: Mapping[str, Any]) -> None:
    """Under reports/timings for the pipeline's own result, else beside the weights."""
    official = experiment.out == paths.run(experiment.cfg.name)
    _write_json(paths.timings(f"train/{experiment.cfg.name}") if official else experiment.out / "timings.json", clocks)


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    paths.write_atomically(path, (json.dumps(values, indent=1, sort_keys=True) + "\n").encode())


# Trained runs


def read_history(folder: Path) -> pd.DataFrame:
    """The history of a trained run, one row per epoch."""
    return pd.read_csv(folder / HISTORY)


def load(folder: Path, *, evaluating: bool = False, options: Mapping[str, Any] | None = None) -> tuple[Run, Colorizer]:
    """Rebuild a trained run in eval mode, from its folder alone unless it is to be evaluated.

    Args:
        folder: Holds run.json and model.safetensors.
        evaluating: Also read what params.yaml asks to measure, and the colours of its training pictures, which its loss needs and
            colorizing does not.
        options: Constructor arguments of model and task instead of those it was trained with, such as another threshold.

    Raises:
        FileNotFoundError: If the run has not been trained.
        ValueError: If it is not part of the profile, its weights are damaged, or they belong to another model.
    """
    cfg = config.from_dict(_card(folder)["config"])
    cfg = replace(cfg, options={**cfg.options, **(options or {})})
    if evaluating:
        cfg = replace(cfg, evaluation=config.load(cfg.name, profile=cfg.profile).evaluation)
    torch.set_num_threads(cfg.hardware.threads)
    task = build_task(cfg, statistics=training_statistics(cfg.data) if evaluating else None)
    weights.load_strictly(task.model, weights.read(folder / WEIGHTS), what=paths.shown(folder / WEIGHTS))
    return cfg, task.eval()


def _card(folder: Path) -> dict[str, Any]:
    card = folder / CARD
    if not card.is_file():
        raise FileNotFoundError(f"{paths.shown(folder)} holds no trained run (no {CARD}); run `dvc repro` or `colorexp train`")
    info: dict[str, Any] = json.loads(card.read_text())
    if info["status"] != "trained":
        raise ValueError(f"{paths.shown(folder)}: {info['reason']}")
    return info
