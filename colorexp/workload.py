"""What DISCO costs: beside its rivals (Table 5), in its three blocks (Figure 13), and what is promised of its speed and memory.

Networks have the paper's size and seeded weights. The paper's exhibits are means over pictures, one after another. Promises take
the quickest of the rounds that jobs are timed in: whatever else runs on a machine only adds to it.
"""

import copy
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.nn.utils import parametrize

from colorexp import apply, bench, color, config, evaluation, paths, runs
from colorexp.config import Evaluation
from colorexp.data import scenes
from colorexp.nn import superpixels
from colorexp.report import tables
from colorexp.tasks.automatic import lightness
from colorexp.types import Batch

RUN = "disco/disco"
RIVALS = ("disco/cicolor", "disco/ugcolor", "disco/coltran")
BLOCKS = ("feature extraction", "anchor construction", "color generation")
SHAPES = {256: 64, 128: 128, 64: 256, 32: 512}
"""Channels of the 3x3 convolutions that most multiply-adds fall to, by the side of their maps; all four cost the same."""
SIDES = (256, 512, 1024)
"""Of square pictures whose memory is compared."""
PHOTOGRAPH = (1536, 2048)

Row = tuple[str, float, str, str, str]


class Forward(NamedTuple):
    """Automatic colorization of one picture, whole and in its parts; each part is given what those before it found."""

    model: Any
    """A `Disco` for inference."""
    L_n: Tensor
    whole: Callable[[], Any]
    parts: dict[str, Callable[[], object]]
    """By the names of `BLOCKS`."""


def _forward() -> Forward:
    cfg = config.load(RUN, profile="paper")
    model: Any = runs.build_task(cfg).eval().model
    model, L_n = model.folded(), lightness(bench.picture(cfg))
    seen = model.look(L_n)
    found = _construct(model, seen)
    jobs = (lambda: model.look(L_n), lambda: _construct(model, seen), lambda: model.generate(seen, *found))
    return Forward(model, L_n, lambda: model.colorize(L_n, _draws()), dict(zip(BLOCKS, jobs, strict=True)))


def _construct(model: Any, seen: Any) -> tuple[Any, Any, Tensor]:  # noqa: ANN401  a Disco, and what its `look` gives
    """Anchors and their colours."""
    modelled = model.model(seen)
    features, logits = (x.transpose(1, 2).unflatten(2, seen.tokens.shape[2:]) for x in modelled)
    return modelled, model._located(seen, features, model.anchors, _draws()), logits.argmax(1)


def _draws() -> list[Generator]:
    return [torch.Generator().manual_seed(0)]


def rounds() -> int:
    """Sets torch's threads as the profile says, and tells how many rounds it gives to what takes long."""
    chosen = config.efficiency()
    torch.set_num_threads(chosen.threads)
    return bench.few(chosen.repeats)


def quickest(jobs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Seconds of every job's quickest round, the jobs in turns."""
    return {name: min(seconds) for name, seconds in bench.interleaved(jobs, repeats=repeats).items()}


@torch.no_grad()
def one_after_another() -> dict[str, list[float]]:
    """Seconds of every picture in DISCO, in each of its blocks and in its rivals.

    Pictures are scenes of the paper's size, as many as `efficiency.pictures` says. Every picture goes through one network after the
    other; one before them is not counted.

    Returns:
        A list per run and per name of `BLOCKS`.

    Source: section 5.5, Table 5 and Figure 13.

    Deviation: the paper's pictures are photographs of COCO-Stuff. Times differ with a picture's content in clustering alone.
    """
    chosen = config.efficiency()
    torch.set_num_threads(chosen.threads)
    cfg = config.load(RUN, profile="paper")
    model, blank = _forward().model, bench.unhinted(cfg)
    rivals = {name: _whole(name) for name in RIVALS}
    seconds: dict[str, list[float]] = {name: [] for name in (RUN, *BLOCKS, *RIVALS)}
    for index in range(chosen.pictures + 1):
        rgb = torch.from_numpy(scenes.draw(0, index, split="test", size=cfg.data.size).rgb).movedim(2, 0)[None]
        batch: Batch = {**blank, "L": color.rgb_to_lab(rgb / 255)[:, :1]}
        parts = _in_blocks(model, lightness(batch))
        parts[RUN] = sum(parts.values())
        for name, rival in rivals.items():
            start = time.perf_counter()
            rival(batch)
            parts[name] = time.perf_counter() - start
        for name, value in parts.items() if index else ():
            seconds[name].append(value)
    return seconds


def _whole(name: str) -> Callable[[Batch], object]:
    """A rival at the paper's size, from lightness to colours."""
    return runs.build_task(config.load(name, profile="paper")).eval().predict


def _in_blocks(model: Any, L_n: Tensor) -> dict[str, float]:  # noqa: ANN401  a Disco for inference
    marks = [time.perf_counter()]
    seen = model.look(L_n)
    marks.append(time.perf_counter())
    found = _construct(model, seen)
    marks.append(time.perf_counter())
    model.generate(seen, *found)
    marks.append(time.perf_counter())
    return {name: end - start for name, start, end in zip(BLOCKS, marks, marks[1:], strict=False)}


def _mean(seconds: Sequence[float]) -> dict[str, Any]:
    """Mean and deviation of pictures, as a table holds them."""
    return {
        "latency_ms": round(1000 * statistics.fmean(seconds), 2),
        "latency_std_ms": round(1000 * statistics.pstdev(seconds), 2),
        "machine": bench.machine(config.efficiency().threads),
        "repeats": len(seconds),
    }


def rivals(seconds: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    """Time of one picture in DISCO and its rivals, mean over pictures (Table 5).

    Args:
        seconds: From `one_after_another`.

    Returns:
        run, latency_ms, latency_std_ms, machine, repeats (pictures).
    """
    return pd.DataFrame([{"run": name, **_mean(seconds[name])} for name in (RUN, *RIVALS)])


@torch.no_grad()
def blocks(seconds: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    """Parameters, multiply-adds and time of the three blocks of a picture's way through the network.

    Args:
        seconds: From `one_after_another`.

    Returns:
        block, parameters and multiply-adds beside the printed ones, latency_ms (mean over pictures) and its deviation, share (of
        the three blocks' time) beside the printed, machine, repeats (pictures), note.

    Source: Figure 13.

    Deviation: the paper counts the parameters and multiply-adds of both transformers to anchor construction; here the generator's
        stand in colour generation, where its time is spent.
    """
    forward = _forward()
    model = forward.model
    owned = ((model.superpixels, model.backbone), (model.modeler,), (model.embed, model.generator, model.refiner))
    printed = tables.published("disco", "figure13").set_index(["method", "metric"])["value"]
    rows = []
    for block, modules in zip(BLOCKS, owned, strict=True):
        rows.append(
            {
                "block": block,
                "parameters_m_published": printed[block, "params_m"],
                "parameters_m": round(sum(p.numel() for module in modules for p in module.parameters()) / 1e6, 3),
                "multiply_adds_g_published": printed[block, "gflops"],
                "multiply_adds_g": round(bench.counted(forward.parts[block]) / 1e9, 3),
                "latency_ms_published": printed[block, "time_ms"],
                "share_published": round(printed[block, "time_ms"] / sum(printed[other, "time_ms"] for other in BLOCKS), 3),
                "share": round(sum(seconds[block]) / sum(sum(seconds[other]) for other in BLOCKS), 4),
                **_mean(seconds[block]),
                "note": "published: on a V100 GPU; both transformers counted as anchor construction",
            }
        )
    return pd.DataFrame(rows)


def division(measured: pd.DataFrame) -> pd.DataFrame:
    """What falls to each block, printed and ours, in shares of the whole (Figure 13).

    Args:
        measured: From `blocks`.

    Returns:
        bar, part, share and text (the number itself).
    """
    kinds = {"parameters": ("parameters_m", "M"), "multiply-adds": ("multiply_adds_g", "G"), "time": ("latency_ms", "ms")}
    rows = []
    for kind, (column, unit) in kinds.items():
        for whose, name in (("paper", f"{column}_published"), ("ours", column)):
            total = measured[name].sum()
            for block, value in zip(measured["block"], measured[name], strict=True):
                rows.append({"bar": f"{kind}, {whose}", "part": block, "share": value / total, "text": f"{value:.3g} {unit}"})
    return pd.DataFrame(rows)


def promises(measured: pd.DataFrame) -> pd.DataFrame:
    """What is promised of DISCO's speed and memory beside what was measured; memory and training where everything is.

    Args:
        measured: From `blocks`.
    """
    share = measured.set_index("block")["share"][BLOCKS[1]]
    rows = [_aggregation(), ("anchor construction over the three blocks", share, "ratio", "<= 0.05", "see the blocks")]
    rows += [*_rates(), _quality()]
    if config.efficiency().everything:
        rows += [_photograph(), _linear(), _step()]
    return bench.promises(rows)


@torch.no_grad()
def _aggregation() -> Row:
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(1, 64, 256, 256, generator=rng).contiguous(memory_format=torch.channels_last)  # as the backbone gives it
    affinity = torch.randn(1, superpixels.NEIGHBOURS, 256, 256, generator=rng).softmax(1)
    tokens = superpixels.pool(x, affinity, cell=16).values
    jobs: dict[str, Callable[[], object]] = {
        "pooling": lambda: superpixels.pool(x, affinity, cell=16),
        "diffusion": lambda: superpixels.diffuse(tokens, affinity, cell=16),
    }
    seconds = quickest(jobs, 5 * rounds())
    details = f"64 channels at 256x256; pooling alone {1000 * seconds['pooling']:.1f} ms"
    return "SP-pooling and SP-diffusion together", round(1000 * sum(seconds.values()), 1), "ms", "<= 15", details


@torch.no_grad()
def _rates() -> list[Row]:
    """The forward's rate of multiply-adds over that of plain convolutions, and its time in bfloat16."""
    repeats, forward = rounds(), _forward()
    half, half_L_n = _half(forward.model), forward.L_n.bfloat16()
    jobs = {"whole": forward.whole, "bfloat16": lambda: half.colorize(half_L_n, _draws())}
    seconds = quickest(jobs | {str(side): _convolution(side) for side in SHAPES}, repeats)
    each = {side: 9 * channels**2 * side**2 for side, channels in SHAPES.items()}
    shares = _shares(forward)
    rate = 1 / sum(share * seconds[str(side)] / each[side] for side, share in shares.items())
    reached = bench.counted(forward.whole) / seconds["whole"]
    plain = f"plain 3x3 convolutions of the network's commonest shapes, weighted as in it, reach {rate / 1e9:.0f} GMAC/s"
    told = f"{plain}, the forward {reached / 1e9:.0f}: {1000 * seconds['whole']:.0f} ms at 256x256"
    ratio = seconds["bfloat16"] / seconds["whole"]
    return [
        ("rate of the forward over that of plain convolutions", round(reached / rate, 2), "ratio", ">= 0.7", told),
        ("forward in bfloat16 over float32", round(ratio, 3), "ratio", "<= 0.55", "a copy in bfloat16, same rounds"),
    ]


def _half(model: Any) -> Any:  # noqa: ANN401  a Disco
    return copy.deepcopy(model).to(torch.bfloat16)


def _convolution(side: int) -> Callable[[], Tensor]:
    channels = SHAPES[side]
    shapes = ((1, channels, side, side), (channels, channels, 3, 3))
    x, weight = (torch.rand(shape).contiguous(memory_format=torch.channels_last) for shape in shapes)
    return lambda: F.conv2d(x, weight, padding=1)


def _shares(forward: Forward) -> dict[int, float]:
    """Which share of the convolutions' multiply-adds falls to maps of every side of `SHAPES`."""
    found: dict[int, float] = dict.fromkeys(SHAPES, 0)

    def note(layer: nn.Conv2d, _inputs: object, y: Tensor) -> None:
        if y.shape[-1] in found:
            found[y.shape[-1]] += y.numel() * layer.weight[0].numel()

    handles = [m.register_forward_hook(note) for m in forward.model.modules() if isinstance(m, nn.Conv2d)]
    forward.whole()
    for handle in handles:
        handle.remove()
    return {side: count / sum(found.values()) for side, count in found.items()}


def _quality() -> Row:
    """What bfloat16 changes in pictures: the trained network of this profile on scenes, in both formats."""
    cfg, task = runs.load(paths.run(RUN))
    asked = Evaluation(evaluate_on=["scenes"], protocols=["0"], metrics=["psnr"], samples=0)
    cfg = replace(cfg, evaluation=asked, hardware=replace(cfg.hardware, accelerator="cpu"))
    model: Any = task.model
    exact = model.folded()
    half = _half(exact)

    def rounded(L_n: Tensor, generators: list[Generator]) -> Any:  # noqa: ANN401  what a Disco gives
        out = half.colorize(L_n.bfloat16(), generators)
        return out._replace(ab_n=out.ab_n.float())

    psnr = []
    for form in (exact.colorize, rounded):
        model.colorize = form  # what the task predicts with
        psnr.append(evaluation.evaluate(cfg, task).rows["psnr"])
    gap = psnr[1] - psnr[0]
    details = f"{RUN} as trained here; single pictures by {gap.min():+.2f} to {gap.max():+.2f} dB, where anchors move"
    return "PSNR in bfloat16 off that in float32, mean of scenes", round(abs(float(gap.mean())), 4), "dB", "", details


def peak() -> float:
    """The most memory that this process has held, GiB."""
    status = Path("/proc/self/status")
    if status.is_file():  # a child's resource usage begins with its parent's
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30


@torch.no_grad()
def squares(sides: Sequence[int] = SIDES) -> list[float]:
    """`peak` after colouring square pictures of rising `sides`, one after the other; for a process that has done nothing else."""
    model: Any = runs.build_task(config.load(RUN, profile="paper")).eval().model
    found = []
    for side in sides:
        model.colorize(torch.rand(1, 1, side, side) * 2 - 1, _draws())
        found.append(peak())
    return found


def photograph(size: tuple[int, int] = PHOTOGRAPH) -> float:
    """`peak` after colouring a picture of height and width `size` at full resolution; for a process that has done nothing else."""
    cfg = config.load(RUN, profile="paper")
    task = runs.build_task(cfg).eval()
    rgb = torch.randint(256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    apply.colorize(rgb, task, cfg)
    return peak()


def _alone(call: str) -> Any:  # noqa: ANN401  whatever the call gives
    """What a function of this module returns in a process of its own."""
    code = f"import json; from colorexp import workload; print(json.dumps(workload.{call}()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=paths.root(), check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _photograph() -> Row:
    details = "a process of its own at the paper's size: chroma at 256 pixels of the shorter side, lightness at all"
    return (
        f"peak memory, a photograph of {PHOTOGRAPH[1]}x{PHOTOGRAPH[0]}",
        round(_alone("photograph"), 2),
        "GiB",
        "<= 5.58 (6 GB)",
        details,
    )


def _linear() -> Row:
    """Memory that a further pixel takes from the middle square to the largest, over that from the smallest to the middle one."""
    peaks = _alone("squares")
    return _growth(peaks)


def _growth(peaks: Sequence[float]) -> Row:
    (small, middle, large), pixels = peaks, [side**2 for side in SIDES]
    slopes = [(middle - small) / (pixels[1] - pixels[0]), (large - middle) / (pixels[2] - pixels[1])]
    told = ", ".join(f"{side}x{side} {value:.2f} GiB" for side, value in zip(SIDES, peaks, strict=True))
    return (
        "memory per further pixel, larger over smaller pictures",
        round(slopes[1] / slopes[0], 2),
        "ratio",
        "<= 1.1",
        f"peaks: {told}",
    )


def _step() -> Row:
    """Spectral norm, VGG19 and K-means in a training step of one picture at the paper's size: all there against all away."""
    repeats = rounds()
    cfg = config.load(RUN, profile="paper")
    jobs = {"all": bench.step(cfg, pictures=1), "away": bench.step(cfg, _without, pictures=1)}
    seconds = quickest(jobs, repeats)
    details = f"one picture at 256x256; {seconds['all']:.1f} s a step, {seconds['away']:.1f} s without them"
    share = 1 - seconds["away"] / seconds["all"]
    return "spectral norm, VGG19 and K-means in a training step", round(share, 2), "ratio", "<= 0.4", details


def _without(task: Any) -> None:  # noqa: ANN401  an AnchorColorizer
    """Take the three away, but leave RefineNet a gradient."""
    task._perceptual = lambda _batch, ab_n: ab_n.abs().mean()
    task.model.locate = "random"
    for module in task.model.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
