"""DISCO as a task: what it is trained for, and the ways in which it colours.

Source: Disentangled Image Colorization via Global Anchors, sections 4.4 and 5.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn

from colorexp import backbones, color, losses
from colorexp.models.disco import Anchor
from colorexp.seeding import generator
from colorexp.tasks.automatic import SAMPLES, Automatic, chroma, class_weights, lightness
from colorexp.tasks.base import Setting
from colorexp.types import Batch, Prediction

LAYERS = {"relu1_1": 1 / 32, "relu2_1": 1 / 16, "relu3_1": 1 / 8, "relu4_1": 1 / 4, "relu5_1": 1.0}
"""Layers of VGG19 and their weights.

Unspecified: the weights (omega_l of eq. 5); these are the released code's, whose layers end in a ReLU where the paper's do not.
"""
COUNTS = (3, 5, 8, 11, 14)
"""Numbers of anchors that Figures 11 and 12 try."""


class AnchorColorizer(Automatic):
    """Cross-entropy over bins of both branches, and a perceptual loss on the refined colours.

    Args:
        model: A `Disco`.
        setting: What the run prescribes.
        rebalance: lambda, the share of the uniform distribution in the prior that both cross-entropies are weighted against, in
            (0, 1]; None weights all superpixels alike, as the paper prints.
        perceptual_weight: beta of eq. 5.
        perceptual_layers: How many of the five layers, from the first; all of them in the paper. VGG19 up to the last costs five
            times as much as up to the third.
        temperature: Divides the logits that further colourings are drawn from (`samples`), above 0.

    Raises:
        ValueError: If an argument is not as said.

    Source: section 4.4, eq. 4 and 5, lambda 1.

    Deviation: the released code, from which the published numbers came, weights the cross-entropies by `rebalance` 0.5 and leaves
        Adam's betas at 0.9 and 0.999; the paper prints no weights and betas of 0 and 0.9 (`disco_paper`).

    Unspecified: the prior behind those weights; it is counted on the training pictures and not smoothed.

    Unspecified: pretrained weights of VGG19 are looked for where torch keeps them; without them its fixed random stand-in compares
        edges and colours rather than objects.
    """

    logged = ("loss", "modeler", "generator", "perceptual", "accuracy")
    weights: Tensor

    def __init__(
        self,
        model: nn.Module,
        setting: Setting,
        *,
        rebalance: float | None = 0.5,
        perceptual_weight: float = 5.0,
        perceptual_layers: int = 5,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(model, setting)
        if perceptual_weight < 0:
            raise ValueError(f"perceptual_weight must not be negative, got {perceptual_weight}")
        if not 1 <= perceptual_layers <= len(LAYERS):
            raise ValueError(f"perceptual_layers must be 1 to {len(LAYERS)}, got {perceptual_layers}")
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        if getattr(model, "locate", None) == "truth":
            raise ValueError("locate must be 'features' or 'random' in a run: the truth is a way to colour, `truth_clusters`")
        self.perceptual_weight, self.temperature = perceptual_weight, temperature
        self.register_buffer("weights", class_weights(setting, rebalance), persistent=False)
        self.layers = list(LAYERS)[:perceptual_layers]
        self._vgg: list[nn.Module] = []  # in a list, so that its weights are no part of what is trained and saved

    @property
    def takes_hints(self) -> bool:  # type: ignore[override]  # read-only here
        """Whether the network has anchors that hints can be added to."""
        return bool(self.model.anchors)

    def inputs(self, batch: Batch) -> tuple[Tensor, Tensor, list[Generator]]:
        """Lightness, the truth, and where each picture's draws come from."""
        return lightness(batch), chroma(batch), draws(batch)

    def loss(self, batch: Batch, output: Any) -> dict[str, Tensor]:  # noqa: ANN401  Disco's Coloured
        """Their sum; the three terms without beta; how often the generator, told the anchors, finds the true bin.

        A branch that a variant lacks has a term of 0; so has the perceptual loss without RefineNet, whose colours alone it sees.
        """
        nothing = output.generator_logits.new_zeros(())
        modeler, perceptual = nothing, nothing
        if output.color_logits is not None:
            modeler = losses.rebalanced_cross_entropy(output.color_logits, output.target, self.weights)
        generator_ = losses.rebalanced_cross_entropy(output.generator_logits, output.target, self.weights)
        if self.perceptual_weight and self.model.refiner is not None:
            perceptual = self._perceptual(batch, output.ab_n)
        accuracy = (output.generator_logits.detach().argmax(1) == output.target).float().mean()
        loss = modeler + generator_ + self.perceptual_weight * perceptual
        terms = {"loss": loss, "modeler": modeler, "generator": generator_, "perceptual": perceptual}
        return terms | {"accuracy": accuracy}

    def _perceptual(self, batch: Batch, ab_n: Tensor) -> Tensor:
        """Source: eq. 5. Both pictures have the true lightness."""
        ab = color.denormalise(batch["L"], ab_n, "disco")[1]
        # only from below: the released code lets colours above 1 pass as well
        rgb, truth = (color.lab_to_rgb(torch.cat([batch["L"], x], 1), clip=False).clamp(min=0) for x in (ab, batch["ab"]))
        network = self._features(rgb.device)
        with torch.no_grad():
            target = network(truth)
        return losses.perceptual(network(rgb), target, [LAYERS[name] for name in self.layers], power=1)

    def _features(self, device: torch.device) -> nn.Module:
        if not self._vgg:
            self._vgg.append(backbones.vgg19(self.layers).network)
        return self._vgg[0].to(device)

    def predict(self, batch: Batch) -> Prediction:
        """Automatic colorization: every anchor gets its most probable colour. Hints, if there are, are further anchors.

        Raises:
            ValueError: If a hint's colour lies outside of the gamut.

        Source: sections 4.2 and 5.2 (controllable colorization).
        """
        coloured = self.model.colorize(lightness(batch), draws(batch))
        if self.takes_hints and batch["hint_mask"].any():
            anchors = [[*own, *added] for own, added in zip(self.model.anchors_of(coloured), _hinted(batch), strict=True)]
            coloured = self.model.colorize_with(lightness(batch), anchors)
        return self._said(batch, coloured)

    def ways(self) -> dict[str, Callable[[Batch], Prediction]]:
        """What tables and figures compare with automatic colorization, see `Disco`.

        `truth_colors`: anchors get their true colours. `truth_clusters`: they are found among true colours. `random`: they lie
        anywhere. `distinct`: the released code's three colourings. `anchors_3` and so on: as many anchors.
        """
        found = super().ways()
        if self.model.anchors:
            found |= {"truth_colors": self._from_truth, "distinct": self._distinct}
            found |= {"truth_clusters": partial(self._located, by="truth"), "random": partial(self._located, by="random")}
            found |= {f"anchors_{count}": partial(self._counted, count=count) for count in COUNTS}
        return found

    def samples(self, batch: Batch, count: int) -> Tensor:
        """Colours that all anchors draw anew every time. Shape (count, B, 2, H, W)."""
        if not self.model.anchors:
            return super().samples(batch, count)
        drawn = self.model.sample(lightness(batch), draws(batch), count=count, temperature=self.temperature)
        return torch.stack([_physical(batch, coloured.ab_n) for coloured in drawn])

    def _from_truth(self, batch: Batch) -> Prediction:
        return self._said(batch, self.model.colorize_from_truth(lightness(batch), chroma(batch), draws(batch)))

    def _located(self, batch: Batch, by: str) -> Prediction:
        truth_n = chroma(batch) if by == "truth" else None
        return self._said(batch, self.model.colorize(lightness(batch), draws(batch), locate=by, ab_n=truth_n))

    def _counted(self, batch: Batch, count: int) -> Prediction:
        return self._said(batch, self.model.colorize(lightness(batch), draws(batch), anchors=count))

    def _distinct(self, batch: Batch) -> Prediction:
        three = [_physical(batch, c.ab_n) for c in self.model.colorize_diverse(lightness(batch), draws(batch))]
        return Prediction(three[0], {SAMPLES: torch.stack(three, 1)})

    def _said(self, batch: Batch, coloured: Any) -> Prediction:  # noqa: ANN401  Disco's Coloured
        return Prediction(_physical(batch, coloured.ab_n), {"anchor_mask": coloured.anchor_mask})


def _physical(batch: Batch, ab_n: Tensor) -> Tensor:
    return color.denormalise(batch["L"], ab_n, "disco")[1]


def _hinted(batch: Batch) -> list[list[Anchor]]:
    """Every hinted pixel of every picture as an anchor."""
    found = []
    for mask, ab in zip(batch["hint_mask"][:, 0], batch["hint_ab"], strict=True):
        places = mask.nonzero().tolist()
        found.append([Anchor(row, col, tuple(ab[:, row, col].tolist())) for row, col in places])
    return found


def draws(batch: Batch) -> list[Generator]:
    """One generator per picture, from its draw."""
    return [generator(draw, "anchors") for draw in batch["draw"]]
