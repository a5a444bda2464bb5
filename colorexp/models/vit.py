"""iColoriT: a plain vision transformer that colours a picture from a few hinted pixels.

Source: the backbone of Real-Time User-guided Adaptive Colorization with Vision Transformer, sections 3.1 and 4; sizes and details
    are those of the released iColoriT.
"""

from torch import Tensor, nn

from colorexp.nn.attention import NORM_EPS, Blocks, xavier
from colorexp.nn.patches import ColourHead, PatchEmbedding
from colorexp.nn.positions import resample, sinusoid


class IColoriT(nn.Module):
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

    positions: Tensor

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
        super().__init__()
        side = _side(size, patch)
        self.size, self.side = size, side
        self.embed = PatchEmbedding(patch=patch, width=width)
        self.blocks = Blocks(
            depth=depth, width=width, heads=heads, hidden=mlp_ratio * width, side=side if relative_positions else None
        )
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.head = ColourHead(patch=patch, width=width)
        self.register_buffer("positions", sinusoid(side**2, width), persistent=False)
        self.apply(xavier)

    def forward(self, x: Tensor) -> Tensor:
        """Colour pictures.

        Args:
            x: Normalised L, normalised a and b where hinted and 0 elsewhere, hint mask (1 = hinted). Shape (B, 4, H, W), any H, W.

        Returns:
            Normalised ab in [-1, 1]. Shape (B, 2, H, W).

        Raises:
            ValueError: If `x` is not (B, 4, H, W).
        """
        _check_picture(x)
        size = (x.shape[2], x.shape[3])
        grid = self.embed.grid(size)
        tokens = self.embed(x) + self.positions_of(grid)
        for block in self.blocks:
            tokens = block(tokens, block.attention.bias(grid))
        return self.head(self.norm(tokens), grid, size)

    def positions_of(self, grid: tuple[int, int]) -> Tensor:
        """The position codes of a grid of tokens, row by row. Shape (N, C)."""
        return resample(self.positions.unflatten(0, (self.side, self.side)), grid).flatten(0, 1)


def _side(size: int, patch: int) -> int:
    if patch < 1 or size < patch or size % patch:
        raise ValueError(f"size must be a positive multiple of the patch, got size {size} and patch {patch}")
    return size // patch


def _check_picture(x: Tensor) -> None:
    if x.ndim != 4 or x.shape[1] != 4 or not x.is_floating_point() or 0 in x.shape:
        raise ValueError(f"x must be floating (B, 4, H, W): L, a, b and hint mask; got {x.dtype} {tuple(x.shape)}")
