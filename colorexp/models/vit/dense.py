"""iColoriT: a plain vision transformer that colours a picture from a few hinted pixels.

Source: the backbone of Real-Time User-guided Adaptive Colorization with Vision Transformer, sections 3.1 and 4; sizes and details
    are those of the released iColoriT.
"""

import copy

import torch
from torch import Tensor

from colorexp.nn.attention import Block
from colorexp.nn.frozen import FrozenEmbedding, FrozenHead, FrozenLinear, FrozenNorm, mix
from colorexp.nn.patches import Size
from colorexp.nn.transformer import Transformer, check_picture


class IColoriT(Transformer):
    """A pre-norm vision transformer over patches with a convolution as its head.

    The published sizes: T is width 192 and 3 heads, S 384 and 6, B 768 and 12; depth 12, or 6 and 24 for -d6 and -d24.

    Args:
        size: Side of the pictures it is made for, pixels; a multiple of `patch`. Others are coloured too.
        patch: Side of a patch, pixels.
        width: Channels of a token.
        depth: Blocks.
        heads: Attention heads; divides `width`.
        mlp_ratio: Hidden channels of the feed-forward over `width`.
        relative_positions: Whether every head learns a bias per offset between two tokens.

    Raises:
        ValueError: If a number does not fit the others.

    Source: sections 3.1 and 4 (equations 1 to 6).

    Deviation: equation 6 has no layer norm; the released iColoriT, whose costs the paper quotes, is pre-norm.

    Unspecified: pictures of another size are never stretched: patches keep their side, the border is repeated up to a whole patch
        and the result cropped. Position table and relative biases are read in between, linearly, so that the corners of the grid
        keep their codes.
    """

    def __init__(
        self,
        *,
        size: int = 224,
        patch: int = 16,
        width: int = 192,
        depth: int = 12,
        heads: int = 3,
        mlp_ratio: int = 4,
        relative_positions: bool = True,
    ) -> None:
        super().__init__(
            size=size,
            patch=patch,
            width=width,
            depth=depth,
            heads=heads,
            mlp_ratio=mlp_ratio,
            relative_positions=relative_positions,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Colour pictures.

        Args:
            x: Normalised L, normalised a and b where hinted and 0 elsewhere, hint mask (1 = hinted). Shape (B, 4, H, W), any H, W.

        Returns:
            Normalised ab in [-1, 1]. Shape (B, 2, H, W).

        Raises:
            ValueError: If `x` is not (B, 4, H, W).
        """
        check_picture(x)
        size = (x.shape[2], x.shape[3])
        grid = self.embed.grid(size)
        tokens = self.embed(x) + self.positions_of(grid)
        for block in self.blocks:
            tokens = block(tokens, block.attention.bias(grid))
        return self.head(self.norm(tokens), grid, size)

    def prepared(self, size: Size | None = None, *, dtype: torch.dtype = torch.float32) -> "PreparedIColoriT":
        """A frozen copy for inference that lays out weights and biases once.

        Args:
            size: Height and width of the pictures to come; None is the size that the network is made for.
            dtype: Number format of the copy. `torch.bfloat16` is faster where the processor has it and right to about 1e-2.

        Returns:
            Called like the network, on pictures of that size; later changes of the network do not reach it.
        """
        copied = copy.deepcopy(self).requires_grad_(False).to(dtype)
        return PreparedIColoriT(copied, size or (self.size, self.size))


class PreparedIColoriT:
    """What `IColoriT.prepared` gives: called with pictures of one size, it returns what the network would, sooner."""

    def __init__(self, model: IColoriT, size: Size) -> None:
        self.size, grid = size, model.embed.grid(size)
        self.dtype = model.norm.weight.dtype
        self.embed = FrozenEmbedding(model.embed, direct=True)
        self.positions = model.positions_of(grid)
        self.layers = [_DenseLayers(block, grid) for block in model.blocks]
        self.norm = FrozenNorm(model.norm)
        self.head = FrozenHead(model.head, grid, direct=True)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """As `IColoriT.forward`, for pictures of the size it was prepared for.

        Raises:
            ValueError: If `x` is not (B, 4, H, W) of that size.
        """
        check_picture(x, self.size)
        tokens = self.embed(x.to(self.dtype)) + self.positions
        for layers in self.layers:
            tokens = layers(tokens)
        return self.head(self.norm(tokens), self.size).to(x.dtype)


class _DenseLayers:
    def __init__(self, block: Block, grid: Size) -> None:
        attention, feedforward = block.attention, block.feedforward
        weight, bias = fold_scale(attention.qkv.weight, attention.projection_bias(), attention.proj.in_features // attention.heads)
        self.heads, self.bias = attention.heads, attention.bias(grid)
        self.norm1, self.norm2 = FrozenNorm(block.norm1), FrozenNorm(block.norm2)
        self.qkv = FrozenLinear(weight, bias, direct=True)
        self.proj = FrozenLinear(attention.proj.weight, attention.proj.bias, direct=True)
        self.fc1 = FrozenLinear(feedforward.fc1.weight, feedforward.fc1.bias, activation="gelu", direct=True)
        self.fc2 = FrozenLinear(feedforward.fc2.weight, feedforward.fc2.bias, direct=True)

    def __call__(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.proj(mix(self.qkv(self.norm1(tokens)), self.heads, self.bias))
        return tokens + self.fc2(self.fc1(self.norm2(tokens)))


def fold_scale(weight: Tensor, bias: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Divide the queries' part of stacked query, key and value projections by the square root of the `width` of a head."""
    scale = torch.ones(3, 1, dtype=weight.dtype, device=weight.device)
    scale[0] = width**-0.5
    return (weight.unflatten(0, (3, -1)) * scale[..., None]).flatten(0, 1), (bias.unflatten(0, (3, -1)) * scale).flatten()
