"""`python killed_training.py MOMENT=PROJECT ...`: trains in every project and kills itself with SIGKILL at that moment.

A process per training, forked before anything is computed, so that the imports are paid once.
"""

import os
import signal
import sys
from typing import Any

from colorexp import boot  # isort: skip  # noqa: F401

from pytorch_lightning import LightningModule, Trainer
from tiny import quick

from colorexp import runs
from colorexp.tasks.callbacks import Lines, Resume

VALUES: dict[str, Any] = {
    "epochs": 3,
    "batch": 2,
    "accumulate": 2,
    "checkpoint_every": 2,
    "schedule": "cosine",
    "warmup": 1.0,
    "optimizer": "adamw",
}
"""Four optimiser steps, eight micro-batches per epoch; a checkpoint after the second step and at the end of every epoch."""

MOMENTS = ("before-any-checkpoint", "within-an-epoch", "within-a-step", "in-validation", "at-an-epoch's-end", "at-the-end")


def kill(now: bool) -> None:
    if now:
        os.kill(os.getpid(), signal.SIGKILL)


class Killer(Resume):
    """Dies beside the checkpoints."""

    moment = ""

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        when = {"before-any-checkpoint": (0, 1), "within-an-epoch": (1, 3), "within-a-step": (1, 6)}
        kill((trainer.current_epoch, batch_idx) == when.get(self.moment))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        kill((self.moment, trainer.current_epoch) == ("in-validation", 1))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        kill((self.moment, trainer.current_epoch) in (("at-an-epoch's-end", 1), ("at-the-end", 2)))


def main(arguments: list[str]) -> None:
    for argument in arguments:
        moment, _, project = argument.partition("=")
        child = os.fork()
        if child == 0:
            os.chdir(project)
            Killer.moment = moment
            runs.Resume, runs.Lines = Killer, Lines
            runs.train(runs.build(quick("user_guided/res_unet", **VALUES), out="result"))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{moment} {os.waitstatus_to_exitcode(status)}\n")  # a signal is a negative number
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
