"""DISCO's two lightweight transformers, the colour modeler and the colour generator: tokens to colour features and bins.

Source: Disentangled Image Colorization via Global Anchors, sections 4.2 and 4.3; sizes are those of its released code.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Modelled(NamedTuple):
    """What a transformer says of tokens."""

    features: Tensor
    """Shape (B, N, D)."""
    logits: Tensor
    """Over the colour bins. Shape (B, N, bins)."""


class ColorTransformer(nn.Module):
    """Post-norm encoder layers and a projection to colour bins.

    Args:
        width: Channels D of a token, a multiple of 4.
        heads: Attention heads; divides `width`.
        layers: How many.
        feedforward: Hidden channels of a layer.
        dropout: Share of values dropped in training, in [0, 1).
        bins: Colour bins.

    Raises:
        ValueError: If a number does not fit.

    Unspecified: everything but "Transformer with position encoding"; as in the released code, sines of rows and columns are added
        to queries and keys at every layer, never to values.
    """

    def __init__(self, *, width: int, heads: int, layers: int, feedforward: int, dropout: float, bins: int) -> None:
        super().__init__()
        if width < 4 or width % 4:
            raise ValueError(f"features must be a positive multiple of 4, got {width}")
        if heads < 1 or width % heads:
            raise ValueError(f"heads must divide the {width} features, got {heads}")
        if layers < 1:
            raise ValueError(f"layers must be at least 1, got {layers}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        self.layers = nn.ModuleList(_Layer(width, heads, feedforward, dropout, batch_first=True) for _ in range(layers))
        self.head = nn.Linear(width, bins, bias=False)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, tokens: Tensor, positions: Tensor) -> Modelled:
        """Tokens (B, N, D) and their positions (N, D) to features and logits."""
        for layer in self.layers:
            tokens = layer(tokens, positions)
        return Modelled(tokens, self.head(tokens))


class _Layer(nn.TransformerEncoderLayer):
    """torch's layer, whose queries and keys are told where they are."""

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:  # type: ignore[override]
        placed = x + positions
        attended = self.self_attn(placed, placed, x, need_weights=False)[0]
        x = self.norm1(x + self.dropout1(attended))
        return self.norm2(x + self._ff_block(x))


def sine_positions(grid: tuple[int, int], width: int, *, device: torch.device | None = None) -> Tensor:
    """Where the tokens of a grid lie, rows first, as fractions of the grid's sides.

    Args:
        grid: Rows h and columns w.
        width: Values per token, a multiple of 4.
        device: Of the result.

    Returns:
        Half of the values tell the row, half the column: sine and cosine in turns, wavelengths from 1 to 10000 sides. Row k of h
        is at k / h, counted from 1. Shape (h w, width), float32.

    Source: section 4.2, "with position encoding applied".

    Unspecified: which encoding; the released code takes the normalised sines of DETR.
    """
    half = width // 2
    wavelength = 10000 ** (torch.arange(0, half, 2, device=device) / half)
    codes = []
    for side in grid:
        angle = torch.arange(1, side + 1, device=device)[:, None] * (2 * math.pi / side) / wavelength
        codes.append(torch.stack([angle.sin(), angle.cos()], -1).flatten(1))  # (side, width / 2)
    rows, cols = codes
    both = [rows[:, None].expand(-1, len(cols), -1), cols[None].expand(len(rows), -1, -1)]
    return torch.cat(both, -1).flatten(0, 1)
