"""AdaColViT: iColoriT that decides, per picture, which layers to run and which patches get their full width.

Source: Real-Time User-guided Adaptive Colorization with Vision Transformer, section 3.
"""

import copy
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from colorexp.models.vit.costs import Costs
from colorexp.models.vit.decisions import Chooser, Decide, DecisionNetwork, Decisions, LeanChooser, Prune, with_policy
from colorexp.models.vit.lean import lean_attention, lean_feedforward
from colorexp.nn.attention import Attention, Block, attend
from colorexp.nn.frozen import FrozenEmbedding, FrozenHead, FrozenNorm
from colorexp.nn.patches import Size
from colorexp.nn.transformer import PrunedTransformer, check_picture

GROUPS = (1, 2, 4, 8)


class Coloured(NamedTuple):
    """Colours and what was computed for them."""

    ab_n: Tensor
    """Normalised ab in [-1, 1]. Shape (B, 2, H, W)."""
    decisions: Decisions


class AdaColViT(PrunedTransformer):
    """A vision transformer with a policy token, decisions per layer and per patch, and channel groups.

    Every branch (attention, feed-forward) of every block is kept or skipped as a whole by the policy token at the block's input. In
    a branch that runs, each patch is informative or not: 1 / groups of the branch's inner channels, the light part, serve all
    tokens, the others, the heavy part, only informative patches and the policy token. What they give is added.

    `forward` computes everything and masks, so that decisions get a gradient; `infer` computes only what is kept. Given the same
    decisions they agree up to rounding: a patch without the heavy part is hidden from the heavy softmax of the others, by a logit
    of -inf in `forward` and by its absence in `infer`, so neither its key nor its value matters, and its own heavy output is
    multiplied by 0 or never made; the light part is the same in both.

    After `start_from`, light and heavy part are slices of the dense network's own linear layers, so that with everything kept each
    feed-forward is the dense one. Attention then differs in that a head's channels attend in two parts, that the policy token is
    attended to, and that there are no position biases.

    Args:
        size: Side of the pictures it is made for, pixels; a multiple of `patch`. Others are coloured too.
        patch: Side of a patch, pixels.
        width: Channels of a token.
        depth: Blocks.
        heads: Attention heads; divides `width`.
        mlp_ratio: Hidden channels of the feed-forward over `width`.
        groups: 1, 2, 4 or 8; divides the width of a head and the hidden channels.
        prune: What may be left out.
        decide: `learned` asks linear layers; `random` compares uniform numbers with the ratios.
        patch_ratio: Share of patches that random decisions keep, in [0, 1]; None otherwise.
        layer_ratio: Share of branches that random decisions keep, in [0, 1]; None otherwise.
        temperature: Divides noisy logits in training.
        threshold: Probability above which something is kept.
        keep_bias: First value of the decisions' biases; above 0, training begins with more than half of everything.

    Raises:
        ValueError: If a number does not fit the others, or a name is unknown.

    Source: sections 3.1 and 3.2, equations 2 and 7 to 11.

    Deviation: equation 7 takes the layers' decisions from all tokens; here, as in Figure 3 and the authors' code, from the policy
        token at the block's input, before its layer norm, for both branches at once.

    Unspecified: every head and the hidden channels are split, inputs stay whole, and each part scales its logits by its own width.
        The biases of a branch's last linear layer belong to the light part. Temperature 5 and threshold 0.5, the policy token's
        position (row 0 of a sinusoid table with one more row) and no relative position bias are the authors' code's; the paper
        names none. All blocks decide, also the first, whose policy token has seen no picture: its layers are the same for all.

    Unspecified: one group. The light part would be the whole branch and patch decisions without effect; here it is plain removal:
        no light part, skipped patches stay as they are. The patches of a picture are then dropped as other methods drop them.

    Deviation: a linear layer on the policy token that "generates the final prediction" is left out; the head reads the patches.
    """

    own_parts = ("policy", "decisions")

    def __init__(
        self,
        *,
        size: int = 224,
        patch: int = 16,
        width: int = 192,
        depth: int = 12,
        heads: int = 3,
        mlp_ratio: int = 4,
        groups: int = 2,
        prune: Prune = "patches+layers",
        decide: Decide = "learned",
        patch_ratio: float | None = None,
        layer_ratio: float | None = None,
        temperature: float = 5.0,
        threshold: float = 0.5,
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
        _check_groups(groups, width // heads, self.hidden)
        self.groups, self.decide = groups, decide
        self.policy = nn.Parameter(torch.zeros(1, 1, width))
        nn.init.trunc_normal_(self.policy, std=0.02)
        self.decisions = DecisionNetwork(
            width=width,
            depth=depth,
            prune=prune,
            decide=decide,
            patch_ratio=patch_ratio,
            layer_ratio=layer_ratio,
            temperature=temperature,
            threshold=threshold,
            keep_bias=keep_bias,
        )
        asked = (2 * bool(self.decisions.layers), 2 * bool(self.decisions.patches))
        self.costs = Costs(patch, width, depth, self.hidden, groups, *asked)

    def forward(self, x: Tensor, uniform: Decisions | None = None, decisions: Decisions | None = None) -> Coloured:
        """Colour pictures in the form that is trained: all is computed, what is not kept is masked.

        Args:
            x: Normalised L, normalised a and b where hinted and 0 elsewhere, hint mask (1 = hinted). Shape (B, 4, H, W), any H, W.
            uniform: Numbers in [0, 1) to draw decisions with. Learned decisions without them are the likelier choice; random ones
                need them.
            decisions: Decisions to follow instead of the network's own.

        Returns:
            Colours, and decisions of exactly 0 and 1 that carry the gradient of their probabilities; 1 for what is never pruned.

        Raises:
            ValueError: If `x` is not (B, 4, H, W), the others do not fit it or come together, or random decisions get no numbers.

        Source: equations 2 and 7 to 11; the mask sees decisions without gradient, the heavy output is multiplied by them.
        """
        size, grid = self._check(x, uniform, decisions)
        tokens = self.embed(x) + self.positions_of(grid)
        tokens = torch.cat([(self.policy + self.positions[:1]).expand(len(x), -1, -1), tokens], 1)
        chooser = Chooser(self.decisions, self.decisions.asked(), uniform, decisions)
        for i, block in enumerate(self.blocks):
            layers = chooser.layers(i, tokens)
            patches = chooser.patches(2 * i, tokens)
            tokens = _gated(tokens, layers, 0, self._attention(block, tokens, patches))
            patches = chooser.patches(2 * i + 1, tokens)
            tokens = _gated(tokens, layers, 1, self._feedforward(block, tokens, patches))
        return Coloured(self.head(self.norm(tokens[:, 1:]), grid, size), chooser.decisions(tokens))

    def _attention(self, block: Block, tokens: Tensor, keep: Tensor | None) -> Tensor:
        attention: Attention = block.attention
        q, k, v = attention.project(block.norm1(tokens))
        kept = None if keep is None else with_policy(keep)
        hide = None if kept is None else torch.zeros_like(kept).masked_fill(kept.detach() == 0, -torch.inf)[:, None, None]
        light = 0 if self.groups == 1 else q.shape[-1] // self.groups
        q_heavy = q[..., light:] * (q.shape[-1] - light) ** -0.5
        mixed = attend(q_heavy, k[..., light:], v[..., light:], hide)
        if light:
            if kept is not None:
                mixed = mixed * kept[:, None, :, None]
            mixed = torch.cat([attend(q[..., :light] * light**-0.5, k[..., :light], v[..., :light]), mixed], -1)
        gained = attention.proj(mixed.transpose(1, 2).flatten(2))
        return gained * kept[..., None] if kept is not None and not light else gained

    def _feedforward(self, block: Block, tokens: Tensor, keep: Tensor | None) -> Tensor:
        x, feedforward = block.norm2(tokens), block.feedforward
        if keep is None:
            return feedforward(x)
        kept = with_policy(keep)[..., None]
        if self.groups == 1:
            return feedforward(x) * kept
        # Masked behind its last layer, the heavy part is masked where it has fewest channels.
        light = self.hidden // self.groups
        return feedforward.part(x, 0, light) + kept * feedforward.part(x, light, self.hidden)

    def infer(self, x: Tensor, uniform: Decisions | None = None, decisions: Decisions | None = None) -> Coloured:
        """Colour pictures without computing what is not kept; otherwise as `forward`, but without gradients.

        Branches run for the pictures that keep them; the kept tokens of all these pictures are packed for the heavy part, and
        attend within their own picture. Patches are also asked in branches that are skipped, so that the decisions are those of
        `forward`; where decisions are given, nothing is asked.
        """
        size, _ = self._check(x, uniform, decisions)
        return PreparedAdaColViT(self, size, direct=False)(x, uniform, decisions)

    def prepared(self, size: Size | None = None, *, dtype: torch.dtype = torch.float32) -> "PreparedAdaColViT":
        """A frozen copy for inference that lays out the slices of its weights once.

        Args:
            size: Height and width of the pictures to come; None is the size that the network is made for.
            dtype: Number format of the copy. `torch.bfloat16` is faster where the processor has it and right to about 1e-2.

        Returns:
            Called like `infer`, on pictures of that size; later changes of the network do not reach it. The heavy part of a single
            picture computes up to 7 tokens of padding more than `infer` does.
        """
        copied = copy.deepcopy(self).requires_grad_(False).to(dtype)
        return PreparedAdaColViT(copied, size or (self.size, self.size), direct=True)

    def draw(self, size: Size, rng: Generator) -> Decisions:
        """Uniform numbers for one picture, to be stacked into a batch (`Decisions.stack`).

        Args:
            size: Height and width of the picture.
            rng: Makes the same draw again from the same state.

        Returns:
            Shapes (depth, 2, N) and (depth, 2).
        """
        rows, cols = self.embed.grid(size)
        depth = len(self.blocks)
        return Decisions(torch.rand(depth, 2, rows * cols, generator=rng), torch.rand(depth, 2, generator=rng))

    def multiply_adds(self, decisions: Decisions, size: Size) -> Tensor:
        """What `infer` computes for these decisions, the network's own asking included.

        Args:
            decisions: Of exactly 0 and 1. Shapes (B, depth, 2, N) and (B, depth, 2).
            size: Height and width of the pictures.

        Returns:
            Multiply-adds per picture, as torch's FlopCounterMode / 2 counts them. Shape (B,), int64.

        Raises:
            ValueError: If the decisions do not fit the size.
        """
        rows, cols = self.embed.grid(size)
        self._check_shapes("decisions", decisions, len(decisions.layers), rows * cols)
        kept = 1 + decisions.patches.detach().sum(-1).round().long()  # (B, depth, 2)
        runs = decisions.layers.detach().round().long()
        attention = self.costs.attention(rows * cols, kept[..., 0], kept[..., 0] ** 2)
        feedforward = self.costs.feedforward(rows * cols, kept[..., 1])
        return self.costs.fixed(rows * cols) + (runs[..., 0] * attention + runs[..., 1] * feedforward).sum(1)

    def expected_multiply_adds(self, *, patch_ratio: float, layer_ratio: float, size: Size | None = None) -> float:
        """The mean of `multiply_adds` where patches and layers are kept independently with these probabilities."""
        rows, cols = self.embed.grid(size or (self.size, self.size))
        return self.costs.expected(rows * cols, patch_ratio=patch_ratio, layer_ratio=layer_ratio)

    def ratio_for(self, target: float, *, size: Size | None = None) -> float:
        """The ratio beta, one for patches and layers (what is not pruned is kept), that costs `target` multiply-adds on average.

        Raises:
            ValueError: If even keeping nothing costs more, or keeping everything less.

        Source: equation 13; the paper prints costs (Tables 2 to 4) but neither beta 1 nor beta 2.
        """

        def cost(ratio: float) -> float:
            patches, layers = (ratio if kind in self.decisions.kinds else 1.0 for kind in ("patches", "layers"))
            return self.expected_multiply_adds(patch_ratio=patches, layer_ratio=layers, size=size)

        low, high = 0.0, 1.0
        if not cost(low) <= target <= cost(high):
            raise ValueError(f"target must lie between {cost(low):.4g} and {cost(high):.4g} multiply-adds, got {target:.4g}")
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if cost(middle) < target else (low, middle)
        return (low + high) / 2

    def _wanted(self, batch: int, patches: int) -> dict[str, tuple[int, ...]]:
        depth = len(self.blocks)
        return {"patches": (batch, depth, 2, patches), "layers": (batch, depth, 2)}

    def _check(self, x: Tensor, uniform: tuple[Tensor, ...] | None, decisions: tuple[Tensor, ...] | None) -> tuple[Size, Size]:
        if uniform is None and decisions is None and self.decisions.random:
            raise ValueError("random decisions need uniform numbers, see draw")
        return super()._check(x, uniform, decisions)


class PreparedAdaColViT:
    """What `AdaColViT.prepared` gives: called with pictures of one size, it returns what `infer` would, sooner."""

    def __init__(self, model: AdaColViT, size: Size, *, direct: bool) -> None:
        self.model, self.size = model, size
        self.grid = model.embed.grid(size)
        self.dtype = model.policy.dtype
        self.asked = model.decisions.frozen()
        self.embed = FrozenEmbedding(model.embed, direct=direct)
        self.policy, self.positions = model.policy.detach() + model.positions[:1], model.positions_of(self.grid)
        self.branches = [
            (
                lean_attention(FrozenNorm(block.norm1), block.attention, model.groups, direct=direct),
                lean_feedforward(FrozenNorm(block.norm2), block.feedforward, model.groups, direct=direct),
            )
            for block in model.blocks
        ]
        self.norm = FrozenNorm(model.norm)
        self.head = FrozenHead(model.head, self.grid, direct=direct)

    @torch.no_grad()
    def __call__(self, x: Tensor, uniform: Decisions | None = None, decisions: Decisions | None = None) -> Coloured:
        """As `AdaColViT.infer`, for pictures of the size it was prepared for.

        Raises:
            ValueError: If `x` is not (B, 4, H, W) of that size, or the others do not fit.
        """
        check_picture(x, self.size)
        self.model._check(x, uniform, decisions)
        tokens = self.embed(x.to(self.dtype)) + self.positions
        tokens = torch.cat([self.policy.expand(len(x), -1, -1), tokens], 1)
        chooser = LeanChooser(self.model.decisions, self.asked, uniform, decisions)
        for i, branches in enumerate(self.branches):
            runs = chooser.runs(i, tokens)
            for part, branch in enumerate(branches):
                if (kept := chooser.kept(2 * i + part, tokens, runs[part])) is not None:
                    branch.add_to(tokens, runs[part], kept)
        ab_n = self.head(self.norm(tokens[:, 1:]), self.size).to(x.dtype)
        made = chooser.decisions(tokens)
        return Coloured(ab_n, Decisions(made.patches.to(x.dtype), made.layers.to(x.dtype)))


def _gated(tokens: Tensor, layers: Tensor | None, part: int, gained: Tensor) -> Tensor:
    return tokens + (gained if layers is None else layers[:, part, None, None] * gained)


def _check_groups(groups: int, head: int, hidden: int) -> None:
    accepted = [n for n in GROUPS if head % n == 0 and hidden % n == 0]
    if groups not in accepted:
        names = ", ".join(map(str, accepted))
        raise ValueError(f"groups must divide the {head} channels of a head and {hidden} hidden ones: {names}; got {groups}")
