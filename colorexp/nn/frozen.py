"""Layers whose weights are laid out once for inference, and so can be faster than modules that must also be trained."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorexp.nn.attention import attend
from colorexp.nn.linear import onednn_at_hand
from colorexp.nn.padding import pad_to_multiple
from colorexp.nn.patches import ColourHead, PatchEmbedding, Size, mirrored, unpatch

Activation = Literal["none", "gelu", "tanh"]

USUAL_ROWS = 197
"""For how many rows oneDNN is asked to lay weights out: the tokens of a picture of 224 pixels; others are right as well."""


class FrozenLinear:
    """A linear layer with an optional activation, without gradients.

    Args:
        weight: Shape (out, in).
        bias: Shape (out,).
        activation: Applied to the result.
        direct: Ask oneDNN itself for float32 on a processor. `F.linear` asks MKL, which on an AMD processor took twice as long for
            the same sums; they differ by rounding alone. Operation counters do not see these calls.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, activation: Activation = "none", direct: bool) -> None:
        self.weight = weight.detach().contiguous()
        self.bias = None if bias is None else bias.detach().contiguous()
        self.activation = activation
        self.direct = direct and weight.dtype == torch.float32 and weight.device.type == "cpu" and onednn_at_hand()
        if self.direct:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, USUAL_ROWS)

    def __call__(self, x: Tensor) -> Tensor:
        """Shape (..., in) to (..., out)."""
        if self.direct:
            return torch.ops.mkldnn._linear_pointwise.default(x, self.weight, self.bias, self.activation, [], "none")
        y = F.linear(x, self.weight, self.bias)
        if self.activation == "gelu":
            return F.gelu(y)
        return y.tanh() if self.activation == "tanh" else y


class FrozenEmbedding:
    """`PatchEmbedding` as a linear layer over the pixels of a patch."""

    def __init__(self, embed: PatchEmbedding, *, direct: bool) -> None:
        self.patch = embed.patch
        self.linear = FrozenLinear(embed.proj.weight.flatten(1), embed.proj.bias, direct=direct)

    def __call__(self, x: Tensor) -> Tensor:
        """Shape (B, 4, H, W) to (B, N, C)."""
        pixels = pad_to_multiple(x, self.patch).unflatten(3, (-1, self.patch)).unflatten(2, (-1, self.patch))
        return self.linear(pixels.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2))


class FrozenHead:
    """`ColourHead` for one grid of tokens, as a linear layer over every token's neighbourhood."""

    def __init__(self, head: ColourHead, grid: Size, *, direct: bool) -> None:
        self.patch, self.grid = head.patch, grid
        weight = head.conv.weight.permute(0, 2, 3, 1).flatten(1)
        self.linear = FrozenLinear(weight, head.conv.bias, activation="tanh", direct=direct)
        rows, cols = (mirrored(n, weight.device).unfold(0, 3, 1) for n in grid)  # (h, 3), (w, 3)
        self.neighbours = (rows[:, None, :, None] * grid[1] + cols[None, :, None, :]).flatten()

    def __call__(self, tokens: Tensor, size: Size) -> Tensor:
        """Shape (B, N, C) to (B, 2, *size)."""
        around = tokens.index_select(1, self.neighbours).view(*tokens.shape[:2], -1)
        return unpatch(self.linear(around).unflatten(1, self.grid), self.patch, size)


class FrozenNorm:
    """A layer norm without gradients."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        self.weight, self.bias, self.eps = norm.weight.detach(), norm.bias.detach(), norm.eps

    def __call__(self, x: Tensor) -> Tensor:
        """Any shape that ends in the width."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


def mix(qkv: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """Attention from projections whose queries are already scaled.

    Args:
        qkv: Shape (B, N, 3 heads d).
        heads: What the channels are split into.
        bias: Added to the logits. Shape (heads, N, N).

    Returns:
        Shape (B, N, heads d).
    """
    if len(qkv) == 1:
        return mix_one(qkv[0], heads, bias)[None]
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    return attend(q, k, v, bias).transpose(1, 2).flatten(2)


def mix_one(qkv: Tensor, heads: int, bias: Tensor | None = None, *, count: int | None = None) -> Tensor:
    """`mix` for one picture: without a batch axis each product is a single call.

    Args:
        qkv: Shape (N, 3 heads d), contiguous.
        heads: What the channels are split into.
        bias: Added to the logits. Shape (heads, N, N); not with `count`.
        count: Later rows are padding, which nobody attends to; None means there is none.

    Returns:
        Shape (N, heads d).
    """
    tokens, channels = qkv.shape
    q, k, v = qkv.view(tokens, 3, heads, channels // (3 * heads)).permute(1, 2, 0, 3).unbind()
    if count is not None:
        k, v = k[:, :count], v[:, :count]
    keys = k.transpose(1, 2)
    logits = torch.bmm(q, keys) if bias is None else torch.baddbmm(bias, q, keys)
    return torch.bmm(logits.softmax(-1), v).transpose(0, 1).reshape(tokens, -1)
