"""The semantic colour module: every position of the target looks for its colour in the reference.

Source: Yes, Attention Is All You Need, for Exemplar based Colorization, section 3.2.1.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from colorexp.models.exemplar.blocks import Maps
from colorexp.nn.linear import Linear

TEMPERATURE = 0.01
"""Divides cosines before the softmax."""
PAIRS_AT_ONCE = 2**19
"""Pairs of a target and a reference position whose attention is held at a time, per picture of a batch."""
DROPOUT = 0.1


class Found(NamedTuple):
    """What the attention found for every position of the target."""

    ab_n: Tensor
    """c^r, colours mixed of the reference's. Shape (B, 2, h, w)."""
    confidence: Tensor
    """One map per judge. Shape (B, judges, h, w)."""


class Confidence(nn.Sequential):
    """The fully connected layers that read a confidence from one row of a correspondence.

    Args:
        positions: Values of a row.
        hidden: Width between the two layers.
    """

    def __init__(self, *, positions: int, hidden: int) -> None:
        super().__init__(Linear(positions, hidden), nn.ReLU(inplace=True), nn.Dropout(DROPOUT), Linear(hidden, 1))


class Correspondence(nn.Module):
    """Cosine attention from target to reference, and the confidences that are read from it.

    Args:
        lightness: Whether queries and keys hold lightness beside the six maps.
        judges: How many confidences are read from each row of the correspondence.
        grid: Side of the square of reference positions that judges see.
        hidden: Width of the judges.
        scaled: Whether judges see rows times `grid`.

    Source: section 3.2.1, eq. 1 and 6.

    Deviation: eq. 1 and 6 divide by the number of colours; with attention weights that sum to one that would shrink every colour,
        and the released code does not.

    Unspecified: how a fully connected layer sees references of any size. Rows are maps over the reference; they are averaged to
        the square of positions that a reference of the nominal size has, and sum to one again.
    """

    def __init__(self, *, lightness: bool, judges: int, grid: int, hidden: int, scaled: bool = False) -> None:
        super().__init__()
        self.lightness, self.grid, self.scale = lightness, grid, float(grid) if scaled else 1.0
        self.judges = nn.ModuleList(Confidence(positions=grid**2, hidden=hidden) for _ in range(judges))

    def extra_repr(self) -> str:
        return f"lightness={self.lightness}, grid={self.grid}, scale={self.scale}"

    def features(self, maps: Maps, L_n: Tensor) -> Tensor:
        """Queries or keys: all maps at a quarter of the resolution, of unit length at every position. Shape (B, D, H/4, W/4)."""
        size = maps.conv2.shape[2:]
        layers = [*maps, F.avg_pool2d(L_n, 4)] if self.lightness else list(maps)
        alike = [m if m.shape[2:] == size else F.interpolate(m, size, mode="bilinear") for m in layers]
        return F.normalize(torch.cat(alike, 1), dim=1)

    def forward(self, query: Tensor, key: Tensor, ab_n: Tensor) -> Found:
        """Look up colours without ever holding all pairs of positions; in training the pairs are made again for the gradient.

        Args:
            query: Of the target. Shape (B, D, h, w).
            key: Of the reference. Shape (B, D, m, n).
            ab_n: Colours of the reference. Shape (B, 2, m, n).

        Returns:
            Colours and raw confidences.
        """
        queries, keys = query.flatten(2).transpose(1, 2), key.flatten(2)
        values, size = ab_n.flatten(2).transpose(1, 2), (key.shape[2], key.shape[3])

        def look(some: Tensor) -> Tensor:
            rows = attention(some, keys).to(values.dtype)
            return torch.cat([rows @ values, *(judge(self.scale * self._pooled(rows, size)) for judge in self.judges)], -1)

        chunks = queries.split(max(1, PAIRS_AT_ONCE // keys.shape[2]), 1)
        again = len(chunks) > 1 and torch.is_grad_enabled()
        found = [checkpoint(look, some, use_reentrant=False) if again else look(some) for some in chunks]
        maps = torch.cat(found, 1).transpose(1, 2).unflatten(2, query.shape[2:])
        return Found(maps[:, :2], maps[:, 2:])

    def _pooled(self, rows: Tensor, size: tuple[int, int]) -> Tensor:
        """Rows (B, N, m n) over the grid that judges know. Shape (B, N, grid^2)."""
        if size == (self.grid, self.grid):
            return rows
        pooled = F.adaptive_avg_pool2d(rows.unflatten(2, size), self.grid).flatten(2)
        return pooled / pooled.sum(2, keepdim=True)


def attention(queries: Tensor, keys: Tensor) -> Tensor:
    """Where positions of the target look in the reference.

    Args:
        queries: Of unit length. Shape (B, N, D).
        keys: Of unit length. Shape (B, D, M).

    Returns:
        Weights that sum to one over the reference, float32. Shape (B, N, M).
    """
    with torch.autocast(queries.device.type, enabled=False):  # cosines are multiplied by 100: half precision would blur them
        return ((queries.float() / TEMPERATURE) @ keys.float()).softmax(-1)
