"""Colours without any hint, by classification, regression and autoregression: what DISCO is compared with.

Source: Disentangled Image Colorization via Global Anchors (DISCO), Figure 1 and Tables 1 and 3.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorexp import color, losses, structure
from colorexp.nn.padding import pad_to_multiple
from colorexp.nn.sampling import pick
from colorexp.seeding import generator
from colorexp.tasks.base import Colorizer, Setting
from colorexp.types import Batch, Prediction

SCALE = "disco"
SAMPLES = "samples"
"""The way of colouring, and the extra of a prediction, that holds several colourings: (B, K, 2, H, W)."""
MEASURED_SAMPLES = 8
"""Colourings that diversity and mode coverage are measured on."""


class Automatic(Colorizer):
    """What the three frameworks share: L as DISCO scales it, and what scenes tell of a colouring."""

    takes_hints = False
    model: Any
    """One of the networks of `colorexp.models.automatic`; only its calls are known here."""

    def ways(self) -> dict[str, Callable[[Batch], Prediction]]:
        """`samples`: the first of several colourings, all of which are measured together."""
        return super().ways() | {SAMPLES: self._sampled}

    def _sampled(self, batch: Batch) -> Prediction:
        drawn = self.samples(batch, MEASURED_SAMPLES)
        return Prediction(drawn[0], {SAMPLES: drawn.transpose(0, 1)})

    def samples(self, batch: Batch, count: int) -> Tensor:
        """Several colourings of every picture; of a framework that knows one answer, that one. Shape (count, B, 2, H, W)."""
        ab = self.predict(batch).ab
        return ab.expand(count, *ab.shape)

    def scores(self, batch: Batch, prediction: Prediction) -> dict[str, Tensor]:
        """Distance between several colourings, if there are; on scenes the spread inside objects, and which modes they reach."""
        found = object_spread(batch, prediction.ab)
        if SAMPLES in prediction.extras:
            samples = prediction.extras[SAMPLES].transpose(0, 1)
            found["diversity"] = structure.diversity(samples)
            if "instance_map" in batch:
                found["mode_coverage"] = structure.mode_coverage(
                    samples, batch["class_map"], _objects(batch), structure.scene_modes()
                )
        return found


class GamutClassifier(Automatic):
    """Class-rebalanced cross-entropy over the 313 gamut bins, decoded by the annealed mean.

    Args:
        model: Predicts logits (B, 313, h, w) for squares of `model.cell` pixels.
        setting: What the run prescribes.
        rebalance: lambda, the share of the uniform distribution in the prior that classes are weighted against, in (0, 1]; None
            weights all positions alike.
        decode_temperature: Of the annealed mean, in (0, 1].

    Raises:
        ValueError: If an argument is not as said.

    Source: Colorful Image Colorization (Zhang et al. 2016), sections 2.2 and 2.3, eq. 2 to 5.

    Deviation: the target is the nearest bin instead of a soft code over five, and the prior is not smoothed.

    Unspecified: how ab is brought to the resolution of the targets; it is averaged over each square.
    """

    logged = ("loss", "cross_entropy", "accuracy")
    weights: Tensor
    centres: Tensor

    def __init__(
        self,
        model: nn.Module,
        setting: Setting,
        *,
        rebalance: float | None = 0.5,
        decode_temperature: float = 0.38,
    ) -> None:
        super().__init__(model, setting)
        if not 0 < decode_temperature <= 1:
            raise ValueError(f"decode_temperature must be in (0, 1], got {decode_temperature}")
        self.decode_temperature = decode_temperature
        self.register_buffer("weights", class_weights(setting, rebalance), persistent=False)
        self.register_buffer("centres", color.ab_gamut(), persistent=False)

    def inputs(self, batch: Batch) -> Tensor:
        """Lightness as DISCO scales it. Shape (B, 1, H, W)."""
        return lightness(batch)

    def loss(self, batch: Batch, output: Tensor) -> dict[str, Tensor]:
        """The weighted cross-entropy, the plain one, and how often the most probable bin is the true one."""
        index = _symbols(batch, self.centres, self.model.cell)
        loss = losses.rebalanced_cross_entropy(output, index, self.weights)
        with torch.no_grad():
            plain = losses.rebalanced_cross_entropy(output, index)
            accuracy = (output.argmax(1) == index).float().mean()
        return {"loss": loss, "cross_entropy": plain, "accuracy": accuracy}

    def predict(self, batch: Batch) -> Prediction:
        """The annealed mean of every distribution, interpolated."""
        logits = self(batch)
        coarse = color.decode_annealed_mean(logits, self.centres, temperature=self.decode_temperature)
        return Prediction(self._enlarge(coarse, batch), {"logits": logits})

    def samples(self, batch: Batch, count: int) -> Tensor:
        """Colours drawn from every distribution on its own, interpolated. Shape (count, B, 2, H, W)."""
        logits = self(batch)
        drawn = [pick(logits, _uniform(batch, logits.shape[-2:], number)) for number in range(count)]
        return torch.stack([self._enlarge(self.centres[index].movedim(-1, 1), batch) for index in drawn])

    def _enlarge(self, coarse: Tensor, batch: Batch) -> Tensor:
        height, width = batch["L"].shape[-2:]
        return F.interpolate(coarse, scale_factor=float(self.model.cell), mode="bilinear")[..., :height, :width]


class GamutRegressor(Automatic):
    """Huber loss on normalised ab of a network for hints that is given none.

    Args:
        model: Takes L, hints and their mask, (B, 4, H, W), and predicts normalised ab.
        setting: What the run prescribes.
        huber_delta: Where the loss turns from a parabola to a line, in normalised units; the loss is divided by it.

    Raises:
        ValueError: If `huber_delta` is not above 0.

    Source: Real-Time User-Guided Image Colorization with Learned Deep Priors (Zhang et al. 2017), section 3.1, eq. 2 and 3.

    Deviation: it is trained without hints, as it is used here; the published network saw hints and was asked to do without.

    Unspecified: the unit of its delta of 1; we take ab units, of which 0.01 in normalised units is about one.
    """

    def __init__(self, model: nn.Module, setting: Setting, *, huber_delta: float = 0.01) -> None:
        super().__init__(model, setting)
        if not huber_delta > 0:
            raise ValueError(f"huber_delta must be above 0, got {huber_delta}")
        self.huber_delta = huber_delta

    def inputs(self, batch: Batch) -> Tensor:
        """Lightness and three channels of zeros, where hints would be. Shape (B, 4, H, W)."""
        return F.pad(lightness(batch), (0, 0, 0, 0, 0, 3))

    def loss(self, batch: Batch, output: Tensor) -> dict[str, Tensor]:
        """The Huber loss alone."""
        return {"loss": losses.huber(output, chroma(batch), delta=self.huber_delta)}

    def predict(self, batch: Batch) -> Prediction:
        """The regressed colours."""
        return Prediction(color.denormalise(batch["L"], self(batch), SCALE)[1])


class AutoregressiveColorizer(Automatic):
    """Cross-entropy of every coarse symbol given the true ones before it, and a Huber loss for the upsampling.

    Args:
        model: A `ColTran`.
        setting: What the run prescribes.
        temperature: Of the distributions that symbols are drawn from when a picture is predicted, above 0; None takes the most
            probable symbol instead of drawing.
        huber_delta: Of the upsampler's loss, see `GamutRegressor`.

    Raises:
        ValueError: If an argument is not as said.

    Source: Colorization Transformer (Kumar et al. 2021), section 4.

    Deviation: the parallel prediction that it trains beside the autoregressive one, as a help, is left out.

    Unspecified: the loss of our upsampler, which shares no parameter with the rest: both terms weigh one.
    """

    logged = ("loss", "cross_entropy", "huber")
    centres: Tensor

    def __init__(
        self,
        model: nn.Module,
        setting: Setting,
        *,
        temperature: float | None = 1.0,
        huber_delta: float = 0.01,
    ) -> None:
        super().__init__(model, setting)
        for name, value in (("temperature", temperature), ("huber_delta", huber_delta)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        self.temperature, self.huber_delta = temperature, huber_delta
        self.register_buffer("centres", color.ab_gamut(), persistent=False)

    def inputs(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Lightness, the true symbols and their colours."""
        index = _symbols(batch, self.centres, self.model.cell)
        return lightness(batch), index, self._colours_n(index)

    def loss(self, batch: Batch, output: Any) -> dict[str, Tensor]:  # noqa: ANN401  logits and ab
        """Cross-entropy of the symbols, Huber loss of the picture made of the true ones."""
        entropy = losses.rebalanced_cross_entropy(output.logits, _symbols(batch, self.centres, self.model.cell))
        huber = losses.huber(output.ab_n, chroma(batch), delta=self.huber_delta)
        return {"loss": entropy + huber, "cross_entropy": entropy, "huber": huber}

    def predict(self, batch: Batch) -> Prediction:
        """Colours of drawn or most probable symbols."""
        index = self.model.most_probable(lightness(batch)) if self.temperature is None else self._draw(batch, 0)
        return Prediction(self._paint(batch, index), {"symbols": index})

    def samples(self, batch: Batch, count: int) -> Tensor:
        """Colours of symbols drawn anew every time, at temperature 1 if none is set. Shape (count, B, 2, H, W)."""
        return torch.stack([self._paint(batch, self._draw(batch, number)) for number in range(count)])

    def _draw(self, batch: Batch, number: int) -> Tensor:
        height, width = batch["L"].shape[-2:]
        uniform = _uniform(batch, self.model.grid((height, width)), number)
        return self.model.sample(lightness(batch), uniform, temperature=self.temperature or 1.0)

    def _paint(self, batch: Batch, index: Tensor) -> Tensor:
        ab_n = self.model.upsample(lightness(batch), self._colours_n(index))
        return color.denormalise(batch["L"], ab_n, SCALE)[1]

    def _colours_n(self, index: Tensor) -> Tensor:
        ab = self.centres[index].movedim(-1, 1)  # (B, 2, h, w)
        return color.normalise(ab, ab, SCALE)[1]


def lightness(batch: Batch) -> Tensor:
    """L of a batch as DISCO scales it, (L - 50) / 50. Shape (B, 1, H, W)."""
    return color.normalise(batch["L"], batch["ab"], SCALE)[0]


def chroma(batch: Batch) -> Tensor:
    """True ab of a batch as DISCO scales it, ab / 110. Shape (B, 2, H, W)."""
    return color.normalise(batch["L"], batch["ab"], SCALE)[1]


def object_spread(batch: Batch, ab: Tensor) -> dict[str, Tensor]:
    """On scenes the spread of chroma inside objects, of a colouring (B, 2, H, W) and of the truth; nothing on other pictures.

    Parts that have a colour of their own, such as trunks and windows, are no part of an object here.
    """
    if "instance_map" not in batch:
        return {}
    spread = structure.structural_consistency(ab, batch["ab"], _objects(batch))
    return {"spread": spread.predicted, "spread_true": spread.true}


def _objects(batch: Batch) -> Tensor:
    return batch["instance_map"] * (batch["mode_map"] > 0)


def class_weights(setting: Setting, rebalance: float | None) -> Tensor:
    """What every gamut bin counts in a cross-entropy: 1, or by its rarity among the training pictures. Shape (313,).

    Args:
        setting: Holds the prior of the training pictures; where a network is only applied it does not, and weights are 1.
        rebalance: lambda, the share of the uniform distribution in the prior, in (0, 1]; None weights all bins alike.

    Raises:
        ValueError: If `rebalance` is outside that range.

    Source: Colorful Image Colorization (Zhang et al. 2016), section 2.2, eq. 4.
    """
    if rebalance is not None and not 0 < rebalance <= 1:
        raise ValueError(f"rebalance must be None or in (0, 1], got {rebalance}")
    if rebalance is None or setting.statistics is None:
        return torch.ones(color.GAMUT_BINS)
    return color.rebalancing_weights(setting.statistics.prior, smoothing=rebalance).float()


def _symbols(batch: Batch, centres: Tensor, cell: int) -> Tensor:
    """The bin nearest to the mean colour of every square of `cell` pixels. Shape (B, h, w)."""
    return color.nearest_bin(F.avg_pool2d(pad_to_multiple(batch["ab"], cell), cell), centres)


def _uniform(batch: Batch, size: tuple[int, ...], number: int) -> Tensor:
    """Uniform numbers that depend on each picture's draw and on the sample's number alone. Shape (B, *size)."""
    numbers = [torch.rand(*size, generator=generator(draw, "colours", number)) for draw in batch["draw"]]
    return torch.stack(numbers).to(batch["L"].device)
