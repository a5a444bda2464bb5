"""What every task shares: optimisation, steps, running means, and a stop that names the pictures when a loss is no number."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanMetric

from colorexp.config import Fitting
from colorexp.data.store import Statistics
from colorexp.seeding import seed_of
from colorexp.types import Batch, Prediction


class Setting(NamedTuple):
    """What a task is told about its run, besides its own options."""

    fitting: Fitting
    seed: int
    steps_per_epoch: int
    statistics: Statistics | None
    """Colours of the training pictures; None where a trained model is only applied."""


class Colorizer(LightningModule):
    """A network, how it is fed, and what it is trained for.

    A task writes `inputs`, `loss` and `predict`, and may add per-image measures in `scores`. Tasks that need several optimisers
    override `training_step` and `configure_optimizers`.

    Args:
        model: The network.
        setting: What the run prescribes.
    """

    logged: tuple[str, ...] = ("loss",)
    """Names that `loss` returns and that are averaged per epoch; `loss` itself is minimised."""

    takes_hints: bool = True
    """Whether hints change the prediction."""

    takes_reference: bool = False
    """Whether a picture is coloured after a reference, which every batch then holds."""

    def __init__(self, model: nn.Module, setting: Setting) -> None:
        super().__init__()
        self.model = model
        self.setting = setting
        means = {_key(s, name): MeanMetric() for s in ("train", "val") for name in self.logged}
        for mean in means.values():
            mean.persistent(True)  # a training resumed within an epoch reports the mean of the whole epoch
        self.means = nn.ModuleDict(means)

    @abstractmethod
    def inputs(self, batch: Batch) -> Any:  # noqa: ANN401  whatever the model takes
        """What the network is fed; a tuple is its arguments, one by one."""

    def forward(self, batch: Batch) -> Any:  # noqa: ANN401  whatever the model returns
        """What the network says of a batch."""
        given = self.inputs(batch)
        return self.model(*given) if isinstance(given, tuple) else self.model(given)

    @abstractmethod
    def loss(self, batch: Batch, output: Any) -> dict[str, Tensor]:  # noqa: ANN401  whatever the model returns
        """Scalars by name, those of `logged`; `loss` is minimised."""

    @abstractmethod
    def predict(self, batch: Batch) -> Prediction:
        """Colours for a batch, physical ab."""

    def ways(self) -> dict[str, Callable[[Batch], Prediction]]:
        """How a batch can be coloured, by name: the usual way is `predict` and has none."""
        return {"": self.predict}

    def scores(self, batch: Batch, prediction: Prediction) -> dict[str, Tensor]:
        """Per-image measures of this task alone, each (B,)."""
        return {}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One forward pass; Lightning does the rest."""
        terms = self.loss(batch, self(batch))
        if not torch.isfinite(terms["loss"]):
            raise FloatingPointError(
                f"the loss is {terms['loss'].item()} at step {self.global_step}; pictures: {', '.join(batch['id'])}"
            )
        self._collect("train", terms, len(batch["id"]))
        return terms["loss"]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The same terms on validation pictures, averaged over pictures."""
        self._collect("val", self.loss(batch, self(batch)), len(batch["id"]))

    def _collect(self, stage: str, terms: dict[str, Tensor], pictures: int) -> None:
        for name in self.logged:
            self._mean(stage, name).update(terms[name].detach(), pictures)

    def _mean(self, stage: str, name: str) -> MeanMetric:
        return cast(MeanMetric, self.means[_key(stage, name)])

    def averages(self, stage: str) -> dict[str, float]:
        """Means since the last call, over all processes, as `train/loss` and so on."""
        result = {}
        for name in self.logged:
            mean = self._mean(stage, name)
            result[f"{stage}/{name}"] = float(mean.compute())
            mean.reset()
        return result

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Dropout is the one user of the global generator; its state is a function of the step."""
        step = self.trainer.fit_loop.epoch_loop.batch_progress.total.ready
        torch.manual_seed(seed_of(self.setting.seed, "step", step, self.global_rank))

    def configure_optimizers(self) -> Any:  # noqa: ANN401  Lightning's dictionary
        """Optimiser and schedule of the run; norms and biases are decayed as the papers' frameworks do, like all else."""
        optimizer = self.optimizer([p for p in self.parameters() if p.requires_grad])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.schedule(optimizer), "interval": "step"}}

    def optimizer(self, parameters: list[nn.Parameter]) -> Optimizer:
        """The run's optimiser over some parameters."""
        fitting = self.setting.fitting
        if fitting.optimizer == "sgd":
            return SGD(parameters, fitting.lr, momentum=fitting.betas[0], weight_decay=fitting.weight_decay)
        kind = {"adam": Adam, "adamw": AdamW}[fitting.optimizer]
        return kind(parameters, fitting.lr, betas=fitting.betas, weight_decay=fitting.weight_decay, fused=True)

    def schedule(self, optimizer: Optimizer) -> LambdaLR:
        """Linear warm-up, then constant, cosine or linear to `lr_end`, per step."""
        fitting, per_epoch = self.setting.fitting, self.setting.steps_per_epoch
        warmup, total = fitting.warmup * per_epoch, max(1, fitting.epochs * per_epoch)
        floor = fitting.lr_end / fitting.lr

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / (warmup + 1)
            progress = min(1.0, (step - warmup) / max(1.0, total - warmup))
            if fitting.schedule == "cosine":
                progress = 0.5 - 0.5 * torch.cos(torch.tensor(torch.pi * progress, dtype=torch.float64)).item()
            return 1.0 if fitting.schedule == "constant" else 1 + (floor - 1) * progress

        return LambdaLR(optimizer, factor)


def _key(stage: str, name: str) -> str:
    return f"{stage}_{name}"  # a ModuleDict takes no slash
