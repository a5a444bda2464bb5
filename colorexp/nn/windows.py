"""Attention inside square windows of a feature map, with a learned bias per offset and, in every second block, shifted windows.

Maps are channels-last, (B, H, W, D), because linear layers and norms work on the last axis; H and W are multiples of the window.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from colorexp.nn.linear import Linear


def partition(x: Tensor, window: int) -> Tensor:
    """Cut a map into windows, row by row, and each window into tokens, row by row.

    Args:
        x: Shape (B, H, W, D), H and W multiples of `window`.
        window: Side of a window in tokens.

    Returns:
        Shape (B, V, N, D) with V windows of N = window^2 tokens.

    Raises:
        ValueError: If a side of `x` is no multiple of `window`.
    """
    if x.shape[1] % window or x.shape[2] % window:
        raise ValueError(f"height and width must be multiples of the window {window}, got {tuple(x.shape[1:3])}")
    return rearrange(x, "b (r p) (c q) d -> b (r c) (p q) d", p=window, q=window)


def reverse(windows: Tensor, width: int) -> Tensor:
    """Put windows back where `partition` took them.

    Args:
        windows: Shape (B, V, N, D).
        width: W of the map.

    Returns:
        Shape (B, H, W, D).
    """
    side = round(windows.shape[2] ** 0.5)
    return rearrange(windows, "b (r c) (p q) d -> b (r p) (c q) d", c=width // side, q=side)


def relative_index(window: int) -> Tensor:
    """Number the offsets between two tokens of a window.

    Args:
        window: Side of a window in tokens.

    Returns:
        For a query (first axis) and a key (second), where their offset's bias stands: int64 in [0, (2 * window - 1)^2),
            equal for pairs of equal offset and only for them. Shape (N, N).
    """
    place = torch.arange(window)
    offset = place[:, None] - place[None, :] + window - 1  # (window, window)
    index = offset[:, None, :, None] * (2 * window - 1) + offset[None, :, None, :]  # (window, window, window, window)
    return index.reshape(window**2, window**2)


class Shift(NamedTuple):
    """How far windows are moved down and to the right, and who may then attend to whom.

    A map is rolled instead of its windows. Windows at the far edges then hold tokens from opposite borders, which must not meet.
    """

    rows: int
    columns: int
    allowed: Tensor
    """True where a query (second axis) may attend to a key (third). Shape (V, N, N)."""


def half_window_shift(height: int, width: int, window: int, *, device: torch.device | None = None) -> Shift | None:
    """Shift windows by half their side along every axis of the map that holds more than one of them.

    Args:
        height: H of the map, a multiple of `window`.
        width: W of the map, a multiple of `window`.
        window: Side of a window in tokens.
        device: Where the map lies.

    Returns:
        The shift, or None where one window covers the map or a half is less than a token.

    Source: Swin Transformer (Liu et al. 2021), section 3.2.

    Deviation: the reference code shifts nothing once the shorter side is a single window; here the longer side keeps its shift.
    """
    rows, columns = (window // 2 if side > window else 0 for side in (height, width))
    if not rows and not columns:
        return None
    regions = []
    for side, step in ((height, rows), (width, columns)):
        place = torch.arange(side, device=device)
        regions.append(torch.where(place < side - step, 0, 1))
    region = 2 * regions[0][:, None] + regions[1][None, :]
    tokens = partition(region[None, :, :, None], window)[0, :, :, 0]  # (V, N)
    return Shift(rows, columns, tokens[:, :, None] == tokens[:, None, :])


class WindowAttention(nn.Module):
    """Multi-head self-attention among the tokens of a window.

    Args:
        width: D, a multiple of `heads`.
        heads: Attention heads.
        window: Side of a window in tokens.
        modulated: Whether a learned vector per place in the window is added to the tokens first.

    Raises:
        ValueError: If `heads` or `window` is no positive number or `width` no positive multiple of `heads`.

    Source: Swin Transformer (Liu et al. 2021), eq. 4; `modulated`: Uformer (Wang et al. 2022), section 3.3.
    """

    index: Tensor

    def __init__(self, *, width: int, heads: int, window: int, modulated: bool = False) -> None:
        super().__init__()
        if heads < 1 or width < 1 or width % heads:
            raise ValueError(f"width must be a positive multiple of heads, got width {width} with heads {heads}")
        if window < 1:
            raise ValueError(f"window must be at least 1, got {window}")
        self.heads, self.window = heads, window
        self.qkv = Linear(width, 3 * width)
        self.project = Linear(width, width)
        self.bias = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.bias, std=0.02)
        # as wide as the tokens it joins, which a norm brought to unit variance
        self.modulator = nn.Parameter(torch.randn(window**2, width)) if modulated else None
        self.register_buffer("index", relative_index(window), persistent=False)

    def forward(self, x: Tensor, shift: Shift | None = None) -> Tensor:
        """Let every token look around in its window.

        Args:
            x: Shape (B, H, W, D).
            shift: Of `half_window_shift` for this map, or None for windows that begin at the border.

        Returns:
            Shape (B, H, W, D).
        """
        batch, _, width, _ = x.shape
        if shift:
            x = x.roll((-shift.rows, -shift.columns), (1, 2))
        tokens = partition(x, self.window)  # (B, V, N, D)
        if self.modulator is not None:
            tokens = tokens + self.modulator
        q, k, v = rearrange(self.qkv(tokens), "b v n (three h d) -> three (b v) h n d", three=3, h=self.heads)
        bias = self.bias[self.index].permute(2, 0, 1)  # (heads, N, N)
        if shift:
            bias = bias.where(shift.allowed[:, None], -torch.inf).repeat(batch, 1, 1, 1)  # (B * V, heads, N, N)
        tokens = F.scaled_dot_product_attention(q, k, v, bias.expand(len(q), -1, -1, -1))
        x = reverse(self.project(rearrange(tokens, "(b v) h n d -> b v n (h d)", b=batch)), width)
        return x.roll((shift.rows, shift.columns), (1, 2)) if shift else x


class WindowBlock(nn.Module):
    """A pre-norm transformer layer whose attention stays in windows.

    Args:
        width: D.
        feedforward: Takes and gives (B, H, W, D).
        heads: Attention heads.
        window: Side of a window in tokens.
        modulated: See `WindowAttention`.
    """

    def __init__(self, *, width: int, feedforward: nn.Module, heads: int, window: int, modulated: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = WindowAttention(width=width, heads=heads, window=window, modulated=modulated)
        self.norm2 = nn.LayerNorm(width)
        self.feedforward = feedforward

    def forward(self, x: Tensor, shift: Shift | None = None) -> Tensor:
        """Shape (B, H, W, D) to the same."""
        x = x + self.attention(self.norm1(x), shift)
        return x + self.feedforward(self.norm2(x))


class WindowStage(nn.Module):
    """Layers at one resolution, one for each of `feedforward`.

    Args:
        width: D.
        feedforward: What follows the attention in every layer; its length is the number of layers.
        heads: Attention heads.
        window: Side of a window in tokens.
        modulated: See `WindowAttention`.
        shifted: Whether the windows of every second layer are shifted, so that colours cross their borders.

    Raises:
        ValueError: If there is no layer.
    """

    def __init__(
        self,
        *,
        width: int,
        feedforward: Sequence[nn.Module],
        heads: int,
        window: int,
        modulated: bool = False,
        shifted: bool = True,
    ) -> None:
        super().__init__()
        if not feedforward:
            raise ValueError("a stage needs at least one layer, got 0")
        self.window, self.shifted = window, shifted
        sizes = {"width": width, "heads": heads, "window": window}
        self.blocks = nn.ModuleList(WindowBlock(feedforward=module, modulated=modulated, **sizes) for module in feedforward)

    def extra_repr(self) -> str:
        return f"window={self.window}, shifted={self.shifted}"

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, H, W, D) to the same, H and W multiples of the window."""
        shift = None
        if self.shifted and len(self.blocks) > 1:
            shift = half_window_shift(x.shape[1], x.shape[2], self.window, device=x.device)
        for i, block in enumerate(self.blocks):
            x = block(x, shift if i % 2 else None)
        return x
