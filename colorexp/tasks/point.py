"""Point-interactive colorization: a network sees lightness and a few hinted cells and predicts chroma.

Source: Real-Time User-guided Adaptive Colorization with Vision Transformer, section 3.3.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.optim import Optimizer
from torch.utils.flop_counter import FlopCounterMode

from colorexp import color, losses, metrics
from colorexp.models.vit.decisions import DecisionNetwork
from colorexp.seeding import generator
from colorexp.tasks.base import Colorizer, Setting
from colorexp.types import Batch, Prediction

SCALE = "icolorit"
SHOWN_BLOCK = 2
"""The third block, whose feed-forward's patches Figure 8 draws."""


def encode(batch: Batch) -> Tensor:
    """The networks' four channels: (L - 50) / 100, the hints' a and b over 110, and 1 where there is a hint.

    Returns:
        Shape (B, 4, H, W).

    Source: AdaColViT, section 3.1; the scales are those of iColoriT's released code.
    """
    L_n, hint_ab_n = color.normalise(batch["L"], batch["hint_ab"], SCALE)
    return torch.cat([L_n, hint_ab_n, batch["hint_mask"].to(L_n.dtype)], 1)


class PointColorizer(Colorizer):
    """Huber loss on normalised ab; networks that decide what to compute are also pulled to the shares they shall keep.

    Networks are called with (B, 4, H, W) and return normalised ab. One that decides returns ab and its decisions, offers `draw` for
    the noise of training and `infer`, which does not compute what it leaves out; it is measured in that form.

    Args:
        model: The network.
        setting: What the run prescribes.
        huber_delta: Where the loss turns from a parabola to a line, in normalised units; the loss is divided by it.
        beta1: Share of patches to keep, of a network that decides about patches.
        beta2: Share of layers to keep, of a network that decides about layers.
        sparsity_weight: Weight of the squared distances to both shares.
        decision_lr: Learning rate of the layers that decide, over that of the run.

    Raises:
        ValueError: If `huber_delta` or `decision_lr` is not above 0, `decision_lr` is not 1 where no layer decides, or a share
            leaves [0, 1].

    Source: section 3.3, eq. 12-14.

    Deviation: eq. 12 prints delta 1, at which realistic residuals weigh 15 to 115 times less than in the released code of iColoriT
        and of this paper's authors, who divide a delta of 0.01 by itself; the latter is the default, the former a run of its own.

    Deviation: eq. 13 averages over layers alone although its decisions are per patch and branch; ours are means over everything.

    Unspecified: the rate of the layers that decide; the authors' code has one rate for all, which is the default. Tokens differ
        from picture to picture by a tenth of their length or less: in few steps at that rate, what is learned of decisions is how
        many to keep, and hardly for which picture.

    Unspecified: beta 1 and beta 2; params.yaml holds those that cost what the paper's tables print.
    """

    model: Any
    """A network as above; only its calls are known here."""

    def __init__(
        self,
        model: nn.Module,
        setting: Setting,
        *,
        huber_delta: float = 0.01,
        beta1: float | None = None,
        beta2: float | None = None,
        sparsity_weight: float = 1.0,
        decision_lr: float = 1.0,
    ) -> None:
        self.decides = hasattr(model, "infer")
        self.logged = ("loss", "huber", "sparsity", "patch_ratio", "layer_ratio") if self.decides else ("loss",)
        super().__init__(model, setting)
        for name, value in (("huber_delta", huber_delta), ("decision_lr", decision_lr)):
            if not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        for name, kind, ratio in (("beta1", "patches", beta1), ("beta2", "layers", beta2)):
            if ratio is not None and not 0 <= ratio <= 1:
                raise ValueError(f"{name} is a share between 0 and 1, got {ratio}")
            if ratio is not None and not self._learns(kind):
                raise ValueError(f"{name} is for networks that learn which {kind} to keep: it has no effect here, got {ratio}")
        if sparsity_weight < 0:
            raise ValueError(f"sparsity_weight must be 0 or more, got {sparsity_weight}")
        self.huber_delta, self.beta1, self.beta2, self.sparsity_weight = huber_delta, beta1, beta2, sparsity_weight
        self.decision_lr = decision_lr
        if decision_lr != 1 and not self._deciding():
            raise ValueError(f"decision_lr must be 1 where nothing learns to decide, got {decision_lr}")
        self._counted: dict[tuple[int, int], float] = {}

    def _learns(self, kind: str) -> bool:
        decisions = getattr(self.model, "decisions", None)
        return isinstance(decisions, DecisionNetwork) and not decisions.random and kind in decisions.kinds

    def inputs(self, batch: Batch) -> Any:  # noqa: ANN401  a tensor, or with the noise of decisions
        """See `encode`; in training, networks that decide also get uniform numbers that depend on each picture's draw alone."""
        x = encode(batch)
        return (x, self._uniform(batch)) if self._noisy() else x

    def _noisy(self) -> bool:
        return self.decides and (self.training or self.model.decide == "random")

    def _uniform(self, batch: Batch) -> Any:  # noqa: ANN401  what the network's `draw` makes
        height, width = batch["L"].shape[-2:]
        draws = [self.model.draw((height, width), generator(draw, "decisions")) for draw in batch["draw"]]
        stacked = type(draws[0]).stack(draws)
        return type(stacked)(*(part.to(batch["L"].device) for part in stacked))

    def loss(self, batch: Batch, output: Any) -> dict[str, Tensor]:  # noqa: ANN401  ab, or ab and decisions
        """Eq. 14; of a network that decides also its parts and the shares that were kept."""
        target = color.normalise(batch["L"], batch["ab"], SCALE)[1]
        if not self.decides:
            return {"loss": losses.huber(output, target, delta=self.huber_delta)}
        huber, sparsity = losses.huber(output.ab_n, target, delta=self.huber_delta), self.sparsity(output)
        kept = {"patch_ratio": output.decisions.patches.detach().mean(), "layer_ratio": output.decisions.layers.detach().mean()}
        return {"loss": huber + sparsity, "huber": huber, "sparsity": sparsity, **kept}

    def sparsity(self, output: Any) -> Tensor:  # noqa: ANN401  what a network that decides returns
        """Eq. 13, weighted: what pulls the network to compute less."""
        asked = ((output.decisions.patches, self.beta1), (output.decisions.layers, self.beta2))
        terms = [losses.target_ratio(kept, ratio) for kept, ratio in asked if ratio is not None]
        return self.sparsity_weight * sum(terms, output.ab_n.new_zeros(()))

    def predict(self, batch: Batch) -> Prediction:
        """Predicted chroma, physical, and what was kept for it."""
        x = encode(batch)
        extras: dict[str, Tensor] = {}
        if self.decides:
            output = self.model.infer(x, self._uniform(batch) if self._noisy() else None)
            ab_n, extras = output.ab_n, output.decisions._asdict()
            planes = self._planes(extras, batch["L"].shape[-2:])
            extras |= {f"shown_{name}": (255 * plane).round().to(torch.uint8) for name, plane in planes.items()}
        else:
            ab_n = self.model(x)
        return Prediction(color.denormalise(batch["L"], ab_n, SCALE)[1], extras)

    def _planes(self, made: Mapping[str, Tensor], size: Size) -> dict[str, Tensor]:
        """What Figure 8 draws, for every pixel's patch: (B, H, W) in [0, 1].

        `kept` is whether the feed-forward of `SHOWN_BLOCK` runs and keeps it, where there is such a block; `share`, how many of the
        branches that run keep it.
        """
        patches, layers = made["patches"], made["layers"]  # (B, depth, 1 or 2, N), (B, depth, 2)
        runs = layers[:, :, -patches.shape[2] :]
        worked = (patches * runs[..., None]).sum((1, 2)) / runs.sum((1, 2))[:, None].clamp(min=1)
        flat = {"kept": patches[:, SHOWN_BLOCK, -1] * runs[:, SHOWN_BLOCK, -1, None]} if patches.shape[1] > SHOWN_BLOCK else {}
        rows, cols = self.model.embed.grid((size[0], size[1]))
        side = self.model.embed.patch
        return {
            name: values.unflatten(1, (rows, cols)).repeat_interleave(side, 1).repeat_interleave(side, 2)[:, : size[0], : size[1]]
            for name, values in {**flat, "share": worked}.items()
        }

    def scores(self, batch: Batch, prediction: Prediction) -> dict[str, Tensor]:
        """Multiply-adds and shares kept per picture, and on scenes the errors and kept patches inside and outside objects."""
        kept = prediction.extras
        size = (batch["L"].shape[-2], batch["L"].shape[-1])
        if self.decides:
            kind = type(self.model.draw(size, generator("fields")))
            cost = self.model.multiply_adds(kind(**{name: kept[name] for name in kind._fields}), size).double()
        else:
            cost = torch.full((len(batch["id"]),), self._multiply_adds(size), dtype=torch.float64)
        scores = {"multiply_adds_m": cost / 1e6}
        if self.decides:
            scores |= {"patch_ratio": kept["patches"].flatten(1).mean(1), "layer_ratio": kept["layers"].flatten(1).mean(1)}
        if "instance_map" in batch:
            objects = batch["instance_map"] > 0
            scores["objects"] = torch.tensor([len(m.unique()) - 1 for m in batch["instance_map"]], dtype=torch.float64)
            for name, mask in (("objects", objects), ("background", ~objects)):
                scores[f"ab_error_{name}"] = metrics.ab_error(prediction.ab, batch["ab"], mask=mask)
                for what, plane in (self._planes(kept, batch["L"].shape[-2:]) if self.decides else {}).items():
                    scores[f"{what}_{name}"] = (plane * mask).flatten(1).sum(1) / mask.flatten(1).sum(1)
        return scores

    def _multiply_adds(self, size: tuple[int, int]) -> float:
        """Of a network that computes the same for every picture; counted on a copy without data."""
        if size not in self._counted:
            skeleton = copy.deepcopy(self.model).to("meta")
            with FlopCounterMode(display=False) as counter:
                skeleton(torch.zeros(1, 4, *size, device="meta"))
            self._counted[size] = counter.get_total_flops() / 2
        return self._counted[size]

    def optimizer(self, parameters: list[nn.Parameter]) -> Optimizer:
        """The run's optimiser; biases and norms, what has one dimension, and a policy token are not decayed.

        Source: the released code of iColoriT; the paper gives a weight decay and does not say of what.

        Unspecified: the policy token; a learned token is no weight, as a class token elsewhere.
        """
        policy = getattr(self.model, "policy", None)
        free = {id(p) for p in parameters if p.ndim <= 1 or p is policy}
        optimizer = super().optimizer([p for p in parameters if id(p) not in free])
        optimizer.add_param_group({"params": [p for p in parameters if id(p) in free], "weight_decay": 0.0})
        return self._quickened(optimizer) if self.decision_lr != 1 else optimizer

    def _quickened(self, optimizer: Optimizer) -> Optimizer:
        """Moves the parameters of decisions into groups with a rate of their own."""
        deciding = self._deciding()
        for group in list(optimizer.param_groups):
            quick = [p for p in group["params"] if id(p) in deciding]
            group["params"] = [p for p in group["params"] if id(p) not in deciding]
            optimizer.add_param_group({**group, "params": quick, "lr": self.decision_lr * group["lr"]})
        return optimizer

    def _deciding(self) -> set[int]:
        return {id(p) for name, p in self.model.named_parameters() if "decisions." in name}
