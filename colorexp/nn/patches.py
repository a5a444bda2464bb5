"""Pictures to tokens and back: what the colorizing vision transformers begin and end with."""

import torch
from einops import rearrange
from torch import Tensor, nn

from colorexp.nn.padding import pad_to_multiple

HINT_CHANNELS = 4
"""L, a, b and the hint mask."""

Size = tuple[int, int]
"""Height and width in pixels, or rows and columns of tokens."""


class PatchEmbedding(nn.Module):
    """One token per square of pixels.

    Args:
        patch: Side of a square, pixels.
        width: Channels C of a token.
    """

    def __init__(self, *, patch: int, width: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(HINT_CHANNELS, width, patch, stride=patch)

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of tokens for a picture of height and width `size`, the last ones perhaps part padding."""
        return -(-size[0] // self.patch), -(-size[1] // self.patch)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, 4, H, W), any H and W, to (B, N, C), row by row."""
        return self.proj(pad_to_multiple(x, self.patch)).flatten(2).transpose(1, 2)


class ColourHead(nn.Module):
    """A 3x3 convolution over the grid of tokens, which gives every token the chroma of its pixels.

    Args:
        patch: Side of a token's square, pixels.
        width: Channels C of a token.
    """

    def __init__(self, *, patch: int, width: int) -> None:
        super().__init__()
        self.patch = patch
        self.conv = nn.Conv2d(width, 2 * patch**2, 3)

    def forward(self, tokens: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """Colour a picture.

        Args:
            tokens: Shape (B, N, C), row by row.
            grid: Rows and columns of the tokens.
            size: Height H and width W to crop to.

        Returns:
            Normalised chroma in [-1, 1]. Shape (B, 2, H, W).
        """
        rows, cols = (mirrored(n, tokens.device) for n in grid)
        maps = tokens.transpose(1, 2).unflatten(2, grid)[:, :, rows[:, None], cols]
        return unpatch(self.conv(maps).permute(0, 2, 3, 1), self.patch, size).tanh()


def mirrored(n: int, device: torch.device) -> Tensor:
    """Indices of n positions with one more on either side, reflected without the border itself; a single one is repeated.

    torch's own reflection refuses a side of one token. Shape (n + 2,).
    """
    index = torch.arange(-1, n + 1, device=device).abs()
    return ((n - 1) - (n - 1 - index).abs()).clamp(min=0)


def unpatch(values: Tensor, patch: int, size: tuple[int, int]) -> Tensor:
    """Lay every token's (row, column, channel) values out as pixels. Shape (B, h, w, p p 2) to (B, 2, *size)."""
    pixels = rearrange(values, "b h w (p q c) -> b c (h p) (w q)", p=patch, q=patch, c=2)
    return pixels[..., : size[0], : size[1]]
