"""The far parts of a scene: ground, water, hills and sky, as layers of luminance."""

from typing import NamedTuple

import numpy as np

from colorexp.data.scenes.canvas import Field, lattice_noise
from colorexp.data.scenes.objects import HILLS, MEADOW, SAND, SKY, WATER


class Layer(NamedTuple):
    """One surface on the pixels `rows` x `columns` of the picture.

    Attributes:
        kind: Index into `CLASSES + BACKGROUNDS`.
        alpha, L, trim: Coverage in 0..1, luminance and share of the trim colour. Shapes (h, w).
    """

    kind: int
    rows: slice
    columns: slice
    alpha: Field
    L: Field
    trim: Field


def paint_backdrop(rng: np.random.Generator, *, horizon: float, shore: float, size: int) -> list[Layer]:
    """Ground, water, hills and sky, from near to far, on the whole picture.

    Args:
        rng: Source of the shapes; what is drawn does not depend on `size`.
        horizon: How far down the horizon is, as a share of the picture.
        shore: The same of the near shore; equal to `horizon` if there is no water.
        size: Side of the picture in pixels.
    """
    x = ((np.arange(size, dtype=np.float32) + 0.5) / size)[None, :]
    y = ((np.arange(size, dtype=np.float32) + 0.5) / size)[:, None]
    depth = np.maximum(y - horizon, 0)
    is_sand, ridges = rng.random() < 0.3, int(rng.integers(0, 3))
    shoreline = shore + 0.018 * _fractal(rng, 4 * x, y * 0, octaves=3)
    ground = (SAND, _sand(rng, x, depth)) if is_sand else (MEADOW, _meadow(rng, x, depth))
    surfaces: list[tuple[int, Field, Field | float, Field | float]] = []
    surfaces.append((*ground, np.clip((y - shoreline) * size + 0.5, 0, 1), 0.0))
    if shore > horizon:
        surfaces.append((WATER, _water(rng, x, depth), np.clip((y - horizon) * size + 0.5, 0, 1), 0.0))
    for ridge in range(ridges):
        height = rng.uniform(0.03, 0.08) + 0.05 * ridge
        outline = horizon - height * (1 + 0.9 * _fractal(rng, (3 - ridge) * x + 5, y * 0, octaves=4))
        woods = 5 * _fractal(rng, 38 * x, 38 * y, octaves=2) + 40 * (y - horizon)
        L = rng.uniform(44, 56) + 7 * ridge + woods
        surfaces.append((HILLS, L, np.clip((y - outline) * size + 0.5, 0, 1), 0.0))
    sky, cloud = _sky(rng, x, y, horizon)
    surfaces.append((SKY, sky, 1.0, cloud))
    whole = np.ones((size, size), np.float32)
    everywhere = slice(0, size)
    return [Layer(k, everywhere, everywhere, alpha * whole, L * whole, trim * whole) for k, L, alpha, trim in surfaces]


def _fractal(rng: np.random.Generator, x: Field, y: Field, *, octaves: int) -> Field:
    total: Field = np.zeros(1, np.float32)
    for octave in range(octaves):
        table = rng.uniform(-1, 1, (64, 64)).astype(np.float32)
        total = total + 0.5**octave * lattice_noise(table, x * 2**octave, y * 2**octave)
    return total


def _sky(rng: np.random.Generator, x: Field, y: Field, horizon: float) -> tuple[Field, Field]:
    top, bottom = rng.uniform(56, 68), rng.uniform(78, 86)
    L = top + (bottom - top) * np.clip(y / horizon, 0, 1) ** 1.4
    away = 1 / (1.25 - np.clip(y / horizon, 0, 1))
    density = _fractal(rng, (x - 0.5) * 2 * away**0.5 + 9, 4.5 * away, octaves=4)
    cloud = np.clip((density - rng.uniform(-0.3, 0.4)) / 0.45, 0, 1)
    relief = _fractal(rng, 9 * x, 12 * y, octaves=2)
    return L + cloud * (95 + 5 * relief - 4 * cloud - L), cloud


def _water(rng: np.random.Generator, x: Field, depth: Field) -> Field:
    across, away = 2.2 * (x - 0.5) / (depth + 0.07), 11 * np.log(depth + 0.02)
    waves = _fractal(rng, across, away, octaves=3)
    return rng.uniform(50, 64) + 9 * waves + 16 * np.clip(4 * waves - 2.2, 0, 1) - 30 * depth


def _meadow(rng: np.random.Generator, x: Field, depth: Field) -> Field:
    across, away = 40 * (x - 0.5) / (depth + 0.25), 13 * np.log(depth + 0.12)
    blades = _fractal(rng, across, 1.3 * away, octaves=2) * np.clip(depth * 5 + 0.15, 0, 1)
    patches = _fractal(rng, 3 * x, 2 * away / 13 * 4, octaves=2)
    return rng.uniform(48, 62) + 9 * blades + 6 * patches - 14 * depth


def _sand(rng: np.random.Generator, x: Field, depth: Field) -> Field:
    away = 10 * np.log(depth + 0.15)
    bend = _fractal(rng, 3 * x, away / 3, octaves=2)
    ripples = np.sin(5 * away + 5 * bend) * np.clip(depth * 4, 0, 1)
    grains = _fractal(rng, 60 * x, 60 * depth, octaves=1)
    return rng.uniform(62, 74) + 4.5 * ripples + 3 * grains + 3 * bend - 8 * depth
