"""The networks as they are built at the papers' sizes, drawn: shapes, parameters and multiply-adds come from the modules."""

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Generator, Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from colorexp import bench, config, runs
from colorexp.models.exemplar import Exemplar
from colorexp.tasks.automatic import lightness
from colorexp.viz.diagram import Arrow, Box, flow

INFERENCE, TRAINED_ELSEWHERE, GIVEN = 0, 4, 5
"""Accents."""


class Measure(NamedTuple):
    """What a module made of one picture."""

    shape: tuple[int, ...]
    """Of its output, or of the first tensor in it, without the batch."""
    parameters: int
    multiply_adds: float


@torch.no_grad()
def measured(model: nn.Module, call: Callable[[], object]) -> dict[str, Measure]:
    """Run a network once; by the path of every module that was called. Modules that are called again keep the first shape.

    The network itself stands under the empty path, with all that `call` computes.
    """
    found: dict[str, Measure] = {}
    with FlopCounterMode(display=False) as counter:
        began: dict[str, int] = {}

        def start(path: str) -> Callable[..., None]:
            return lambda *_: began.__setitem__(path, counter.get_total_flops())

        def end(path: str) -> Callable[..., None]:
            def note(module: nn.Module, _inputs: object, output: Any) -> None:  # noqa: ANN401  whatever a module gives
                spent = (counter.get_total_flops() - began[path]) / 2
                known = found.get(path)
                shape = known.shape if known else tuple(_tensor(output).shape[1:])
                found[path] = Measure(shape, _parameters(module), spent + (known.multiply_adds if known else 0))

            return note

        named = [(path, module) for path, module in model.named_modules() if path]
        handles = [module.register_forward_pre_hook(start(path)) for path, module in named]
        handles += [module.register_forward_hook(end(path)) for path, module in named]
        shape = tuple(_tensor(call()).shape[1:])
        found[""] = Measure(shape, _parameters(model), counter.get_total_flops() / 2)
    for handle in handles:
        handle.remove()
    return found


def _tensor(output: Any) -> Tensor:  # noqa: ANN401  a tensor, or a tuple that begins with one
    return output if isinstance(output, Tensor) else _tensor(output[0])


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _told(*measures: Measure, shape: bool = True) -> list[str]:
    """Lines below a name: the last one's shape, the parameters and multiply-adds of all."""
    lines = ["×".join(map(str, measures[-1].shape))] if shape else []
    parameters, cost = sum(m.parameters for m in measures), sum(m.multiply_adds for m in measures)
    return [*lines, f"{_short(parameters).strip()} parameters", f"{_short(cost)}MAC"]


def _short(number: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:.0f} "


def _chain(names: Iterable[str]) -> list[Arrow]:
    return [Arrow(one, other) for one, other in pairwise(names)]


def _built(run: str) -> tuple[config.Run, Any]:
    cfg = config.load(run, profile="paper")
    return cfg, runs.build_task(cfg).eval()


# User Guided Image Colorization


def user_guided(run: str = "user_guided/res_unet") -> Figure:
    """A U-Net: levels from above, encoder on the left, decoder on the right.

    Source: User Guided Image Colorization, Figure 1.
    """
    cfg, task = _built(run)
    batch = bench.picture(cfg)
    found = measured(task.model, lambda: task(batch))
    last = len(task.model.encoder) - 1
    side = cfg.data.size
    boxes = [Box("L and hinted ab", [f"3×{side}×{side}"], 0, 0, GIVEN)]
    arrows = [Arrow("L and hinted ab", "down 1")]
    for level in range(last + 1):
        down, up = f"down {level + 1}", f"up {level + 1}"
        boxes.append(Box(down, _told(found[f"encoder.{level}"]), 0, level + 1))
        boxes.append(Box(up, _told(found[f"decoder.{last - level}"]), 2, level + 1))
        arrows.append(Arrow(down, up, "skip", dashed=True))
    arrows += _chain(f"down {level + 1}" for level in range(last + 1))
    arrows += _chain(f"up {level + 1}" for level in reversed(range(last + 1)))
    boxes.append(Box("bottleneck", _told(found["bottleneck"]), 1, last + 2))
    arrows += [Arrow(f"down {last + 1}", "bottleneck"), Arrow("bottleneck", f"up {last + 1}")]
    parts = [found[f"{part}.{level}"] for part in ("encoder", "decoder") for level in range(last + 1)] + [found["bottleneck"]]
    whole = found[""]  # the heads run as one convolution, which no module stands for
    parameters, cost = (sum(values) for values in zip(*(part[1:] for part in parts), strict=True))
    heads = Measure(whole.shape, whole.parameters - parameters, whole.multiply_adds - cost)
    boxes.append(Box("bins of a, of b", _told(heads), 2, 0, GIVEN))
    return flow(boxes, [*arrows, Arrow("up 1", "bins of a, of b")])


# AdaColViT


def adacolvit(run: str = "adacolvit/adacolvit_t") -> Figure:
    """From a hinted picture to colours, with what is asked at every block.

    Source: Real-Time User-guided Adaptive Colorization with Vision Transformer, Figure 3.
    """
    cfg, task = _built(run)
    model, batch = task.model, bench.picture(cfg)
    found = measured(model, lambda: task(batch))
    tokens, side = found["embed"].shape, cfg.data.size
    rest = found[""].multiply_adds - found["embed"].multiply_adds - found["head"].multiply_adds
    asked = model.costs.fixed(tokens[0]) - found["embed"].multiply_adds - found["head"].multiply_adds
    blocks = Measure((tokens[0] + 1, tokens[1]), _parameters(model.blocks), rest - asked)
    decisions = Measure((), _parameters(model.decisions), asked)
    boxes = [
        Box("L, hinted ab, mask", [f"4×{side}×{side}"], 0, 0, GIVEN),
        Box("patches to tokens", _told(found["embed"]), 1, 0),
        Box("policy token", [f"1×{tokens[1]}", "put in front"], 1, 1, 3),
        Box(f"{len(model.blocks)} blocks, all kept", _told(blocks), 2, 0),
        Box("decisions", _told(decisions, shape=False), 2, 1, 3),
        Box("head, pixel shuffle", _told(found["head"]), 3, 0),
        Box("ab", ["×".join(map(str, found["head"].shape))], 4, 0, GIVEN),
    ]
    arrows = _chain(box.name for box in boxes if box.row == 0)
    arrows += [
        Arrow("policy token", f"{len(model.blocks)} blocks, all kept"),
        Arrow("decisions", f"{len(model.blocks)} blocks, all kept"),
    ]
    return flow(boxes, arrows)


def adacolvit_block(run: str = "adacolvit/adacolvit_t") -> Figure:
    """One block: what runs for all tokens, for informative patches, or not at all; costs where half of the patches are kept.

    Source: Real-Time User-guided Adaptive Colorization with Vision Transformer, Figure 1 and section 3.2.
    """
    cfg, task = _built(run)
    costs = task.model.costs
    patches = (cfg.data.size // costs.patch) ** 2
    boxes = [Box("tokens", [f"{patches + 1}×{costs.width}"], 0, 0.5, GIVEN)]
    arrows = []
    branches = {
        "attention": lambda kept: costs.attention(patches, kept, kept**2),
        "feed-forward": lambda kept: costs.feedforward(patches, kept),
    }
    before = "tokens"
    for number, (name, cost) in enumerate(branches.items()):
        light, half, whole = (float(cost(kept)) for kept in (0, 1 + patches // 2, 1 + patches))
        left = 1 + 2 * number
        boxes += [
            Box(
                f"{name}: light", [f"1/{costs.groups} of the channels", f"all {patches + 1} tokens", f"{_short(light)}MAC"], left, 0
            ),
            Box(
                f"{name}: heavy",
                ["informative patches", f"half: {_short(half - light)}MAC", f"all: {_short(whole - light)}MAC"],
                left,
                1,
                1,
            ),
            Box(f"+ {name}", ["or skipped, as the", "policy token says"], left + 1, 0.5, 3),
        ]
        for part in ("light", "heavy"):
            arrows += [Arrow(before, f"{name}: {part}"), Arrow(f"{name}: {part}", f"+ {name}")]
        before = f"+ {name}"
    return flow(boxes, arrows)


# DISCO


def disco(run: str = "disco/disco") -> Figure:
    """Both branches, from lightness to colours.

    Source: DISCO: Disentangled Image Colorization via Global Anchors, Figure 2.
    """
    cfg, task = _built(run)
    model = task.model.folded()
    L_n = lightness(bench.picture(cfg))
    found = measured(model, lambda: model.colorize(L_n, [Generator().manual_seed(0)]))
    side, cell = cfg.data.size, model.cell
    count, width = found["modeler"].shape
    boxes = [
        Box("L", [f"1×{side}×{side}"], 0, 0.5, GIVEN),
        Box("backbone", _told(found["backbone"]), 1, 0),
        Box("SPixNet, frozen", _told(found["superpixels"]), 1, 1, TRAINED_ELSEWHERE),
        Box("superpixel tokens", [f"{count}×{width}", f"cells of {cell}×{cell} pixels"], 2, 0.5, GIVEN),
        Box("color modeler", _told(found["modeler"]), 3, 1, 1),
        Box("anchors", [f"{model.anchors} clusters,", "the most probable bins"], 4, 1, 1),
        Box("embedding", _told(found["embed"]), 4, 0, 2),
        Box("color generator", _told(found["generator"]), 5, 0, 2),
        Box("RefineNet", _told(found["refiner"]), 6, 0, 2),
        Box("ab", ["×".join(map(str, found["refiner"].shape))], 6, 1, GIVEN),
    ]
    arrows = [Arrow("L", "backbone"), Arrow("L", "SPixNet, frozen"), Arrow("backbone", "superpixel tokens")]
    arrows += [Arrow("SPixNet, frozen", "superpixel tokens"), Arrow("superpixel tokens", "color modeler")]
    arrows += [Arrow("superpixel tokens", "embedding"), Arrow("color modeler", "anchors"), Arrow("anchors", "embedding")]
    return flow(boxes, [*arrows, *_chain(("embedding", "color generator", "RefineNet", "ab"))])


# Exemplar


def exemplar() -> Figure:
    """Both colour modules, the gate and the decoder, of the released variant with a reference of 256x256.

    Source: Yes, Attention Is All You Need, for Exemplar based Colorization, Figure 2.
    """
    _, found = _exemplar()
    whole, parts = found[""], ("extractor", "database", "reference_encoder", "database_encoder", "decoder")
    rest = whole.multiply_adds - sum(found[part].multiply_adds for part in parts)
    looks = found["correspondence"]._replace(multiply_adds=rest)  # its features are read outside of its forward
    boxes = [
        Box("L", [f"1×{SIDE}×{SIDE}"], 0, 0, GIVEN),
        Box("reference", [f"3×{SIDE}×{SIDE}"], 0, 1, GIVEN),
        Box("feature extractor", [*_told(found["extractor"], shape=False), "both pictures"], 1, 0.5),
        Box("database", _told(found["database"]), 2, 0, 2),
        Box("correspondence", _told(looks), 2, 1, 1),
        Box("encoder d", _told(found["database_encoder"]), 3, 0, 2),
        Box("encoder r", _told(found["reference_encoder"]), 3, 1, 1),
        Box("gate", ["two weights,", "a sum of one"], 4, 0.5, 3),
        Box("decoder", _told(found["decoder"], shape=False), 5, 0.5),
        Box("ab", ["×".join(map(str, whole.shape))], 6, 0.5, GIVEN),
    ]
    ends = [("L", "feature extractor"), ("reference", "feature extractor")]
    for source, encoder in (("database", "encoder d"), ("correspondence", "encoder r")):
        ends += [("feature extractor", source), (source, encoder), (encoder, "gate")]
    return flow(boxes, [*(Arrow(*pair) for pair in ends), *_chain(("gate", "decoder", "ab"))])


def exemplar_gate() -> Figure:
    """How much of either source a position takes, of the released variant.

    Source: Yes, Attention Is All You Need, for Exemplar based Colorization, Figure 4.
    """
    model, found = _exemplar()
    judges = [found[f"correspondence.judges.{number}"] for number in (0, 1)]
    rows, columns = found["correspondence"].shape[1:]
    boxes = [Box("matches", [f"{rows}×{columns} positions", f"to {(SIDE // 4) ** 2} of the reference"], 0, 0.5, GIVEN)]
    boxes += [
        Box(f"confidence {'rd'[number]}", _told(judge, shape=False), 1, number, 1 + number) for number, judge in enumerate(judges)
    ]
    boxes += [Box("softmax", [f"of {model.variant.gain:g} × sigmoid", f"2×{rows}×{columns}"], 2, 0.5, 3)]
    boxes += [Box(f"colours {'rd'[number]}", ["times their weight"], 3, number, 1 + number) for number in (0, 1)]
    boxes += [Box("added", ["at 1/16, 1/8 and 1/4"], 4, 0.5, 3)]
    ends = [pair for x in "rd" for pair in (("matches", f"confidence {x}"), (f"confidence {x}", "softmax"))]
    ends += [pair for x in "rd" for pair in (("softmax", f"colours {x}"), (f"colours {x}", "added"))]
    return flow(boxes, [Arrow(*pair) for pair in ends])


SIDE = 256


def _exemplar() -> tuple[Exemplar, dict[str, Measure]]:
    model, rng = Exemplar().eval(), Generator().manual_seed(0)
    L_n, reference_L_n, a_n, b_n = (2 * torch.rand(4, 1, 1, SIDE, SIDE, generator=rng) - 1).unbind()
    reference_ab_n = torch.cat([a_n, b_n], 1) / 2
    return model, measured(model, lambda: model(L_n, reference_L_n, reference_ab_n).ab_n[2])


FIGURES: Mapping[str, Callable[[], Figure]] = {
    "user_guided_figure1": user_guided,
    "adacolvit_figure1": adacolvit_block,
    "adacolvit_figure3": adacolvit,
    "disco_figure2": disco,
    "exemplar_figure2": exemplar,
    "exemplar_figure4": exemplar_gate,
}
"""By stem."""
