"""Pictures -> Arrow shards, manifest, quarantine list and statistics; parallel over shards, same bytes for any number of them."""

import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed

from colorexp import color, paths
from colorexp.config import Dataset
from colorexp.data import images, scenes, sources, store
from colorexp.data.images import BadImage
from colorexp.data.sources import Item
from colorexp.data.store import Record, Shards

FILTERS = ("none", "joint", "marginal")


class Prepared(NamedTuple):
    """What `prepare` made."""

    folder: Path
    manifest: pd.DataFrame
    quarantine: pd.DataFrame


def prepare(cfg: Dataset, *, out: Path | None = None) -> Prepared:
    """Validate, orient, resize, filter, split and store every picture of a dataset; then count their colours.

    The old dataset stands until the new one is complete.

    Args:
        cfg: From `config.dataset`.
        out: Instead of `paths.prepared(cfg.name)`.

    Raises:
        ValueError: If nothing usable is left, a bundled photograph is altered, or the number of pictures is not the expected one.
    """
    out = out or paths.prepared(cfg.name)
    partial_out = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial_out, ignore_errors=True)
    try:
        prepared = _prepare(cfg, partial_out)
        _replace(partial_out, out)
    finally:
        shutil.rmtree(partial_out, ignore_errors=True)
    return prepared._replace(folder=out)


def _replace(new: Path, old: Path) -> None:
    """Put a folder in another's place; the old one is gone only when the new one stands."""
    aside = old.with_name(f".{old.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    if old.exists():
        old.rename(aside)
    new.rename(old)
    shutil.rmtree(aside, ignore_errors=True)


def _prepare(cfg: Dataset, out: Path) -> Prepared:
    found = sources.listing(cfg)
    duplicates = _duplicates(found.items)
    skipped = [*found.skipped, *((item.id, f"duplicate of {first}") for item, first in duplicates.items())]
    items = [item for item in found.items if item not in duplicates]
    jobs = [
        delayed(write_shard)(cfg, out / f"{split}-{number:05d}.arrow", items_of[start : start + cfg.shard])
        for split in store.SPLITS
        if (items_of := [item for item in items if item.split == split])
        for number, start in enumerate(range(0, len(items_of), cfg.shard))
    ]
    parallel = Parallel(n_jobs=min(cfg.workers, len(jobs)))
    rows: list[dict[str, Any]] = []
    for kept, refused in parallel(jobs):
        rows += kept
        skipped += refused
    quarantine = pd.DataFrame(sorted(skipped), columns=["picture", "reason"])
    paths.write_atomically(out / "quarantine.csv", quarantine.to_csv(index=False).encode())
    if not rows:
        raise ValueError(f"{cfg.name}: none of {len(skipped)} pictures can be used: {_most_common(quarantine)}")
    manifest = pd.DataFrame(rows)
    _check_expected(cfg, manifest, quarantine)
    shards = [out / name for name in manifest["shard"].unique()]
    counted = list(parallel(delayed(_count_colours)(shard, cfg.near_gray) for shard in shards))
    manifest = manifest.join(pd.DataFrame(row for shares, _ in counted for row in shares))
    _write_manifest(out, manifest)
    joints = {name: sum((joints[name] for _, joints in counted), _nothing()) for name in FILTERS}
    paths.write_atomically(out / "stats.json", _statistics(joints, manifest).encode())
    return Prepared(out, manifest, quarantine)


def _duplicates(items: list[Item]) -> dict[Item, str]:
    """Files whose bytes equal those of an earlier one, with the earlier one's id; only files of equal length are read."""
    by_length: dict[int, list[Item]] = defaultdict(list)
    for item in items:
        if item.path is not None:
            with suppress(OSError):  # the next pass names the reason
                by_length[item.path.stat().st_size].append(item)
    seen: dict[bytes, str] = {}
    found = {}
    for alike in by_length.values():
        for item in alike if len(alike) > 1 else []:
            try:
                digest = hashlib.sha256(images.read_bytes(item.path)).digest()  # type: ignore[arg-type]  # has a path
            except BadImage:
                continue  # the next pass names the reason
            if seen.setdefault(digest, item.id) != item.id:
                found[item] = seen[digest]
    return found


Refused = list[tuple[str, str]]


def write_shard(cfg: Dataset, path: Path, items: list[Item]) -> tuple[list[dict[str, Any]], Refused]:
    """Open, check, resize and store some pictures as one shard; nothing is written where none can be used.

    Returns:
        The manifest rows of those that were stored, id and reason of those that were refused.
    """
    rows: list[dict[str, Any]] = []
    refused: Refused = []
    made = partial(_from_scene, cfg) if cfg.source == "scenes" else partial(_from_file, cfg)

    def records() -> Iterator[Record]:
        for item in items:
            try:
                record, facts = made(item)
            except BadImage as reason:
                refused.append((item.id, str(reason)))
                continue
            size = {"height": record.rgb.shape[0], "width": record.rgb.shape[1]}
            where = {"id": item.id, "split": item.split, "subject": item.subject, "shard": path.name}
            rows.append({**where, **size, **facts})
            yield record

    if not store.write_shard(path, records()):
        path.unlink()
    return rows, refused


def _from_file(cfg: Dataset, item: Item) -> tuple[Record, dict[str, Any]]:
    assert item.path is not None
    content = images.read_bytes(item.path)
    opened = images.open_image(content, max_pixels=cfg.max_pixels)
    width, height = opened.rgb.size
    if min(width, height) < cfg.min_side:
        raise BadImage(f"{width}x{height} is smaller than {cfg.min_side} pixels")
    if cfg.fit == "short" and cfg.size**2 * max(width, height) > cfg.max_pixels * min(width, height):
        raise BadImage(f"{width}x{height} would be stored with more than {cfg.max_pixels} pixels")
    picture = images.fit(opened.rgb, size=cfg.size, how=cfg.fit, resample=cfg.resample)
    if cfg.gray == "quarantine" and images.is_gray(picture):
        constant = all(low == high for low, high in picture.getextrema())  # type: ignore[misc]  # one pair per channel
        raise BadImage("constant: one gray everywhere" if constant else "gray: no colour to learn from")
    return Record(item.id, np.asarray(picture), {}), _facts(height, width, content, ", ".join(opened.notes))


def _from_scene(cfg: Dataset, item: Item) -> tuple[Record, dict[str, Any]]:
    scene = scenes.draw(cfg.seed, item.index, split=item.split, size=cfg.size)
    maps = {"instance_map": scene.instance_map, "class_map": scene.class_map, "mode_map": scene.mode_map}
    return Record(item.id, scene.rgb, maps), _facts(cfg.size, cfg.size, scene.rgb.tobytes(), f"{len(scene.objects)} objects")


def _facts(height: int, width: int, content: bytes, notes: str) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    return {"original_height": height, "original_width": width, "notes": notes, "sha256": digest}


def _count_colours(shard: Path, near_gray: float) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """Near-gray shares of every picture of a shard and, for training pictures, the joint ab histogram per filter."""
    shares, joints = [], {name: _nothing() for name in FILTERS}
    for record in Shards.of_file(shard):
        rgb = color.from_8bit(torch.tensor(record.rgb).permute(2, 0, 1)[None])
        ab = color.rgb_to_lab(rgb)[:, 1:]
        low, high = color.NEAR_GRAY_BINS
        marginal = ((ab >= low) & (ab < high)).double().mean((0, 2, 3))
        share = {
            "gray_joint": float((ab.abs() < near_gray).all(1).double().mean()),
            "gray_a": float(marginal[0]),
            "gray_b": float(marginal[1]),
        }
        shares.append(share)
        if shard.name.startswith("train"):
            joint = color.count_ab(ab)
            for name in FILTERS:
                if store.kept(pd.DataFrame([share]), name).iloc[0]:
                    joints[name] += joint
    return shares, joints


def _nothing() -> torch.Tensor:
    return torch.zeros(256, 256, dtype=torch.int64)


def _statistics(joints: dict[str, torch.Tensor], manifest: pd.DataFrame) -> str:
    train = manifest[manifest["split"] == "train"]
    result = {}
    for name, joint in joints.items():
        pixels = int(joint.sum())
        prior = color.gamut_prior(joint) if pixels else torch.zeros(color.GAMUT_BINS, dtype=torch.float64)
        result[name] = {
            "images": int(store.kept(train, name).sum()),
            "pixels": pixels,
            "a_counts": joint.sum(1).tolist(),
            "b_counts": joint.sum(0).tolist(),
            "prior": [round(p, 12) for p in prior.tolist()],
        }
    return json.dumps(result) + "\n"


def _write_manifest(out: Path, manifest: pd.DataFrame) -> None:
    temporary = out / ".manifest.partial"
    manifest.to_parquet(temporary, index=False)
    temporary.rename(out / "manifest.parquet")


def _check_expected(cfg: Dataset, manifest: pd.DataFrame, quarantine: pd.DataFrame) -> None:
    got = manifest["split"].value_counts()
    wrong = [f"{split}: {got.get(split, 0)} instead of {n}" for split, n in cfg.expect.items() if got.get(split, 0) != n]
    if wrong:
        raise ValueError(
            f"{cfg.name} does not have the expected number of pictures ({'; '.join(wrong)}); "
            f"{len(quarantine)} were left out: {_most_common(quarantine)}"
        )


def _most_common(quarantine: pd.DataFrame) -> str:
    counts = quarantine["reason"].value_counts().head(5)
    return ", ".join(f"{reason} ({n})" for reason, n in counts.items()) or "none"
