"""What the exemplar network is built of: its convolution blocks, the feature extractor F and the encoder of found colours.

Source: Yes, Attention Is All You Need, for Exemplar based Colorization, section 3.2 and Figure 2; layers and widths are those of
    its released code (the paper leaves them to a supplement), built for any width.
"""

import math
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
"""Of the leaky ReLUs before colours leave the decoder."""
PUBLISHED_WIDTH = 32
INITIAL_STD = 0.02
"""Of first weights, at the published width."""


class InstanceNorm(nn.Module):
    """Every map of every picture to zero mean and unit variance; also a map of a single pixel, which torch's own refuses."""

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, C, H, W) to the same."""
        return F.instance_norm(x) if x.shape[2:].numel() > 1 else x - x


def relu() -> nn.Module:
    """A ReLU of a convolution's own output, in place: saves a copy of the largest maps."""
    return nn.ReLU(inplace=True)


def conv(before: int, after: int, *, dilation: int = 1) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size."""
    return nn.Conv2d(before, after, 3, padding=dilation, dilation=dilation)


def up(before: int, after: int) -> nn.ConvTranspose2d:
    """A transposed convolution that doubles the size."""
    return nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)


def block(before: int, after: int, *, convs: int, dilation: int = 1) -> nn.Sequential:
    """Convolutions with ReLUs, normalised at the end."""
    layers: list[nn.Module] = []
    for i in range(convs):
        layers += [conv(after if i else before, after, dilation=dilation), relu()]
    return nn.Sequential(*layers, InstanceNorm())


def initialise(network: nn.Module, width: int) -> None:
    """Draw first weights from the global generator; biases are zero.

    Unspecified: the released code draws from N(0, 0.02) at width 32. Narrower networks get proportionally larger weights, so that
        their layers give values of the published scale.
    """
    std = INITIAL_STD * math.sqrt(PUBLISHED_WIDTH / width)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, std=std)
            assert module.bias is not None
            nn.init.zeros_(module.bias)


class Maps(NamedTuple):
    """What the feature extractor sees in a picture; its deepest three maps have the same size."""

    conv1: Tensor
    """Shape (B, 2W, H/2, W/2)."""
    conv2: Tensor
    """Shape (B, 4W, H/4, W/4)."""
    conv3: Tensor
    """Shape (B, 8W, H/8, W/8)."""
    conv4: Tensor
    """Shape (B, 16W, H/16, W/16)."""
    conv5: Tensor
    conv6: Tensor


class Extractor(nn.Module):
    """F, the feature extractor that target and reference share.

    Args:
        width: Channels at full resolution; the deepest maps have sixteen times as many.

    Source: section 3.2.1.
    """

    def __init__(self, *, width: int) -> None:
        super().__init__()
        w = width
        self.head = block(1, w, convs=1)
        self.conv1 = block(w, 2 * w, convs=2)
        self.conv2 = block(2 * w, 4 * w, convs=2)
        self.conv3 = block(4 * w, 8 * w, convs=3)
        self.conv4 = block(8 * w, 16 * w, convs=3)
        self.conv5 = block(16 * w, 16 * w, convs=3, dilation=2)
        self.conv6 = block(16 * w, 16 * w, convs=3, dilation=2)

    def forward(self, L_n: Tensor) -> Maps:
        """Normalised lightness (B, 1, H, W), H and W multiples of 16, to its maps."""
        conv1 = self.conv1(halved(self.head(L_n)))
        conv2 = self.conv2(halved(conv1))
        conv3 = self.conv3(halved(conv2))
        conv4 = self.conv4(halved(conv3))
        conv5 = self.conv5(conv4)
        return Maps(conv1, conv2, conv3, conv4, conv5, self.conv6(conv5))


class ColourEncoder(nn.Module):
    """Colours that were found for the target, as features for three scales of the decoder.

    Args:
        width: Channels of the network at full resolution.

    Deviation: section 3.2.3 adds colours and leaves open how they meet features; as in the released code these features of the
        colours are added to those of the target.
    """

    def __init__(self, *, width: int) -> None:
        super().__init__()
        w = width
        self.quarter = nn.Sequential(block(2, 2 * w, convs=2), block(2 * w, 4 * w, convs=2))
        self.eighth = block(4 * w, 8 * w, convs=2)
        self.sixteenth = block(8 * w, 16 * w, convs=2)

    def forward(self, ab_n: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised chroma (B, 2, H/4, W/4) to features of 16W, 8W and 4W channels at 1/16, 1/8 and 1/4."""
        quarter = self.quarter(ab_n)
        eighth = self.eighth(halved(quarter))
        return self.sixteenth(halved(eighth)), eighth, quarter


def halved(x: Tensor) -> Tensor:
    """Every second row and column."""
    return x[..., ::2, ::2]
