"""Colorization as classification over uniform Lab bins, and its regression counterpart.

Source: User Guided Image Colorization, sections 4.1 and 4.3.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from colorexp import color, losses, metrics
from colorexp.tasks.base import Colorizer, Setting
from colorexp.types import Batch, Prediction

REPORTED_BINS = 32
"""Accuracy is always measured over the paper's 32 bins, so that runs with other bins, or none, can be compared."""

HintEncoding = Literal["ab", "bins"]


def encode(batch: Batch, hint_encoding: HintEncoding, *, bins: int, hint_scale: float = 1.0) -> Tensor:
    """The networks' three channels: L/100 and the hints' a and b.

    Args:
        batch: Physical Lab and hints.
        hint_encoding: `ab` gives physical a and b, `bins` the raw class index as in the released code, both 0 without hint.
        bins: Classes per channel, for `bins`.
        hint_scale: What physical a and b are divided by.

    Returns:
        Shape (B, 3, H, W).

    Source: User Guided Image Colorization, section 4.1: L concatenated with a and b of the revealed patches, no mask channel.
    """
    L_n, hint = color.normalise(batch["L"], batch["hint_ab"] / hint_scale, "user_guided")
    if hint_encoding == "bins":
        hint = color.bin_ab(batch["hint_ab"], bins=bins) * batch["hint_mask"]
    return torch.cat([L_n, hint], 1).contiguous(memory_format=torch.channels_last)


class BinClassifier(Colorizer):
    """Class-rebalanced cross-entropy over bins of a and b, with extra weight on the hinted pixels.

    Args:
        model: Predicts (B, 2, K, H, W) logits.
        setting: What the run prescribes.
        bins: Classes K per channel, a power of 2 up to 256 where they are weighted.
        hint_encoding: See `encode`.
        hint_scale: See `encode`; L is divided by 100, and hints learn faster on the same scale. 1 is the paper.
        lambda_patch: Weight of the hinted pixels' own term; 0 leaves it out, as the released code does.
        class_weight_power: Exponent of the class weights, which fall with the classes' frequency among the training pictures
            (eq. 1). 1 is the paper, 0 leaves them out. Inverse frequencies span four orders of magnitude, so that for thousands of
            steps rare colours drown everything else; a short training is better off with inverse square roots, 0.5.
        decode_temperature: How a colour is made of the class probabilities: 0 takes the centre of the most probable class; T > 0
            the mean of all centres under softmax(logits / T), the annealed mean of Zhang et al. 2016, who use 0.38. Accuracies are
            those of the most probable class either way.

    Source: section 4.3, eq. 1-4.

    Unspecified: decoding; the paper follows Zhang et al. but names no rule, and its released code takes the most probable class,
        which is the default.

    Unspecified: lambda_patch; 10 is the value that stands, unused, in the released code.

    Deviation: the released class weights were counted on all pictures, test included; ours on training pictures alone.
    """

    logged = ("loss", "cross_entropy", "accuracy")
    weights: Tensor

    def __init__(
        self,
        model: nn.Module,
        setting: Setting,
        *,
        bins: int = 32,
        hint_encoding: HintEncoding = "ab",
        hint_scale: float = 1.0,
        lambda_patch: float = 10.0,
        class_weight_power: float = 1.0,
        decode_temperature: float = 0.0,
    ) -> None:
        super().__init__(model, setting)
        if not 0 <= decode_temperature <= 1:
            raise ValueError(f"decode_temperature must be in [0, 1], got {decode_temperature}")
        if not 0 <= class_weight_power <= 1:
            raise ValueError(f"class_weight_power must be in [0, 1], got {class_weight_power}")
        if class_weight_power:
            color.check_whole_bins(bins)
        self.bins, self.lambda_patch = bins, lambda_patch
        self.hint_encoding, self.hint_scale = hint_encoding, hint_scale
        self.decode_temperature = decode_temperature
        weights = torch.ones(2, bins)
        if class_weight_power and setting.statistics is not None:
            weights = setting.statistics.class_weights(bins) ** class_weight_power
        self.register_buffer("weights", weights, persistent=False)

    def inputs(self, batch: Batch) -> Tensor:
        """See `encode`."""
        return encode(batch, self.hint_encoding, bins=self.bins, hint_scale=self.hint_scale)

    def loss(self, batch: Batch, output: Tensor) -> dict[str, Tensor]:
        """Eq. 4, its term over all pixels alone (eq. 2), and the accuracy over this run's own bins."""
        index = color.bin_ab(batch["ab"], bins=self.bins)
        entropy = losses.bin_entropy(output, index)
        everywhere = losses.weighted_mean(entropy, index, self.weights)
        loss = everywhere
        if self.lambda_patch:
            loss = loss + self.lambda_patch * losses.weighted_mean(entropy, index, self.weights, batch["hint_mask"])
        return {"loss": loss, "cross_entropy": everywhere, "accuracy": metrics.top1(output.detach(), index).mean()}

    def predict(self, batch: Batch) -> Prediction:
        """Colours decoded from the class probabilities of a and of b, see `decode_temperature`."""
        logits = self(batch)
        mode = color.unbin_ab(logits.argmax(2), bins=self.bins)
        ab = mode
        if self.decode_temperature:
            centres = color.bin_centres(self.bins).to(logits.device)[:, None]
            channels = [color.decode_annealed_mean(part, centres, temperature=self.decode_temperature) for part in logits.unbind(1)]
            ab = torch.cat(channels, 1)
        return Prediction(ab, {"logits": logits, "mode": mode})

    def scores(self, batch: Batch, prediction: Prediction) -> dict[str, Tensor]:
        """The losses of every picture and its accuracies, see `colour_scores`."""
        logits = prediction.extras["logits"]
        singles = [
            self.loss({key: value[i : i + 1] for key, value in batch.items()}, logits[i : i + 1])  # type: ignore[arg-type, index]
            for i in range(len(logits))
        ]
        terms = {name: torch.stack([single[name] for single in singles]) for name in ("loss", "cross_entropy")}
        return {**terms, **colour_scores(batch, prediction.extras["mode"])}


class ChromaRegressor(Colorizer):
    """Mean squared error on ab: the formulation whose results the paper calls dominated by brown.

    Args:
        model: Predicts (B, 2, 1, H, W), ab / 128 (built with `bins: null`).
        setting: What the run prescribes.
        hint_encoding: See `encode`.
        hint_scale: See `encode`.

    Source: section 4.1, last paragraph.

    Unspecified: the paper prints no regression loss; this is the plain one.
    """

    logged = ("loss", "accuracy")

    def __init__(self, model: nn.Module, setting: Setting, *, hint_encoding: HintEncoding = "ab", hint_scale: float = 1.0) -> None:
        super().__init__(model, setting)
        self.hint_encoding, self.hint_scale = hint_encoding, hint_scale

    def inputs(self, batch: Batch) -> Tensor:
        """See `encode`."""
        return encode(batch, self.hint_encoding, bins=REPORTED_BINS, hint_scale=self.hint_scale)

    def loss(self, batch: Batch, output: Tensor) -> dict[str, Tensor]:
        """Mean squared error over normalised ab, and the accuracy after binning."""
        ab = _to_ab(output)
        loss = (ab - batch["ab"]).square().mean() / color.AB_LIMIT**2
        return {"loss": loss, "accuracy": _reported_accuracy(ab.detach(), batch["ab"]).mean()}

    def predict(self, batch: Batch) -> Prediction:
        """The regressed colours, within the range of ab."""
        return Prediction(_to_ab(self(batch)).clamp(-color.AB_LIMIT, color.AB_LIMIT))

    def scores(self, batch: Batch, prediction: Prediction) -> dict[str, Tensor]:
        """See `colour_scores`."""
        return colour_scores(batch, prediction.ab)


def colour_scores(batch: Batch, ab: Tensor) -> dict[str, Tensor]:
    """Accuracies of predicted ab over the paper's 32 bins, each (B,).

    Of all pixels, with every occurring class counting alike, of hinted pixels, and by object size where objects are known.
    """
    index, target = _reported_index(ab), _reported_index(batch["ab"])
    scores = {
        "accuracy": metrics.accuracy(index, target),
        "accuracy_balanced": metrics.balanced_accuracy(index, target, bins=REPORTED_BINS),
        "accuracy_hinted": metrics.accuracy(index, target, mask=batch["hint_mask"]),
    }
    if "instance_map" in batch:
        by_size = metrics.accuracy_by_size(index, target, batch["instance_map"])
        scores |= {f"accuracy_{size}": value for size, value in by_size.items()}
    return scores


def _to_ab(output: Tensor) -> Tensor:
    return output.squeeze(2) * color.AB_LIMIT


def _reported_index(ab: Tensor) -> Tensor:
    return color.bin_ab(ab.clamp(-color.AB_LIMIT, color.AB_LIMIT - 1e-3), bins=REPORTED_BINS)


def _reported_accuracy(ab: Tensor, target: Tensor) -> Tensor:
    return metrics.accuracy(_reported_index(ab), _reported_index(target))
