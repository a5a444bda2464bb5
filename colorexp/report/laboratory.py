"""Proofs that the procedural scenes are a laboratory: what luminance tells and what it does not.

Pure functions over scenes. Colours are measured on the finished 8-bit pictures, never taken from the generator.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from scipy import stats
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn
from torch.nn import functional as F

from colorexp import color, metrics
from colorexp.config import Dataset
from colorexp.data.scenes import CLASSES, Scene, draw, limit_to_gamut, one_thread, true_mode_ab

_CROP = 32


class Accuracy(NamedTuple):
    """Share of objects named correctly, the share that always naming the commonest class gets, and their number."""

    accuracy: float
    chance: float
    n: int


def draw_many(cfg: Dataset, split: str, count: int) -> list[Scene]:
    """The first `count` scenes of a split of a `scenes` dataset, drawn again."""
    jobs = (delayed(draw)(cfg.seed, index, split=split, size=cfg.size) for index in range(count))
    return list(Parallel(n_jobs=cfg.workers)(jobs))


def proofs(train: Sequence[Scene], test: Sequence[Scene]) -> pd.DataFrame:
    """Every property that makes the scenes a laboratory, as measured: columns property, measured, wanted, holds."""
    objects = measure_objects(train)
    by_mean, by_network = class_from_mean_luminance(objects), class_from_network(train, test)
    oracle = oracle_psnr(test).mean()
    colourful = float(colourfulness(train).mean())
    known = mode_frequencies(train)
    betrayed = luminance_by_colour(objects)
    clipped = gamut_share(train)
    smallest_p = float(known["p"].min())
    rows = [
        ("class from mean luminance alone (accuracy)", by_mean.accuracy, "at most 0.1", by_mean.accuracy <= 0.1),
        ("class from a small network on gray crops (accuracy)", by_network.accuracy, "at least 0.8", by_network.accuracy >= 0.8),
        ("PSNR of the gray picture, dB", oracle["gray"], "", True),
        ("PSNR with every class in its mean colour, dB", oracle["class_mean"], "above gray", oracle["class_mean"] > oracle["gray"]),
        (
            "PSNR with every object in its true mode, dB",
            oracle["true_mode"],
            "5 above class mean",
            oracle["true_mode"] > oracle["class_mean"] + 5,
        ),
        ("mean colourfulness", colourful, "30 to 60", 30 <= colourful <= 60),
        ("modes drawn as often as stated (smallest p)", smallest_p, "above 0.001", smallest_p > 0.001),
        ("luminance independent of the colour mode (smallest p)", betrayed["p"].min(), "above 0.001", betrayed["p"].min() > 0.001),
        ("pixels with a clipped channel (share)", clipped, "below 0.005", clipped < 0.005),
    ]
    return pd.DataFrame(rows, columns=["property", "measured", "wanted", "holds"])


def measure_objects(scenes: Iterable[Scene]) -> pd.DataFrame:
    """Measure every visible object on the finished picture.

    Returns:
        One row per object: scene, instance, class, mode, `pixels`, `mean_L` over all of them, `mode_pixels`, mean `a`
        and `b` over those that show the mode (light removed; NaN if none does), `mode_distance` from there to the
        centre of the object's mode, and `nearest_mode`, the index of the nearest centre of its class.
    """
    rows = []
    for number, (scene, lab) in enumerate(_with_lab(scenes)):
        labels = scene.instance_map.ravel()
        size = len(scene.objects) + 1
        of_mode = (scene.mode_map > 0).ravel()
        pixels, mode_pixels = np.bincount(labels, minlength=size), np.bincount(labels, of_mode, minlength=size)
        L = np.bincount(labels, lab[0].ravel(), minlength=size)
        ab = [np.bincount(labels, lab[c].ravel() * of_mode, minlength=size) for c in (1, 2)]
        for o in scene.objects:
            i = o.instance
            if not pixels[i]:
                continue
            modes = CLASSES[o.class_index].modes
            colour = np.array([ab[0][i], ab[1][i]]) / (mode_pixels[i] or np.nan) - scene.light
            distances = [math.dist(colour, (m.a, m.b)) for m in modes]
            rows.append(
                {
                    "scene": number, "instance": i, "class_index": o.class_index, "class": CLASSES[o.class_index].name,
                    "mode_index": o.mode_index, "mode": modes[o.mode_index].name, "pixels": int(pixels[i]),
                    "mean_L": L[i] / pixels[i], "mode_pixels": int(mode_pixels[i]), "a": colour[0], "b": colour[1],
                    "mode_distance": distances[o.mode_index], "nearest_mode": int(np.argmin(distances)),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def class_from_mean_luminance(objects: pd.DataFrame, *, smallest: int = 30) -> Accuracy:
    """How well mean luminance alone names the class: nearest neighbours, five-fold cross-validation.

    Args:
        objects: What `measure_objects` returns.
        smallest: Objects with fewer visible pixels are left out.
    """
    seen = objects[objects.pixels >= smallest]
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    neighbours = KNeighborsClassifier(max(len(seen) // 50, 5))
    scores = cross_val_score(neighbours, seen[["mean_L"]].to_numpy(), seen.class_index.to_numpy(), cv=folds)
    return Accuracy(float(scores.mean()), float(seen.class_index.value_counts(normalize=True).max()), len(seen))


def class_from_network(
    train: Iterable[Scene], test: Iterable[Scene], *, seed: int = 0, epochs: int = 3, smallest: int = 30
) -> Accuracy:
    """How well a small convolutional network names the class of a gray crop whose mean luminance has been taken away.

    Args:
        train: Scenes to learn from.
        test: Scenes to be judged on.
        seed: Of initial weights and the order of crops; the global generator is left as it was.
        epochs: Passes over the training crops.
        smallest: Objects with fewer visible pixels are left out.
    """
    with one_thread(), torch.random.fork_rng(devices=[]):
        crops, labels = gray_crops(train, smallest=smallest)
        unseen, truth = gray_crops(test, smallest=smallest)
        torch.manual_seed(seed)
        network = _small_network()
        steps = [batch for _ in range(epochs) for batch in torch.randperm(len(crops)).split(64)]
        _fit(network, [(crops[batch], labels[batch]) for batch in steps])
        with torch.no_grad():
            hits = (network.eval()(unseen).argmax(1) == truth).float().mean()
    return Accuracy(float(hits), float(truth.bincount().max() / len(truth)), len(truth))


def gray_crops(scenes: Iterable[Scene], *, smallest: int = 30) -> tuple[Tensor, Tensor]:
    """Square gray crops around objects with their mean removed, (N, 1, 32, 32), and their classes, int64 (N,)."""
    crops, labels = [], []
    for scene, lab in _with_lab(scenes):
        L = torch.from_numpy(lab[:1])
        for o in scene.objects:
            if o.visible_pixels < smallest:
                continue
            rows, columns = np.nonzero(scene.instance_map == o.instance)
            half = max(int(np.ptp(rows)), int(np.ptp(columns))) // 2 + 2
            top, left = (max((int(i.min()) + int(i.max())) // 2 - half, 0) for i in (rows, columns))
            crop = L[:, top : top + 2 * half, left : left + 2 * half]
            crop = F.interpolate(crop[None], size=(_CROP, _CROP), mode="bilinear", antialias=True)[0]
            crops.append((crop - crop.mean()) / 20)
            labels.append(o.class_index)
    return torch.stack(crops), torch.tensor(labels)


def oracle_psnr(scenes: Iterable[Scene]) -> pd.DataFrame:
    """PSNR per scene of three colorizations of its own luminance, on 8-bit RGB and capped at 50 dB.

    Returns:
        Columns `gray` (no colour), `class_mean` (each class in the mean of its modes) and `true_mode` (each object in
        the centre of its mode), limited to the gamut. What lies between the last two cannot be known from luminance.
    """
    rows = []
    for scene, lab in _with_lab(scenes):
        L, oracle = lab[0], true_mode_ab(scene)
        tries = {"gray": np.zeros_like(oracle.mode_ab), "class_mean": oracle.class_mean_ab, "true_mode": oracle.mode_ab}
        truth = torch.from_numpy(scene.rgb).movedim(-1, 0)[None]
        coloured = {name: torch.from_numpy(_colour(L, ab)).movedim(-1, 0)[None] for name, ab in tries.items()}
        rows.append({name: float(metrics.psnr(picture, truth)) for name, picture in coloured.items()})
    return pd.DataFrame(rows)


def colourfulness(scenes: Iterable[Scene]) -> pd.Series:
    """`metrics.cf_signed` of every picture."""
    values = [float(metrics.cf_signed(torch.from_numpy(scene.rgb).movedim(-1, 0)[None])) for scene in scenes]
    return pd.Series(values, name="colourfulness")


def luminance_by_colour(objects: pd.DataFrame, *, smallest: int = 30) -> pd.DataFrame:
    """Whether mean luminance depends on the colour mode: one-way analysis of variance per class of several modes.

    Returns:
        Per class: `n`, `spread` (largest less smallest mean L of its modes) and `p`, small if luminance betrays colour.
    """
    rows = []
    for name, group in objects[objects.pixels >= smallest].groupby("class", sort=False):
        by_mode = [part.mean_L.to_numpy() for _, part in group.groupby("mode_index") if len(part) > 1]
        if len(by_mode) > 1:
            means = [part.mean() for part in by_mode]
            p = float(stats.f_oneway(*by_mode).pvalue)
            rows.append({"class": name, "n": sum(map(len, by_mode)), "spread": max(means) - min(means), "p": p})
    return pd.DataFrame(rows, columns=["class", "n", "spread", "p"])


def mode_frequencies(scenes: Iterable[Scene]) -> pd.DataFrame:
    """How often each mode was drawn against how often it should be.

    Returns:
        Per class and mode: `observed` count, `share`, known `probability`, and `p` of the class's chi-square test, 1
        for classes of one mode.
    """
    counts = [np.zeros(len(kind.modes), int) for kind in CLASSES]
    for scene in scenes:
        for o in scene.objects:
            counts[o.class_index][o.mode_index] += 1
    rows = []
    for kind, observed in zip(CLASSES, counts, strict=True):
        known = np.array([m.probability for m in kind.modes])
        total = int(observed.sum())
        p = float(stats.chisquare(observed, known / known.sum() * total).pvalue) if len(known) > 1 and total else 1.0
        for m, n in zip(kind.modes, observed, strict=True):
            rows.append((kind.name, m.name, int(n), n / max(total, 1), m.probability, p))
    return pd.DataFrame(rows, columns=["class", "mode", "observed", "share", "probability", "p"])


def gamut_share(scenes: Iterable[Scene]) -> float:
    """Share of pixels with a channel at 0 or 255: an upper bound on what the conversion to RGB clipped."""
    shares = [((scene.rgb == 0) | (scene.rgb == 255)).any(-1).mean() for scene in scenes]
    return float(np.mean(shares))


def redraw_effect(scenes: Iterable[Scene], redrawn: Iterable[Scene]) -> pd.DataFrame:
    """What another draw of the modes changes, per scene.

    Returns:
        `L_change` and `ab_change`, mean absolute difference in L and mean distance in ab between the two pictures, and
        `modes_changed`, the share of objects with another mode.
    """
    rows = []
    for (one, lab), (other, other_lab) in zip(_with_lab(scenes), _with_lab(redrawn), strict=True):
        changed = [p.mode_index != q.mode_index for p, q in zip(one.objects, other.objects, strict=True)]
        change = np.abs(lab - other_lab)
        rows.append((change[0].mean(), np.hypot(change[1], change[2]).mean(), np.mean(changed)))
    return pd.DataFrame(rows, columns=["L_change", "ab_change", "modes_changed"])


def contact_sheet(scenes: Sequence[Scene], *, columns: int = 8, gap: int = 4) -> np.ndarray:
    """Rows of scenes, each followed by the same scenes in gray, on white.

    Args:
        scenes: Scenes of one size, at least one.
        columns: Pictures per row.
        gap: White pixels around each picture.

    Returns:
        The sheet, uint8 (H, W, 3).

    Raises:
        ValueError: If there are no scenes or `columns` is below 1.
    """
    if not scenes or columns < 1:
        raise ValueError(f"a contact sheet needs at least one scene and one column, got {len(scenes)} and {columns}")
    height, width = (side + gap for side in scenes[0].rgb.shape[:2])
    lines = math.ceil(len(scenes) / columns)
    sheet = np.full((2 * lines * height + gap, min(columns, len(scenes)) * width + gap, 3), 255, np.uint8)
    for number, (scene, lab) in enumerate(_with_lab(scenes)):
        line, column = divmod(number, columns)
        gray = _colour(lab[0], np.zeros((*lab[0].shape, 2), np.float32))
        for offset, picture in enumerate((scene.rgb, gray)):
            top, left = (2 * line + offset) * height + gap, column * width + gap
            sheet[top : top + height - gap, left : left + width - gap] = picture
    return sheet


def _fit(network: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> None:
    optimizer = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=len(batches))
    for crops, labels in batches:
        loss = F.cross_entropy(network(crops), labels, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _small_network() -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in ((1, 16), (16, 32), (32, 64)):
        layers += [
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * (_CROP // 8) ** 2, len(CLASSES)))


def _with_lab(scenes: Iterable[Scene], *, batch: int = 16) -> Iterator[tuple[Scene, np.ndarray]]:
    """Every scene with its Lab planes (3, H, W), float32, converted in batches."""
    remaining = iter(scenes)
    while part := list(islice(remaining, batch)):
        rgb = torch.from_numpy(np.stack([scene.rgb for scene in part])).movedim(-1, 1)
        with one_thread():
            lab = color.rgb_to_lab(color.from_8bit(rgb)).numpy()
        yield from zip(part, lab, strict=True)


def _colour(L: np.ndarray, ab: np.ndarray) -> np.ndarray:
    """L (H, W) and ab (H, W, 2) to 8-bit RGB (H, W, 3), within the gamut."""
    ab = limit_to_gamut(L, ab)
    lab = torch.from_numpy(np.stack([L, ab[..., 0], ab[..., 1]]).astype(np.float32))[None]
    with one_thread():
        return color.to_8bit(color.lab_to_rgb(lab))[0].movedim(0, -1).numpy()
