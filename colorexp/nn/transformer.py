"""What the vision transformers that colour from hints share: iColoriT's layers, and how decisions to leave some out are given."""

from collections.abc import Mapping

from torch import Tensor, nn

from colorexp.nn.attention import NORM_EPS, Blocks, xavier
from colorexp.nn.patches import HINT_CHANNELS, ColourHead, PatchEmbedding, Size
from colorexp.nn.positions import resample, sinusoid


class Transformer(nn.Module):
    """The layers of iColoriT, without a way through them.

    Args:
        size: Side of the pictures it is made for, pixels; a multiple of `patch`. Others are coloured too.
        patch: Side of a patch, pixels.
        width: Channels of a token.
        depth: Blocks.
        heads: Attention heads; divides `width`.
        mlp_ratio: Hidden channels of the feed-forward over `width`.
        relative_positions: Whether every head learns a bias per offset between two tokens.
        policy: Whether a policy token stands before the patches, in the first row of the position table.

    Raises:
        ValueError: If a number does not fit the others.

    Source: AdaColViT, sections 3.1 and 4; the released iColoriT.
    """

    positions: Tensor
    alike = ("patch", "width", "depth", "heads", "mlp_ratio")
    """Arguments that it has in common with a trained network whose weights it takes."""

    def __init__(
        self,
        *,
        size: int,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: int,
        relative_positions: bool,
        policy: bool = False,
    ) -> None:
        super().__init__()
        if patch < 1 or size < patch or size % patch:
            raise ValueError(f"size must be a positive multiple of the patch, got size {size} and patch {patch}")
        self.size, self.side, self.width, self.heads, self.hidden = size, size // patch, width, heads, mlp_ratio * width
        side = self.side if relative_positions else None
        self.embed = PatchEmbedding(patch=patch, width=width)
        self.blocks = Blocks(depth=depth, width=width, heads=heads, hidden=self.hidden, side=side)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.head = ColourHead(patch=patch, width=width)
        self.register_buffer("positions", sinusoid(policy + self.side**2, width), persistent=False)
        self.apply(xavier)

    def positions_of(self, grid: Size) -> Tensor:
        """The position codes of a grid of patches, row by row, the policy token's left out. Shape (N, C)."""
        patches = self.positions[-(self.side**2) :].unflatten(0, (self.side, self.side))
        return resample(patches, grid).flatten(0, 1)


class PrunedTransformer(Transformer):
    """A transformer that leaves out some of its layers or patches, and may start from a trained one that leaves out nothing.

    Decisions, and the uniform numbers to draw them with, come as named tuples of tensors whose fields `_wanted` lists.
    """

    own_parts: tuple[str, ...] = ()
    """First parts of the names of the parameters that a dense network does not have."""

    def start_from(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of a trained `IColoriT` of the same sizes; what the method adds to it stays as it is.

        Relative position biases are dropped where this network has none.

        Args:
            state: What `IColoriT.state_dict` gives.

        Raises:
            ValueError: If the state is of another depth, width, patch or number of heads, which shows in relative position biases
                alone. Else, if a name is missing, left over or of another shape; every such name is listed.
        """
        here = {"blocks": len(self.blocks), "channels per token (width)": self.width}
        here |= {"pixels along a patch": self.embed.patch, "heads": self.heads}
        apart = [f"{n} {what}, this network has {here[what]}" for what, n in _sizes(state).items() if n != here[what]]
        if apart:
            raise ValueError(f"this IColoriT is no start: it holds {'; it holds '.join(apart)}")
        own = {name: tensor for name, tensor in self.state_dict().items() if name.split(".")[0] not in self.own_parts}
        dense = {name: tensor for name, tensor in state.items() if name in own or not name.endswith("attention.table")}
        problems = [f"missing {name}" for name in own.keys() - dense.keys()]
        problems += [f"unexpected {name}" for name in dense.keys() - own.keys()]
        problems += [
            f"{name} is {tuple(dense[name].shape)}, not {tuple(own[name].shape)}"
            for name in own.keys() & dense.keys()
            if own[name].shape != dense[name].shape
        ]
        if problems:
            raise ValueError(f"this is no IColoriT to start from: {'; '.join(sorted(problems))}")
        self.load_state_dict(dense, strict=False)

    def _wanted(self, batch: int, patches: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the parts of decisions, by name and in their order."""
        raise NotImplementedError

    def _check(self, x: Tensor, uniform: tuple[Tensor, ...] | None, decisions: tuple[Tensor, ...] | None) -> tuple[Size, Size]:
        """Size and grid of the pictures of a pass; a ValueError where its arguments do not fit each other."""
        check_picture(x)
        if uniform is not None and decisions is not None:
            raise ValueError("decisions that are given need no uniform numbers: leave out one of the two")
        size = (x.shape[2], x.shape[3])
        rows, cols = self.embed.grid(size)
        for name, given in (("uniform", uniform), ("decisions", decisions)):
            if given is not None:
                self._check_shapes(name, given, len(x), rows * cols)
        return size, (rows, cols)

    def _check_shapes(self, name: str, given: tuple[Tensor, ...], batch: int, patches: int) -> None:
        wanted = self._wanted(batch, patches)
        shapes = {part: tuple(tensor.shape) for part, tensor in zip(wanted, given, strict=True)}
        if shapes != wanted:
            raise ValueError(f"{name} must be {_listed(wanted)}, got {_listed(shapes)}")


def check_picture(x: Tensor, size: Size | None = None) -> None:
    """Raise a ValueError unless `x` is a batch of hinted pictures, of height and width `size` if that is given."""
    if x.ndim != 4 or x.shape[1] != HINT_CHANNELS or not x.is_floating_point() or 0 in x.shape:
        raise ValueError(f"x must be floating (B, 4, H, W): L, a, b and hint mask; got {x.dtype} {tuple(x.shape)}")
    if size and x.shape[2:] != size:
        raise ValueError(f"prepared for pictures of {size[0]}x{size[1]}, got {x.shape[2]}x{x.shape[3]}")


def _sizes(state: Mapping[str, Tensor]) -> dict[str, int]:
    """What the state of an `IColoriT` tells of its sizes; nothing of what is not there."""
    embedding, table = state.get("embed.proj.weight"), state.get("blocks.0.attention.table")
    blocks = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    found = {"blocks": blocks} if blocks else {}
    if embedding is not None:
        found |= {"channels per token (width)": embedding.shape[0], "pixels along a patch": embedding.shape[-1]}
    return found if table is None else {**found, "heads": table.shape[-1]}


def _listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return " and ".join(f"{name} {shape}" for name, shape in shapes.items())
