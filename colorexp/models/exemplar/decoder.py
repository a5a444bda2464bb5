"""The decoder: features of the target with found colours added at three scales, to chroma at three scales.

Source: Yes, Attention Is All You Need, for Exemplar based Colorization, section 3.2.3.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from colorexp.models.exemplar.blocks import SLOPE, InstanceNorm, Maps, conv, relu, up


class Decoder(nn.Module):
    """Three stages, each refines its features, doubles their size and adds a skip from the extractor.

    Args:
        width: Channels of the network at full resolution.

    Deviation: section 3.2.3 takes the decoder of StackGAN++; as in the released code only its outputs at several scales are, the
        layers are those of a U-shaped network with residual blocks (whose biases the norms behind them cancel).
    """

    def __init__(self, *, width: int) -> None:
        super().__init__()
        w = width
        leaky = nn.LeakyReLU(SLOPE, inplace=True)
        after = (
            nn.Sequential(relu(), conv(8 * w, 8 * w), relu(), conv(8 * w, 8 * w), relu(), InstanceNorm()),
            nn.Sequential(relu(), conv(4 * w, 4 * w), relu(), InstanceNorm()),
            nn.Sequential(relu(), conv(4 * w, 4 * w), leaky),
        )
        sizes = ((16 * w, 8 * w, 8 * w), (8 * w, 4 * w, 4 * w), (4 * w, 4 * w, 2 * w))
        self.stages = nn.ModuleList(
            _Stage(before, up_to, skip, last) for (before, up_to, skip), last in zip(sizes, after, strict=True)
        )
        self.tails = nn.ModuleList(_tail(before, mid) for before, mid in ((8 * w, 4 * w), (4 * w, 2 * w), (4 * w, 2 * w)))

    def forward(self, maps: Maps, additions: Sequence[Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
        """Decode.

        Args:
            maps: Of the target.
            additions: Features of colours at 1/16, 1/8 and 1/4; None adds nothing.

        Returns:
            ab / 110 in (-1, 1) at a quarter, a half and the whole of the resolution, each (B, 2, h, w).
        """
        x, made = maps.conv6, []
        for i, (stage, skip) in enumerate(zip(self.stages, (maps.conv3, maps.conv2, maps.conv1), strict=True)):
            x = stage(x if additions is None else x + additions[i], skip)
            made.append(x)
        quarter, half, full = (tail(x) for tail, x in zip(self.tails, made, strict=True))
        return quarter, half, full


class _Stage(nn.Module):
    def __init__(self, before: int, after: int, skipped: int, last: nn.Module) -> None:
        super().__init__()
        self.refine = nn.Sequential(conv(before, before), InstanceNorm(), relu(), _Residual(before), _Residual(before))
        self.up, self.skip, self.last = up(before, after), conv(skipped, after), last

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.last(self.up(self.refine(x)) + self.skip(skip))


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(width, width), InstanceNorm(), relu(), conv(width, width), InstanceNorm())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def _tail(before: int, mid: int) -> nn.Sequential:
    return nn.Sequential(up(before, mid), nn.LeakyReLU(SLOPE, inplace=True), nn.Conv2d(mid, 2, 1), nn.Tanh())
