"""DynamicViT on iColoriT: three times on the way, small networks score the patches and the lowest are dropped for good."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from colorexp.models.pruned_vit.body import Body, Coloured, Decisions, Removed, among, check_removed
from colorexp.nn.attention import NORM_EPS, Block, xavier
from colorexp.nn.gates import probability, straight_through
from colorexp.nn.patches import Size

HIGHEST_HIDDEN = 30.0
"""Largest logit of a hidden key above the visible ones: its exponential meets a zero, and must be finite for that."""


class Sparsified(NamedTuple):
    """Colours, what was computed for them, and the tokens that a teacher's are compared with."""

    ab_n: Tensor
    """Normalised ab in [-1, 1]. Shape (B, 2, H, W)."""
    decisions: Decisions
    tokens: Tensor
    """Behind the last layer norm. Shape (B, N, C)."""


class Predictor(nn.Module):
    """Scores patches by their own channels and the mean of all kept ones.

    Args:
        width: Channels C of a token, a multiple of 4.

    Source: DynamicViT (Rao et al. 2021), section 3.2; AdaColViT's Table 3 names the method alone.
    """

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.inner = nn.Linear(width, width)
        last = nn.Linear(width // 4, 2)
        self.score = nn.Sequential(nn.Linear(width, width // 2), nn.GELU(), nn.Linear(width // 2, width // 4), nn.GELU(), last)
        self.apply(xavier)
        nn.init.trunc_normal_(last.weight, std=0.02)  # or the first draws might drop nearly everything

    def forward(self, tokens: Tensor, kept: Tensor) -> Tensor:
        """The logit of keeping against dropping. Shapes (B, N, C) and (B, N) to (B, N)."""
        own, whole = F.gelu(self.inner(self.norm(tokens))).chunk(2, -1)
        mean = (whole * kept[..., None]).sum(1, keepdim=True) / kept.sum(1)[:, None, None].clamp(min=1)
        keep, drop = self.score(torch.cat([own, mean.expand_as(own)], -1)).unbind(-1)
        return keep - drop


class DynamicViT(Body):
    """iColoriT that keeps a share of its patches at every one of a few stages; a patch that is dropped never returns.

    With uniform numbers, as in training, every patch is kept or dropped by chance, as its score says. Without them the patches
    with the highest scores stay: of N patches the whole part of `keep_ratio` N at the first stage, of its square at the second.

    `forward` computes everything and masks; `infer` computes only what is kept. Given the same decisions they agree up to rounding:
    a dropped patch has no weight in the attention of others, and gains nothing itself.

    Args:
        size: Side of the pictures it is made for, pixels; a multiple of `patch`. Others are coloured too.
        patch: Side of a patch, pixels.
        width: Channels of a token, a multiple of 4.
        depth: Blocks.
        heads: Attention heads; divides `width`.
        mlp_ratio: Hidden channels of the feed-forward over `width`.
        relative_positions: Whether every head learns a bias per offset between two tokens, as the dense network may.
        keep_ratio: Share of the patches of one stage that reach the next, in (0, 1].
        stages: Blocks, counted from 0, before which patches are dropped, ascending; None is a quarter, half and three quarters of
            the way, which needs 4 blocks.
        removed: Where the head looks for a patch that was dropped: `frozen`, its last state; `zeros`, nothing.

    Raises:
        ValueError: If a number does not fit the others, or a name is unknown.

    Source: AdaColViT, Table 3; DynamicViT (Rao et al. 2021), section 3; stages, predictor and their sizes are its released code's.

    Deviation: DynamicViT classifies by a class token and forgets what it drops. A picture needs all its patches and no class token:
        dropped patches go to the head in their last state (`removed="zeros"` takes permanent deletion at its word).

    Deviation: the released code adds a small constant to masked attention so that it never divides by zero; here, where a patch
        always sees itself, nothing is added, and dropped patches leave no trace.

    Unspecified: AdaColViT names neither depth nor ratio. A ratio of 0.88 at depth 12 and of 0.45 at depth 24 cost the 1.24 G of its
        table. Relative position biases stay, as the dense network that training starts from may have them.
    """

    own_parts = ("predictors",)

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
        keep_ratio: float = 0.7,
        stages: tuple[int, ...] | None = None,
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
        if not 0 < keep_ratio <= 1:
            raise ValueError(f"keep_ratio must lie above 0 and be at most 1, got {keep_ratio}")
        if width % 4:
            raise ValueError(f"scores are made from a half and a quarter of the width: it must be a multiple of 4, got {width}")
        chosen = tuple(depth * quarter // 4 for quarter in (1, 2, 3)) if stages is None else stages
        first = 1 if stages is None else 0  # a quarter of the way is some way
        if not chosen or list(chosen) != sorted(set(chosen)) or chosen[0] < first or chosen[-1] >= depth:
            raise ValueError(f"stages must be ascending blocks from 0 to {depth - 1}, or None at depth 4 or more; got {stages}")
        check_removed(removed)
        self.keep_ratio, self.stages, self.removed = keep_ratio, chosen, removed
        self.predictors = nn.ModuleList(Predictor(width=width) for _ in chosen)

    @property
    def targets(self) -> tuple[float, ...]:
        """The share of all patches to keep from every stage on."""
        return tuple(self.keep_ratio ** (i + 1) for i in range(len(self.stages)))

    def forward(self, x: Tensor, uniform: Decisions | None = None, decisions: Decisions | None = None) -> Sparsified:
        """Colour pictures in the form that is trained: all is computed, what is dropped is masked.

        Args:
            x: Normalised L, normalised a and b where hinted and 0 elsewhere, hint mask (1 = hinted). Shape (B, 4, H, W), any H, W.
            uniform: Numbers in [0, 1) to draw decisions with, of which those of the stages' blocks count; without them the highest
                scores stay.
            decisions: Decisions to follow instead of the network's own; a patch that one drops stays dropped.

        Returns:
            Colours, decisions of exactly 0 and 1 and tokens. Decisions that were drawn carry the gradient of their probabilities.

        Raises:
            ValueError: If `x` is not (B, 4, H, W), the others do not fit it or come together, or decisions leave out layers.

        Source: DynamicViT (Rao et al. 2021), section 3.3: attention is masked by decisions that carry a gradient.
        """
        size, grid = self._check(x, uniform, decisions)
        tokens = self.embed(x) + self.positions_of(grid)
        kept, record = tokens.new_ones(tokens.shape[:2]), []
        for i, block in enumerate(self.blocks):
            if decisions is not None:
                kept = kept * decisions.patches[:, i, 0]
            elif i in self.stages:
                noise = None if uniform is None else uniform.patches[:, i, 0]
                kept = kept * self._ask(i, tokens, kept, noise, tokens.shape[1])
            tokens = _masked(block, tokens, kept, block.attention.bias(grid))
            record.append(kept)
        tokens = self.norm(tokens)
        shown = tokens * kept[..., None] if self.removed == "zeros" else tokens
        patches = torch.stack(record, 1).unsqueeze(2)
        made = Decisions(patches, tokens.new_ones(len(x), len(self.blocks), 2))
        return Sparsified(self.head(shown, grid, size), made, tokens)

    @torch.no_grad()
    def infer(self, x: Tensor, uniform: Decisions | None = None, decisions: Decisions | None = None) -> Coloured:
        """Colour pictures without computing what is dropped, one after the other; otherwise as `forward`."""
        size, grid = self._check(x, uniform, decisions)
        tokens = self.embed(x) + self.positions_of(grid)
        biases = [block.attention.bias(grid) for block in self.blocks]
        patches = tokens.new_zeros(len(x), len(self.blocks), 1, tokens.shape[1])
        shown = torch.empty_like(tokens)
        for number, state in enumerate(tokens):
            index = torch.arange(len(state), device=x.device)
            for i, block in enumerate(self.blocks):
                stays = torch.ones_like(index)
                if decisions is not None:
                    stays = decisions.patches[number, i, 0, index]
                elif i in self.stages:
                    noise = None if uniform is None else uniform.patches[number : number + 1, i, 0, index]
                    some = state[None, index]
                    stays = self._ask(i, some, some.new_ones(some.shape[:2]), noise, len(state))[0]
                index = index[stays > 0]
                patches[number, i, 0, index] = 1
                state = state.index_copy(0, index, block(state[None, index], among(biases[i], index))[0])
            shown[number] = self.norm(state)
            if self.removed == "zeros":
                shown[number] *= patches[number, -1, 0, :, None]
        return Coloured(self.head(shown, grid, size), Decisions(patches, patches.new_ones(len(x), len(self.blocks), 2)))

    def _ask(self, block: int, tokens: Tensor, kept: Tensor, noise: Tensor | None, patches: int) -> Tensor:
        """Which of some tokens, (b, n, C), stay at a stage of a picture of so many patches, (b, n)."""
        stage = self.stages.index(block)
        logits = self.predictors[stage](tokens, kept)
        if noise is not None:
            return straight_through(probability(logits, noise, temperature=1.0), 0.5)
        best = logits.masked_fill(kept == 0, -torch.inf).topk(self._count(stage, patches), 1).indices
        return torch.zeros_like(logits).scatter(1, best, 1.0)

    def _count(self, stage: int, patches: int) -> int:
        return max(1, int(self.targets[stage] * patches))

    def draw(self, size: Size, rng: Generator) -> Decisions:
        """Uniform numbers for one picture, to be stacked into a batch (`Decisions.stack`).

        Args:
            size: Height and width of the picture.
            rng: Makes the same draw again from the same state.

        Returns:
            Numbers for patches, and zeros for layers, which are not decided about. Shapes (depth, 1, N) and (depth, 2).
        """
        rows, cols = self.embed.grid(size)
        depth = len(self.blocks)
        return Decisions(torch.rand(depth, 1, rows * cols, generator=rng), torch.zeros(depth, 2))

    def multiply_adds(self, decisions: Decisions, size: Size) -> Tensor:
        """What `infer` computes for these decisions, the network's own asking included.

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
        before = torch.cat([torch.full_like(kept[:, :1], rows * cols), kept[:, :-1]], 1)
        asked = before[:, list(self.stages)].sum(1) * self._predictor_cost()
        return self._fixed(rows * cols) + asked + (self._attention(kept, kept**2) + self._feedforward(kept)).sum(1)

    def expected_multiply_adds(self, *, keep_ratio: float, size: Size | None = None) -> float:
        """What a network with that ratio would compute for a picture; of chance decisions slightly less than the mean."""
        rows, cols = self.embed.grid(size or (self.size, self.size))
        patches, cost = float(rows * cols), float(self._fixed(rows * cols))
        for i in range(len(self.blocks)):
            if i in self.stages:
                cost += patches * self._predictor_cost()
                patches *= keep_ratio
            cost += self._attention(patches, patches**2) + self._feedforward(patches)
        return cost

    def _predictor_cost(self) -> int:
        half, quarter = self.width // 2, self.width // 4
        return self.width**2 + self.width * half + half * quarter + quarter * 2


def _masked(block: Block, tokens: Tensor, kept: Tensor, bias: Tensor | None) -> Tensor:
    """A block in which dropped tokens, 0 in `kept`, stay as they are and have no weight in others' attention."""
    q, k, v = block.attention.project(block.norm1(tokens))
    logits = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    if bias is not None:
        logits = logits + bias
    itself = torch.eye(tokens.shape[1], dtype=tokens.dtype, device=tokens.device)
    share = kept[:, None, None, :] * (1 - itself) + itself
    highest = logits.detach().masked_fill(share.detach() == 0, -torch.inf).amax(-1, keepdim=True)
    weight = (logits - highest).clamp(max=HIGHEST_HIDDEN).exp() * share
    mixed = (weight / weight.sum(-1, keepdim=True)) @ v
    tokens = tokens + kept[..., None] * block.attention.proj(mixed.transpose(1, 2).flatten(2))
    return tokens + kept[..., None] * block.feedforward(block.norm2(tokens))
