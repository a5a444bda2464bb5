"""What things cost: `python -m colorexp.bench` prints it, the efficiency notebook keeps it.

Networks are built at the papers' sizes with seeded weights, whatever the profile. Whatever is compared is timed in turns within one
run, and quoted as medians and ratios: they carry over to another machine better than seconds do.
"""

import json
import operator
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from colorexp import boot  # isort: skip  # noqa: F401  before anything that imports torch

import nbformat
import numpy as np
import pandas as pd
import torch
from PIL import Image
from skimage.color import rgb2lab
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from colorexp import color, config, evaluation, nb, paths, runs, sweep
from colorexp.data import images, prepare, scenes, sources
from colorexp.nn.frozen import FrozenLinear
from colorexp.reference import ReferenceIColoriT
from colorexp.tasks import point
from colorexp.tasks.automatic import Automatic, AutoregressiveColorizer
from colorexp.tasks.base import Colorizer
from colorexp.tasks.exemplar import ExemplarColorizer
from colorexp.types import Batch


def interleaved(
    jobs: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    fewer: Mapping[str, int] | None = None,
    warmed: Collection[str] = (),
) -> dict[str, list[float]]:
    """Seconds of every job, each round running all of them once; a first round is not counted.

    Args:
        jobs: What to time, by name.
        repeats: Counted rounds.
        fewer: Counted rounds of jobs that run in the first ones alone.
        warmed: Jobs that run once more right before they are timed. After another network one picture takes about a twentieth
            longer than the next; where others colour many in a row, that would count against the jobs of one.
    """
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(repeats + 1):
        for name, job in jobs.items():
            if turn > (fewer or {}).get(name, repeats):
                continue
            if name in warmed:
                job()
            start = time.perf_counter()
            job()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def few(repeats: int) -> int:
    """Rounds for what takes long."""
    return -(-repeats // 2)


def machine(threads: int, numbers: str = "float32") -> str:
    """Processor, threads and number format, for tables."""
    return f"{platform.machine()}, {os.cpu_count()} cores, {threads} threads, {numbers}"


class Subject(NamedTuple):
    """Something that colours one picture at a paper's size."""

    size: int
    parameters: int
    multiply_adds: float
    """Per picture."""
    job: Callable[[], object]
    note: str = ""
    pictures: int = 1
    """That the job colours, one after the other."""
    numbers: str = "float32"
    """Their format."""

    def rounds(self, repeats: int) -> int:
        """Fewer where a picture takes long."""
        return few(repeats) if self.multiply_adds > HEAVY else repeats


@torch.no_grad()
def networks(paper: str) -> pd.DataFrame:
    """Parameters, multiply-adds and latency of every network of a paper at its published size, one picture at a time.

    Multiply-adds are half of what torch's FlopCounterMode counts. Runs that share network and size are one row. Networks that
    decide what to compute get decisions drawn at the shares that they are trained towards, `DRAWS` of them in every round. Those
    that take long run in half of the rounds alone; those that `TIMED` leaves out are only counted.

    Returns:
        run, size, parameters, multiply_adds_g, latency_ms (median), mean and spread, of_matrix_product (multiply-adds per second
        over those of the faster of two matrix products in the same rounds), machine, repeats, note; no times of networks that are
        only counted.
    """
    chosen, threads = config.efficiency(), THREADS.get(paper, config.efficiency().threads)
    torch.set_num_threads(threads)
    subjects: dict[str, Subject] = {}
    seen: set[str] = set()
    for name in config.runs(paper):
        if not (chosen.everything or config.load(name).present):
            continue
        cfg = config.load(name, profile="paper")
        task = runs.build_task(cfg).eval()
        shape = _shape(task)  # before it takes its form for inference
        if shape not in seen:
            subjects |= _subjects(name, cfg, task)
            seen.add(shape)
    square = torch.rand(PRODUCT, PRODUCT)
    direct = FrozenLinear(square, direct=True)
    rounds = {name: subject.rounds(chosen.repeats) for name, subject in subjects.items() if _timed(name)}
    jobs = {name: subjects[name].job for name in rounds} | {
        "product": lambda: square @ square,
        "direct product": lambda: direct(square),
    }
    many = any(subject.pictures > 1 for subject in subjects.values())
    warmed = [name for name in rounds if many and subjects[name].pictures == 1]
    seconds = interleaved(jobs, repeats=chosen.repeats, fewer=rounds, warmed=warmed)
    rate = PRODUCT**3 / min(statistics.median(seconds[name]) for name in ("product", "direct product"))
    rows = []
    for name, subject in subjects.items():
        row = {
            "run": name,
            "size": f"{subject.size}x{subject.size}",
            "parameters": subject.parameters,
            "multiply_adds_g": round(subject.multiply_adds / 1e9, 4),
        }
        if name in rounds:
            times = [1000 * value / subject.pictures for value in seconds[name]]
            row |= {
                "latency_ms": round(statistics.median(times), 2),
                "latency_mean_ms": round(statistics.mean(times), 2),
                "latency_std_ms": round(statistics.pstdev(times), 2),
                "fastest_ms": round(min(times), 2),
                "slowest_ms": round(max(times), 2),
                "of_matrix_product": round(subject.multiply_adds / statistics.median(times) * 1000 / rate, 3),
            }
        note = subject.note if name in rounds else "counted, not timed"
        row |= {"machine": machine(threads, subject.numbers), "repeats": rounds.get(name, 0), "note": note}
        rows.append(row)
    return pd.DataFrame(rows)


THREADS = {"adacolvit": 1}
"""Papers that time on a number of threads of their own."""
PRODUCT = 1024
"""Side of the square matrices whose product, by torch's own call or oneDNN's, says what the machine can do."""
HEAVY = 3e10
"""Multiply-adds of a picture above which it takes long."""
TIMED = {"exemplar": ("exemplar", "mean_std", "histogram_matching")}
"""Papers of whose runs only these are timed; the others take as long as one of them, or are parts of it."""
DRAWS = 16
"""Decisions that a network which decides is timed with, all in every round, as their costs differ."""


def _timed(name: str) -> bool:
    paper, _, run = name.partition("/")
    return run in TIMED.get(paper, (run,))


def _subjects(name: str, cfg: config.Run, task: Colorizer) -> dict[str, Subject]:
    """A run's network as it would be used: in its form for inference where it has one."""
    if isinstance(task, Automatic | ExemplarColorizer):
        return {name: _automatic(cfg, task)}
    batch, parameters = picture(cfg), sum(p.numel() for p in task.model.parameters())
    model: Any = task.model
    prepared = getattr(model, "prepared", None)
    if prepared is None and hasattr(model, "infer"):
        x, size = point.encode(batch), (cfg.data.size, cfg.data.size)
        cost = float(model.multiply_adds(model.infer(x).decisions, size))
        told = "decisions of untrained weights; plain torch layers, not laid out for inference"
        return {name: Subject(cfg.data.size, parameters, cost, lambda: model.infer(x), told)}
    if prepared is None:
        return {name: Subject(cfg.data.size, parameters, counted(lambda: task(batch)), lambda: task(batch))}
    x, size = point.encode(batch), (cfg.data.size, cfg.data.size)
    if not hasattr(task.model, "infer"):
        fast = prepared()
        dense = Subject(cfg.data.size, parameters, counted(lambda: task(batch)), lambda: fast(x))
        if name.endswith("/icolorit_t"):
            plain = ReferenceIColoriT(task.model.state_dict(), size=cfg.data.size)
            told = "written plainly: eager attention, biases gathered at every call"
            return {name: dense, f"{name}, reference": dense._replace(job=lambda: plain(x), note=told)}
        return {name: dense}
    drawn = [_drawn(task, size, seed) for seed in range(DRAWS)]
    cost = statistics.mean(float(model.multiply_adds(decisions, size)) for decisions in drawn)
    found = {}
    for dtype in (torch.float32, torch.bfloat16) if name.endswith("/adacolvit_t") else (torch.float32,):
        fast = prepared(dtype=dtype)
        label = name if dtype == torch.float32 else f"{name}, bfloat16"
        told = "decisions drawn, not learned; asking for them is counted, not timed"
        job = lambda fast=fast: [fast(x, decisions=decisions) for decisions in drawn]  # noqa: E731
        found[label] = Subject(cfg.data.size, parameters, cost, job, told, pictures=DRAWS, numbers=str(dtype).split(".")[1])
    return found


def _automatic(cfg: config.Run, task: Automatic | ExemplarColorizer) -> Subject:
    """A picture from lightness to ab, without hints."""
    parameters = sum(p.numel() for p in task.model.parameters())
    if hasattr(task.model, "folded"):
        task.model = task.model.folded()
    batch = unhinted(cfg)
    if isinstance(task, AutoregressiveColorizer):
        return Subject(cfg.data.size, parameters, _sequential(cfg, task), lambda: task.predict(batch), "drawn symbol by symbol")
    return Subject(cfg.data.size, parameters, counted(lambda: task.predict(batch)), lambda: task.predict(batch))


def unhinted(cfg: config.Run) -> Batch:
    """`picture` without its hints."""
    batch = picture(cfg)
    return {**batch, "hint_mask": torch.zeros_like(batch["hint_mask"]), "hint_ab": torch.zeros_like(batch["hint_ab"])}


def _sequential(cfg: config.Run, task: AutoregressiveColorizer) -> float:
    """Multiply-adds of drawing a picture's n symbols: a n + b n^2, so that those of two small pictures tell those of any.

    Counting the thousand steps of a whole picture one by one would take a minute.
    """
    cell = task.model.cell
    small = [replace(cfg, data=replace(cfg.data, size=cells * cell)) for cells in (2, 4)]
    four, sixteen = (counted(partial(task.predict, unhinted(one))) for one in small)
    square = (sixteen / 16 - four / 4) / 12
    symbols = (cfg.data.size // cell) ** 2
    return symbols * (four / 4 - 4 * square + symbols * square)


def _drawn(task: Colorizer, size: tuple[int, int], seed: int, share: float | None = None) -> Any:  # noqa: ANN401  what the network's `draw` makes
    """Decisions at one share of patches and layers, or at those that the network draws or its task pulls it to."""
    assert isinstance(task, point.PointColorizer)
    uniform = task.model.draw(size, torch.Generator().manual_seed(seed))
    own = task.model.decisions.ratios if task.model.decide == "random" else (task.beta1, task.beta2)
    aims = own if share is None else (share, share)
    shares = [1.0 if aim is None else aim for aim in aims]
    return type(uniform)(*((part < share).float()[None] for part, share in zip(uniform, shares, strict=True)))


def counted(job: Callable[[], object]) -> float:
    """Multiply-adds of a job: half of what torch's FlopCounterMode counts."""
    with _every_operation(), FlopCounterMode(display=False) as counter:
        job()
    return counter.get_total_flops() / 2


@contextmanager
def _every_operation() -> Iterator[None]:
    """The counter misses torch's fused layers and, on the CPU, its fused attention: take them apart while counting."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _shape(task: Colorizer) -> str:
    return (
        repr(task.model)
        + str(getattr(task.model, "groups", ""))
        + str([(name, tuple(p.shape)) for name, p in task.model.named_parameters()])
    )


def picture(cfg: config.Run) -> Batch:
    """One drawn picture of the run's size, with a few hints and, as if it showed the same, a reference of that size."""
    rng = torch.Generator().manual_seed(0)
    side = cfg.data.size
    ab = torch.rand(1, 2, side, side, generator=rng) * 100 - 50
    mask = torch.rand(1, 1, side, side, generator=rng) < 0.005
    L, reference_L = (torch.rand(1, 1, side, side, generator=rng) * 100 for _ in range(2))
    return {
        "id": ["drawn"],
        "draw": [0],
        "L": L,
        "ab": ab,
        "hint_mask": mask,
        "hint_ab": ab * mask,
        "reference_L": reference_L,
        "reference_ab": torch.rand(1, 2, side, side, generator=rng) * 100 - 50,
        "reference_own": torch.ones(1, dtype=torch.bool),
    }


ADAPTIVE, PARENT = "adacolvit/adacolvit_t", "adacolvit/icolorit_t"
SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)


@torch.no_grad()
def by_share() -> pd.DataFrame:
    """Latency of AdaColViT-T at 224x224 on one thread by the share of patches and layers that drawn decisions keep.

    Returns:
        share, multiply_adds_g, latency_ms (median) and its spread, both over those of the dense network in the same rounds,
        machine, repeats.
    """
    chosen = config.efficiency()
    shares = SHARES if chosen.everything else SHARES[::3]
    torch.set_num_threads(THREADS["adacolvit"])
    cfg = config.load(ADAPTIVE, profile="paper")
    x, size = point.encode(picture(cfg)), (cfg.data.size, cfg.data.size)
    task = runs.build_task(cfg).eval()
    dense: Any = runs.build_task(config.load(PARENT, profile="paper")).eval().model
    model: Any = task.model
    fast, plain = model.prepared(), dense.prepared()
    drawn = {share: [_drawn(task, size, seed, share) for seed in range(DRAWS)] for share in shares}
    jobs = {f"{share:g}": lambda share=share: [fast(x, decisions=decisions) for decisions in drawn[share]] for share in shares}
    seconds = interleaved({**jobs, "dense": lambda: plain(x)}, repeats=chosen.repeats, warmed=["dense"])
    base, base_cost = statistics.median(seconds["dense"]), counted(lambda: dense(x))
    rows = []
    for share in shares:
        times = [value / DRAWS for value in seconds[f"{share:g}"]]
        cost = statistics.mean(float(model.multiply_adds(decisions, size)) for decisions in drawn[share])
        rows.append(
            {
                "share": share,
                "multiply_adds_g": round(cost / 1e9, 4),
                "latency_ms": round(1000 * statistics.median(times), 2),
                "latency_std_ms": round(1000 * statistics.pstdev(times), 2),
                "multiply_adds_of_dense": round(cost / base_cost, 3),
                "latency_of_dense": round(statistics.median(times) / base, 3),
                "machine": machine(THREADS["adacolvit"]),
                "repeats": chosen.repeats,
            }
        )
    return pd.DataFrame(rows)


RATIOS = (
    ("icolorit_t", "icolorit_t, reference", "<= 0.85"),
    ("adacolvit_t", "icolorit_t, reference", "<= 0.50"),
    ("adacolvit_t", "icolorit_t", "<= 0.62"),
    ("adacolvit_t_d24", "icolorit_t, reference", "<= 0.80"),
    ("adacolvit_t, bfloat16", "icolorit_t, reference", "<= 0.30"),
)
"""Latencies of AdaColViT's efficiency table over one another, and what is promised of them."""


def adaptive(measured: pd.DataFrame) -> pd.DataFrame:
    """What is promised of AdaColViT's speed beside what was measured; trainings are timed where everything is.

    Args:
        measured: From `networks("adacolvit")`.
    """
    times = measured.set_index("run")["latency_ms"].to_dict()
    rows, told = [], "one thread, 224x224, same rounds, each after a picture of its own"
    for one, other, promise in RATIOS:
        if f"adacolvit/{one}" in times:
            value = times[f"adacolvit/{one}"] / times[f"adacolvit/{other}"]
            given = "; decisions are given, not asked for" if one.startswith("adacolvit") else ""
            rows.append((f"latency of {one} over {other}", round(value, 2), "ratio", promise, told + given))
    rows += [_asking(), *([_masked_step()] if config.efficiency().everything else []), _bfloat16()]
    return promises(rows)


def promises(rows: list[tuple[str, float, str, str, str]]) -> pd.DataFrame:
    """A table that says of every promise, such as "<= 0.85", whether its value keeps it; nothing where there is no promise."""
    table = pd.DataFrame(rows, columns=["what", "value", "unit", "promise", "details"])
    kept = [_kept(value, promise) for value, promise in zip(table["value"], table["promise"], strict=True)]
    table.insert(4, "kept", kept)
    return table


def _kept(value: float, promise: str) -> str:
    if not promise:
        return ""
    sign, limit, *_ = promise.split()
    compare = {"<": operator.lt, "<=": operator.le, ">=": operator.ge}[sign]
    return "yes" if compare(value, float(limit)) else "no"


@torch.no_grad()
def _asking() -> tuple[str, float, str, str, str]:
    """What the decisions' linear layers cost: a network that asks them against one that is told what they said."""
    torch.set_num_threads(THREADS["adacolvit"])
    cfg = config.load(ADAPTIVE, profile="paper")
    model: Any = runs.build_task(cfg).eval().model
    fast, x = model.prepared(), point.encode(picture(cfg))
    said = fast(x).decisions
    jobs = {"asked": lambda: fast(x), "given": lambda: fast(x, decisions=said)}
    seconds = {name: statistics.median(v) for name, v in interleaved(jobs, repeats=5 * config.efficiency().repeats).items()}
    kept = " and ".join(f"{part.mean():.2f} of {name}" for name, part in said._asdict().items())
    return (
        "AdaColViT-T with its own linear layers asked, over the same decisions given",
        round(seconds["asked"] / seconds["given"], 2),
        "ratio",
        "",
        f"one thread, 224x224, untrained, which keeps {kept}; {1000 * seconds['asked']:.1f} ms asked",
    )


def _masked_step() -> tuple[str, float, str, str, str]:
    """A training step of the form that masks over one of the dense network, at the paper's size."""
    chosen = config.efficiency()
    torch.set_num_threads(chosen.threads)
    jobs = {name: step(config.load(name, profile="paper")) for name in (ADAPTIVE, PARENT)}
    seconds = {name: statistics.median(values) for name, values in interleaved(jobs, repeats=chosen.repeats).items()}
    details = (
        f"{chosen.threads} thread(s), batches of {STEP_BATCH} at 224x224; {STEP_BATCH / seconds[ADAPTIVE]:.0f} pictures/s masked"
    )
    return (
        "training step of AdaColViT-T, masked, over iColoriT-T",
        round(seconds[ADAPTIVE] / seconds[PARENT], 2),
        "ratio",
        "<= 1.35",
        details,
    )


STEP_BATCH = 4
"""Pictures of a timed training step."""


def step(
    cfg: config.Run, change: Callable[[Colorizer], object] | None = None, *, pictures: int = STEP_BATCH
) -> Callable[[], object]:
    """A training step of a run's task, to which something may be done before.

    Args:
        cfg: The run, at the size that its pictures get.
        change: What is done to the task in place.
        pictures: Of a step's batch.
    """
    task = runs.build_task(cfg).train()
    if change:
        change(task)
    one: Any = picture(cfg)
    batch: Any = {key: torch.cat([v] * pictures) if isinstance(v, torch.Tensor) else v * pictures for key, v in one.items()}
    optimizer = task.optimizer([p for p in task.parameters() if p.requires_grad])

    def take() -> None:
        optimizer.zero_grad()
        task.loss(batch, task(batch))["loss"].backward()
        optimizer.step()

    return take


def _bfloat16() -> tuple[str, float, str, str, str]:
    """What bfloat16 costs in quality: the trained network of this profile on scenes, in both formats."""
    cfg, task = runs.load(paths.run(ADAPTIVE))
    cfg = replace(sweep.only_psnr(cfg, "scenes"), hardware=replace(cfg.hardware, accelerator="cpu"))
    model: Any = task.model
    forms = {dtype: model.prepared((cfg.data.size, cfg.data.size), dtype=dtype) for dtype in (torch.float32, torch.bfloat16)}
    psnr = {}
    for dtype, form in forms.items():
        model.infer = form  # what the task predicts with
        psnr[dtype] = evaluation.evaluate(cfg, task).rows["psnr"]
    gap = psnr[torch.bfloat16] - psnr[torch.float32]
    details = f"{ADAPTIVE} as trained here, 10 hints; single pictures by {gap.min():+.2f} to {gap.max():+.2f} dB"
    return "PSNR in bfloat16 off that in float32, mean of scenes", round(abs(float(gap.mean())), 4), "dB", "<= 0.02", details


def foundation() -> pd.DataFrame:
    """Lab conversion against scikit-image, preparation against bare Pillow, scenes per second, start-up if wanted."""
    chosen = config.efficiency()
    rows = [_lab(chosen.repeats, threads) for threads in (1, chosen.threads)]
    rows += [_preparation(chosen.repeats), _scenes()]
    if chosen.everything:  # a dozen processes
        rows += _startup(chosen.repeats)
    return promises(rows)


def _lab(repeats: int, threads: int) -> tuple[str, float, str, str, str]:
    torch.set_num_threads(threads)
    rgb = torch.rand(32, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    separate = [np.ascontiguousarray(picture.permute(1, 2, 0).numpy()) for picture in rgb]
    jobs = {"ours": lambda: color.rgb_to_lab(rgb), "skimage": lambda: [rgb2lab(picture) for picture in separate]}
    seconds = {name: statistics.median(values) for name, values in interleaved(jobs, repeats=3 * repeats).items()}
    error = float(np.abs(color.rgb_to_lab(rgb)[0].permute(1, 2, 0).numpy() - rgb2lab(separate[0])).max())
    details = f"{threads} thread(s), batches of 32 at 128x128; largest difference {error:.1e}"
    return (
        f"RGB to Lab, scikit-image's time over ours, {threads} thread(s)",
        round(seconds["skimage"] / seconds["ours"], 2),
        "ratio",
        ">= 1",
        details,
    )


def _preparation(repeats: int) -> tuple[str, float, str, str, str]:
    """One core, one photograph ten times: read, validate, decode, orient, resize, write, against Pillow's decode and resize."""
    cfg = config.Dataset(name="bench", source="folder", root="", profiles=["cpu"], seed=0, workers=1)
    folder = paths.scratch("bench")
    folder.mkdir(parents=True, exist_ok=True)
    photograph = paths.root() / "build" / "photos" / "grace_hopper.jpg"
    items = [sources.Item(f"{i}", "train", photograph, 0, f"{i}") for i in range(10)]

    def bare() -> None:
        for _ in items:
            with Image.open(photograph) as picture:
                images.fit(picture.convert("RGB"), size=cfg.size, how=cfg.fit, resample=cfg.resample)

    jobs = {"ours": lambda: prepare.write_shard(cfg, folder / "train-00000.arrow", items), "pillow": bare}
    seconds = {name: statistics.median(values) for name, values in interleaved(jobs, repeats=3 * repeats).items()}
    details = f"one core, {photograph.name}; {len(items) / seconds['ours']:.0f} pictures per second"
    return "prepare, bare Pillow's time over ours", round(seconds["pillow"] / seconds["ours"], 2), "ratio", ">= 0.8", details


def _scenes() -> tuple[str, float, str, str, str]:
    start = time.perf_counter()
    for index in range(40):
        scenes.draw(0, index, split="train", size=128)
    seconds = 1000 / 40 * (time.perf_counter() - start) / 2
    return "1,000 scenes on two cores", round(seconds, 1), "s", "< 20", "extrapolated from 40 on one core"


def _startup(repeats: int) -> list[tuple[str, float, str, str, str]]:
    commands = {
        "colorexp --help": [sys.executable, "-m", "colorexp.cli", "--help"],
        "imports of a stage": [sys.executable, "-c", "import colorexp.boot"],
        "a stage that only imports": [
            sys.executable,
            "-m",
            "colorexp.nb",
            str(_idle_stage()),
            str(_idle_stage().with_suffix(".out")),
        ],
    }
    jobs = {
        name: lambda command=command: subprocess.run(command, check=True, capture_output=True) for name, command in commands.items()
    }
    seconds = {name: statistics.median(values) for name, values in interleaved(jobs, repeats=repeats).items()}
    promises = {"colorexp --help": "< 0.5", "imports of a stage": "< 5", "a stage that only imports": "< 5 for kernel and imports"}
    return [(name, round(seconds[name], 2), "s", promises[name], "a new process") for name in promises]


def _idle_stage() -> Path:
    """A notebook that imports what every stage imports, to see what starting one costs."""
    file = paths.scratch("bench") / "idle.ipynb"
    file.parent.mkdir(parents=True, exist_ok=True)
    cell = nbformat.v4.new_code_cell("import colorexp.boot", metadata={"tags": ["parameters"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": nb.KERNEL}), file)
    return file


def trainings() -> pd.DataFrame:
    """What the profile's trainings took: pictures per second, seconds, and peak memory in GiB beside the most that is promised."""
    rows = []
    for name in config.runs():
        file = paths.timings(f"train/{name}")
        card = json.loads(file.read_text()) if file.is_file() else {}  # a run may be newer than the last `dvc repro`
        if "train_seconds" in card:
            took = {key: round(card[key], 2) for key in ("images_per_second", "train_seconds", "peak_memory_gib")}
            rows.append({"run": name, **took, "promise": "< 4 GiB"})
    return pd.DataFrame(rows)


def pipeline() -> pd.DataFrame:
    """What cannot be measured from inside `dvc repro`: the pipeline that has nothing to do."""
    start = time.perf_counter()
    done = subprocess.run(["dvc", "repro"], cwd=paths.root(), capture_output=True, text=True, check=False)
    state = "up to date" if "up to date" in done.stdout else "not up to date: run make repro first"
    rows = [("dvc repro without changes", round(time.perf_counter() - start, 1), "s", "< 5", state)]
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    rows.append(("this benchmark", round(own, 2), "GiB", "< 4", "peak"))
    return promises(rows)


def main() -> None:
    """Print everything."""
    pd.set_option("display.width", 200, "display.max_columns", None, "display.max_colwidth", None)
    from colorexp import workload, workload_exemplar  # which import this module

    measured = {paper: networks(paper) for paper in config.papers()}
    shares, seconds = by_share(), workload.one_after_another()
    blocks = workload.blocks(seconds)
    kept = (adaptive(measured["adacolvit"]), workload.promises(blocks), workload_exemplar.promises(measured["exemplar"]))
    for table in (foundation(), *measured.values(), shares, workload.rivals(seconds), blocks, *kept, trainings(), pipeline()):
        print(table.to_string(index=False), end="\n\n")


if __name__ == "__main__":
    main()
