"""What flows between data, tasks and evaluation."""

from typing import NamedTuple, NotRequired, TypedDict

from torch import Tensor


class Batch(TypedDict):
    """A batch of pictures of one size. Lab is physical (L in 0..100, ab in CIELAB units)."""

    id: list[str]
    """`<dataset>/<name>` of every picture."""
    draw: list[int]
    """Seeds whatever else is drawn for this appearance of the picture; a function of run seed, epoch and picture, or of protocol
    and picture."""
    L: Tensor
    """(B, 1, H, W) float32."""
    ab: Tensor
    """(B, 2, H, W) float32, the ground truth."""
    hint_mask: Tensor
    """(B, 1, H, W) bool, True = hinted."""
    hint_ab: Tensor
    """(B, 2, H, W) float32, the colours hinted at, zero elsewhere."""
    instance_map: NotRequired[Tensor]
    """(B, H, W) uint8, 0 = background; scenes only, as are the next two."""
    class_map: NotRequired[Tensor]
    """(B, H, W) uint8, 0 = nothing."""
    mode_map: NotRequired[Tensor]
    """(B, H, W) uint8, 1 + index of the colour mode within its class."""
    reference_L: NotRequired[Tensor]
    """(B, 1, h, w) float32, lightness of the reference picture of exemplar colorization."""
    reference_ab: NotRequired[Tensor]
    """(B, 2, h, w) float32, chroma of the reference picture."""
    reference_own: NotRequired[Tensor]
    """(B,) bool, True where the reference is a warped copy of the picture itself, whose colours are then the truth."""
    reference_id: NotRequired[list[str]]
    """`<dataset>/<name>`, `palettes/<rrggbb>-...` or a file, of every reference."""
    reference_kind: NotRequired[list[str]]
    """How it was found: `own`, `nearest`, `same_class`, `farthest`, `palette` or `given`."""


class Prediction(NamedTuple):
    """What a task makes of a batch."""

    ab: Tensor
    """(B, 2, H, W) float32, physical."""
    extras: dict[str, Tensor] = {}  # noqa: RUF012  read-only by convention: a NamedTuple's default is shared
    """Further outputs by name (class indices, gate maps, anchors ...), first axis B."""
