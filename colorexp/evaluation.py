"""A trained run on test pictures: one row per picture and protocol, features for set metrics, sample pictures."""

import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.utils.data import DataLoader

from colorexp import backbones, color, hints, metrics, paths
from colorexp.config import Evaluation, Metric, Run
from colorexp.data import pairlist
from colorexp.data.datamodule import Fixed, Pictures, View2D, collate, to_physical
from colorexp.data.references import Listed
from colorexp.tasks.base import Colorizer
from colorexp.types import Batch, Prediction

OFFICIAL = "artifacts/results"
KEYS = ("dataset", "split", "image", "protocol", "way", "seed", "repeat", "near_gray")
"""Columns that say what a row is; all others are measures. `seed` is the training's, `repeat` the draw of hints, `way` how the task
coloured the picture, empty where it did as usual."""
REFERENCE_KEYS = ("reference", "reference_kind")
"""Further such columns where pictures are coloured after references; `protocol` then holds the subset of pairs."""

SHOWN = "shown_"
"""Prefix of those of a prediction's extras that are kept as pictures: (B, H, W) uint8."""

Measure = Callable[[Batch, Prediction, Tensor, Tensor], Tensor]
"""Batch, prediction, predicted and true picture (uint8) to one value per picture."""


class Results(NamedTuple):
    """What an evaluation found."""

    rows: pd.DataFrame
    """`KEYS`, then the measures."""
    features: dict[str, np.ndarray]
    """`<dataset>/<protocol>/features` and `/logits`, and `<dataset>/truth/...`, where the run asks for them."""
    samples: dict[str, np.ndarray]
    """`<dataset>/<image>.<protocol>` and `.truth`, `.input`: (H, W, 3) uint8; planes that the task shows: (H, W) uint8."""


@torch.no_grad()
def evaluate(cfg: Run, task: Colorizer) -> Results:
    """Measure a trained task on the test split of every dataset of the run, under every hint protocol or subset of pairs.

    Test hints are drawn from the picture and the protocol alone, so that all runs see the same; with `hint_files` they are read.
    Under the first protocol there are `repeats` draws; features and samples are those of the first. Further `ways` of the task see
    the same pictures and hints as its usual one. Where the run names `pairs`, pictures have no hints but references, and those are
    measured that the list of pairs names; gray ones, which have no colour to give, are warned of.

    Raises:
        ValueError: If a dataset has no test picture, or the task colours after references and the run names no pairs.
        FileNotFoundError: If a hint file is missing, or a list of pairs, or what it names.
    """
    if task.takes_reference and not cfg.evaluation.pairs:
        raise ValueError(f"{cfg.name} colours after references: params.yaml must name `pairs` of it, related or independent")
    device = torch.device("cuda" if cfg.hardware.accelerator != "cpu" and torch.cuda.is_available() else "cpu")
    task = task.to(device).eval()
    measures = _measures(cfg.evaluation, device)
    extractor = _extractor(cfg.evaluation, device)
    rows: list[pd.DataFrame] = []
    features: dict[str, list[Tensor]] = {}
    samples: dict[str, np.ndarray] = {}
    for dataset in cfg.evaluation.evaluate_on:
        for protocol, repeat in _draws(cfg):
            without_colour: list[str] = []
            for batch, near_gray in _batches(cfg, dataset, protocol, repeat, device):
                without_colour += _of_gray_references(batch) if task.takes_reference else []
                truth = _picture(batch["L"], batch["ab"])
                shown = {"truth": truth} if protocol == cfg.evaluation.conditions[0] else {}
                for way in ("", *cfg.evaluation.ways):
                    prediction = task.ways()[way](batch)
                    rgb = _picture(batch["L"], prediction.ab)
                    values = {name: measure(batch, prediction, rgb, truth) for name, measure in measures.items()}
                    values |= task.scores(batch, prediction)
                    named = {"dataset": dataset, "protocol": protocol, "way": way, "seed": cfg.seed, "repeat": repeat}
                    rows.append(_rows(named, batch, near_gray, values))
                    if repeat:
                        continue
                    shown[label(protocol, way)] = rgb
                    _keep_samples(samples, cfg.evaluation.samples, dataset, label(protocol, way), batch, prediction, rgb, truth)
                if extractor and not repeat:
                    _keep_features(features, extractor, cfg.evaluation.features_of, dataset, shown)
            if without_colour:
                where, some = f"{dataset} ({protocol})", ", ".join(without_colour[:3])
                warnings.warn(
                    f"{cfg.name}: {len(without_colour)} references of {where} are gray and give no colour: of {some}",
                    stacklevel=2,
                )
    stacked = {name: torch.cat(parts).numpy() for name, parts in features.items()}
    frame = pd.concat(rows, ignore_index=True)
    frame = frame.sort_values(["dataset", "protocol", "way", "repeat", "image"], ignore_index=True)
    return Results(frame, stacked, samples)


def _of_gray_references(batch: Batch) -> list[str]:
    """Names of the pictures whose references have no colour to give."""
    return [name for name, gray in zip(batch["id"], color.is_gray(batch["reference_ab"]).tolist(), strict=True) if gray]


def label(protocol: str, way: str = "") -> str:
    """What features and sample pictures of a protocol and way go by."""
    return f"{protocol}.{way}" if way else protocol


def _draws(cfg: Run) -> list[tuple[str, int]]:
    """Protocols and the numbers of their draws."""
    first, *others = cfg.evaluation.conditions
    return [(first, repeat) for repeat in range(cfg.evaluation.repeats)] + [(protocol, 0) for protocol in others]


def _pictures(cfg: Run, dataset: str, protocol: str, repeat: int = 0) -> tuple[Pictures, Fixed]:
    choose = partial(_test_hints, dataset=dataset, protocol=protocol, cfg=cfg)
    view = View2D(cfg.data.eval_view, cfg.data.size)
    patch, references = cfg.hinting.hint_patch, _references(cfg, dataset, protocol) if cfg.evaluation.pairs else None
    pictures = Pictures([dataset], "test", data=cfg.data, view=view, choose=choose, patch=patch, references=references)
    return pictures, Fixed(pictures, cfg.evaluation.eval_batch, f"{protocol}, again {repeat}" if repeat else protocol)


def one(cfg: Run, dataset: str, protocol: str, image: str) -> Batch:
    """A test picture alone in a batch, with the hints or the reference that an evaluation shows it with.

    Raises:
        ValueError: If the data set has no such test picture under that protocol.
    """
    pictures, sampler = _pictures(cfg, dataset, protocol)
    known = {pictures.name_of(draw): draw for batch in sampler.batches for draw in batch}
    if image not in known:
        raise ValueError(f"{dataset} has no test picture {image!r}; it has, for example, {', '.join(list(known)[:3])}")
    raw = collate([pictures[known[image]]])
    return to_physical(raw, patch=cfg.hinting.hint_patch, layout=cfg.hinting.hint_layout)


def _references(cfg: Run, dataset: str, subset: str) -> Listed:
    given = cfg.evaluation.pair_lists.get(dataset)
    path = paths.root() / given if given else paths.pairs(dataset)
    pairs = [pair for pair in pairlist.read(path) if pair.split == "test" and pair.subset == subset]
    return Listed(pairs, dataset, size=cfg.referencing.reference_size, source=f"{paths.shown(path)} ({subset})")


def _batches(cfg: Run, dataset: str, protocol: str, repeat: int, device: torch.device) -> Iterator[tuple[Batch, list[bool]]]:
    hinting = cfg.hinting
    pictures, sampler = _pictures(cfg, dataset, protocol, repeat)
    loader = DataLoader(
        pictures,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=cfg.hardware.workers,
        generator=Generator(),  # else the loader takes a number from the global one
    )
    for draws, raw in zip(sampler.batches, loader, strict=True):
        moved = {key: value.to(device) if isinstance(value, Tensor) else value for key, value in raw.items()}
        batch = to_physical(moved, patch=hinting.hint_patch, layout=hinting.hint_layout)
        yield batch, [pictures.near_gray[draw.index] for draw in draws]


def _test_hints(size: tuple[int, int], rng: Generator, identity: str, *, dataset: str, protocol: str, cfg: Run) -> Tensor:
    hinting = cfg.hinting
    amount = hints.Amount.parse("0" if cfg.evaluation.pairs else protocol)
    if dataset not in cfg.evaluation.hint_files or amount.high == 0:
        return hints.sample(size, amount=amount, patch=hinting.hint_patch, layout=hinting.hint_layout, rng=rng)
    folder = paths.root() / cfg.evaluation.hint_files[dataset] / hints.folder_name(protocol, hinting.hint_patch)
    file = folder / f"{identity}.txt"
    read = hints.read(file, size=size, patch=hinting.hint_patch, layout=hinting.hint_layout)
    if read.ab is not None:
        raise ValueError(f"{paths.shown(file)} gives colours; an evaluation shows the picture's own: give lines `row col`")
    return read.corners


def write_hints(cfg: Run, folder: Path) -> int:
    """Write the hints that an evaluation of a run draws as files, `<dataset>/h3-n0.5%/<image>.txt`, and return how many.

    Other programs can then be measured under the same hints; `hint_files` reads such folders.

    Raises:
        ValueError: If the run is measured under pairs, which have no hints.
    """
    if cfg.evaluation.pairs:
        raise ValueError(f"{cfg.name} is measured under pairs ({', '.join(cfg.evaluation.pairs)}), which have no hints")
    written = 0
    for dataset in cfg.evaluation.evaluate_on:
        for protocol in cfg.evaluation.protocols:
            pictures, sampler = _pictures(cfg, dataset, protocol)
            for draw in (draw for batch in sampler.batches for draw in batch):
                name, corners = pictures.corners(draw)
                hints.write(folder / dataset / hints.folder_name(protocol, cfg.hinting.hint_patch) / f"{name}.txt", corners)
                written += 1
    return written


def _picture(L: Tensor, ab: Tensor) -> Tensor:
    return color.to_8bit(color.lab_to_rgb(torch.cat([L, ab], 1)))


def _rows(named: dict[str, Any], batch: Batch, near_gray: list[bool], values: dict[str, Tensor]) -> pd.DataFrame:
    images = [name.partition("/")[2] for name in batch["id"]]
    said = {"image": images, "split": "test", "near_gray": near_gray, **named}
    columns = {key: said[key] for key in KEYS}
    if "reference_id" in batch:
        columns |= {"reference": batch["reference_id"], "reference_kind": batch["reference_kind"]}
    return pd.DataFrame(columns | {name: value.double().cpu().numpy() for name, value in values.items()})


def _keep_features(
    features: dict[str, list[Tensor]],
    extractor: Callable[[Tensor], tuple[Tensor, Tensor]],
    limit: int | None,
    dataset: str,
    shown: dict[str, Tensor],
) -> None:
    for column, pictures in shown.items():
        name = f"{dataset}/{column}"
        kept = sum(len(part) for part in features.get(f"{name}/features", []))
        some = pictures if limit is None else pictures[: max(0, limit - kept)]
        for kind, part in zip(("features", "logits"), extractor(some), strict=True) if len(some) else ():
            features.setdefault(f"{name}/{kind}", []).append(part.cpu())


def _keep_samples(
    samples: dict[str, np.ndarray],
    limit: int,
    dataset: str,
    protocol: str,
    batch: Batch,
    prediction: Prediction,
    rgb: Tensor,
    truth: Tensor,
) -> None:
    """Of the first pictures of a dataset: input with hints, reference, result, what the task wants shown, and once the truth."""
    pictures = {protocol: rgb, f"{protocol}.input": _picture(batch["L"], batch["hint_ab"]), "truth": truth}
    if "reference_ab" in batch:
        pictures[f"{protocol}.reference"] = _picture(batch["reference_L"], batch["reference_ab"])
    wanted = {name.removeprefix(SHOWN): value for name, value in prediction.extras.items() if name.startswith(SHOWN)}
    kept = sum(1 for name in samples if name.startswith(f"{dataset}/") and name.endswith(f".{protocol}"))
    for i, name in enumerate(batch["id"][: max(0, limit - kept)]):
        for label, picture in pictures.items():
            samples[f"{name}.{label}"] = picture[i].permute(1, 2, 0).cpu().numpy()
        for label, plane in wanted.items():
            samples[f"{name}.{protocol}.{label}"] = plane[i].cpu().numpy()


def _measures(asked: Evaluation, device: torch.device) -> dict[str, Measure]:
    found: dict[str, Measure] = {}
    folder = paths.root() / asked.weights if asked.weights else None
    for name in asked.metrics:
        if name in _PLAIN:
            found |= _PLAIN[name]
        elif name == "aesthetics":
            model = backbones.aesthetics(folder=folder)
            found[name] = partial(_aesthetics, model=model.to(device) if model else None)
        else:
            net, signed = _LPIPS[name]
            backbone = backbones.lpips(net, folder=folder)  # type: ignore[arg-type]  # one of its literals
            column = backbone.name if signed else backbone.name.replace(net, f"{net}_unit")
            network = backbone.network.to(device)
            found[column] = partial(_lpips, network=network, signed=signed)
    return found


def _lpips(
    _batch: Batch,
    _prediction: Prediction,
    rgb: Tensor,
    truth: Tensor,
    *,
    network: Any,  # noqa: ANN401  a module
    signed: bool,
) -> Tensor:
    return metrics.lpips(rgb, truth, network, signed=signed)


def _aesthetics(_batch: Batch, _prediction: Prediction, rgb: Tensor, _truth: Tensor, *, model: Any) -> Tensor:  # noqa: ANN401
    """What an external model says of the picture, 1 to 10; NaN where there is no such model: nothing could stand in for it."""
    if model is None:
        return torch.full((len(rgb),), torch.nan)
    said = model(color.from_8bit(rgb))
    if said.shape != (len(rgb),):
        raise ValueError(f"the aesthetics model must give one number per picture, shape ({len(rgb)},), got {tuple(said.shape)}")
    return said


_PLAIN: dict[Metric, dict[str, Measure]] = {
    "psnr": {"psnr": lambda b, p, rgb, truth: metrics.psnr(rgb, truth)},
    "ssim": {"ssim": lambda b, p, rgb, truth: metrics.ssim(rgb, truth)},
    "boundary_psnr": {"boundary_psnr": lambda b, p, rgb, truth: metrics.boundary_psnr(rgb, truth)},
    "patch_error_variance": {"patch_error_variance": lambda b, p, rgb, truth: metrics.patch_error_variance(rgb, truth)},
    "cf_signed": {
        "cf_signed": lambda b, p, rgb, truth: metrics.cf_signed(rgb),
        "true_cf_signed": lambda b, p, rgb, truth: metrics.cf_signed(truth),
    },
    "cf_abs": {
        "cf_abs": lambda b, p, rgb, truth: metrics.cf_abs(rgb),
        "true_cf_abs": lambda b, p, rgb, truth: metrics.cf_abs(truth),
    },
    "chroma": {
        "chroma": lambda b, p, rgb, truth: metrics.chroma(p.ab),
        "true_chroma": lambda b, p, rgb, truth: metrics.chroma(b["ab"]),
    },
    "ab_error": {"ab_error": lambda b, p, rgb, truth: metrics.ab_error(p.ab, b["ab"])},
    "his": {"his": lambda b, p, rgb, truth: metrics.his(p.ab, b.get("reference_ab", b["ab"]))},
}
_LPIPS: dict[Metric, tuple[str, bool]] = {
    "lpips_alex": ("alex", True),
    "lpips_vgg": ("vgg", True),
    "lpips_vgg_unit": ("vgg", False),
}


def _extractor(asked: Evaluation, device: torch.device) -> Callable[[Tensor], tuple[Tensor, Tensor]] | None:
    if asked.features is None:
        return None
    folder = paths.root() / asked.weights if asked.weights else None
    return cast(Any, backbones.INCEPTIONS[asked.features](folder=folder).network.to(device))


# Files


def save(name: str, results: Results, *, out: str | Path = OFFICIAL) -> None:
    """Write the results of `<paper>/<run>`: rows, features, samples, and the summary that `dvc metrics` shows.

    Args:
        name: The run.
        results: From `evaluate`.
        out: The folder of all results, relative to the project; elsewhere the summary lies beside the rest.
    """
    target = paths.resolve(out) / name
    target.parent.mkdir(parents=True, exist_ok=True)
    results.rows.to_parquet(target.with_name(f"{target.name}.parquet"), index=False)
    np.savez(target.with_name(f"{target.name}.features.npz"), **results.features)  # type: ignore[arg-type]  # numpy's stub
    samples = target.with_name(f"{target.name}.samples")
    shutil.rmtree(samples, ignore_errors=True)
    for label, picture in results.samples.items():
        file = samples / f"{label}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(file)
    summary = json.dumps(headline(results.rows), indent=1, sort_keys=True) + "\n"
    beside = target.with_name(f"{target.name}.json")
    paths.write_atomically(paths.report_metrics(name) if str(out) == OFFICIAL else beside, summary.encode())


HEADLINE = ("accuracy", "psnr", "his", "cf_signed")


def headline(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """The few means that `dvc metrics show` has room for: per dataset, with most hints, or with related references."""
    means = summarise(rows)
    protocols = rows["protocol"].unique()
    subsets = [subset for subset in pairlist.SUBSETS if subset in protocols]
    most = subsets[0] if subsets else max(protocols, key=lambda text: hints.Amount.parse(text).high)
    return {d: {name: of[most][name] for name in HEADLINE if name in of[most]} for d, of in means.items()}


def summarise(rows: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """Means per dataset and protocol over pictures that are not near gray: usual way, first draw of hints, six digits."""
    measures = rows.columns.difference([*KEYS, *REFERENCE_KEYS])
    rows = rows[(rows["repeat"] == 0) & (rows["way"] == "")]
    counted = rows[~rows["near_gray"]] if not rows["near_gray"].all() else rows
    result: dict[str, dict[str, dict[str, float]]] = {}
    for (dataset, protocol), group in counted.groupby(["dataset", "protocol"]):
        means = group[measures].mean().dropna().round(6)
        result.setdefault(str(dataset), {})[str(protocol)] = {str(k): float(v) for k, v in means.items()}
    return result
