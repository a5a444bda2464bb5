"""What the three methods share: how decisions are handed around, and what the layers cost."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Self, TypeVar

import torch
from torch import Tensor

from colorexp.nn.patches import HINT_CHANNELS
from colorexp.nn.transformer import PrunedTransformer

Removed = Literal["frozen", "zeros"]
Number = TypeVar("Number", float, Tensor)


class Decisions(NamedTuple):
    """What is kept, 1, and what is not, 0; or, in the same shape, the uniform numbers in [0, 1) that decisions are drawn with."""

    patches: Tensor
    """Per block, for attention and feed-forward alike. Shape (B, depth, 1, N), N patches row by row."""
    layers: Tensor
    """Attention and feed-forward of every block; all 1 of a method that keeps them. Shape (B, depth, 2)."""

    @classmethod
    def stack(cls, pictures: Sequence[Self]) -> Self:
        """Put the draws of single pictures into a batch."""
        return cls(*(torch.stack(parts) for parts in zip(*pictures, strict=True)))


class Coloured(NamedTuple):
    """Colours and what was computed for them."""

    ab_n: Tensor
    """Normalised ab in [-1, 1]. Shape (B, 2, H, W)."""
    decisions: Decisions


class Body(PrunedTransformer):
    """iColoriT's layers with the decisions that the three methods share."""

    decide = "learned"
    """As of `AdaColViT`; there are no random decisions here."""
    decides_layers = False

    def _wanted(self, batch: int, patches: int) -> dict[str, tuple[int, ...]]:
        depth = len(self.blocks)
        return {"patches": (batch, depth, 1, patches), "layers": (batch, depth, 2)}

    def _check_shapes(self, name: str, given: tuple[Tensor, ...], batch: int, patches: int) -> None:
        super()._check_shapes(name, given, batch, patches)
        layers = given[list(self._wanted(batch, patches)).index("layers")]
        if name == "decisions" and not self.decides_layers and not (layers == 1).all():
            raise ValueError(f"{type(self).__name__} runs every layer: decisions about layers must be 1, got {layers.min().item()}")

    def _fixed(self, patches: int) -> int:
        """Multiply-adds of embedding and head for a picture of so many patches."""
        return patches * self.width * (HINT_CHANNELS + 9 * 2) * self.embed.patch**2

    def _attention(self, tokens: Number, pairs: Number) -> Number:
        """Multiply-adds of one attention over so many tokens, `pairs` being their number squared."""
        return tokens * (4 * self.width**2) + pairs * (2 * self.width)

    def _feedforward(self, tokens: Number) -> Number:
        """Multiply-adds of one feed-forward."""
        return tokens * (2 * self.width * self.hidden)


def check_removed(removed: str) -> None:
    """Raise a ValueError unless that is one of `Removed`."""
    if removed not in ("frozen", "zeros"):
        raise ValueError(f"removed must be 'frozen' or 'zeros', got {removed!r}")


def hiding(kept: Tensor) -> Tensor:
    """What hides removed tokens from all others, added to attention logits; a removed token still sees itself.

    Without itself it would see nothing where nothing is kept, and be no number.

    Args:
        kept: Above 0 for kept tokens. Shape (B, N).

    Returns:
        0 or -inf, without gradient. Shape (B, 1, N, N).
    """
    hidden = (kept.detach() == 0)[:, None, None, :] & ~torch.eye(kept.shape[1], dtype=torch.bool, device=kept.device)
    return torch.zeros(hidden.shape, dtype=kept.dtype, device=kept.device).masked_fill(hidden, -torch.inf)


def among(bias: Tensor | None, index: Tensor) -> Tensor | None:
    """The part of a bias between all tokens that lies between some. Shape (heads, N, N) to (heads, n, n)."""
    return None if bias is None else bias[:, index[:, None], index]
