"""Where a token lies: sinusoids and learned relative biases, for any grid of tokens."""

import torch
from torch import Tensor


def sinusoid(rows: int, width: int) -> Tensor:
    """The fixed position table: sine and cosine in turns, wavelengths from 2 pi to 20000 pi.

    Args:
        rows: Number of positions.
        width: Values per position, even.

    Returns:
        Row k holds sin(k / 10000^(2j / width)) at column 2j and the cosine of the same at 2j + 1. Shape (rows, width), float32.

    Raises:
        ValueError: If `width` is odd.
    """
    if width % 2:
        raise ValueError(f"sines and cosines come in pairs: width must be even, got {width}")
    exponent = torch.arange(0, width, 2, dtype=torch.float64) / width
    angle = torch.arange(rows, dtype=torch.float64)[:, None] / 10000**exponent
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1).float()


def resample(table: Tensor, size: tuple[int, int]) -> Tensor:
    """Read a table of positions at another number of rows and columns, linearly, its corners and its centre kept.

    Args:
        table: One vector per position. Shape (R, C, D).
        size: Rows and columns wanted; one of them reads the middle.

    Returns:
        `table` itself where it has that size already. Shape (*size, D).
    """
    if table.shape[:2] == size:
        return table
    return _between(_between(table, size[0]).transpose(0, 1), size[1]).transpose(0, 1)


def _between(table: Tensor, count: int) -> Tensor:
    """Read the first axis at `count` evenly spread places. Shape (R, ...) to (count, ...)."""
    last = len(table) - 1
    ends = (0.0, float(last)) if count > 1 else (last / 2, last / 2)
    at = torch.linspace(*ends, count, device=table.device)  # float32: a table of half the bits has places as fine
    before = at.long().clamp(max=max(last - 1, 0))
    share = (at - before).to(table.dtype).view(-1, *[1] * (table.ndim - 1))
    return torch.lerp(table[before], table[(before + 1).clamp(max=last)], share)


def relative_bias(table: Tensor, side: int, grid: tuple[int, int]) -> Tensor:
    """What every pair of tokens adds to its attention logit, by their offset alone.

    Args:
        table: One row per offset (query row minus key row, query column minus key column) within a square of `side` tokens, both
            running from 1 - side to side - 1, the column fastest. Shape ((2 side - 1)^2, heads).
        side: Tokens along a side of the square that the table was made for.
        grid: Rows h and columns w of the tokens; a grid of another size reads the table in between.

    Returns:
        Shape (heads, h w, h w), queries before keys.
    """
    rows, cols = grid
    offsets = table.view(2 * side - 1, 2 * side - 1, -1)
    offsets = resample(offsets, (2 * rows - 1, 2 * cols - 1)).permute(2, 0, 1)
    # windows slide over the reversed table: a window's start is the query, a place in it the key, and no index table is needed
    windows = offsets.flip(1, 2).unfold(1, rows, 1).unfold(2, cols, 1)  # (heads, h, w, h, w)
    return windows.flip(1, 2).reshape(-1, rows * cols, rows * cols)
