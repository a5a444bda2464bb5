"""SPixNet: from lightness to soft superpixels.

Source: DISCO, section 4.1; the network is that of SpixelFCN (Yang et al. 2020) with one input channel.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from colorexp.nn.padding import pad_to_multiple
from colorexp.nn.superpixels import NEIGHBOURS, mini_patches

LEVELS = 5
SLOPE = 0.1
"""Of the leaky ReLUs below zero."""


class SPixNet(nn.Module):
    """A U-shaped network that tells for every pixel to which of the nine superpixels around it belongs.

    A picture whose sides are no multiples of 16 is extended by its border and the result cropped back: whatever the size, there is
    one affinity per pixel, as `colorexp.nn.superpixels` takes it.

    Args:
        width: Channels at full resolution; each of the four levels below has twice as many as the one above.
        cell: Side S in pixels of the cells that superpixels start from. No weight depends on it, but trained weights only mean
            something for the cell that they were trained with.

    Raises:
        ValueError: If `width` or `cell` is not positive.

    Source: DISCO, section 4.1 (S = 16); SpixelFCN, Figure 2.

    Unspecified: the layers, which are left to a supplement; they are those of the released code: 2.27 M parameters, 2.90 GMAC at
        256x256.
    """

    alike = ("cell", "width")
    """Arguments that it has in common with a trained network whose weights it takes."""

    def __init__(self, *, width: int = 16, cell: int = 16) -> None:
        super().__init__()
        if width < 1 or cell < 1:
            raise ValueError(f"width and cell must be positive, got width {width} and cell {cell}")
        self.cell = cell
        widths = [width * 2**level for level in range(LEVELS)]
        self.encoder = nn.ModuleList([_down(1, width, stride=1)])
        self.encoder.extend(_down(above, below, stride=2) for above, below in pairwise(widths))
        self.decoder = nn.ModuleList(_Up(below, above) for above, below in pairwise(widths))
        self.head = nn.Conv2d(width, NEIGHBOURS, 3, padding=1)
        self.apply(_initialise)

    def forward(self, L_n: Tensor) -> Tensor:
        """Segment pictures.

        Args:
            L_n: (L - 50) / 50. Shape (B, 1, H, W), any H and W.

        Returns:
            Affinity: every pixel's probabilities of the nine superpixels around it. Shape (B, 9, H, W).

        Raises:
            ValueError: If `L_n` is not (B, 1, H, W).
        """
        if L_n.ndim != 4 or L_n.shape[1] != 1:
            raise ValueError(f"L_n must be (B, 1, H, W), got {tuple(L_n.shape)}")
        height, width = L_n.shape[-2:]
        x = pad_to_multiple(L_n, 2 ** (LEVELS - 1))
        skips = []
        for down in self.encoder:
            x = down(x)
            skips.append(x)
        for up, skip in zip(reversed(self.decoder), reversed(skips[:-1]), strict=True):
            x = up(x, skip)
        return self.head(x).softmax(1)[..., :height, :width]


class MiniPatches(nn.Module):
    """The grid itself in SPixNet's place: every pixel belongs to the cell it lies in. Nothing to train.

    Args:
        cell: Side S of a cell in pixels.

    Raises:
        ValueError: If `cell` is not positive.

    Source: DISCO, section 5.4, Table 4, the mini-patch primitives.
    """

    def __init__(self, *, cell: int = 16) -> None:
        super().__init__()
        if cell < 1:
            raise ValueError(f"cell must be positive, got {cell}")
        self.cell = cell

    def forward(self, L_n: Tensor) -> Tensor:
        """Lightness (B, 1, H, W), of which only the size counts, to an affinity (B, 9, H, W)."""
        return mini_patches(L_n)


def _conv(before: int, after: int, *, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.LeakyReLU(SLOPE))


def _down(before: int, after: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(_conv(before, after, stride=stride), _conv(after, after))


class _Up(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.up = nn.Sequential(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE))
        self.merge = _conv(2 * after, after)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.merge(torch.cat([skip, self.up(x)], 1))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight, SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
