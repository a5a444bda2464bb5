"""Which layers run and which patches are informative: learned, drawn or given."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorexp.nn.frozen import FrozenLinear
from colorexp.nn.gates import probability, straight_through

Prune = Literal["patches+layers", "patches", "layers"]
Decide = Literal["learned", "random"]


class Decisions(NamedTuple):
    """What is kept, 1, and what is not, 0; or, in the same shape, the uniform numbers in [0, 1) that decisions are drawn with."""

    patches: Tensor
    """Per block, before attention and before the feed-forward. Shape (B, depth, 2, N), N patches row by row."""
    layers: Tensor
    """Attention and feed-forward of every block. Shape (B, depth, 2)."""

    @classmethod
    def stack(cls, pictures: Sequence[Self]) -> Self:
        """Put the draws of single pictures, (depth, 2, N) and (depth, 2), into a batch."""
        return cls(*(torch.stack(parts) for parts in zip(*pictures, strict=True)))


class Asked(NamedTuple):
    """The linear layers that are asked, one after the other; empty where nothing is learned."""

    patches: Sequence[Callable[[Tensor], Tensor]]
    """From patches (B, N, C) to logits (B, N, 1), two per block."""
    layers: Sequence[Callable[[Tensor], Tensor]]
    """From the policy token (B, C) to logits (B, 2), one per block."""


class DecisionNetwork(nn.Module):
    """The linear layers that decide, or the ratios by which it is drawn; arguments are those of `AdaColViT`.

    Source: section 3.2, equation 7.
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        prune: Prune,
        decide: Decide,
        patch_ratio: float | None,
        layer_ratio: float | None,
        temperature: float,
        threshold: float,
        keep_bias: float,
    ) -> None:
        super().__init__()
        self.depth, self.kinds = depth, _kinds(prune)
        if decide not in ("learned", "random"):
            raise ValueError(f"decide must be 'learned' or 'random', got {decide!r}")
        self.random = decide == "random"
        _check_ratio("patch_ratio", patch_ratio, wanted=self.random and "patches" in self.kinds)
        _check_ratio("layer_ratio", layer_ratio, wanted=self.random and "layers" in self.kinds)
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must lie between 0 and 1, got {threshold}")
        self.ratios = (patch_ratio, layer_ratio)
        self.temperature, self.threshold = temperature, threshold
        learned = () if self.random else self.kinds
        self.patches = nn.ModuleList(nn.Linear(width, 1) for _ in range(2 * depth * ("patches" in learned)))
        self.layers = nn.ModuleList(nn.Linear(width, 2) for _ in range(depth * ("layers" in learned)))
        for linear in (*self.patches, *self.layers):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.constant_(linear.bias, keep_bias)

    def settled(self, uniform: Decisions | None, given: Decisions | None) -> Decisions | None:
        """Decisions that do not wait for the tokens: given or random ones; None where they are learned."""
        if given is not None or not self.random:
            return given
        assert uniform is not None
        return Decisions(
            *(u.lt(1.0 if ratio is None else ratio).to(u.dtype) for u, ratio in zip(uniform, self.ratios, strict=True))
        )

    def asked(self) -> Asked:
        """The layers as modules, which train."""
        return Asked(list(self.patches), list(self.layers))

    def frozen(self) -> Asked:
        """The layers without gradients and without the cost of calling a module."""
        patches, layers = (
            [FrozenLinear(m.weight, m.bias, direct=False) for m in part if isinstance(m, nn.Linear)]
            for part in (self.patches, self.layers)
        )
        return Asked(patches, layers)

    def soft(self, logits: Tensor, uniform: Tensor | None) -> Tensor:
        """What the threshold is held against, for logits of any shape."""
        return probability(logits, uniform, temperature=self.temperature)


class Chooser:
    """Makes the learned decisions of one pass, block by block, and keeps them; or hands out those that are settled."""

    def __init__(self, network: DecisionNetwork, asked: Asked, uniform: Decisions | None, given: Decisions | None) -> None:
        self.network, self.asked = network, asked
        self.uniform, self.given = uniform, network.settled(uniform, given)
        self.patch_record: list[Tensor] = []
        self.layer_record: list[Tensor] = []

    def answer(self, soft: Tensor) -> Tensor:
        """Yes or no, with a gradient."""
        return straight_through(soft, self.network.threshold)

    def layers(self, block: int, tokens: Tensor) -> Tensor | None:
        """Whether attention and feed-forward run, (B, 2); None where all always do."""
        if self.given is not None:
            return self.given.layers[:, block]
        if "layers" not in self.network.kinds:
            return None
        uniform = None if self.uniform is None else self.uniform.layers[:, block]
        chosen = self.answer(self.network.soft(self.asked.layers[block](tokens[:, 0]), uniform))
        self.layer_record.append(chosen)
        return chosen

    def patches(self, branch: int, tokens: Tensor) -> Tensor | None:
        """Which patches are informative, (B, N); None where all always are. A block's attention is branch 2i, the other 2i + 1."""
        block, part = divmod(branch, 2)
        if self.given is not None:
            return self.given.patches[:, block, part]
        if "patches" not in self.network.kinds:
            return None
        uniform = None if self.uniform is None else self.uniform.patches[:, block, part]
        chosen = self.answer(self.network.soft(self.asked.patches[branch](tokens[:, 1:]).squeeze(-1), uniform))
        self.patch_record.append(chosen)
        return chosen

    def decisions(self, tokens: Tensor) -> Decisions:
        """All decisions of the pass."""
        if self.given is not None:
            return self.given
        (batch, count, _), depth = tokens.shape, self.network.depth
        patches = torch.stack(self.patch_record, 1) if self.patch_record else tokens.new_ones(batch, 2 * depth, count - 1)
        layers = torch.stack(self.layer_record, 1) if self.layer_record else tokens.new_ones(batch, depth, 2)
        return Decisions(patches.unflatten(1, (depth, 2)), layers)


class Kept(NamedTuple):
    """The informative tokens of a branch, the policy token always among them."""

    mask: Tensor
    """Shape (B, 1 + N), bool."""
    places: Tensor
    """Where they are among the tokens of all pictures in a row. Shape (T,), int64, ascending."""
    counts: list[int]
    """How many each picture has."""

    @classmethod
    def of(cls, masks: Tensor) -> list[Self]:
        """Those of several branches, found in one call. Shape (branches, B, 1 + N), bool."""
        counts = masks.sum(2).tolist()
        places = masks.flatten(1).nonzero()[:, 1].split([sum(each) for each in counts])
        return [cls(*parts) for parts in zip(masks, places, counts, strict=True)]

    @classmethod
    def of_branch(cls, mask: Tensor) -> Self:
        """Those of one branch. Shape (B, 1 + N), bool."""
        places = mask.flatten().nonzero()[:, 0]
        return cls(mask, places, [len(places)] if len(mask) == 1 else mask.sum(1).tolist())

    def of_pictures(self, rows: Tensor) -> Self:
        """Those of some pictures alone."""
        return self.of_branch(self.mask[rows])


class LeanChooser(Chooser):
    """Answers the inference form in booleans and places; settled decisions are answered all at once."""

    def __init__(self, network: DecisionNetwork, asked: Asked, uniform: Decisions | None, given: Decisions | None) -> None:
        super().__init__(network, asked, uniform, given)
        if self.given is not None:
            self.all_runs = (self.given.layers > 0.5).permute(1, 2, 0).tolist()
            self.all_kept = Kept.of(with_policy(self.given.patches > 0.5).flatten(1, 2).transpose(0, 1))

    def answer(self, soft: Tensor) -> Tensor:
        """Yes or no."""
        return soft > self.network.threshold

    def runs(self, block: int, tokens: Tensor) -> list[list[bool]]:
        """Which pictures have the attention and which the feed-forward of a block."""
        if self.given is not None:
            return self.all_runs[block]
        layers = self.layers(block, tokens)
        return [[True] * len(tokens)] * 2 if layers is None else layers.T.tolist()

    def kept(self, branch: int, tokens: Tensor, runs: Sequence[bool]) -> Kept | None:
        """Which tokens are informative in a branch that some picture runs; in any other nobody needs to know where they are."""
        if self.given is not None:
            return self.all_kept[branch] if any(runs) else None
        patches = self.patches(branch, tokens)
        if not any(runs):
            return None
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device) if patches is None else with_policy(patches)
        return Kept.of_branch(mask)


def with_policy(keep: Tensor) -> Tensor:
    """Prepend the policy token, which is always kept. Shape (..., N) to (..., 1 + N)."""
    return F.pad(keep, (1, 0), value=1)


def _kinds(prune: str) -> tuple[str, ...]:
    if prune not in ("patches+layers", "patches", "layers"):
        raise ValueError(f"prune must be 'patches+layers', 'patches' or 'layers', got {prune!r}")
    return tuple(prune.split("+"))


def _check_ratio(name: str, ratio: float | None, *, wanted: bool) -> None:
    if wanted and (ratio is None or not 0 <= ratio <= 1):
        raise ValueError(f"random decisions need a {name} between 0 and 1, got {ratio}")
    if not wanted and ratio is not None:
        raise ValueError(f"{name} is for random decisions about what is pruned: it has no effect here, got {ratio}")
