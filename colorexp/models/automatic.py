"""CIColor, UGColor and a small ColTran: colours for a gray picture by classification, regression and autoregression.

The three frameworks that DISCO is compared with. All take L normalised as DISCO does and pictures of any size.

Source: Disentangled Image Colorization via Global Anchors (DISCO), Figure 1 and Tables 1, 3 and 5.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from colorexp import color
from colorexp.nn.attention import NORM_EPS, Block, Blocks, attend
from colorexp.nn.padding import pad_to_multiple
from colorexp.nn.positions import sinusoid
from colorexp.nn.sampling import pick

REDUCTION = 8
"""Pixels along a side of the trunk's coarsest cells."""


def _block(before: int, after: int, convs: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """3x3 convolutions, each followed by a ReLU, the last one strided; a batch norm at the end."""
    layers: list[nn.Module] = []
    for number in range(1, convs + 1):
        step = stride if number == convs else 1
        layers += [nn.Conv2d(before if number == 1 else after, after, 3, step, dilation, dilation), nn.ReLU()]
    return nn.Sequential(*layers, nn.BatchNorm2d(after))


def _double(before: int, after: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)


def _trunk(channels: int, width: int, *, stride: int) -> nn.ModuleList:
    """conv1 to conv7 of both networks of Zhang et al.; conv5 and conv6 look twice as far."""
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    shallow = [
        _block(channels, width, 2, stride=stride),
        _block(width, 2 * width, 2, stride=stride),
        _block(2 * width, 4 * width, 3, stride=stride),
    ]
    deep = [_block(8 * width, 8 * width, 3, dilation=dilation) for dilation in (2, 2, 1)]
    return nn.ModuleList([*shallow, _block(4 * width, 8 * width, 3), *deep])


class CIColor(nn.Module):
    """Per-pixel classification over the bins of the ab gamut, at a quarter of the picture's resolution.

    Args:
        bins: Colours N.
        width: Channels of conv1; the deepest blocks have eight times as many.

    Raises:
        ValueError: If `width` is below 1.

    Source: Colorful Image Colorization (Zhang et al. 2016), section 3 and its table of layers; DISCO, Table 5.
    """

    cell = 4
    """Pixels along a side of what one distribution speaks for."""

    def __init__(self, *, bins: int = color.GAMUT_BINS, width: int = 64) -> None:
        super().__init__()
        self.trunk = _trunk(1, width, stride=2)
        inner = 4 * width
        layers = [_double(8 * width, inner), nn.ReLU()]
        for _ in range(2):
            layers += [nn.Conv2d(inner, inner, 3, padding=1), nn.ReLU()]
        self.conv8 = nn.Sequential(*layers, nn.Conv2d(inner, bins, 1))

    def forward(self, L_n: Tensor) -> Tensor:
        """Distributions over colours.

        Args:
            L_n: Normalised lightness. Shape (B, 1, H, W), any H and W.

        Returns:
            Logits, one distribution for every begun square of 4 x 4 pixels. Shape (B, N, ceil(H / 4), ceil(W / 4)).
        """
        x = pad_to_multiple(L_n, REDUCTION)
        for block in self.trunk:
            x = block(x)
        rows, cols = (-(-side // self.cell) for side in L_n.shape[-2:])
        return self.conv8(x)[..., :rows, :cols]


class UGColor(nn.Module):
    """Regression of ab with shortcuts from conv1, conv2 and conv3 to conv10, conv9 and conv8.

    Args:
        width: Channels of conv1; the deepest blocks have eight times as many.

    Raises:
        ValueError: If `width` is below 1.

    Source: Real-Time User-Guided Image Colorization with Learned Deep Priors (Zhang et al. 2017), section 3.3; DISCO, Table 5.

    Deviation: the published network has a second head, which classifies the features of conv8 into 529 colours for a display of
        suggestions and takes no part in colouring; it is left out. Its 135,953 parameters are within the 34.19 M of Table 5.
    """

    def __init__(self, *, width: int = 64) -> None:
        super().__init__()
        self.trunk = _trunk(4, width, stride=1)
        sizes = ((8, 4, 4, 2), (4, 2, 2, 1), (2, 1, 2, 1))  # from below, from the shortcut, to, convolutions
        self.raise_ = nn.ModuleList(_double(below * width, to * width) for below, _, to, _ in sizes)
        self.shortcuts = nn.ModuleList(nn.Conv2d(own * width, to * width, 3, padding=1) for _, own, to, _ in sizes)
        self.merge = nn.ModuleList()
        for _, _, to, convs in sizes[:2]:
            self.merge.append(nn.Sequential(nn.ReLU(), _block(to * width, to * width, convs)))
        last = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.merge.append(nn.Sequential(nn.ReLU(), last, nn.LeakyReLU(0.2)))
        self.head = nn.Conv2d(2 * width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Predict every pixel's chroma.

        Args:
            x: L, a and b of the hints and their mask, normalised; the last three zero for automatic use. Shape (B, 4, H, W), any
                H and W.

        Returns:
            Normalised ab in -1..1. Shape (B, 2, H, W).
        """
        height, width = x.shape[-2:]
        x = pad_to_multiple(x, REDUCTION)
        seen = []
        for number, block in enumerate(self.trunk):
            x = block(x)
            if number < len(self.shortcuts):
                seen.append(x)
                x = x[..., ::2, ::2]
        for double, shortcut, merge in zip(self.raise_, self.shortcuts, self.merge, strict=True):
            x = merge(double(x) + shortcut(seen.pop()))
        return self.head(x).tanh()[..., :height, :width]


class ColTranOutput(NamedTuple):
    """What teacher forcing gives."""

    logits: Tensor
    """Distribution of every symbol given those before it, (B, N, h, w)."""
    ab_n: Tensor
    """Normalised ab made of the given symbols, (B, 2, H, W)."""


class ColTran(nn.Module):
    """Draws a coarse picture symbol by symbol, each given lightness and the symbols before it, and upsamples it by regression.

    Lightness is brought to a grid of cells by strided convolutions and mixed by transformer blocks. A causal transformer then
    reads, cell by cell in raster order, the symbol before and the cell's lightness.

    Args:
        symbols: Colours N that a cell can have.
        cell: Pixels along a side of a cell, a power of 2 of at least 2.
        width: Channels of a token, a multiple of 4 and of `heads`.
        encoder_depth: Transformer blocks that mix lightness.
        depth: Causal transformer blocks.
        heads: Attention heads.
        mlp_ratio: Hidden width of feed-forwards over `width`.

    Raises:
        ValueError: If a size is not as said.

    Source: Colorization Transformer (Kumar et al. 2021), sections 4.1 to 4.3, as compared with in DISCO, Tables 1 and 3.

    Deviation: symbols are the 313 bins of the ab gamut instead of 8 x 8 x 8 RGB colours, since L is known; attention is over the
        whole grid instead of along axes; lightness is added to the tokens instead of scaling queries, keys, norms and
        feed-forwards; and one convolutional upsampler replaces the two transformers for colour depth and resolution.
    """

    def __init__(
        self,
        *,
        symbols: int = color.GAMUT_BINS,
        cell: int = 8,
        width: int = 64,
        encoder_depth: int = 2,
        depth: int = 4,
        heads: int = 4,
        mlp_ratio: int = 4,
    ) -> None:
        super().__init__()
        if cell < 2 or cell & (cell - 1):
            raise ValueError(f"cell must be a power of 2 of at least 2, got {cell}")
        if width < 4 or width % 4:
            raise ValueError(f"width must be a positive multiple of 4, got {width}")
        self.cell = cell
        levels = cell.bit_length() - 1
        widths = [1, *(max(4, width // 2**level) for level in reversed(range(levels)))]
        self.stem = nn.Sequential(*(_block(*pair, 2, stride=2) for pair in pairwise(widths)))
        self.encoder = Blocks(depth=encoder_depth, width=width, heads=heads, hidden=mlp_ratio * width)
        self.start = nn.Parameter(torch.zeros(width))
        self.embed = nn.Embedding(symbols, width)
        self.decoder = Blocks(depth=depth, width=width, heads=heads, hidden=mlp_ratio * width)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.head = nn.Linear(width, symbols)
        self.refine = _refiner(width // 4)

    def extra_repr(self) -> str:
        return f"cell={self.cell}"

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of symbols of a picture of height and width `size`."""
        return -(-size[0] // self.cell), -(-size[1] // self.cell)

    def forward(self, L_n: Tensor, index: Tensor, coarse_n: Tensor) -> ColTranOutput:
        """Predict every symbol from the true ones before it, and the picture from all of them.

        Args:
            L_n: Normalised lightness. Shape (B, 1, H, W), any H and W.
            index: Symbols, int64 in [0, N). Shape (B, h, w), see `grid`.
            coarse_n: Their colours, normalised ab. Shape (B, 2, h, w).

        Returns:
            Logits and ab.

        Raises:
            ValueError: If the grid of `index` is not that of the picture.
        """
        grid = self.grid((L_n.shape[-2], L_n.shape[-1]))
        if index.shape[1:] != grid:
            raise ValueError(f"a picture of {tuple(L_n.shape[-2:])} has {grid} symbols, got {tuple(index.shape[1:])}")
        known = self.embed(index.flatten(1)[:, :-1])
        before = torch.cat([self.start.expand(len(known), 1, -1), known], 1)  # (B, hw, D)
        x = before + self._lightness(L_n)
        later = torch.full((x.shape[1], x.shape[1]), -torch.inf, device=x.device).triu(1)
        for block in self.decoder:
            x = block(x, later)
        logits = rearrange(self.head(self.norm(x)), "b (h w) n -> b n h w", h=grid[0])
        return ColTranOutput(logits, self.upsample(L_n, coarse_n))

    def sample(self, L_n: Tensor, uniform: Tensor, *, temperature: float = 1.0) -> Tensor:
        """Draw the symbols one after the other.

        Args:
            L_n: Normalised lightness. Shape (B, 1, H, W).
            uniform: One number in [0, 1) per symbol. Shape (B, h, w).
            temperature: Divides the logits; above 0.

        Returns:
            Symbols, int64. Shape (B, h, w).
        """
        numbers = uniform.flatten(1)
        return self._generate(L_n, lambda logits, i: pick(logits, numbers[:, i], temperature=temperature))

    def most_probable(self, L_n: Tensor) -> Tensor:
        """Take the most probable symbol every time: no draw, but not the most probable picture either. Shape (B, h, w)."""
        return self._generate(L_n, lambda logits, _: logits.argmax(1))

    def upsample(self, L_n: Tensor, coarse_n: Tensor) -> Tensor:
        """Bring normalised ab of cells (B, 2, h, w) to the pixels of L_n (B, 1, H, W). Shape (B, 2, H, W)."""
        height, width = L_n.shape[-2:]
        smooth_n = F.interpolate(coarse_n, scale_factor=float(self.cell), mode="bilinear")[..., :height, :width]
        return smooth_n + self.refine(torch.cat([L_n, smooth_n], 1))

    def _lightness(self, L_n: Tensor) -> Tensor:
        """What every cell knows of lightness before any colour. Shape (B, hw, D)."""
        x = self.stem(pad_to_multiple(L_n, self.cell))
        x = rearrange(x + _places(x), "b d h w -> b (h w) d")
        for block in self.encoder:
            x = block(x)
        return x

    def _generate(self, L_n: Tensor, choose: Callable[[Tensor, int], Tensor]) -> Tensor:
        light = self._lightness(L_n)
        before = self.start.expand(len(light), -1)
        caches: list[tuple[Tensor, ...]] = [()] * len(self.decoder)
        chosen = []
        for i in range(light.shape[1]):
            x = (before + light[:, i]).unsqueeze(1)
            for layer, block in enumerate(self.decoder):
                x, caches[layer] = _next(block, x, caches[layer])
            chosen.append(choose(self.head(self.norm(x[:, 0])), i))
            before = self.embed(chosen[-1])
        return torch.stack(chosen, 1).view(-1, *self.grid((L_n.shape[-2], L_n.shape[-1])))


def _next(block: Block, x: Tensor, cache: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """What `block` makes of one more token (B, 1, D) after those whose keys and values are in `cache`, and the longer cache."""
    q, *own = block.attention.project(block.norm1(x))
    cache = tuple(torch.cat([past, new], 2) for past, new in zip(cache, own, strict=True)) if cache else tuple(own)
    mixed = attend(q * q.shape[-1] ** -0.5, *cache)
    x = x + block.attention.proj(mixed.transpose(1, 2).flatten(2))
    return x + block.feedforward(block.norm2(x)), cache


def _places(x: Tensor) -> Tensor:
    """Position codes for a map (B, D, h, w): half of the channels tell the row, half the column. Shape (D, h, w)."""
    _, channels, rows, cols = x.shape
    down, across = (sinusoid(count, channels // 2).to(x).T for count in (rows, cols))
    return torch.cat([down[:, :, None].expand(-1, -1, cols), across[:, None].expand(-1, rows, -1)])


def _refiner(width: int) -> nn.Sequential:
    """Full-resolution convolutions that see 17 x 17 pixels: L and smooth ab to a correction of ab."""
    layers: list[nn.Module] = []
    for before, dilation in ((3, 1), (width, 2), (width, 4)):
        layers += [nn.Conv2d(before, width, 3, padding=dilation, dilation=dilation), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(width, 2, 3, padding=1))
