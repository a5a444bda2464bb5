"""The residual branches of an AdaColViT block in their inference form: nothing is computed for what was pruned."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from colorexp.models.vit.decisions import Kept
from colorexp.models.vit.dense import fold_scale
from colorexp.nn.attention import Attention, FeedForward
from colorexp.nn.frozen import FrozenLinear, FrozenNorm, mix, mix_one

MULTIPLE = 8


class LeanBranch:
    """One branch (attention or feed-forward): a light part for every token and a heavy part for kept ones.

    Args:
        norm: Comes before both parts.
        light: From all tokens of some pictures, (b, M, C), to what they gain; None where skipped tokens gain nothing.
        heavy: The same for the kept tokens of several pictures in a row, (T, C).
        multiple: The heavy part of a single picture gets tokens in this multiple, the last ones padding. oneDNN compiles a
            kernel for every number of rows, which takes longer than to use it; 1 pads nothing.
    """

    def __init__(self, norm: FrozenNorm, light: "Part | None", heavy: "Part", *, multiple: int) -> None:
        self.norm, self.light, self.heavy, self.multiple = norm, light, heavy, multiple

    def add_to(self, tokens: Tensor, runs: Sequence[bool], kept: Kept) -> None:
        """Add this branch to `tokens`, in place.

        Args:
            tokens: The policy token and the patches. Shape (B, M, C), contiguous.
            runs: Which pictures have this branch; one at least.
            kept: Which tokens are informative.
        """
        if tokens.shape[0] == 1:
            self._add_to_one(tokens[0], kept)
        elif all(runs):
            self._add_to_all(tokens, kept)
        else:
            rows = torch.tensor([i for i, run in enumerate(runs) if run], device=tokens.device)
            some = tokens[rows]
            self._add_to_all(some, kept.of_pictures(rows))
            tokens[rows] = some

    def _add_to_one(self, tokens: Tensor, kept: Kept) -> None:
        """A single picture, (M, C): without an axis for pictures there are fewer and smaller calls."""
        normed = self.norm(tokens)
        if self.light is not None:
            tokens += self.light.for_one(normed)
        count = kept.counts[0]
        if count == tokens.shape[0]:
            tokens += self.heavy.for_one(normed)
            return
        padding = -count % self.multiple
        rows = F.pad(kept.places, (0, padding)) if padding else kept.places
        tokens.index_add_(0, kept.places, self.heavy.for_one(normed.index_select(0, rows), count)[:count])

    def _add_to_all(self, tokens: Tensor, kept: Kept) -> None:
        flat = tokens.view(-1, tokens.shape[-1])
        normed = self.norm(flat)
        if self.light is not None:
            tokens += self.light.for_all(normed.view_as(tokens))
        if kept.places.shape[0] == flat.shape[0]:
            tokens += self.heavy.for_all(normed.view_as(tokens))
        else:
            flat.index_add_(0, kept.places, self.heavy.for_some(normed.index_select(0, kept.places), kept.counts))


class Part(NamedTuple):
    """Two linear layers and what comes between them."""

    before: FrozenLinear
    heads: int | None
    """Attention between the tokens of a picture; None for nothing more than the activation of `before`."""
    after: FrozenLinear

    def for_all(self, x: Tensor) -> Tensor:
        """All tokens of some pictures. Shape (b, M, C) to the same."""
        inner = self.before(x)
        return self.after(inner if self.heads is None else mix(inner, self.heads))

    def for_one(self, x: Tensor, count: int | None = None) -> Tensor:
        """Tokens of one picture; those after the first `count`, if given, are padding. Shape (T, C) to the same."""
        inner = self.before(x)
        return self.after(inner if self.heads is None else mix_one(inner, self.heads, count=count))

    def for_some(self, x: Tensor, counts: list[int]) -> Tensor:
        """Some tokens of several pictures, picture after picture, as many as `counts` says. Shape (T, C) to the same."""
        inner = self.before(x)
        if self.heads is not None:
            inner = torch.cat([mix_one(picture, self.heads) for picture in inner.split(counts)])
        return self.after(inner)


def lean_attention(norm: FrozenNorm, attention: Attention, groups: int, *, direct: bool) -> LeanBranch:
    """Slice every head: its first 1 / groups channels are light."""
    heads = attention.heads
    width = attention.proj.in_features // heads
    weight = attention.qkv.weight.unflatten(0, (3, heads, width))
    bias = attention.projection_bias().unflatten(0, (3, heads, width))
    out = attention.proj.weight.unflatten(1, (heads, width))

    def part(start: int, stop: int, out_bias: Tensor | None) -> Part:
        some = fold_scale(weight[:, :, start:stop].flatten(0, 2), bias[:, :, start:stop].flatten(), stop - start)
        after = FrozenLinear(out[:, :, start:stop].flatten(1), out_bias, direct=direct)
        return Part(FrozenLinear(*some, direct=direct), heads, after)

    return _branch(norm, width, groups, part, attention.proj.bias, direct=direct)


def lean_feedforward(norm: FrozenNorm, feedforward: FeedForward, groups: int, *, direct: bool) -> LeanBranch:
    """Slice the hidden channels: the first 1 / groups of them are light."""
    fc1, fc2 = feedforward.fc1, feedforward.fc2

    def part(start: int, stop: int, out_bias: Tensor | None) -> Part:
        before = FrozenLinear(fc1.weight[start:stop], fc1.bias[start:stop], activation="gelu", direct=direct)
        return Part(before, None, FrozenLinear(fc2.weight[:, start:stop], out_bias, direct=direct))

    return _branch(norm, fc1.out_features, groups, part, fc2.bias, direct=direct)


def _branch(
    norm: FrozenNorm, channels: int, groups: int, part: Callable[[int, int, Tensor | None], Part], bias: Tensor, *, direct: bool
) -> LeanBranch:
    light = channels // groups if groups > 1 else 0
    first = part(0, light, bias) if light else None  # the bias is added once
    return LeanBranch(norm, first, part(light, channels, None if light else bias), multiple=MULTIPLE if direct else 1)
