"""The residual branches of an AdaColViT block in their inference form: nothing is computed for what was pruned."""

from collections.abc import Sequence

import torch
from torch import Tensor

from colorexp.models.vit.dense import fold_scale
from colorexp.nn.attention import Attention, FeedForward
from colorexp.nn.frozen import FrozenLinear, FrozenNorm, mix


class LeanBranch:
    """One branch (attention or feed-forward): a light part for every token and a heavy part for kept ones.

    Args:
        norm: Comes before both parts.
        light: From all tokens of some pictures, (b, M, C), to what they gain; None where skipped tokens gain nothing.
        heavy: The same for tokens of several pictures in a row, (T, C), and the number that each picture has.
    """

    def __init__(self, norm: FrozenNorm, light: "LightPart | None", heavy: "HeavyPart") -> None:
        self.norm, self.light, self.heavy = norm, light, heavy

    def add_to(self, tokens: Tensor, runs: Tensor, keep: Tensor) -> None:
        """Add this branch to `tokens`, in place.

        Args:
            tokens: The policy token and the patches. Shape (B, M, C), contiguous.
            runs: Which pictures have this branch. Shape (B,), bool.
            keep: Which patches are informative; the policy token always is. Shape (B, M - 1), bool.
        """
        everyone = bool(runs.all())
        if not everyone and not runs.any():
            return
        some = tokens if everyone else tokens[runs]
        kept = torch.nn.functional.pad(keep if everyone else keep[runs], (1, 0), value=True)
        counts = kept.sum(1).tolist()
        normed, flat = self.norm(some), some.view(-1, some.shape[-1])
        if self.light is not None:
            some += self.light(normed)
        if sum(counts) == len(flat):
            flat += self.heavy(normed.view_as(flat), counts)
        else:
            places = kept.flatten().nonzero().squeeze(1)
            flat.index_add_(0, places, self.heavy(normed.view_as(flat).index_select(0, places), counts))
        if not everyone:
            tokens[runs] = some


class LightPart:
    """Two linear layers around an operation on (b, M, channels)."""

    def __init__(self, before: FrozenLinear, heads: int | None, after: FrozenLinear) -> None:
        self.before, self.heads, self.after = before, heads, after

    def __call__(self, x: Tensor) -> Tensor:
        """Shape (b, M, C) to the same."""
        inner = self.before(x)
        return self.after(inner if self.heads is None else mix(inner, self.heads))


class HeavyPart:
    """Two linear layers around an operation within each picture's own tokens."""

    def __init__(self, before: FrozenLinear, heads: int | None, after: FrozenLinear) -> None:
        self.before, self.heads, self.after = before, heads, after

    def __call__(self, x: Tensor, counts: Sequence[int]) -> Tensor:
        """Shape (T, C) to the same; `counts` sum to T."""
        inner = self.before(x)
        if self.heads is not None:
            pictures = inner.split(list(counts))
            mixed = [mix(picture[None], self.heads)[0] for picture in pictures]
            inner = mixed[0] if len(mixed) == 1 else torch.cat(mixed)
        return self.after(inner)


def lean_attention(norm: FrozenNorm, attention: Attention, groups: int, *, direct: bool) -> LeanBranch:
    """Slice every head: its first 1 / groups channels are light."""
    heads = attention.heads
    width = attention.proj.in_features // heads
    weight = attention.qkv.weight.unflatten(0, (3, heads, width))
    bias = attention.projection_bias().unflatten(0, (3, heads, width))
    out = attention.proj.weight.unflatten(1, (heads, width))

    def part(start: int, stop: int, out_bias: Tensor | None) -> tuple[FrozenLinear, int, FrozenLinear]:
        some = fold_scale(weight[:, :, start:stop].flatten(0, 2), bias[:, :, start:stop].flatten(), stop - start)
        after = FrozenLinear(out[:, :, start:stop].flatten(1), out_bias, direct=direct)
        return FrozenLinear(*some, direct=direct), heads, after

    if groups == 1:
        return LeanBranch(norm, None, HeavyPart(*part(0, width, attention.proj.bias)))
    light = width // groups
    return LeanBranch(norm, LightPart(*part(0, light, attention.proj.bias)), HeavyPart(*part(light, width, None)))


def lean_feedforward(norm: FrozenNorm, feedforward: FeedForward, groups: int, *, direct: bool) -> LeanBranch:
    """Slice the hidden channels: the first 1 / groups of them are light."""
    fc1, fc2 = feedforward.fc1, feedforward.fc2

    def part(start: int, stop: int, out_bias: Tensor | None) -> tuple[FrozenLinear, None, FrozenLinear]:
        before = FrozenLinear(fc1.weight[start:stop], fc1.bias[start:stop], activation="gelu", direct=direct)
        return before, None, FrozenLinear(fc2.weight[:, start:stop], out_bias, direct=direct)

    hidden = fc1.out_features
    if groups == 1:
        return LeanBranch(norm, None, HeavyPart(*part(0, hidden, fc2.bias)))
    light = hidden // groups
    return LeanBranch(norm, LightPart(*part(0, light, fc2.bias)), HeavyPart(*part(light, hidden, None)))
