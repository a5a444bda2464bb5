"""Multiply-adds of AdaColViT's inference form, from numbers alone."""

from typing import NamedTuple, TypeVar

from torch import Tensor

Number = TypeVar("Number", float, Tensor)


class Costs(NamedTuple):
    """The sizes that multiply-adds follow from; norms, softmax and additions count nothing, as in torch's FlopCounterMode / 2.

    Source: sections 3.2 and 4 give totals only; per token and branch they are the linear layers' products, per pair of tokens the
        two products of attention.
    """

    patch: int
    width: int
    depth: int
    hidden: int
    groups: int
    deciding: int
    """Outputs of the layer decisions per block: 2 or 0."""
    selecting: int
    """Decisions per patch and block: 2 or 0."""

    def fixed(self, patches: int) -> int:
        """Embedding, head and the decisions' own linear layers for a picture of so many patches."""
        ends = patches * self.width * (4 + 9 * 2) * self.patch**2
        return ends + self.depth * self.width * (self.deciding + self.selecting * patches)

    def attention(self, patches: int, kept: Number, pairs: Number) -> Number:
        """One attention branch that runs: `kept` tokens go through its heavy part, `pairs` is that number squared."""
        tokens, light = patches + 1, self._light(self.width)
        heavy = self.width - light
        return (kept * heavy + tokens * light) * (4 * self.width) + (pairs * heavy + tokens**2 * light) * 2

    def feedforward(self, patches: int, kept: Number) -> Number:
        """One feed-forward branch that runs."""
        light = self._light(self.hidden)
        return (kept * (self.hidden - light) + (patches + 1) * light) * (2 * self.width)

    def expected(self, patches: int, *, patch_ratio: float, layer_ratio: float) -> float:
        """The mean where every patch and every branch is kept independently with these probabilities."""
        kept = 1 + patch_ratio * patches
        pairs = kept**2 + patches * patch_ratio * (1 - patch_ratio)  # the mean of a square is more than the square of the mean
        branches = self.attention(patches, kept, pairs) + self.feedforward(patches, kept)
        return self.fixed(patches) + self.depth * layer_ratio * branches

    def _light(self, channels: int) -> int:
        return channels // self.groups if self.groups > 1 else 0
