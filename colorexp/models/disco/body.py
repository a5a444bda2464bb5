"""What DISCO is made of, and its steps one by one.

Source: Disentangled Image Colorization via Global Anchors, sections 3 and 4.
"""

import copy
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Self, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from colorexp import color
from colorexp.models.disco.anchors import SCALE, Located
from colorexp.models.disco.backbone import Backbone, plain
from colorexp.models.disco.refine import RefineNet
from colorexp.models.disco.transformer import ColorTransformer, Modelled, sine_positions
from colorexp.models.spixnet import MiniPatches, SPixNet
from colorexp.nn import superpixels

Locate = Literal["features", "truth", "random"]
Primitives = Literal["superpixels", "patches"]
Refine = Literal["joint", "none", "post"]
VARYING = {"superpixels", "modeler", "embed", "refiner"}
"""Parts that some variants lack."""


class Seen(NamedTuple):
    """What is read from lightness alone."""

    L_n: Tensor
    """(L - 50) / 50. Shape (B, 1, H, W)."""
    affinity: Tensor
    """Shape (B, 9, H, W)."""
    tokens: Tensor
    """Features of the superpixels, F_s. Shape (B, D, h, w)."""


class Coloured(NamedTuple):
    """Colours, and what they were made of; the bins are those of `color.ab_gamut`."""

    ab_n: Tensor
    """ab / 110. Shape (B, 2, H, W)."""
    color_logits: Tensor | None
    """The modeler's, whose softmax is P_s; None without anchors. Shape (B, 313, h, w)."""
    generator_logits: Tensor
    """Given the anchors, P'_s. Shape (B, 313, h, w)."""
    target: Tensor | None
    """True bin of every superpixel, int64; None where no truth was given. Shape (B, h, w)."""
    affinity: Tensor
    """Every pixel's probabilities of the nine superpixels around it. Shape (B, 9, H, W)."""
    anchor_mask: Tensor
    """Bool, True = anchor. Shape (B, 1, h, w)."""
    anchor_index: Tensor
    """Bins that the generator was told at the anchors, int64; of no meaning elsewhere. Shape (B, h, w)."""
    clusters: Tensor | None
    """Superpixels that were taken to share a colour, int64; None where anchors were not found by clustering. Shape (B, h, w)."""


class DiscoBody(nn.Module):
    """The parts of DISCO; SPixNet is frozen and stays in eval mode.

    Args:
        width: Channels of backbone and RefineNet at full resolution.
        token_width: Channels D of the backbone's result and of tokens, a multiple of 4.
        heads: Attention heads of both transformers; divides `token_width`.
        layers: Of each transformer.
        feedforward: Hidden channels of their layers.
        dropout: Of their layers, in training.
        cell: Side of the superpixels' cells, pixels.
        superpixel_width: Channels of SPixNet at full resolution.
        anchors: How many; 0 takes away the branch: no modeler, and the generator reads the tokens alone.
        locate: Anchors by clusters of the modeler's `features` (in training, of the truth), of the `truth` also in inference, or at
            `random`.
        primitives: Soft `superpixels`, or the square `patches` of the grid.
        refine: `joint` trains RefineNet with the rest; `none` gives pixels the generator's most probable colours; `post` trains
            RefineNet alone, the rest as it is in `none` frozen.

    Raises:
        ValueError: If a number does not fit, or a name is unknown.

    Source: sections 3, 4.2 and 4.3, and the variants of section 5.4 (Table 4).

    Deviation: section 4 counts 1.33 M parameters in the two transformers; they have 0.66 M, as in the released code.

    Unspecified: what is left without the anchor branch. Here the modeler and the embedding of hints go and everything of the
        generator stays; post refinement reads the same features as joint refinement.
    """

    alike = ("cell", "heads")
    """Arguments that it has in common with trained weights that it takes, and that shapes do not tell."""
    centres_n: Tensor

    def __init__(
        self,
        *,
        width: int = 64,
        token_width: int = 64,
        heads: int = 8,
        layers: int = 6,
        feedforward: int = 256,
        dropout: float = 0.1,
        cell: int = 16,
        superpixel_width: int = 16,
        anchors: int = 8,
        locate: Locate = "features",
        primitives: Primitives = "superpixels",
        refine: Refine = "joint",
    ) -> None:
        super().__init__()
        _check_options(width, anchors, locate, primitives, refine)
        self.token_width, self.cell, self.anchors, self.locate, self.refine = token_width, cell, anchors, locate, refine
        self.backbone = Backbone(width=width, features=token_width)
        bins = color.GAMUT_BINS

        def transformer() -> ColorTransformer:
            sizes = {"width": token_width, "heads": heads, "layers": layers, "feedforward": feedforward}
            return ColorTransformer(**sizes, dropout=dropout, bins=bins)

        self.modeler = transformer() if anchors else None
        self.embed = nn.Linear(token_width + bins + 1, token_width, bias=False) if anchors else None
        if self.embed is not None:
            nn.init.xavier_uniform_(self.embed.weight)
        self.generator = transformer()
        self.refiner = None if refine == "none" else RefineNet(features=token_width, width=width)
        self.superpixels = SPixNet(width=superpixel_width, cell=cell) if primitives == "superpixels" else MiniPatches(cell=cell)
        with torch.device("cpu"):  # computed, also where the network is built without memory
            centres_n = color.normalise(torch.zeros(()), color.ab_gamut(), SCALE)[1]
        self.register_buffer("centres_n", centres_n, persistent=False)
        for part in self._frozen():
            part.requires_grad_(False).eval()

    def _frozen(self) -> list[nn.Module]:
        if self.refine == "post":
            return [part for part in self.children() if part is not self.refiner]
        return [self.superpixels]

    def train(self, mode: bool = True) -> Self:
        """Frozen parts stay in eval mode: their batch norms must not drift either."""
        super().train(mode)
        for part in self._frozen():
            part.eval()
        return self

    def look(self, L_n: Tensor) -> Seen:
        """Feature extraction: backbone, SPixNet and SP-pooling.

        Raises:
            ValueError: If `L_n` is not a floating (B, 1, H, W) with pixels in it.
        """
        if L_n.ndim != 4 or L_n.shape[1] != 1 or 0 in L_n.shape or not L_n.is_floating_point():
            raise ValueError(f"L_n must be a floating (B, 1, H, W), got {L_n.dtype} {tuple(L_n.shape)}")
        affinity = self.superpixels(L_n)
        return Seen(L_n, affinity, superpixels.pool(self.backbone(L_n), affinity, cell=self.cell).values)

    def truth(self, ab_n: Tensor, seen: Seen) -> tuple[Tensor, Tensor]:
        """True chroma of the superpixels, normalised, (B, 2, h, w), and its bins, (B, h, w).

        Raises:
            ValueError: If `ab_n` does not fit the pictures.

        Source: section 4.4, color distribution loss.
        """
        wanted = (len(seen.L_n), 2, *seen.L_n.shape[2:])
        if tuple(ab_n.shape) != wanted:
            raise ValueError(f"ab_n must be {wanted} as L_n is {tuple(seen.L_n.shape)}, got {tuple(ab_n.shape)}")
        with torch.autocast(ab_n.device.type, enabled=False):  # bins are closer than half precision tells apart
            truth_n = superpixels.pool(ab_n.float(), seen.affinity.float(), cell=self.cell).values
            return truth_n, color.nearest_bin(truth_n, self.centres_n)

    def model(self, seen: Seen) -> Modelled | None:
        """The modeler's features and logits of every superpixel; None without an anchor branch."""
        return self.modeler(flat(seen.tokens), self._positions(seen)) if self.modeler is not None else None

    def generate(self, seen: Seen, modelled: Modelled | None, located: Located, index: Tensor) -> Coloured:
        """Colours of all pixels, given the bins `index` (B, h, w) of the anchors.

        Source: section 4.3.
        """
        tokens = flat(seen.tokens)
        if self.embed is not None:
            mask = flat(located.mask).to(tokens.dtype)  # (B, N, 1)
            hints = F.one_hot(index.flatten(1), color.GAMUT_BINS) * mask
            tokens = self.embed(torch.cat([tokens, hints, mask], -1))
        features, logits = self.generator(tokens, self._positions(seen))
        logits = grid_like(logits, seen)
        if self.refiner is None:
            ab_n = self._decoded(logits, seen.affinity)
        else:
            pixels = superpixels.diffuse(grid_like(features, seen), seen.affinity, cell=self.cell)
            ab_n = self.refiner(pixels, seen.L_n)
        said = grid_like(modelled.logits, seen) if modelled else None
        return Coloured(ab_n, said, logits, None, seen.affinity, located.mask, index, located.clusters)

    def _positions(self, seen: Seen) -> Tensor:
        grid = (seen.tokens.shape[2], seen.tokens.shape[3])
        return sine_positions(grid, self.token_width, device=seen.tokens.device).to(seen.tokens.dtype)

    def _decoded(self, logits: Tensor, affinity: Tensor) -> Tensor:
        mode_n = color.decode_mode(logits, self.centres_n).to(affinity.dtype)
        return superpixels.diffuse(mode_n, affinity, cell=self.cell)

    def unrefined(self, coloured: Coloured) -> Tensor:
        """Pixels in the generator's most probable colours, before RefineNet: normalised ab, (B, 2, H, W), without gradient.

        Source: section 4.3, Figure 5 (b).
        """
        return self._decoded(coloured.generator_logits, coloured.affinity)

    def start_from(self, state: Mapping[str, Tensor]) -> None:
        """Take trained weights: of a `SPixNet`, or of a `Disco` whose variant may differ.

        Args:
            state: What `state_dict` of either gives. What this variant lacks is left out; RefineNet and the anchor branch stay as
                they are where `state` lacks them, superpixels must be there.

        Raises:
            ValueError: If a name is missing, left over or of another shape; every such name is listed.
        """
        alone = not any(_part(name) == "backbone" for name in state)
        given = {f"superpixels.{name}": tensor for name, tensor in state.items()} if alone else dict(state)
        own = {name: tensor for name, tensor in self.state_dict().items() if not alone or _part(name) == "superpixels"}
        lacked_here = VARYING - {_part(name) for name in own}
        lacked_there = VARYING - {"superpixels"} - {_part(name) for name in given}
        if not alone:
            given = {name: tensor for name, tensor in given.items() if _part(name) not in lacked_here}
            own = {name: tensor for name, tensor in own.items() if _part(name) not in lacked_there}
        problems = [f"missing {name}" for name in own.keys() - given.keys()]
        problems += [f"unexpected {name}" for name in given.keys() - own.keys()]
        problems += [
            f"{name} is {tuple(given[name].shape)}, not {tuple(own[name].shape)}"
            for name in own.keys() & given.keys()
            if own[name].shape != given[name].shape
        ]
        if problems:
            raise ValueError(f"this is no {'SPixNet' if alone else 'Disco'} to start from: {'; '.join(sorted(problems))}")
        self.load_state_dict(given, strict=False)

    def folded(self) -> Self:
        """A frozen copy for inference whose spectral norms are divided into the weights once; it computes the same, sooner."""
        copied = copy.deepcopy(self).eval()
        for parent in list(copied.modules()):
            for name, layer in list(parent.named_children()):
                if is_parametrized(layer, "weight"):
                    setattr(parent, name, plain(layer))
        return copied.requires_grad_(False)


def flat(x: Tensor) -> Tensor:
    """Shape (B, C, h, w) to (B, N, C)."""
    return x.flatten(2).transpose(1, 2)


def grid_like(tokens: Tensor, seen: Seen) -> Tensor:
    """Shape (B, N, C) to (B, C, h, w)."""
    return tokens.transpose(1, 2).unflatten(2, seen.tokens.shape[2:])


def _part(name: str) -> str:
    return name.partition(".")[0]


def check_choice(name: str, value: str, accepted: Any) -> None:  # noqa: ANN401  a Literal
    """Raise ValueError unless `value` is one of the accepted words."""
    if value not in get_args(accepted):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, get_args(accepted)))}, got {value!r}")


def _check_options(width: int, anchors: int, locate: str, primitives: str, refine: str) -> None:
    if width < 1:
        raise ValueError(f"width must be positive, got {width}")
    if anchors < 0:
        raise ValueError(f"anchors must be 0 or more, got {anchors}")
    check_choice("locate", locate, Locate)
    check_choice("primitives", primitives, Primitives)
    check_choice("refine", refine, Refine)
    if not anchors and locate != "features":
        raise ValueError(f"without anchors there is nothing to locate: leave locate at 'features', got {locate!r}")
