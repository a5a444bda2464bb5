"""How the methods that AdaColViT is compared with are trained, with the Huber loss in the place of their classifiers' losses.

Source: AdaColViT, Table 3; every class names its method's own paper.
"""

import copy
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from colorexp import color, losses
from colorexp.tasks.base import Setting
from colorexp.tasks.point import SCALE, PointColorizer, encode
from colorexp.types import Batch


class PruningColorizer(PointColorizer):
    """The Huber loss and what a method adds to it."""

    def loss(self, batch: Batch, output: Any) -> dict[str, Tensor]:  # noqa: ANN401  what the method's network returns
        """The weighted sum, its parts but for the distillation, and the shares that were kept."""
        target = color.normalise(batch["L"], batch["ab"], SCALE)[1]
        huber = losses.huber(output.ab_n, target, delta=self.huber_delta)
        sparsity = self.sparsity(output)
        kept = {"patch_ratio": output.decisions.patches.detach().mean(), "layer_ratio": output.decisions.layers.detach().mean()}
        return {"loss": huber + sparsity, "huber": huber, "sparsity": sparsity, **kept}

    @abstractmethod
    def sparsity(self, output: Any) -> Tensor:  # noqa: ANN401  what the method's network returns
        """What pulls the network to compute less, weighted."""


class DynamicViTColorizer(PruningColorizer):
    """Huber loss, shares of patches per stage, and the distance to what the network was before anything was dropped.

    The teacher is a copy of the network at the start of training that keeps every patch: for a network that starts from a trained
    dense one, that dense network. It is made anew when a killed training goes on, is not trained and not saved.

    Args:
        model: A `DynamicViT`.
        setting: What the run prescribes.
        huber_delta: Where the loss turns from a parabola to a line, in normalised units; the loss is divided by it.
        ratio_weight: Weight of the squared distances between shares kept and the network's targets.
        distill_weight: Weight of the distances to the teacher, one between tokens, one between colours; 0 is without teacher.
        backbone_lr: Learning rate of all but the predictors, over that of the run.
        frozen_epochs: First epochs in which only predictors learn.

    Raises:
        ValueError: If a weight, a rate or a number of epochs is negative, or `huber_delta` not above 0.

    Source: DynamicViT (Rao et al. 2021), section 3.3; weights and rates are its released code's.

    Deviation: DynamicViT's cross-entropy and its divergence from the teacher's classes are Huber losses on colours here.

    Unspecified: AdaColViT says only that it changed the public code slightly. Distances between shares are squared per picture.
    """

    def __init__(
        self,
        model: nn.Module,
        setting: Setting,
        *,
        huber_delta: float = 0.01,
        ratio_weight: float = 2.0,
        distill_weight: float = 0.5,
        backbone_lr: float = 0.01,
        frozen_epochs: int = 5,
    ) -> None:
        super().__init__(model, setting, huber_delta=huber_delta)
        _check_weights(
            ratio_weight=ratio_weight, distill_weight=distill_weight, backbone_lr=backbone_lr, frozen_epochs=frozen_epochs
        )
        self.ratio_weight, self.distill_weight = ratio_weight, distill_weight
        self.backbone_lr, self.frozen_epochs = backbone_lr, frozen_epochs
        self._teacher: tuple[nn.Module, ...] = ()  # a tuple hides it from parameters, checkpoints and saved weights

    def setup(self, stage: str) -> None:
        """Copies the teacher, before a checkpoint is restored."""
        if stage == "fit":
            self._copy_teacher()

    def loss(self, batch: Batch, output: Any) -> dict[str, Tensor]:  # noqa: ANN401  a Sparsified
        """As its base, and the teacher's part within the sum."""
        terms = super().loss(batch, output)
        return {**terms, "loss": terms["loss"] + self._distance(batch, output)} if self.distill_weight else terms

    def sparsity(self, output: Any) -> Tensor:  # noqa: ANN401  a Sparsified
        """Squared distances between shares kept and targets, mean over pictures and stages."""
        shares = output.decisions.patches[:, list(self.model.stages), 0].mean(-1)  # (B, stages)
        return self.ratio_weight * (shares - shares.new_tensor(self.model.targets)).square().mean()

    def _distance(self, batch: Batch, output: Any) -> Tensor:  # noqa: ANN401  a Sparsified
        if not self._teacher:
            self._copy_teacher()
        everything = type(output.decisions)(*(torch.ones_like(part) for part in output.decisions))
        with torch.no_grad():
            dense = self._teacher[0].to(output.ab_n.device)(encode(batch), decisions=everything)
        kept = output.decisions.patches[:, -1, 0].detach()
        apart = (output.tokens - dense.tokens).square().mean(-1)
        tokens = (apart * kept).sum() / kept.sum().clamp(min=1)
        return self.distill_weight * (tokens + losses.huber(output.ab_n, dense.ab_n, delta=self.huber_delta))

    def _copy_teacher(self) -> None:
        self._teacher = (copy.deepcopy(self.model).requires_grad_(False).eval(),)

    def optimizer(self, parameters: list[nn.Parameter]) -> Optimizer:
        """As its base, with another rate for all but the predictors."""
        quick = {id(p) for p in self.model.predictors.parameters()}
        optimizer = super().optimizer([p for p in parameters if id(p) in quick])
        for group in super().optimizer([p for p in parameters if id(p) not in quick]).param_groups:
            optimizer.add_param_group({**group, "lr": self.backbone_lr * group["lr"]})
        return optimizer

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Parameters without a gradient stay as they are."""
        if self.current_epoch < self.frozen_epochs:
            quick = {id(p) for p in self.model.predictors.parameters()}
            for parameter in self.model.parameters():
                if id(parameter) not in quick:
                    parameter.grad = None


def _check_weights(**values: float) -> None:
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{name} must be 0 or more, got {value}")
