"""SwinIR and Uformer as AdaColViT's baselines: restoration networks that look at windows and answer with colours.

Source: AdaColViT, section 4 and Table 2, which name both and print multiply-adds and latency; layouts are those of SwinIR (Liang et
    al. 2021) and Uformer (Wang et al. 2022) with the changes that stand in the first author's code.

Unspecified: the paper gives no size of either network. Widths, patch, window and heads are those of the author's code whose
    multiply-adds are the printed ones.

Deviation: stochastic depth, 0.1 in both reference codes, is left out, as it is for the vision transformer they are compared with.
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from colorexp.nn.linear import Linear
from colorexp.nn.padding import pad_to_multiple
from colorexp.nn.windows import WindowStage

IN_CHANNELS = 4
AB_CHANNELS = 2
SHUFFLED_CHANNELS = 4


class SwinIR(nn.Module):
    """Patch tokens, groups of shifted-window layers that end in a convolution, pixels out of one shuffle.

    A picture whose sides are no multiples of patch * window is extended by its border and the result cropped back.

    Args:
        width: D of the tokens, a multiple of `heads`; 180 is SwinIR-S, 108 SwinIR-T.
        depths: Layers in every group.
        heads: Attention heads.
        window: Side of a window in patches.
        mlp_ratio: Hidden width of the feed-forward layers over `width`.
        patch: Side of a patch in pixels.

    Raises:
        ValueError: If `width` is no multiple of `heads`, or a size or depth is not positive.

    Source: SwinIR, section 3.1; AdaColViT, Table 2.

    Deviation: SwinIR's tokens are pixels (52 G multiply-adds at 224x224); 1.96 G are reached by patches of 16 pixels, one
        pixel shuffle from the last map to the picture, and no convolution or skip at full resolution, as in the author's code.
    """

    def __init__(
        self,
        *,
        width: int = 180,
        depths: Sequence[int] = (6, 6, 6, 6),
        heads: int = 6,
        window: int = 7,
        mlp_ratio: float = 2.0,
        patch: int = 16,
    ) -> None:
        super().__init__()
        _check_depths(depths)
        if patch < 1:
            raise ValueError(f"patch must be at least 1, got {patch}")
        hidden = _hidden(width, mlp_ratio)
        self.multiple = patch * window
        self.embed = nn.Conv2d(IN_CHANNELS, width, patch, stride=patch)
        self.embed_norm = nn.LayerNorm(width)
        self.groups = nn.ModuleList(
            _ResidualGroup(width=width, depth=depth, heads=heads, window=window, hidden=hidden) for depth in depths
        )
        self.norm = nn.LayerNorm(width)
        self.after = nn.Conv2d(width, width, 3, padding=1)
        self.upsample = nn.Sequential(
            nn.Conv2d(width, SHUFFLED_CHANNELS * patch**2, 3, padding=1),
            nn.PixelShuffle(patch),
            nn.Conv2d(SHUFFLED_CHANNELS, AB_CHANNELS, 3, padding=1),
            nn.Tanh(),
        )
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Predict every pixel's chroma.

        Args:
            x: L, a, b as the task scales them, a and b zero where there is no hint; 1 where there is a hint, else 0.
                Shape (B, 4, H, W), any H and W.

        Returns:
            Scaled a and b in [-1, 1]. Shape (B, 2, H, W).
        """
        height, width = x.shape[-2:]
        tokens = self.embed_norm(_channels_last(self.embed(pad_to_multiple(x, self.multiple))))  # (B, H', W', D)
        deep = tokens
        for group in self.groups:
            deep = group(deep)
        deep = self.after(_channels_first(self.norm(deep)))  # (B, D, H', W')
        return self.upsample(_channels_first(tokens) + deep)[..., :height, :width]


class _ResidualGroup(nn.Module):
    def __init__(self, *, width: int, depth: int, heads: int, window: int, hidden: int) -> None:
        super().__init__()
        feedforward = [nn.Sequential(Linear(width, hidden), nn.GELU(), Linear(hidden, width)) for _ in range(depth)]
        self.layers = WindowStage(width=width, feedforward=feedforward, heads=heads, window=window)
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + _channels_last(self.conv(_channels_first(self.layers(x))))


class Uformer(nn.Module):
    """A U of window-attention stages at full, half, ... resolution, with a depthwise convolution in every feed-forward layer.

    A picture whose sides are no multiples of window * 2^levels is extended by its border and the result cropped back.

    Args:
        width: Channels at full resolution, doubled at every level; 8 is Uformer-S, 4 Uformer-T.
        depths: Layers of every stage from the encoder's first to the decoder's last; an odd number of stages, 2 * levels + 1.
        heads: Attention heads of every stage. A decoder stage is twice as wide as the encoder stage of its level.
        window: Side of a window.
        mlp_ratio: Hidden width of the feed-forward layers over the stage's.
        modulator: Whether the decoder's windows have a learned vector per place, added to what attention reads.
        shift: Whether every second layer shifts its windows.

    Raises:
        ValueError: If the stages are no odd number of at least 3, `heads` has another length than `depths`, a stage's width is no
            multiple of its heads, or a size or depth is not positive.

    Source: Uformer, section 3; AdaColViT, Table 2.

    Deviation: Uformer adds its prediction to the picture; the task predicts colours it was not given, so nothing is added and tanh
        bounds them. By default windows are 7 wide and not shifted, as in the author's code; Uformer's are 8 wide and shifted.
    """

    def __init__(
        self,
        *,
        width: int = 8,
        depths: Sequence[int] = (2, 2, 2, 2, 2, 2, 2, 2, 2),
        heads: Sequence[int] = (1, 2, 4, 8, 16, 16, 8, 4, 2),
        window: int = 7,
        mlp_ratio: float = 4.0,
        modulator: bool = True,
        shift: bool = False,
    ) -> None:
        super().__init__()
        _check_depths(depths)
        if len(depths) < 3 or len(depths) % 2 == 0:
            raise ValueError(f"depths must be an odd number of stages, at least 3, got {len(depths)}: {tuple(depths)}")
        if len(heads) != len(depths):
            raise ValueError(f"heads must be as many as depths, {len(depths)}, got {len(heads)}: {tuple(heads)}")
        levels = len(depths) // 2
        self.multiple = window * 2**levels

        down = [width * 2**level for level in range(levels + 1)]
        up = [2 * channels for channels in reversed(down[:-1])]
        stages = [
            WindowStage(
                width=channels,
                feedforward=[_LocalFeedForward(channels, _hidden(channels, mlp_ratio)) for _ in range(depth)],
                heads=count,
                window=window,
                modulated=modulator and stage > levels,
                shifted=shift,
            )
            for stage, (channels, depth, count) in enumerate(zip(down + up, depths, heads, strict=True))
        ]
        self.embed = nn.Sequential(nn.Conv2d(IN_CHANNELS, width, 3, padding=1), nn.LeakyReLU())
        self.encoder = nn.ModuleList(stages[:levels])
        self.shrink = nn.ModuleList(nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1) for channels in down[:-1])
        self.bottleneck = stages[levels]
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(before, after // 2, 2, stride=2) for before, after in zip((down[-1], *up), up, strict=False)
        )
        self.decoder = nn.ModuleList(stages[levels + 1 :])
        self.head = nn.Sequential(nn.Conv2d(2 * width, AB_CHANNELS, 3, padding=1), nn.Tanh())
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Predict every pixel's chroma.

        Args:
            x: L, a, b as the task scales them, a and b zero where there is no hint; 1 where there is a hint, else 0.
                Shape (B, 4, H, W), any H and W.

        Returns:
            Scaled a and b in [-1, 1]. Shape (B, 2, H, W).
        """
        height, width = x.shape[-2:]
        x = self.embed(pad_to_multiple(x, self.multiple))
        skips = []
        for stage, shrink in zip(self.encoder, self.shrink, strict=True):
            x = _channels_first(stage(_channels_last(x)))
            skips.append(x)
            x = shrink(x)
        x = _channels_first(self.bottleneck(_channels_last(x)))
        for grow, stage in zip(self.grow, self.decoder, strict=True):
            x = torch.cat([grow(x), skips.pop()], 1)
            x = _channels_first(stage(_channels_last(x)))
        return self.head(x)[..., :height, :width]


class _LocalFeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.widen = nn.Sequential(Linear(width, hidden), nn.GELU())
        self.local = nn.Sequential(nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden), nn.GELU())
        self.narrow = Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.narrow(_channels_last(self.local(_channels_first(self.widen(x)))))


def _channels_last(x: Tensor) -> Tensor:
    return rearrange(x, "b d h w -> b h w d")


def _channels_first(x: Tensor) -> Tensor:
    return rearrange(x, "b h w d -> b d h w")


def _check_depths(depths: Sequence[int]) -> None:
    if not depths or min(depths) < 1:
        raise ValueError(f"depths must be one or more positive numbers of layers, got {tuple(depths)}")


def _hidden(width: int, mlp_ratio: float) -> int:
    hidden = int(width * mlp_ratio)
    if hidden < 1:
        raise ValueError(f"mlp_ratio must give at least one hidden channel, got {mlp_ratio} at width {width}")
    return hidden


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
