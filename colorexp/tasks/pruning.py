"""How the methods that AdaColViT is compared with are trained, with the Huber loss in the place of their classifiers' losses.

Source: AdaColViT, Table 3; every class names its method's own paper.
"""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from colorexp import losses
from colorexp.tasks.base import Setting
from colorexp.tasks.point import PointColorizer, encode
from colorexp.types import Batch, Prediction


class DynamicViTColorizer(PointColorizer):
    """Huber loss, shares of patches per stage, and the distance to what the network was before anything was dropped.

    The teacher is a copy of the network at the start of training that keeps every patch: for a network that starts from a trained
    dense one, that dense network. It is made anew when a killed training goes on, is not trained and not saved.

    Args:
        model: A `DynamicViT`.
        setting: What the run prescribes.
        huber_delta: Where the loss turns from a parabola to a line, in normalised units; the loss is divided by it.
        ratio_weight: Weight of the squared distances between shares kept and the network's targets.
        distill_weight: Weight of the distances to the teacher, one between tokens, one between colours; 0, for a
            network that starts from nothing, is without teacher.
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


class AdaViTColorizer(PointColorizer):
    """Huber loss, and distances between the shares of patches, layers and heads that are kept and those that shall be.

    Args:
        model: An `AdaViT`.
        setting: What the run prescribes.
        huber_delta: Where the loss turns from a parabola to a line, in normalised units; the loss is divided by it.
        patch_ratio: Share of patches to keep, in [0, 1].
        layer_ratio: Share of layers to keep, in [0, 1]; the first block, which keeps its two, does not count.
        head_ratio: Share of heads to keep, in [0, 1].
        usage_weight: Weight of each of the three distances.
        decision_lr: Learning rate of the layers that decide, over that of the run.

    Raises:
        ValueError: If a share leaves [0, 1], the weight is negative, or `huber_delta` or `decision_lr` not above 0.

    Source: AdaViT (Meng et al. 2022), section 3.3; distances, the shares 0.5 and the weight 2 are its released code's: squared for
        patches, absolute for layers and heads.

    Deviation: AdaViT's cross-entropy is the Huber loss on colours here.

    Unspecified: AdaColViT names no shares; its cost follows from 0.915 at depth 12 and 0.69 at depth 24. Whether heads of the first
        block count: they do.
    """

    def __init__(
        self,
        model: nn.Module,
        setting: Setting,
        *,
        huber_delta: float = 0.01,
        patch_ratio: float = 0.5,
        layer_ratio: float = 0.5,
        head_ratio: float = 0.5,
        usage_weight: float = 2.0,
        decision_lr: float = 1.0,
    ) -> None:
        super().__init__(model, setting, huber_delta=huber_delta, decision_lr=decision_lr)
        for name, ratio in (("patch_ratio", patch_ratio), ("layer_ratio", layer_ratio), ("head_ratio", head_ratio)):
            if not 0 <= ratio <= 1:
                raise ValueError(f"{name} is a share between 0 and 1, got {ratio}")
        _check_weights(usage_weight=usage_weight)
        self.patch_ratio, self.layer_ratio, self.head_ratio, self.usage_weight = patch_ratio, layer_ratio, head_ratio, usage_weight

    def sparsity(self, output: Any) -> Tensor:  # noqa: ANN401  a HeadColoured
        """Distances of the three shares, each a mean over pictures and blocks."""
        patches, layers, heads = output.decisions
        apart = losses.target_ratio(patches, self.patch_ratio) + (heads.mean() - self.head_ratio).abs()
        if layers.shape[1] > 1:
            apart = apart + (layers[:, 1:].mean() - self.layer_ratio).abs()
        return self.usage_weight * apart

    def scores(self, batch: Batch, prediction: Prediction) -> dict[str, Tensor]:
        """As its base, with the share of heads."""
        return {**super().scores(batch, prediction), "head_ratio": prediction.extras["heads"].flatten(1).mean(1)}


class AViTColorizer(PointColorizer):
    """Huber loss, a price for every block that a patch goes through, and a distribution of where patches halt.

    Args:
        model: An `AViT`.
        setting: What the run prescribes.
        huber_delta: Where the loss turns from a parabola to a line, in normalised units; the loss is divided by it.
        ponder_weight: Price of a block, per patch.
        prior_weight: Weight of the divergence between halting scores per block and a Gaussian of width 1.
        prior_block: Block, counted from 0, in which patches shall halt; None is two thirds of the way, 8 of 12 and 16 of 24.

    Raises:
        ValueError: If a weight is negative, `prior_block` no block behind the first, or `huber_delta` not above 0.

    Source: A-ViT (Yin et al. 2022), section 3.3; weights, width and block are its released code's.

    Deviation: A-ViT's cross-entropy is the Huber loss on colours here. Its code leaves the first picture of a batch out of the mean
        scores, where it seems to mean the class token; ours are means over all pictures and patches.

    Unspecified: whether patches that have stopped take part in the mean scores: they do, with 0.
    """

    def __init__(
        self,
        model: nn.Module,
        setting: Setting,
        *,
        huber_delta: float = 0.01,
        ponder_weight: float = 5e-4,
        prior_weight: float = 1e-3,
        prior_block: int | None = None,
    ) -> None:
        super().__init__(model, setting, huber_delta=huber_delta)
        _check_weights(ponder_weight=ponder_weight, prior_weight=prior_weight)
        depth = len(self.model.blocks)
        chosen = max(1, 2 * depth // 3) if prior_block is None else prior_block
        if not 0 < chosen < max(depth, 2):
            raise ValueError(f"prior_block must be a block from 1 to {depth - 1}, got {prior_block}")
        self.ponder_weight, self.prior_weight, self.prior_block = ponder_weight, prior_weight, chosen

    def sparsity(self, output: Any) -> Tensor:  # noqa: ANN401  a Halted
        """The mean price, and the divergence of the distribution."""
        price = self.ponder_weight * output.ponder.mean()
        return price + self.prior_weight * halting_divergence(output.halting.mean((0, 2)), self.prior_block)


def halting_divergence(halting: Tensor, block: int) -> Tensor:
    """Kullback-Leibler divergence of mean halting scores from a Gaussian over blocks.

    Args:
        halting: Mean score in [0, 1] per block. Shape (depth,).
        block: Centre of the Gaussian, counted from 0; its standard deviation is one block.

    Returns:
        Nats; the scores are made to sum to one and held within 0.01 and 0.99, and of the Gaussian the part before `block` sums to
        0.98, so that it may be negative. That scale moves the value alone.

    Source: A-ViT (Yin et al. 2022), section 3.3 and released code.
    """
    share = (halting / halting.sum()).clamp(0.01, 0.99)
    log_prior = -(torch.arange(len(halting), device=halting.device, dtype=halting.dtype) - block).square() / 2
    log_prior = log_prior - log_prior[:block].logsumexp(0) + math.log(0.98)
    return (share * (share.log() - log_prior)).sum()


def _check_weights(**values: float) -> None:
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{name} must be 0 or more, got {value}")
