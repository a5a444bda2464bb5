"""DISCO's RefineNet: corrects colour features by the lightness of every pixel.

Source: Disentangled Image Colorization via Global Anchors, section 4.3; layers and widths are those of its released code.
"""

import torch
from torch import Tensor, nn

from colorexp.models.disco.backbone import conv
from colorexp.nn.padding import pad_to_multiple

MULTIPLE = 4
"""Of pixels that the deepest maps' pixels stand for."""


class RefineNet(nn.Module):
    """A small hourglass: two blocks down, three residual blocks, two up with skips.

    Args:
        features: Channels of the colour features.
        width: Channels at full resolution; at a quarter of it there are four times as many.

    Unspecified: the architecture; batch norms stand outside the residual blocks, spectral norm on their second convolutions.
    """

    def __init__(self, *, features: int = 64, width: int = 64) -> None:
        super().__init__()
        w = width
        self.entry = _pair(features + 1, w)
        self.down1 = _pair(w, 2 * w, stride=2)
        self.down2 = _pair(2 * w, 4 * w, stride=2)
        self.residual = nn.Sequential(*(_Residual(4 * w) for _ in range(3)))
        self.up2 = _Up(4 * w, 2 * w)
        self.up1 = _Up(2 * w, w)
        self.exit = conv(w, 2)

    def forward(self, features: Tensor, L_n: Tensor) -> Tensor:
        """Colour features (B, D, H, W) and normalised lightness (B, 1, H, W) to normalised ab in (-1, 1). Shape (B, 2, H, W)."""
        height, width = L_n.shape[-2:]
        full = self.entry(pad_to_multiple(torch.cat([L_n, features], 1), MULTIPLE))
        half = self.down1(full)
        x = self.residual(self.down2(half))
        x = self.up1(self.up2(x, half), full)
        return self.exit(x).tanh()[..., :height, :width]


def _pair(before: int, after: int, *, stride: int = 1) -> nn.Sequential:
    first, second = conv(before, after, stride=stride), conv(after, after)
    return nn.Sequential(first, nn.ReLU(inplace=True), second, nn.ReLU(inplace=True), nn.BatchNorm2d(after))


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        second = conv(width, width, spectral=True)
        self.body = nn.Sequential(conv(width, width), second, nn.ReLU(inplace=True), conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.body(x)).relu()


class _Up(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(conv(before, after), nn.Upsample(scale_factor=2.0))
        self.combine = nn.Sequential(conv(2 * after, after), nn.ReLU(inplace=True))
        self.body = _pair(after, after)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.body(self.combine(torch.cat([self.reduce(x), skip], 1)))
