"""Soft superpixels: pixel maps to one token per superpixel and back.

A picture is cut into a grid of square cells; every pixel says with which probability it belongs to the superpixel of its own cell
and of the eight around it. The nine are ordered row by row: above left, above, above right, left, own, right, below left, below,
below right.

Pictures of any size are taken: the last row and column of cells may hold fewer pixels, which is the same as a picture filled up
with pixels that belong to no superpixel. Nobody else has to pad.

Source: DISCO, section 4.1, eq. 1 and 2.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

NEIGHBOURS = 9
OWN = 4
"""Index of a pixel's own cell among the nine."""
EPS = 1e-8


class Pooled(NamedTuple):
    """What superpixels hold."""

    values: Tensor
    """Means over the superpixels' pixels; zero where a superpixel has none. Shape (B, C, h, w)."""
    mass: Tensor
    """Probability that the superpixels gather, in cells: 1 is that of S^2 pixels. Shape (B, 1, h, w)."""


def grid(size: tuple[int, int], *, cell: int) -> tuple[int, int]:
    """Rows h and columns w of superpixels for a picture of height and width `size`.

    Raises:
        ValueError: If `cell` is not positive.
    """
    if cell < 1:
        raise ValueError(f"cell must be a positive number of pixels, got {cell}")
    return -(-size[0] // cell), -(-size[1] // cell)


def pool(x: Tensor, affinity: Tensor, *, cell: int) -> Pooled:
    """Average a pixel map within every superpixel (SP-pooling).

    Args:
        x: Any property of the pixels. Shape (B, C, H, W).
        affinity: Probabilities of the nine superpixels around every pixel. Shape (B, 9, H, W).
        cell: Side S of a cell in pixels.

    Returns:
        One value per superpixel, h = ceil(H / S), w = ceil(W / S).

    Raises:
        ValueError: If `affinity` has not nine channels or another batch or size than `x`, or `cell` is not positive.

    Source: DISCO, section 4.1, eq. 1.

    Unspecified: what border pixels give to cells outside the picture; it is lost, as in the released code.
    """
    _check(affinity)
    if (len(x), *x.shape[-2:]) != (len(affinity), *affinity.shape[-2:]):
        raise ValueError(
            f"x and affinity must have the same batch, height and width, got {tuple(x.shape)} and {tuple(affinity.shape)}"
        )
    pixels = _cells(x, cell)  # (B, h, w, S S, C)
    shares = _cells(affinity, cell)  # (B, h, w, S S, 9)
    total = _gather(shares.transpose(-1, -2) @ pixels / cell**2)
    mass = _gather(shares.sum(-2).unsqueeze(-1) / cell**2)
    return Pooled(total / (mass + max(EPS, torch.finfo(mass.dtype).tiny)), mass)


def diffuse(tokens: Tensor, affinity: Tensor, *, cell: int) -> Tensor:
    """Give every pixel the mean of the nine superpixels around it, weighted by its affinity (SP-diffusion).

    Args:
        tokens: One value per superpixel. Shape (B, C, h, w).
        affinity: Probabilities of the nine superpixels around every pixel. Shape (B, 9, H, W).
        cell: Side S of a cell in pixels.

    Returns:
        Shape (B, C, H, W), channels last in memory.

    Raises:
        ValueError: If `affinity` has not nine channels, the tokens are no ceil(H / S) x ceil(W / S) of as many pictures, or `cell`
            is not positive.

    Source: DISCO, section 4.1, eq. 2.

    Unspecified: cells outside the picture count as zero, as in the released code.
    """
    _check(affinity)
    height, width = affinity.shape[-2:]
    rows, cols = grid((height, width), cell=cell)
    if (len(tokens), *tokens.shape[-2:]) != (len(affinity), rows, cols):
        told = f"{len(affinity)} pictures of {height}x{width} pixels in cells of {cell} have {rows}x{cols} tokens each"
        raise ValueError(f"{told}, got {tuple(tokens.shape)}")
    around = F.unfold(tokens, 3, padding=1)
    around = rearrange(around, "b (c k) (h w) -> b h w k c", k=NEIGHBOURS, h=rows)
    pixels = _cells(affinity, cell) @ around  # (B, h, w, S S, C)
    whole = rearrange(pixels, "b h w (p q) c -> b (h p) (w q) c", p=cell)
    return whole[:, :height, :width].permute(0, 3, 1, 2)


def sizes(affinity: Tensor, *, cell: int) -> Tensor:
    """Size of every superpixel when each pixel joins its most probable one.

    Args:
        affinity: Shape (B, 9, H, W).
        cell: Side S of a cell in pixels.

    Returns:
        In cells: 1 is S^2 pixels, 9 the largest possible. No gradient. Shape (B, 1, h, w).

    Raises:
        ValueError: If `affinity` has not nine channels, or `cell` is not positive.

    Source: DISCO, section 4.2, the size by which anchors are chosen.
    """
    _check(affinity)
    hard = F.one_hot(_most_probable(affinity), NEIGHBOURS).permute(0, 3, 1, 2).to(affinity.dtype)
    return _gather(_cells(hard, cell).sum(-2).unsqueeze(-1) / cell**2)


def labels(affinity: Tensor, *, cell: int) -> Tensor:
    """The superpixel that every pixel most probably belongs to.

    Args:
        affinity: Shape (B, 9, H, W).
        cell: Side S of a cell in pixels.

    Returns:
        Index of the superpixel, row by row, int64 in [0, h w). Shape (B, H, W).

    Raises:
        ValueError: If `affinity` has not nine channels, or `cell` is not positive.

    Source: DISCO, section 4.1, the visualisation of Figure 3.

    Unspecified: a pixel that prefers a cell outside the picture, which `sizes` does not count, gets the nearest cell inside.
    """
    _check(affinity)
    height, width = affinity.shape[-2:]
    rows, cols = grid((height, width), cell=cell)
    step = _most_probable(affinity)
    own_row = torch.arange(height, device=affinity.device)[:, None] // cell
    own_col = torch.arange(width, device=affinity.device) // cell
    row, col = own_row + step // 3 - 1, own_col + step % 3 - 1
    return row.clamp(0, rows - 1) * cols + col.clamp(0, cols - 1)


def mini_patches(like: Tensor) -> Tensor:
    """The affinity that leaves every pixel in its own cell, so that superpixels are the squares of the grid.

    Args:
        like: A tensor of the wanted batch, size, type and device. Shape (B, C, H, W).

    Returns:
        Shape (B, 9, H, W).

    Source: DISCO, section 5.4, Table 4, the mini-patch primitives.
    """
    own = F.one_hot(torch.tensor(OWN, device=like.device), NEIGHBOURS).to(like.dtype)
    return own.view(1, NEIGHBOURS, 1, 1).expand(len(like), -1, *like.shape[-2:])


def _check(affinity: Tensor) -> None:
    if affinity.ndim != 4 or affinity.shape[1] != NEIGHBOURS:
        raise ValueError(f"affinity must be (B, {NEIGHBOURS}, H, W), got {tuple(affinity.shape)}")


def _most_probable(affinity: Tensor) -> Tensor:
    return affinity.max(1).indices  # what argmax finds, in a quarter of its time on processors


def _cells(x: Tensor, cell: int) -> Tensor:
    """Shape (B, C, H, W) to (B, h, w, S S, C), filled up with zeros."""
    rows, cols = grid((x.shape[-2], x.shape[-1]), cell=cell)
    below, right = rows * cell - x.shape[-2], cols * cell - x.shape[-1]
    if below or right:
        x = F.pad(x, (0, right, 0, below))
    return rearrange(x, "b c (h p) (w q) -> b h w (p q) c", p=cell, q=cell)


def _gather(given: Tensor) -> Tensor:
    """Sum what every superpixel is given by the nine cells around it: (B, h, w, 9, C) to (B, C, h, w)."""
    size = (given.shape[1], given.shape[2])
    return F.fold(rearrange(given, "b h w k c -> b (c k) (h w)"), size, 3, padding=1)
