"""Released checkpoints of the four papers -> our modules, strictly."""

import math
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from colorexp import weights
from colorexp.models.unet import ResUNet, SimpleUNet, TransUNet
from colorexp.models.vit import IColoriT


class _Family(NamedTuple):
    build: Callable[[Mapping[str, Tensor]], nn.Module]
    renames: tuple[tuple[str, str], ...]
    """Patterns applied in turn to every released name."""
    constants: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = lambda _: {}
    """Released tensors that our module computes instead of storing: they must hold these values."""


_UNET = ((r"^out\.conv1", "head_a"), (r"^out\.conv2", "head_b"), (r"^botNeck", "bottleneck"))
_RES_UNET = (
    *_UNET,
    (r"^(encoder|decoder)\.layers", r"\1"),
    (r"\.resnet\.bn", ".block.norm"),
    (r"\.resnet", ".block"),
    (r"residual", "shortcut"),
    (r"downsample\.conv", "down"),
    (r"upsample\.conv", "conv"),
)


def _bins(state: Mapping[str, Tensor]) -> int:
    return len(state["out.conv1.weight"])


def _icolorit(state: Mapping[str, Tensor]) -> IColoriT:
    width, _, patch, _ = state["patch_embed.proj.weight"].shape
    table = state.get("blocks.0.attn.rpb_table")
    side = _side(table) if table is not None else _RELEASED_SIZE // patch
    return IColoriT(
        size=side * patch,
        patch=patch,
        width=width,
        depth=1 + max((int(name.split(".")[1]) for name in state if name.startswith("blocks.")), default=0),
        heads=table.shape[1] if table is not None else width // _RELEASED_HEAD_WIDTH,
        mlp_ratio=len(state["blocks.0.mlp.fc1.bias"]) // width,
        relative_positions=table is not None,
    )


_RELEASED_SIZE = 224
_RELEASED_HEAD_WIDTH = 64
"""Without a relative position bias neither the pictures' side nor the number of heads can be read from a checkpoint."""


def _side(table: Tensor) -> int:
    return (math.isqrt(len(table)) + 1) // 2


def _relative_indices(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The row of the bias table that every pair of tokens reads, stored once per block."""
    indices = {}
    for name, table in state.items():
        if name.endswith(".rpb_table"):
            side = _side(table)
            row, col = torch.arange(side).repeat_interleave(side), torch.arange(side).repeat(side)
            down, right = (at[:, None] - at + side - 1 for at in (row, col))
            indices[name.replace("rpb_table", "relative_position_index")] = down * (2 * side - 1) + right
    return indices


_FAMILIES = {
    "icolorit": _Family(
        _icolorit,
        (
            (r"^patch_embed", "embed"),
            (r"^head\.head", "head.conv"),
            (r"\.attn\.", ".attention."),
            (r"rpb_table$", "table"),
            (r"\.mlp\.", ".feedforward."),
        ),
        _relative_indices,
    ),
    "simple_unet": _Family(
        lambda state: SimpleUNet(bins=_bins(state)),
        (
            *_UNET,
            (r"^encoder\.(\d)\.0", r"encoder.\1.conv"),
            (r"^encoder\.(\d)\.1", r"encoder.\1.norm"),
            (r"^decoder\.(\d)\.1", r"decoder.\1.conv"),
            (r"^decoder\.(\d)\.2", r"decoder.\1.norm"),
        ),
    ),
    "res_unet": _Family(lambda state: ResUNet(bins=_bins(state), downsample="strided"), _RES_UNET),
    "trans_unet": _Family(
        lambda state: TransUNet(
            bins=_bins(state),
            downsample="strided",
            tokens="columns",
            bottleneck_layers=1,
            bottleneck_feedforward=len(state["botNeck.layers.0.linear1.bias"]),
        ),
        (
            *_RES_UNET,
            (r"transformer\.layers\.0", "attention"),
            (r"self_attention", "self_attn"),
            (r"cross_attention", "multihead_attn"),
            (r"layernorm", "norm"),
        ),
    ),
}


def from_released(family: str, state: Mapping[str, Tensor]) -> nn.Module:
    """Build our module for a released checkpoint and load every tensor of it.

    Args:
        family: `icolorit`, `simple_unet`, `res_unet` or `trans_unet`.
        state: The released state dict, under its own names.

    Returns:
        The module in eval mode.

    Raises:
        ValueError: If the family is unknown, or a name is missing, left over, of another shape or, where our module computes it, of
            another value; all of them are listed.
    """
    if family not in _FAMILIES:
        raise ValueError(f"unknown family {family!r}; choose one of {', '.join(_FAMILIES)}")
    spec = _FAMILIES[family]
    try:
        module = spec.build(state)
    except KeyError as missing:
        raise ValueError(f"this is no {family} checkpoint: it lacks {missing}") from None
    constants = spec.constants(state)
    wrong = [name for name, value in constants.items() if name in state and not torch.equal(state[name].to(value), value)]
    if wrong:
        raise ValueError(f"the {family} checkpoint holds other constants than {type(module).__name__}: {'; '.join(wrong)}")
    renamed = {}
    for name, tensor in state.items():
        if name in constants:
            continue
        ours = name
        for pattern, replacement in spec.renames:
            ours = re.sub(pattern, replacement, ours)
        renamed[ours] = tensor
    weights.load_strictly(module, renamed, what=f"the {family} checkpoint")
    return module.eval()
