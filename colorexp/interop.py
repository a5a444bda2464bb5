"""Released checkpoints of the four papers -> our modules, strictly."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from colorexp import color, weights
from colorexp.models.disco import Disco
from colorexp.models.exemplar import Exemplar
from colorexp.models.spixnet import SPixNet
from colorexp.models.unet import ResUNet, SimpleUNet, TransUNet
from colorexp.models.vit import IColoriT


class _Family(NamedTuple):
    build: Callable[[Mapping[str, Tensor]], nn.Module]
    renames: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]
    """Patterns applied in turn to every released name."""
    constants: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = lambda _: {}
    """Released tensors that our module computes instead of storing: they must hold these values."""
    reshape: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict
    """Released tensors in the shapes that our module keeps them in; those that it has no use for are left out."""
    finish: Callable[[Any], nn.Module] = nn.Module.eval
    """What is done to the loaded module."""


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


_RELEASED_CELL = 16
"""No weight of SPixNet tells for which cells it was trained; the released ones are for 16 pixels."""

_SPIXNET = (
    (r"\bnet\.conv(\d)a", r"encoder.\1.0"),
    (r"\bnet\.conv(\d)b", r"encoder.\1.1"),
    (r"\bnet\.deconv(\d)", r"decoder.\1.up"),
    (r"\bnet\.conv(\d)_1", r"decoder.\1.merge"),
    (r"\bnet\.pred_mask0", "head"),
)
_DISCO = (
    *_SPIXNET,
    (r"^segnet", "superpixels"),
    (r"^repnet\.conv(\d+)_\d", r"backbone.block\1"),
    (r"^repnet\.conv(\d+)up", r"backbone.up\1"),
    (r"^repnet\.conv3short8\.0", "backbone.skip8"),
    (r"^enhanceNet\.inConv\.inConv", "refiner.entry"),
    (r"^enhanceNet\.inConv\.conv\.0", "refiner.entry.2"),
    (r"^enhanceNet\.inConv\.conv\.2", "refiner.entry.4"),
    (r"^enhanceNet\.(down\d)\.conv", r"refiner.\1"),
    (r"^enhanceNet\.(residual\.\d)\.conv", r"refiner.\1.body"),
    (r"^enhanceNet\.(up\d)\.conv1", r"refiner.\1.reduce.0"),
    (r"^enhanceNet\.(up\d)\.combine", r"refiner.\1.combine.0"),
    (r"^enhanceNet\.(up\d)\.conv2", r"refiner.\1.body"),
    (r"^enhanceNet\.outConv", "refiner.exit"),
    (r"^wildpath", "modeler"),
    (r"^hintpath", "generator"),
    (r"^mid_word_prj", "modeler.head"),
    (r"^trg_word_prj", "generator.head"),
    (r"^trg_word_emb", "embed"),
    (r"weight_orig$", "parametrizations.weight.original"),
    (r"weight_([uv])$", r"parametrizations.weight.0._\1"),
)


def _disco(state: Mapping[str, Tensor]) -> Disco:
    bins, features = state["mid_word_prj.weight"].shape
    if bins != color.GAMUT_BINS:
        raise ValueError(f"DISCO's colours are {color.GAMUT_BINS} bins, this checkpoint has {bins}")
    return Disco(
        width=len(state["repnet.conv1_2.0.bias"]),
        token_width=features,
        heads=_RELEASED_HEADS,
        layers=1 + max(int(name.split(".")[2]) for name in state if name.startswith("wildpath.layers.")),
        feedforward=len(state["wildpath.layers.0.linear1.bias"]),
        cell=_RELEASED_CELL,
        superpixel_width=len(state["segnet.net.conv0a.0.weight"]),
    )


_RELEASED_HEADS = 8
"""Nor does one tell how many heads the transformers of DISCO have."""

_EXEMPLAR = (
    (r"^model_head", "extractor.head"),
    (r"^model([1-6])\.", r"extractor.conv\1."),
    (r"^global_network\.model_1\.0", "database.gate.6"),
    (r"^global_network\.model", "database.gate"),
    (r"^model7", "database.query.0"),
    (r"^model_hist\.(\d)", lambda match: f"database.query.{int(match[1]) + 1}"),
    (r"^ref_network_align", "reference_encoder"),
    (r"^ref_network_hist", "database_encoder"),
    (r"encoder\.model([12])", lambda match: f"encoder.quarter.{int(match[1]) - 1}"),
    (r"encoder\.model3", "encoder.eighth"),
    (r"encoder\.model4", "encoder.sixteenth"),
    (r"^conf_feature_align\.", "correspondence.judges.0."),
    (r"^conf_feature_hist\.", "correspondence.judges.1."),
    (r"\bfc1\.0", "0"),
    (r"\bfc2\.0", "3"),
    (r"^resblock(\d)_1\.0", r"decoder.stages.\1.refine.0"),
    (r"^resblock(\d)_([23])\.conv_block", lambda match: f"decoder.stages.{match[1]}.refine.{int(match[2]) + 1}.body"),
    (r"^model(8|9|10)up\.0", lambda match: f"decoder.stages.{int(match[1]) - 8}.up"),
    (r"^model\dshort(8|9|10)\.0", lambda match: f"decoder.stages.{int(match[1]) - 8}.skip"),
    (r"^model(8|9|10)\.", lambda match: f"decoder.stages.{int(match[1]) - 8}.last."),
    (r"^model_tail_(\d)\.0", lambda match: f"decoder.tails.{int(match[1]) - 1}.0"),
    (r"^model_out(\d)\.0", lambda match: f"decoder.tails.{int(match[1]) - 1}.2"),
)


def _exemplar(state: Mapping[str, Tensor]) -> Exemplar:
    positions = state["conf_feature_align.fc1.0.weight"].shape[1]
    return Exemplar(
        width=len(state["model_head.0.bias"]),
        variant="released",
        bins=cast(Any, len(state["model_hist.6.bias"])),
        reference_side=4 * math.isqrt(positions),
    )


def _exemplar_shapes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the classifier of categories, and fully connected layers as such, not as convolutions of one position."""
    for name in _CLASSIFIER:
        state[name]
    kept = {name: tensor for name, tensor in state.items() if name not in _CLASSIFIER}
    return {name: tensor.squeeze(-1) if name.startswith("conf_") and tensor.ndim == 3 else tensor for name, tensor in kept.items()}


_CLASSIFIER = ("classify_network.fc.weight", "classify_network.fc.bias")

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
    "spixnet": _Family(lambda state: SPixNet(width=len(state["net.conv0a.0.weight"]), cell=_RELEASED_CELL), _SPIXNET),
    "disco": _Family(_disco, _DISCO, finish=Disco.folded),
    "exemplar": _Family(_exemplar, _EXEMPLAR, reshape=_exemplar_shapes),
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
        family: `icolorit`, `spixnet`, `disco`, `exemplar`, `simple_unet`, `res_unet` or `trans_unet`.
        state: The released state dict, under its own names.

    Returns:
        The module in eval mode; DISCO with its spectral norms divided into the weights, the exemplar network without the
            classifier of categories that its colours do not depend on.

    Raises:
        ValueError: If the family is unknown, or a name is missing, left over, of another shape or, where our module computes it, of
            another value; all of them are listed.
    """
    if family not in _FAMILIES:
        raise ValueError(f"unknown family {family!r}; choose one of {', '.join(_FAMILIES)}")
    spec = _FAMILIES[family]
    try:
        module, reshaped = spec.build(state), spec.reshape(state)
    except KeyError as missing:
        raise ValueError(f"this is no {family} checkpoint: it lacks {missing}") from None
    constants = spec.constants(state)
    wrong = [name for name, value in constants.items() if name in state and not torch.equal(state[name].to(value), value)]
    if wrong:
        raise ValueError(f"the {family} checkpoint holds other constants than {type(module).__name__}: {'; '.join(wrong)}")
    renamed = {}
    for name, tensor in reshaped.items():
        if name in constants:
            continue
        ours = name
        for pattern, replacement in spec.renames:
            ours = re.sub(pattern, replacement, ours)
        renamed[ours] = tensor
    weights.load_strictly(module, renamed, what=f"the {family} checkpoint")
    return spec.finish(module)
