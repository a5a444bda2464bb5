"""What happens around training: history, resumption, progress, samples, clocks. Their state travels in the checkpoint."""

import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor

from colorexp import color, weights
from colorexp.config import Fitting
from colorexp.tasks.base import Colorizer
from colorexp.types import Batch


class History(Callback):
    """One row per epoch, and the weights of the best one by validation.

    Args:
        fitting: Says what is monitored.
        best: Where the best weights go.
    """

    def __init__(self, fitting: Fitting, best: Path) -> None:
        self.fitting, self.best_path = fitting, best
        self.rows: list[dict[str, float]] = []
        self.best_value: float | None = None
        self.best_epoch: int | None = None
        self._val: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training continues from."""
        return {"rows": self.rows, "best_value": self.best_value, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The counterpart of `state_dict`."""
        self.rows = list(state_dict["rows"])
        self.best_value, self.best_epoch = state_dict["best_value"], state_dict["best_epoch"]

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keeps the weights if they are the best so far."""
        assert isinstance(pl_module, Colorizer)
        self._val = pl_module.averages("val")
        pl_module.log_dict(self._val)
        value = self._val[self.fitting.monitor]
        sign = 1 if self.fitting.monitor_mode == "max" else -1
        if self.best_value is None or sign * value > sign * self.best_value:
            self.best_value, self.best_epoch = value, trainer.current_epoch
            if trainer.is_global_zero:
                weights.save(pl_module.model, self.best_path)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the epoch's row."""
        assert isinstance(pl_module, Colorizer)
        train = pl_module.averages("train")
        pl_module.log_dict(train)
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        step = trainer.global_step
        self.rows.append({"epoch": trainer.current_epoch, "step": step, "lr": rate, **train, **self._val})


class Resume(Checkpoint):
    """Keeps `last.ckpt` so that a killed training goes on and ends with the same bytes.

    It is written every so many optimiser steps inside an epoch and at the end of each, after the epoch's row is in the history;
    never at an epoch's last step, where a resumed Lightning would skip the validation.

    Args:
        path: Of the checkpoint.
        every: Optimiser steps.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ANN401
        """Writes within the epoch."""
        parts = trainer.accumulate_grad_batches
        last = batch_idx + 1 >= trainer.num_training_batches
        if not last and (batch_idx + 1) % (self.every * parts) == 0:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes at the epoch's end."""
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        partial = self.path.with_suffix(".partial")
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            os.replace(partial, self.path)
        trainer.strategy.barrier()


class Lines(Callback):
    """A quiet line per epoch, without clocks: what a notebook shows instead of a progress bar."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints the epoch's means."""
        if trainer.is_global_zero:
            shown = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(("train/", "val/"))}
            means = "  ".join(f"{name} {value:.4f}" for name, value in sorted(shown.items()))
            print(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {means}", flush=True)


class Samples(Callback):
    """Logs a grid of validation pictures to W&B after every epoch: hints on gray, prediction, truth."""

    def __init__(self, pictures: int = 4) -> None:
        self.pictures = pictures
        self._rows: list[Tensor] = []

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Colours the first pictures of the first batch."""
        if batch_idx == 0 and trainer.is_global_zero and _wandb(trainer):
            assert isinstance(pl_module, Colorizer)
            few: Batch = {key: value[: self.pictures] for key, value in batch.items()}  # type: ignore[assignment, index]
            self._rows = comparison(few, pl_module.predict(few).ab)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sends the grid."""
        logger = _wandb(trainer)
        if logger and self._rows:
            grid = torch.cat([torch.cat(list(row), 2) for row in self._rows], 1)
            logger.log_image("samples", [grid.permute(1, 2, 0).cpu().numpy()], caption=["hints, prediction, truth"])


def comparison(batch: Batch, ab: Tensor) -> list[Tensor]:
    """Per picture: hints on gray, prediction, truth; each (3, 3, H, W), uint8."""
    columns = (batch["hint_ab"], ab, batch["ab"])
    pictures = [color.to_8bit(color.lab_to_rgb(torch.cat([batch["L"], column], 1))) for column in columns]
    return list(torch.stack(pictures, 1))


class Clock(Callback):
    """Pictures per second and the peak of memory; the only callback that looks at a clock."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.seconds = 0.0
        self.steps = 0
        self._start, self._first = 0.0, 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the watch where a resumed training enters an epoch in its middle."""
        self._start, self._first = time.perf_counter(), trainer.global_step

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the watch; it stops before validation."""
        self._start, self._first = time.perf_counter(), trainer.global_step

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the watch."""
        self.seconds += time.perf_counter() - self._start
        self.steps += trainer.global_step - self._first

    def report(self) -> dict[str, float]:
        """For reports/timings."""
        unit = 1024 if sys.platform == "linux" else 1  # ru_maxrss is in KiB on Linux, in bytes on macOS
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        result = {"train_seconds": self.seconds, "steps": float(self.steps), "peak_memory_gib": peak / 2**30}
        if self.seconds:
            result["images_per_second"] = self.steps * self.batch / self.seconds
        if torch.cuda.is_available():
            result["peak_gpu_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        return result


def _wandb(trainer: Trainer) -> WandbLogger | None:
    return next((logger for logger in trainer.loggers if isinstance(logger, WandbLogger)), None)
