"""Simple UNet, ResUNet and TransUNet: per-pixel colour classifiers over Lab bins.

Source: User Guided Image Colorization, sections 4.1 and 4.2; sizes the paper leaves open are those of its released code.

Unspecified: channel widths (8, 16, 32, 64), the 512-channel bottleneck, four heads and feed-forward 2048 of the transformer
    blocks are taken from the released code. So are, by default, the 3 channels of the last decoder stage (`last`), a side effect of
    reversing the list of widths: 32 classes per channel must be told apart from three values that passed a ReLU. Wider stages
    learn several times faster; reports/timings and the user-guided notebook say which width a profile uses.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from colorexp.nn.padding import pad_to_multiple

IN_CHANNELS = 3

Downsample = Literal["max", "strided"]
Tokens = Literal["patches", "columns"]


class UNet(nn.Module):
    """What the three networks share: four levels down, a bottleneck, four levels up, one 1x1 head per chroma channel.

    A picture whose sides are no multiples of 2^levels is extended by its border and the result cropped back.
    """

    def __init__(self, *, bins: int | None, channels: Sequence[int], last: int, bottleneck: nn.Module) -> None:
        super().__init__()
        if len(channels) != 4 or min(channels) < 1:
            raise ValueError(f"channels must be four positive widths, got {tuple(channels)}")
        if bins is not None and bins < 2:
            raise ValueError(f"bins must be None or at least 2, got {bins}")
        self.multiple = 2 ** len(channels)
        self.encoder = nn.ModuleList()
        self.bottleneck = bottleneck
        self.decoder = nn.ModuleList()
        self.head_a = nn.Conv2d(last, bins or 1, 1)
        self.head_b = nn.Conv2d(last, bins or 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Predict every pixel's chroma.

        Args:
            x: L, a, b as the task scales them, a and b zero where there is no hint. Shape (B, 3, H, W), any H and W.

        Returns:
            Logits over the bins of a and of b (or one value each for a regressor). Shape (B, 2, K, H, W).
        """
        height, width = x.shape[-2:]
        x = pad_to_multiple(x, self.multiple)
        skips = []
        for down in self.encoder:
            x, skip = down(x)
            skips.append(skip)
        x = self.bottleneck(x)
        for up in self.decoder:
            x = up(x, skips.pop())
        # both heads as one convolution: stacking their outputs would copy the largest tensor of the network
        weight = torch.cat([self.head_a.weight, self.head_b.weight])
        bias = torch.cat([self.head_a.bias, self.head_b.bias])  # type: ignore[list-item]
        logits = F.conv2d(x, weight, bias).unflatten(1, (2, -1))  # (B, 2, K, H, W)
        return logits[..., :height, :width]


def _pointwise_bottleneck(channels: int, hidden: int) -> nn.Sequential:
    layers = [nn.Conv2d(channels, hidden, 1), nn.BatchNorm2d(hidden), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(hidden, channels, 1), nn.BatchNorm2d(channels), nn.ReLU())


class SimpleUNet(UNet):
    """Convolution and max-pooling down, nearest up-sampling and convolution up.

    Args:
        bins: Classes per chroma channel, or None for a regressor that predicts one value.
        channels: Widths of the four levels.
        last: Width of the last decoder stage, from which both heads read.
        bottleneck: Hidden width between the two 1x1 convolutions.

    Source: section 4.2.1.

    Deviation: Figure 1 can be read as skips taken before pooling; as in the released code they are the pooled maps.
    """

    def __init__(
        self,
        *,
        bins: int | None = 32,
        channels: Sequence[int] = (8, 16, 32, 64),
        last: int = 3,
        bottleneck: int = 512,
    ) -> None:
        super().__init__(bins=bins, channels=channels, last=last, bottleneck=_pointwise_bottleneck(channels[-1], bottleneck))
        for before, after in zip((IN_CHANNELS, *channels), channels, strict=False):
            self.encoder.append(_PlainDown(before, after))
        for before, after in zip(reversed(channels), (*reversed(channels[:-1]), last), strict=True):
            self.decoder.append(_PlainUp(before, after))


class _PlainDown(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, padding=1)
        self.norm = nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), 2)
        return x, x


class _PlainUp(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * before, after, 3, padding=1)
        self.norm = nn.BatchNorm2d(after)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = F.interpolate(torch.cat([x, skip], 1), scale_factor=2.0)
        return F.relu(self.norm(self.conv(x)))


class ResUNet(UNet):
    """A ResNet block at every level, skips taken before down-sampling.

    Args:
        bins: Classes per chroma channel, or None for a regressor that predicts one value.
        channels: Widths of the four levels.
        last: Width of the last decoder stage, from which both heads read.
        bottleneck: Hidden width between the two 1x1 convolutions.
        downsample: `max` pooling as the paper says, or the `strided` convolution of the released code.

    Source: section 4.2.2.

    Deviation: the text puts the decoder's ResNet block before its up-sampling; a skip taken before down-sampling only fits after
        it, which is also the released code's order.
    """

    def __init__(
        self,
        *,
        bins: int | None = 32,
        channels: Sequence[int] = (8, 16, 32, 64),
        last: int = 3,
        bottleneck: int = 512,
        downsample: Downsample = "max",
    ) -> None:
        super().__init__(bins=bins, channels=channels, last=last, bottleneck=_pointwise_bottleneck(channels[-1], bottleneck))
        for before, after in zip((IN_CHANNELS, *channels), channels, strict=False):
            self.encoder.append(_ResidualDown(before, after, downsample))
        for before, after in zip(reversed(channels), (*reversed(channels[:-1]), last), strict=True):
            self.decoder.append(_ResidualUp(before, after))


class ResidualBlock(nn.Module):
    """The basic block of ResNet: two 3x3 convolutions with batch norm, added to the input (1x1 where widths differ)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, before, H, W) to (B, after, H, W)."""
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


def _downsampler(channels: int, kind: Downsample) -> nn.Module:
    if kind == "max":
        return nn.MaxPool2d(2)
    if kind == "strided":
        return nn.Conv2d(channels, channels, 3, stride=2, padding=1)
    raise ValueError(f"downsample must be 'max' or 'strided', got {kind!r}")


class _ResidualDown(nn.Module):
    def __init__(self, before: int, after: int, downsample: Downsample) -> None:
        super().__init__()
        self.block = ResidualBlock(before, after)
        self.down = _downsampler(after, downsample)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        skip = self.block(x)
        return self.down(skip), skip


class _ResidualUp(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, before, 3, padding=1)
        self.block = ResidualBlock(2 * before, after)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.conv(F.interpolate(x, scale_factor=2.0))
        return self.block(torch.cat([x, skip], 1))


class TransUNet(UNet):
    """A ResNet block followed by a transformer layer at every level; the decoder's layers also attend to the encoder's tokens.

    Args:
        bins: Classes per chroma channel, or None for a regressor that predicts one value.
        channels: Widths of the four levels.
        last: Width of the last decoder stage, from which both heads read.
        downsample: `max` pooling as the paper says, or the `strided` convolution of the released code.
        tokens: `patches` are squares of `patch`, `patch / 2`, `patch / 4`, `patch / 8` pixels at the four levels; `columns` are
            the released code's tokens, which hold the same values in memory order: at 256x256 a token of the first level is one
            image column over all channels.
        patch: Side of the first level's tokens, a multiple of 8. A token has channels x patch^2 values.
        heads: Attention heads; divides every token's width and the bottleneck's.
        feedforward: Hidden width of the transformer layers.
        bottleneck_layers: Transformer layers between encoder and decoder.
        bottleneck_feedforward: Their hidden width.

    Source: section 4.2.3.

    Unspecified: token shape and width, number of layers, position codes. Transformer layers are post-norm with ReLU, one per level,
        without dropout and without position codes, as in the released code; square patches replace its image columns.

    Deviation: the released bottleneck has one layer of feed-forward width 2, because its layer count landed in the place of the
        width; `bottleneck_layers` 2 and `bottleneck_feedforward` 2048 are what it meant.
    """

    def __init__(
        self,
        *,
        bins: int | None = 32,
        channels: Sequence[int] = (8, 16, 32, 64),
        last: int = 3,
        downsample: Downsample = "max",
        tokens: Tokens = "patches",
        patch: int = 16,
        heads: int = 4,
        feedforward: int = 2048,
        bottleneck_layers: int = 2,
        bottleneck_feedforward: int = 2048,
    ) -> None:
        if patch < 8 or patch % 8:
            raise ValueError(f"patch must be a positive multiple of 8, got {patch}")
        if tokens not in ("patches", "columns"):
            raise ValueError(f"tokens must be 'patches' or 'columns', got {tokens!r}")
        super().__init__(bins=bins, channels=channels, last=last, bottleneck=nn.Identity())
        self.multiple = math.lcm(self.multiple, patch)
        bottom = [(bottleneck_feedforward, channels[-1])] * bottleneck_layers
        self.bottleneck = _TokenBottleneck([_encoder_layer(width, heads, hidden) for hidden, width in bottom])
        sides = [patch // 2**level for level in range(len(channels))]
        for before, after, side in zip((IN_CHANNELS, *channels), channels, sides, strict=False):
            looking = _encoder_layer(after * side**2, heads, feedforward)
            self.encoder.append(_AttentiveDown(before, after, downsample, looking, _TokenLayout(tokens, side)))
        for before, after, side in reversed(list(zip(channels, (last, *channels), sides, strict=False))):
            crossing = nn.TransformerDecoderLayer(before * side**2, heads, feedforward, dropout=0.0, batch_first=True)
            self.decoder.append(_AttentiveUp(before, after, crossing, _TokenLayout(tokens, side)))


def _encoder_layer(width: int, heads: int, feedforward: int) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(width, heads, feedforward, dropout=0.0, batch_first=True)


class _TokenLayout(NamedTuple):
    kind: Tokens
    side: int

    def split(self, x: Tensor) -> Tensor:
        if self.kind == "patches":
            return rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=self.side, q=self.side)
        b, c, h, w = x.shape
        return x.reshape(b, c * self.side**2, h * w // self.side**2).transpose(1, 2)  # (B, N, D)

    def join(self, tokens: Tensor, like: Tensor) -> Tensor:
        if self.kind == "patches":
            h, p = like.shape[2] // self.side, self.side
            return rearrange(tokens, "b (h w) (c p q) -> b c (h p) (w q)", h=h, p=p, q=p)
        return tokens.transpose(1, 2).reshape(like.shape)


class _TokenBottleneck(nn.Module):
    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.layers(rearrange(x, "b c h w -> b (h w) c"))
        return rearrange(tokens, "b (h w) c -> b c h w", h=x.shape[2])


class _AttentiveDown(_ResidualDown):
    def __init__(self, before: int, after: int, downsample: Downsample, attention: nn.Module, layout: _TokenLayout) -> None:
        super().__init__(before, after, downsample)
        self.attention, self.layout = attention, layout

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # type: ignore[override]
        skip = self.block(x)
        tokens = self.attention(self.layout.split(skip))
        return self.down(self.layout.join(tokens, skip)), (skip, tokens)


class _AttentiveUp(_ResidualUp):
    def __init__(self, before: int, after: int, attention: nn.Module, layout: _TokenLayout) -> None:
        super().__init__(before, after)
        self.attention, self.layout = attention, layout

    def forward(self, x: Tensor, skip: tuple[Tensor, Tensor]) -> Tensor:  # type: ignore[override]
        features, memory = skip
        x = self.conv(F.interpolate(x, scale_factor=2.0))
        x = self.layout.join(self.attention(self.layout.split(x), memory), x)
        return self.block(torch.cat([x, features], 1))
