"""A-ViT on iColoriT: every patch adds up how sure it is, block by block, and stops when that reaches one."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from colorexp.models.pruned_vit.body import Body, Coloured, Decisions, Removed, among, check_removed, hiding
from colorexp.nn.patches import Size


class Halted(NamedTuple):
    """Colours, what was computed for them, and what the losses on halting look at."""

    ab_n: Tensor
    """Normalised ab in [-1, 1]. Shape (B, 2, H, W)."""
    decisions: Decisions
    ponder: Tensor
    """Blocks that a patch went through, and what was left of one when it stopped. Shape (B, N)."""
    halting: Tensor
    """Halting scores in [0, 1], 1 in the last block, 0 behind a patch's stop. Shape (B, depth, N)."""


class AViT(Body):
    """iColoriT whose patches stop on the way, each for good when its halting scores add up to more than 1 - `epsilon`.

    A patch's score in a block is the sigmoid of its first channel behind the block, scaled and shifted: nothing is added to the
    dense network. The head reads the mean of a patch's states, weighted by its scores, the last one by what was left to one.
    Nothing is drawn.

    `forward` computes everything and masks; `infer` computes only what goes on. Given the same decisions they agree up to rounding.

    Args:
        size: Side of the pictures it is made for, pixels; a multiple of `patch`. Others are coloured too.
        patch: Side of a patch, pixels.
        width: Channels of a token.
        depth: Blocks.
        heads: Attention heads; divides `width`.
        mlp_ratio: Hidden channels of the feed-forward over `width`.
        relative_positions: Whether every head learns a bias per offset between two tokens, as the dense network may.
        halting_scale: Multiplies the first channel.
        halting_center: Is subtracted then; the first channel at which a score is a half is this over the scale.
        epsilon: What the scores may lack to one, in (0, 1).
        removed: Where the head looks for a patch that stopped before the last block: `frozen`, its weighted mean; `zeros`, nothing.

    Raises:
        ValueError: If a number does not fit the others, or a name is unknown.

    Source: AdaColViT, Table 3; A-ViT (Yin et al. 2022), section 3; scale 10, center 30 (75 at width 384) and epsilon 0.01 are its
        released code's.

    Deviation: A-ViT weights the states of its class token and classifies by them. A picture needs all its patches and no class
        token: every patch is weighted (`removed="zeros"` takes permanent deletion at its word).

    Unspecified: AdaColViT names neither depth nor how many patches go on. A mean share of 0.85 at depth 12 and of 0.455 at depth 24
        costs the 1.23 G of its table. Relative position biases stay, as the dense network that training starts from may have them.
        Of the position code the first channel holds the fastest sine, which the halting of the first blocks follows.
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
        halting_scale: float = 10.0,
        halting_center: float = 30.0,
        epsilon: float = 0.01,
        removed: Removed = "frozen",
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
        if not halting_scale > 0:
            raise ValueError(f"halting_scale must be above 0, got {halting_scale}")
        if not 0 < epsilon < 1:
            raise ValueError(f"epsilon must lie between 0 and 1, got {epsilon}")
        check_removed(removed)
        self.halting_scale, self.halting_center, self.epsilon, self.removed = halting_scale, halting_center, epsilon, removed

    def forward(self, x: Tensor, uniform: Decisions | None = None, decisions: Decisions | None = None) -> Halted:
        """Colour pictures in the form that is trained: all is computed, what has stopped is masked.

        Args:
            x: Normalised L, normalised a and b where hinted and 0 elsewhere, hint mask (1 = hinted). Shape (B, 4, H, W), any H, W.
            uniform: Not looked at: decisions follow from the tokens alone.
            decisions: Decisions to follow instead of the network's own; a patch that stops has stopped, and its scores count until
                they add up to one.

        Returns:
            Colours, decisions of exactly 0 and 1 without gradient, and what the losses look at, which carries one.

        Raises:
            ValueError: If `x` is not (B, 4, H, W), the others do not fit it or come together, or decisions leave out layers.

        Source: A-ViT (Yin et al. 2022), equations 4 to 9.
        """
        size, grid = self._check(x, uniform, decisions)
        tokens = self.embed(x) + self.positions_of(grid)
        going = tokens.new_ones(tokens.shape[:2]) if decisions is None else decisions.patches[:, 0, 0]
        shown, left, ponder = tokens * (1 - going)[..., None], torch.ones_like(going), torch.zeros_like(going)
        record, scores = [], []
        for i, block in enumerate(self.blocks):
            bias, hide = block.attention.bias(grid), hiding(going)
            computed = block(tokens, hide if bias is None else bias + hide)
            tokens = torch.where(going[..., None] > 0, computed, tokens)
            score, weight, stays = self._halt(i, tokens, left, None if decisions is None else decisions.patches[:, i + 1 :, 0])
            weight = going * weight
            shown = shown + weight[..., None] * tokens
            left = left - weight
            ponder = ponder + going + (1 - stays) * weight
            record.append(going)
            scores.append(going * score)
            going = going * stays
        tokens = self.norm(shown)
        if self.removed == "zeros":
            tokens = tokens * record[-1][..., None]
        made = Decisions(torch.stack(record, 1).unsqueeze(2), tokens.new_ones(len(x), len(self.blocks), 2))
        return Halted(self.head(tokens, grid, size), made, ponder, torch.stack(scores, 1))

    @torch.no_grad()
    def infer(self, x: Tensor, uniform: Decisions | None = None, decisions: Decisions | None = None) -> Coloured:
        """Colour pictures without computing what has stopped, one after the other; otherwise as `forward`."""
        size, grid = self._check(x, uniform, decisions)
        tokens = self.embed(x) + self.positions_of(grid)
        biases = [block.attention.bias(grid) for block in self.blocks]
        patches = tokens.new_zeros(len(x), len(self.blocks), 1, tokens.shape[1])
        ends = []
        for number, state in enumerate(tokens):
            given = None if decisions is None else decisions.patches[number, :, 0]
            index = torch.arange(len(state), device=x.device) if given is None else given[0].nonzero().squeeze(1)
            some, shown = state[index], state.index_fill(0, index, 0.0)
            left = torch.ones_like(some[:, 0])
            for i, block in enumerate(self.blocks):
                patches[number, i, 0, index] = 1
                some = block(some[None], among(biases[i], index))[0]
                _, weight, stays = self._halt(i, some, left, None if given is None else given[i + 1 :, index])
                shown = shown.index_add(0, index, weight[:, None] * some)
                on = stays > 0
                index, some, left = index[on], some[on], (left - weight)[on]
            ends.append(shown)
        features = self.norm(torch.stack(ends))
        if self.removed == "zeros":
            features = features * patches[:, -1, 0, :, None]
        made = Decisions(patches, patches.new_ones(len(x), len(self.blocks), 2))
        return Coloured(self.head(features, grid, size), made)

    def _halt(self, block: int, tokens: Tensor, left: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """What happens behind a block to the tokens that went through it.

        Args:
            block: Its number.
            tokens: What it made. Shape (..., n, C).
            left: What the tokens' weights so far lack to one. Shape (..., n).
            given: Decisions about the later blocks, of shape (..., later, n); None lets scores decide.

        Returns:
            Score, weight, and 1 for tokens that go on, each of the shape of `left`.
        """
        if block == len(self.blocks) - 1:
            return torch.ones_like(left), left, torch.zeros_like(left)
        score = (self.halting_scale * tokens[..., 0] - self.halting_center).sigmoid()
        stays = (left - score >= self.epsilon).to(left.dtype) if given is None else given[..., 0, :]
        return score, torch.where(stays > 0, torch.minimum(score, left), left), stays

    def draw(self, size: Size, rng: Generator) -> Decisions:
        """Zeros in the shapes of other methods' draws: this one draws nothing.

        Args:
            size: Height and width of the picture.
            rng: Is left as it is.

        Returns:
            Shapes (depth, 1, N) and (depth, 2).
        """
        rows, cols = self.embed.grid(size)
        depth = len(self.blocks)
        return Decisions(torch.zeros(depth, 1, rows * cols), torch.zeros(depth, 2))

    def multiply_adds(self, decisions: Decisions, size: Size) -> Tensor:
        """What `infer` computes for these decisions; scores cost nothing.

        Args:
            decisions: Of exactly 0 and 1. Shapes (B, depth, 1, N) and (B, depth, 2).
            size: Height and width of the pictures.

        Returns:
            Multiply-adds per picture, as torch's FlopCounterMode / 2 counts them. Shape (B,), int64.

        Raises:
            ValueError: If the decisions do not fit the size.
        """
        rows, cols = self.embed.grid(size)
        self._check_shapes("decisions", decisions, len(decisions.patches), rows * cols)
        kept = decisions.patches.detach().round().long().squeeze(2).cumprod(1).sum(-1)  # (B, depth)
        return self._fixed(rows * cols) + (self._attention(kept, kept**2) + self._feedforward(kept)).sum(1)

    def expected_multiply_adds(self, *, active: float, size: Size | None = None) -> float:
        """What a picture costs of whose patches the same share is active in every block."""
        rows, cols = self.embed.grid(size or (self.size, self.size))
        patches = active * rows * cols
        return self._fixed(rows * cols) + len(self.blocks) * (self._attention(patches, patches**2) + self._feedforward(patches))
