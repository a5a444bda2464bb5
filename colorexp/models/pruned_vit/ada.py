"""AdaViT on iColoriT: every block leaves out patches, heads and layers anew, as the picture says."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from colorexp.models.pruned_vit.body import Body, hiding
from colorexp.nn.attention import Attention, attend
from colorexp.nn.gates import probability, straight_through
from colorexp.nn.patches import Size

Parts = tuple[Tensor, Tensor, Tensor]


class HeadDecisions(NamedTuple):
    """As `Decisions`, and about heads."""

    patches: Tensor
    """Per block, for attention and feed-forward alike. Shape (B, depth, 1, N), N patches row by row."""
    layers: Tensor
    """Attention and feed-forward of every block. Shape (B, depth, 2)."""
    heads: Tensor | None = None
    """Attention heads of every block, shape (B, depth, heads); None keeps them all."""

    @classmethod
    def stack(cls, pictures: Sequence[Self]) -> Self:
        """Put the draws of single pictures into a batch."""
        return cls(*(torch.stack(parts) for parts in zip(*pictures, strict=True)))


class HeadColoured(NamedTuple):
    """Colours and what was computed for them."""

    ab_n: Tensor
    """Normalised ab in [-1, 1]. Shape (B, 2, H, W)."""
    decisions: HeadDecisions


class AdaViT(Body):
    """iColoriT whose policy token decides, before every block, about its layers and heads, and whose patches decide for themselves.

    A patch that a block leaves out takes part neither in its attention nor in its feed-forward; it stays as it is, and the next
    block may use it again. A head that is left out adds nothing. The policy token always takes part.

    `forward` computes everything and masks; `infer` computes only what is kept. Given the same decisions they agree up to rounding.

    Args:
        size: Side of the pictures it is made for, pixels; a multiple of `patch`. Others are coloured too.
        patch: Side of a patch, pixels.
        width: Channels of a token.
        depth: Blocks.
        heads: Attention heads; divides `width`.
        mlp_ratio: Hidden channels of the feed-forward over `width`.
        temperature: Divides noisy logits in training.
        threshold: Probability above which a layer or a head is kept.
        patch_threshold: Probability above which a patch is kept.
        keep_bias: First value of the decisions' biases. At 0, training begins with half of the layers and heads and, at the
            thresholds' first values, an eighth of the patches: noisy logits are divided before they are compared.

    Raises:
        ValueError: If a number does not fit the others.

    Source: AdaColViT, Table 3; AdaViT (Meng et al. 2022), section 3; temperature and thresholds are its released code's.

    Deviation: AdaViT decides by a class token and classifies by it. Here a policy token of AdaColViT's kind decides, and the head
        reads the patches, those left out included.

    Unspecified: AdaColViT names neither depth nor ratios. Ratios of 0.915 at depth 12 and of 0.69 at depth 24, one for patches,
        layers and heads, cost about the 1.20 G of its table. As in AdaViT's code the first block runs both its layers. There are no
        relative position biases, as for AdaColViT, because their table has no place for a policy token.
    """

    decides_layers = True
    own_parts = ("policy", "patch_decisions", "head_decisions", "layer_decisions")

    def __init__(
        self,
        *,
        size: int = 224,
        patch: int = 16,
        width: int = 192,
        depth: int = 12,
        heads: int = 3,
        mlp_ratio: int = 4,
        temperature: float = 5.0,
        threshold: float = 0.5,
        patch_threshold: float = 0.6,
        keep_bias: float = 0.0,
    ) -> None:
        super().__init__(
            size=size,
            patch=patch,
            width=width,
            depth=depth,
            heads=heads,
            mlp_ratio=mlp_ratio,
            relative_positions=False,
            policy=True,
        )
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        for name, value in (("threshold", threshold), ("patch_threshold", patch_threshold)):
            if not 0 < value < 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {value}")
        self.temperature, self.threshold, self.patch_threshold = temperature, threshold, patch_threshold
        self.policy = nn.Parameter(torch.zeros(1, 1, width))
        nn.init.trunc_normal_(self.policy, std=0.02)
        self.patch_decisions = nn.ModuleList(nn.Linear(width, 1) for _ in range(depth))
        self.head_decisions = nn.ModuleList(nn.Linear(width, heads) for _ in range(depth))
        self.layer_decisions = nn.ModuleList(nn.Linear(width, 2) for _ in range(depth - 1))
        for linear in (*self.patch_decisions, *self.head_decisions, *self.layer_decisions):
            nn.init.trunc_normal_(linear.weight, std=0.02)  # Xavier's would let large tokens decide at once, and all alike
            nn.init.constant_(linear.bias, keep_bias)

    def forward(self, x: Tensor, uniform: HeadDecisions | None = None, decisions: HeadDecisions | None = None) -> HeadColoured:
        """Colour pictures in the form that is trained: all is computed, what is left out is masked.

        Args:
            x: Normalised L, normalised a and b where hinted and 0 elsewhere, hint mask (1 = hinted). Shape (B, 4, H, W), any H, W.
            uniform: Numbers in [0, 1) to draw decisions with; without them the likelier choice is made.
            decisions: Decisions to follow instead of the network's own.

        Returns:
            Colours, and decisions of exactly 0 and 1 that carry the gradient of their probabilities.

        Raises:
            ValueError: If `x` is not (B, 4, H, W), or the others do not fit it or come together.

        Source: AdaViT (Meng et al. 2022), sections 3.2 and 3.3; the mask sees decisions without gradient, outputs are multiplied
            by them.
        """
        noise, given = self._whole(uniform, len(x)), self._whole(decisions, len(x))
        size, grid = self._check(x, noise, given)
        tokens, record = self._begin(x, grid), []
        for i, block in enumerate(self.blocks):
            patches, layers, heads = chosen = self._choose(i, tokens, noise, given)
            record.append(chosen)
            kept = F.pad(patches, (1, 0), value=1.0)  # the policy token always is
            q, k, v = block.attention.project(block.norm1(tokens))
            mixed = attend(q * q.shape[-1] ** -0.5, k, v, hiding(kept)) * heads[..., None, None]
            gained = block.attention.proj(mixed.transpose(1, 2).flatten(2))
            tokens = tokens + layers[:, 0, None, None] * kept[..., None] * gained
            tokens = tokens + layers[:, 1, None, None] * kept[..., None] * block.feedforward(block.norm2(tokens))
        return HeadColoured(self.head(self.norm(tokens[:, 1:]), grid, size), _recorded(record))

    @torch.no_grad()
    def infer(self, x: Tensor, uniform: HeadDecisions | None = None, decisions: HeadDecisions | None = None) -> HeadColoured:
        """Colour pictures without computing what is left out, one after the other; otherwise as `forward`.

        Everything is asked before each block, also where its layers turn out not to run; where decisions are given, nothing is.
        """
        noise, given = self._whole(uniform, len(x)), self._whole(decisions, len(x))
        size, grid = self._check(x, noise, given)
        ends, made = [], []
        for number, state in enumerate(self._begin(x, grid)):
            own_noise, own_given = _picture(noise, number), _picture(given, number)
            record = []
            for i, block in enumerate(self.blocks):
                patches, layers, heads = chosen = self._choose(i, state[None], own_noise, own_given)
                record.append(chosen)
                index = F.pad(patches[0], (1, 0), value=1.0).nonzero().squeeze(1)
                some = state[index]
                if layers[0, 0]:
                    some = some + _lean_attention(block.attention, block.norm1(some), heads[0].nonzero().squeeze(1))
                if layers[0, 1]:
                    some = some + block.feedforward(block.norm2(some))
                state = state.index_copy(0, index, some)
            ends.append(state[1:])
            made.append(_recorded(record))
        decided = HeadDecisions(*(torch.cat(parts) for parts in zip(*made, strict=True)))
        return HeadColoured(self.head(self.norm(torch.stack(ends)), grid, size), decided)

    def draw(self, size: Size, rng: Generator) -> HeadDecisions:
        """Uniform numbers for one picture, to be stacked into a batch (`HeadDecisions.stack`).

        Args:
            size: Height and width of the picture.
            rng: Makes the same draw again from the same state.

        Returns:
            Shapes (depth, 1, N), (depth, 2) and (depth, heads).
        """
        rows, cols = self.embed.grid(size)
        shapes = self._wanted(1, rows * cols).values()
        return HeadDecisions(*(torch.rand(shape[1:], generator=rng) for shape in shapes))

    def multiply_adds(self, decisions: HeadDecisions, size: Size) -> Tensor:
        """What `infer` computes for these decisions, the network's own asking included.

        Args:
            decisions: Of exactly 0 and 1. Shapes (B, depth, 1, N), (B, depth, 2) and (B, depth, heads).
            size: Height and width of the pictures.

        Returns:
            Multiply-adds per picture, as torch's FlopCounterMode / 2 counts them. Shape (B,), int64.

        Raises:
            ValueError: If the decisions do not fit the size.
        """
        rows, cols = self.embed.grid(size)
        whole = self._whole(decisions, len(decisions.layers))
        assert whole is not None
        self._check_shapes("decisions", whole, len(decisions.layers), rows * cols)
        patches, layers, heads = (part.detach().round().long() for part in whole)
        kept = 1 + patches.squeeze(2).sum(-1)  # (B, depth)
        attention = self._attention(kept, kept**2) * heads.sum(-1) // self.heads  # a head is a whole share of each of its products
        branches = layers[..., 0] * attention + layers[..., 1] * self._feedforward(kept)
        return self._fixed(rows * cols) + self._asking(rows * cols) + branches.sum(1)

    def expected_multiply_adds(
        self, *, patch_ratio: float, layer_ratio: float, head_ratio: float, size: Size | None = None
    ) -> float:
        """The mean of `multiply_adds` where all but the first block's layers is kept independently with these probabilities."""
        rows, cols = self.embed.grid(size or (self.size, self.size))
        patches = rows * cols
        kept = 1 + patch_ratio * patches
        pairs = kept**2 + patches * patch_ratio * (1 - patch_ratio)  # the mean of a square is more than the square of the mean
        blocks = 1 + layer_ratio * (len(self.blocks) - 1)
        return (
            self._fixed(patches)
            + self._asking(patches)
            + blocks * (head_ratio * self._attention(kept, pairs) + self._feedforward(kept))
        )

    def _asking(self, patches: int) -> int:
        depth = len(self.blocks)
        return self.width * (depth * (patches + self.heads) + 2 * (depth - 1))

    def _begin(self, x: Tensor, grid: Size) -> Tensor:
        policy = (self.policy + self.positions[:1]).expand(len(x), -1, -1)
        return torch.cat([policy, self.embed(x) + self.positions_of(grid)], 1)

    def _choose(self, block: int, tokens: Tensor, noise: Parts | None, given: Parts | None) -> Parts:
        """Decisions about patches (B, N), layers (B, 2) and heads (B, heads) of a block, from the tokens at its input."""
        if given is not None:
            return given[0][:, block, 0], given[1][:, block], given[2][:, block]
        drawn = (None, None, None) if noise is None else (noise[0][:, block, 0], noise[1][:, block], noise[2][:, block])
        policy, patches = tokens[:, 0], tokens[:, 1:]
        stay = self._gate(self.patch_decisions[block](patches).squeeze(-1), drawn[0], self.patch_threshold)
        heads = self._gate(self.head_decisions[block](policy), drawn[2], self.threshold)
        if block == 0:
            return stay, torch.ones_like(policy[:, :2]), heads
        return stay, self._gate(self.layer_decisions[block - 1](policy), drawn[1], self.threshold), heads

    def _gate(self, logits: Tensor, uniform: Tensor | None, threshold: float) -> Tensor:
        return straight_through(probability(logits, uniform, temperature=self.temperature), threshold)

    def _wanted(self, batch: int, patches: int) -> dict[str, tuple[int, ...]]:
        return {**super()._wanted(batch, patches), "heads": (batch, len(self.blocks), self.heads)}

    def _whole(self, given: HeadDecisions | None, batch: int) -> Parts | None:
        if given is None:
            return None
        every = given.layers.new_ones(batch, len(self.blocks), self.heads)
        return given.patches, given.layers, every if given.heads is None else given.heads


def _lean_attention(attention: Attention, x: Tensor, chosen: Tensor) -> Tensor:
    """Attention by some heads among the tokens of one picture. Shape (n, C) to the same."""
    each = (attention.heads, attention.proj.in_features // attention.heads)
    weight = attention.qkv.weight.unflatten(0, (3, *each))[:, chosen].flatten(0, 2)
    bias = attention.projection_bias().unflatten(0, (3, *each))[:, chosen].flatten()
    q, k, v = F.linear(x, weight, bias).unflatten(-1, (3, len(chosen), each[1])).permute(1, 2, 0, 3)  # (heads, n, d) each
    mixed = attend(q * each[1] ** -0.5, k, v).transpose(0, 1).flatten(1)
    out = attention.proj.weight.unflatten(1, each)[:, chosen].flatten(1)
    return F.linear(mixed, out, attention.proj.bias)


def _picture(parts: Parts | None, number: int) -> Parts | None:
    return None if parts is None else (parts[0][number, None], parts[1][number, None], parts[2][number, None])


def _recorded(record: Sequence[Parts]) -> HeadDecisions:
    patches, layers, heads = (torch.stack(parts, 1) for parts in zip(*record, strict=True))
    return HeadDecisions(patches.unsqueeze(2), layers, heads)
