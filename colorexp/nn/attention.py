"""The pre-norm transformer block of iColoriT: attention with an optional bias between tokens, then a feed-forward."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorexp.nn.linear import Linear, linear
from colorexp.nn.positions import relative_bias

NORM_EPS = 1e-6


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Softmax attention over already scaled queries.

    The softmax is written out: on processors the fused call of torch is no faster without a bias and slower with one.

    Args:
        q: Queries, already multiplied by 1 / sqrt(d). Shape (..., N, d).
        k: Keys. Shape (..., M, d).
        v: Values. Shape (..., M, e).
        bias: Added to the logits; -inf hides a key. Broadcasts to (..., N, M).

    Returns:
        Shape (..., N, e).
    """
    logits = q @ k.transpose(-2, -1)
    return (logits if bias is None else logits + bias).softmax(-1) @ v


class Attention(nn.Module):
    """Multi-head self-attention whose queries and values have a bias and whose keys have none.

    Args:
        width: Channels C of a token.
        heads: Divides `width`.
        side: Tokens along a side of the square a learned relative position bias is made for; None is without one.

    Raises:
        ValueError: If `heads` does not divide `width`.
    """

    def __init__(self, *, width: int, heads: int, side: int | None = None) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"heads must divide the width {width}, got {heads}")
        self.heads, self.side = heads, side
        self.qkv = Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.table = nn.Parameter(torch.zeros((2 * side - 1) ** 2, heads)) if side else None
        if self.table is not None:
            nn.init.trunc_normal_(self.table, std=0.02)
        self.proj = Linear(width, width)

    def projection_bias(self) -> Tensor:
        """The bias of `qkv`, zero for the keys. Shape (3C,)."""
        return torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])

    def project(self, x: Tensor) -> Tensor:
        """Queries, keys and values, before any scaling. Shape (B, N, C) to (3, B, heads, N, C / heads)."""
        qkv = linear(x, self.qkv.weight, self.projection_bias(), training=self.training)
        return qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)

    def bias(self, grid: tuple[int, int]) -> Tensor | None:
        """The learned bias between the tokens of a grid, None for a module without one. Shape (heads, N, N)."""
        return None if self.table is None or self.side is None else relative_bias(self.table, self.side, grid)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Mix tokens.

        Args:
            x: Shape (B, N, C).
            bias: Added to the logits; -inf hides a key. Broadcasts to (B, heads, N, N).

        Returns:
            Shape (B, N, C).
        """
        q, k, v = self.project(x)
        mixed = attend(q * q.shape[-1] ** -0.5, k, v, bias)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them, token by token.

    Args:
        width: Channels C of a token.
        hidden: Channels in between.
    """

    def __init__(self, *, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = Linear(width, hidden)
        self.fc2 = Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (..., C) to the same."""
        return self.fc2(F.gelu(self.fc1(x)))

    def part(self, x: Tensor, start: int, stop: int) -> Tensor:
        """What some of the channels in between give; the bias of the last layer belongs to the first of them."""
        fc1, fc2 = self.fc1, self.fc2
        hidden = F.gelu(linear(x, fc1.weight[start:stop], fc1.bias[start:stop], training=self.training))
        return linear(hidden, fc2.weight[:, start:stop], None if start else fc2.bias, training=self.training)


class Block(nn.Module):
    """Attention and feed-forward, each behind its own layer norm and added to its input.

    Args:
        width: Channels C of a token.
        heads: Divides `width`.
        hidden: Channels inside the feed-forward.
        side: Tokens along a side of the square a learned relative position bias is made for; None is without one.
    """

    def __init__(self, *, width: int, heads: int, hidden: int, side: int | None = None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.attention = Attention(width=width, heads=heads, side=side)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.feedforward = FeedForward(width=width, hidden=hidden)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Shape (B, N, C) to the same; `bias` is what `Attention.forward` takes."""
        x = x + self.attention(self.norm1(x), bias)
        return x + self.feedforward(self.norm2(x))


class Blocks(nn.ModuleList):
    """A stack of alike blocks.

    Args:
        depth: How many.
        width: Channels C of a token.
        heads: Divides `width`.
        hidden: Channels inside the feed-forward.
        side: Tokens along a side of the square learned relative position biases are made for; None is without them.

    Raises:
        ValueError: If `depth` is below 1.
    """

    def __init__(self, *, depth: int, width: int, heads: int, hidden: int, side: int | None = None) -> None:
        if depth < 1:
            raise ValueError(f"depth must be 1 or more, got {depth}")
        super().__init__(Block(width=width, heads=heads, hidden=hidden, side=side) for _ in range(depth))

    def __iter__(self) -> Iterator[Block]:
        return super().__iter__()  # type: ignore[return-value]


def xavier(module: nn.Module) -> None:
    """Initialise a linear layer with uniform Xavier weights and no bias; for `nn.Module.apply`, which meets every layer."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
