"""What exemplar colorization costs, and what is promised of its speed and memory.

The network has the paper's size and seeded weights; target and reference have 256x256 pixels.
"""

import weakref
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from colorexp import bench, config, runs
from colorexp.models.exemplar.correspondence import Found, attention
from colorexp.workload import Row, quickest, rounds

RUN = "exemplar/exemplar"


def promises(measured: pd.DataFrame) -> pd.DataFrame:
    """What is promised of the exemplar network's speed and memory beside what was measured; training where everything is.

    Args:
        measured: From `bench.networks("exemplar")`.
    """
    rows = [*_forward(measured), *_looks()]
    if config.efficiency().everything:
        rows.append(_histogram())
    return bench.promises(rows)


def _forward(measured: pd.DataFrame) -> list[Row]:
    found = measured.set_index("run").loc[RUN].to_dict()
    told = f"target and reference of {found['size']}, {found['multiply_adds_g']:.1f} G multiply-adds; {found['machine']}"
    product = f"multiply-adds per second over those of a product of {bench.PRODUCT}x{bench.PRODUCT} matrices, same rounds"
    return [
        ("forward of one picture", found["latency_ms"], "ms", "", told),
        ("rate of the forward over that of a matrix product", found["of_matrix_product"], "ratio", "", product),
    ]


class Peak(TorchDispatchMode):
    """The most bytes of tensors alive at a time that were made under it."""

    def __init__(self) -> None:
        super().__init__()
        self.alive, self.most = 0, 0
        self.known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401  torch's own
        """Runs an operation and weighs what it made."""
        before = {x.untyped_storage() for x in args if isinstance(x, Tensor)}
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else [out]:
            if isinstance(x, Tensor) and (storage := x.untyped_storage()) not in self.known and storage not in before:
                self.known.add(storage)
                self.alive += storage.nbytes()
                weakref.finalize(storage, self._release, storage.nbytes())
        self.most = max(self.most, self.alive)
        return out

    def _release(self, size: int) -> None:
        self.alive -= size


@torch.no_grad()
def _looks() -> list[Row]:
    """How often one picture's way calls the feature extractor, and what memory its correspondence takes."""
    cfg = config.load(RUN, profile="paper")
    task = runs.build_task(cfg).eval()
    model: Any = task.model
    passes: list[int] = []
    given: list[tuple[Tensor, ...]] = []
    handles = [
        model.extractor.register_forward_hook(lambda _module, args, _maps: passes.append(len(args[0]))),
        model.correspondence.register_forward_pre_hook(lambda _module, args: given.append(args)),
    ]
    task(bench.picture(cfg))
    for handle in handles:
        handle.remove()
    told = "one picture and its reference"
    return [("passes of the feature extractor", sum(passes), "pictures", "<= 2", told), _attention(model.correspondence, given[0])]


def _attention(correspondence: nn.Module, given: tuple[Tensor, ...]) -> Row:
    """The correspondence's peak over that of its dense form, which holds all pairs of positions."""
    with Peak() as ours:
        found = correspondence(*given)
    with Peak() as all_pairs:
        plain = _dense(correspondence, *given)
    apart = max(float((a - b).abs().max()) for a, b in zip(found, plain, strict=True))
    positions = [x.shape[2] * x.shape[3] for x in given[:2]]
    told = f"{positions[0]}x{positions[1]} positions, forward: {ours.most / 2**20:.1f} over {all_pairs.most / 2**20:.1f} MiB"
    details = f"{told}; largest difference of colours and raw confidences {apart:.1e}"
    return "peak memory of the attention over its dense form", round(ours.most / all_pairs.most, 3), "ratio", "<= 0.25", details


def _dense(correspondence: Any, query: Tensor, key: Tensor, ab_n: Tensor) -> Found:  # noqa: ANN401  a Correspondence
    rows = attention(query.flatten(2).transpose(1, 2), key.flatten(2))
    looked = [rows @ ab_n.flatten(2).transpose(1, 2), *(judge(correspondence.scale * rows) for judge in correspondence.judges)]
    maps = torch.cat(looked, -1).transpose(1, 2).unflatten(2, query.shape[2:])
    return Found(maps[:, :2], maps[:, 2:])


def _histogram() -> Row:
    """The histogram loss and its gradient by the colours, over a training step of one picture."""
    repeats = bench.few(rounds())
    cfg = config.load(RUN, profile="paper")
    built: list[Any] = []
    step = bench.step(cfg, built.append, pictures=1)
    task, batch = built[0], bench.picture(cfg)
    with torch.no_grad():
        made = task(batch)
    made = made._replace(ab_n=tuple(x.requires_grad_() for x in made.ab_n))
    seconds = quickest({"step": step, "loss": lambda: task._histogram(batch, made).backward()}, repeats)
    told = f"{1000 * seconds['loss']:.0f} ms of {seconds['step']:.1f} s a step of one picture, without the critic's backward pass"
    return "histogram loss in a training step", round(seconds["loss"] / seconds["step"], 3), "ratio", "<= 0.1", told
