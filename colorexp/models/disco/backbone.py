"""DISCO's backbone: what a convolutional network sees in a gray picture, at full resolution.

Source: Disentangled Image Colorization via Global Anchors, section 4 and Fig. 2; layers and widths are those of its released code
    (the paper leaves them to a supplement), built for any width.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from colorexp.nn.padding import pad_to_multiple

SLOPE = 0.2
"""Of the leaky ReLUs on the way down."""
MULTIPLE = 8
"""Of pixels that the deepest maps' pixels stand for."""


def conv(before: int, after: int, *, stride: int = 1, spectral: bool = False) -> nn.Module:
    """A 3x3 convolution with Xavier weights, divided by their largest singular value if `spectral`."""
    layer = nn.Conv2d(before, after, 3, stride=stride, padding=1)
    nn.init.xavier_uniform_(layer.weight)
    return spectral_norm(layer) if spectral else layer


def plain(layer: nn.Module) -> nn.Conv2d:
    """The convolution that a spectrally normalised one computes in eval mode, with weights of its own."""
    assert isinstance(layer, nn.Conv2d)
    with torch.device("meta"):  # draws no first weights
        made = nn.Conv2d(layer.in_channels, layer.out_channels, 3, stride=layer.stride[0], padding=1)
    made.weight, made.bias = nn.Parameter(layer.weight.detach()), layer.bias
    return made


class Backbone(nn.Module):
    """Seven blocks down to an eighth of the resolution, three up again, one skip from the third block to the eighth.

    Args:
        width: Channels of the first block; the deepest have eight times as many.
        features: Channels of the result.

    Unspecified: the architecture; as in the released code spectral norm guards the blocks on the way down alone.
    """

    def __init__(self, *, width: int = 64, features: int = 64) -> None:
        super().__init__()
        w = width
        self.block1 = _down(1, w, convs=2, stride=1)
        self.block2 = _down(w, 2 * w, stride=2)
        self.block3 = _down(2 * w, 4 * w, stride=2)
        self.block4 = _down(4 * w, 8 * w, stride=2)
        self.block5 = _down(8 * w, 8 * w)
        self.block6 = _down(8 * w, 8 * w)
        self.block7 = _down(8 * w, 8 * w)
        self.up8, self.skip8 = _up(8 * w, 4 * w), conv(4 * w, 4 * w)
        self.block8 = nn.Sequential(_relu(), conv(4 * w, 4 * w), _relu(), conv(4 * w, 4 * w), _relu(), nn.BatchNorm2d(4 * w))
        self.up9 = _up(4 * w, 2 * w)
        self.block9 = nn.Sequential(conv(2 * w, 2 * w), _relu(), nn.BatchNorm2d(2 * w))
        self.up10 = _up(2 * w, features)
        self.block10 = nn.Sequential(_relu(), conv(features, features), _relu())

    def forward(self, L_n: Tensor) -> Tensor:
        """Normalised lightness (B, 1, H, W), any H and W, to features of at least 0. Shape (B, D, H, W)."""
        height, width = L_n.shape[-2:]
        third = self.block3(self.block2(self.block1(pad_to_multiple(L_n, MULTIPLE))))
        x = self.block7(self.block6(self.block5(self.block4(third))))
        x = self.block8(self.up8(x) + self.skip8(third))
        x = self.block9(self.up9(x))
        return self.block10(self.up10(x))[..., :height, :width]


def _relu() -> nn.Module:
    return nn.ReLU(inplace=True)  # of a convolution's own output: saves a copy of the network's largest maps


def _down(before: int, after: int, *, convs: int = 3, stride: int = 1) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(convs):
        first = {"stride": stride} if i == 0 else {}
        layers += [conv(before if i == 0 else after, after, spectral=True, **first), nn.LeakyReLU(SLOPE, inplace=True)]
    return nn.Sequential(*layers, nn.BatchNorm2d(after))


def _up(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Upsample(scale_factor=2.0), conv(before, after))
