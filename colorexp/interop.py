"""Released checkpoints of the four papers -> our modules, strictly."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor, nn

from colorexp import weights
from colorexp.models.unet import ResUNet, SimpleUNet, TransUNet


class _Family(NamedTuple):
    build: Callable[[Mapping[str, Tensor]], nn.Module]
    renames: tuple[tuple[str, str], ...]
    """Patterns applied in turn to every released name."""


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


_FAMILIES = {
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
        family: `simple_unet`, `res_unet` or `trans_unet`.
        state: The released state dict, under its own names.

    Returns:
        The module in eval mode.

    Raises:
        ValueError: If the family is unknown, or a name is missing, left over, or of another shape; all of them are listed.
    """
    if family not in _FAMILIES:
        raise ValueError(f"unknown family {family!r}; choose one of {', '.join(_FAMILIES)}")
    spec = _FAMILIES[family]
    try:
        module = spec.build(state)
    except KeyError as missing:
        raise ValueError(f"this is no {family} checkpoint: it lacks {missing}") from None
    renamed = {}
    for name, tensor in state.items():
        ours = name
        for pattern, replacement in spec.renames:
            ours = re.sub(pattern, replacement, ours)
        renamed[ours] = tensor
    weights.load_strictly(module, renamed, what=f"the {family} checkpoint")
    return module.eval()
