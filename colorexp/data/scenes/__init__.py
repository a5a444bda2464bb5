"""Procedural outdoor scenes: a laboratory in which the true distribution of colour given luminance is known.

`draw(seed, index)` makes one picture with its class, instance and mode maps. What a thing is can be read from its
outline and its luminance texture; what colour it has cannot, because its ab comes from a mode drawn independently of L.

Codes of a class map: 1 to 16 the objects (`CLASSES`), 17 to 21 the backgrounds (`BACKGROUNDS`: sky, hills, water,
meadow, sand); every pixel has one, so 0 does not occur. Instance maps are 0 on backgrounds and 1 to n on objects, 1
nearest. Mode maps hold the index of the mode within its class plus one; 0 marks pixels that show a colour their class
always has (`ObjectClass.trim`: trunks, windows, clouds).

Every draw comes from a generator seeded by (seed, split, index, purpose): a scene depends on nothing drawn before it.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage

from colorexp import color
from colorexp.data.scenes.backdrop import Layer, paint_backdrop
from colorexp.data.scenes.canvas import Canvas, Field
from colorexp.data.scenes.objects import BACKGROUNDS, CLASSES, HILLS, SKY, WATER, Mode, ObjectClass

__all__ = ["BACKGROUNDS", "CLASSES", "KINDS", "SIZES", "SPLIT_CODES", "Mode", "ObjectClass", "OracleColours", "Scene"]
__all__ += ["SceneObject", "draw", "limit_to_gamut", "one_thread", "palette_strip", "true_mode_ab"]

SPLIT_CODES = {"train": 1, "val": 2, "test": 3}
"""Second word of every generator's seed; it keeps the splits disjoint whatever seed and index are."""
SIZES = (64, 512)
"""Smallest and largest side in pixels."""
OBJECT_COUNT = (3, 9)
"""Fewest and most objects in a scene."""
KINDS = CLASSES + BACKGROUNDS
"""Everything a class map names; its code is the index here plus one."""

_LAYOUT, _MODES, _NOISE, _TEXTURE, _BACKDROP = range(5)
_L_RANGE = (5.0, 97.0)
_MEAN_L = (44.0, 65.0)
_MODE_SPREAD = 2.0
"""Standard deviation of objects around the centre of their mode, in a and in b."""
_GAMUT_MARGIN = 0.96
"""Share of the largest chroma in gamut that is used, so that rounding to bytes does not saturate a channel."""


class SceneObject(NamedTuple):
    """What is known about one object.

    Attributes:
        instance: Its number in the instance map.
        class_index, mode_index: Into `CLASSES` and into the modes of that class.
        depth: 0 at the horizon, 1 next to the viewer.
        mean_L: Mean luminance of its visible pixels, before noise.
        visible_pixels: How many pixels of the instance map are its own; 0 if others hide it.
    """

    instance: int
    class_index: int
    mode_index: int
    depth: float
    mean_L: float
    visible_pixels: int


class Scene(NamedTuple):
    """One picture and its truth.

    Attributes:
        rgb: uint8. Shape (H, W, 3).
        class_map, instance_map, mode_map: uint8, coded as the module says. Shape (H, W).
        objects: What is known about each object, nearest first.
        light: The shift in a and b that all its colours share.
    """

    rgb: np.ndarray
    class_map: np.ndarray
    instance_map: np.ndarray
    mode_map: np.ndarray
    objects: tuple[SceneObject, ...]
    light: tuple[float, float]


class OracleColours(NamedTuple):
    """ab of every pixel if its mode were known, and if only its class were. Shapes (H, W, 2), float32."""

    mode_ab: np.ndarray
    class_mean_ab: np.ndarray


def draw(seed: int, index: int, *, split: str = "train", size: int = 128, redraw: int = 0) -> Scene:
    """Draw one scene.

    Args:
        seed: Names a series of scenes; 0 or more.
        index: Which scene of the series; 0 or more.
        split: A key of `SPLIT_CODES`; the same seed and index give another scene in another split.
        size: Side of the square picture in pixels, 64 to 512; all sizes show the same scene, but for sensor noise.
        redraw: Which draw of the colours; 0 or more. Geometry, L and light stay; modes are drawn anew and may repeat.

    Returns:
        The picture and its truth.

    Raises:
        ValueError: If an argument is outside these ranges.
    """
    _check(seed, index, split, size, redraw)
    key = (seed, SPLIT_CODES[split], index)
    layout = _lay_out(np.random.default_rng((*key, _LAYOUT)))
    backgrounds, paints = _draw_paints(np.random.default_rng((*key, _MODES, redraw)), layout)
    picture = _Picture(size)
    shares = []
    for number, (placed, paint) in enumerate(zip(layout.placements, paints, strict=True)):
        layer = _paint_object(placed, layout, np.random.default_rng((*key, _TEXTURE, number)), size)
        layer = _level(layer, placed.mean_L, picture)
        shares.append(picture.add(layer, paint, instance=number + 1))
        _cast_shadow(picture.sunlit, layer, placed, layout)
    rng = np.random.default_rng((*key, _BACKDROP))
    for layer in paint_backdrop(rng, horizon=layout.horizon, shore=layout.shore, size=size):
        if layer.kind not in (SKY, HILLS):
            layer = layer._replace(L=layer.L * picture.sunlit)
        picture.add(layer, backgrounds[layer.kind], instance=0)
    objects = tuple(
        SceneObject(number, placed.kind, paint.mode, placed.depth, placed.mean_L, picture.settle(number, share, placed.mean_L))
        for number, (placed, paint, share) in enumerate(zip(layout.placements, paints, shares, strict=True), start=1)
    )
    rgb = picture.develop(np.random.default_rng((*key, _NOISE)), layout.noise)
    return Scene(rgb, picture.class_map, picture.instance_map, picture.mode_map, objects, layout.light)


def true_mode_ab(scene: Scene) -> OracleColours:
    """The colours two oracles would give: the mean of the pixel's mode, and the mean of its class over all modes.

    Both include the scene's light and know the colours a class always has. Neither knows an object's variation within
    its mode, nor is it limited to the gamut at the pixel's L (`limit_to_gamut` does that). Of the scene only class map,
    mode map and light are read.
    """
    most = max(len(kind.modes) for kind in KINDS)
    by_mode = np.zeros((len(KINDS) + 1, most + 1, 2), np.float32)
    by_class = np.zeros_like(by_mode)
    for code, kind in enumerate(KINDS, start=1):
        by_mode[code, 0] = by_class[code, 0] = kind.trim
        centres = np.array([(m.a, m.b) for m in kind.modes])
        by_mode[code, 1 : len(centres) + 1] = centres
        by_class[code, 1:] = np.array([m.probability for m in kind.modes]) @ centres
    light = np.array(scene.light, np.float32)
    at = scene.class_map, scene.mode_map
    return OracleColours(by_mode[at] + light, by_class[at] + light)


def palette_strip(scene: Scene, *, height: int = 16, width: int = 128) -> np.ndarray:
    """Vertical stripes in the mode colours of the scene's objects, nearest first, each at the object's mean L.

    Args:
        scene: The scene.
        height: Of the strip in pixels.
        width: Of the strip in pixels, shared out evenly.

    Returns:
        The strip, uint8. Shape (height, width, 3).

    Raises:
        ValueError: If `height` is below 1 or `width` below the number of objects.
    """
    count = len(scene.objects)
    if height < 1 or width < count:
        raise ValueError(f"a strip of {count} colours is at least 1 high and {count} wide, got {height} x {width}")
    modes = [KINDS[o.class_index].modes[o.mode_index] for o in scene.objects]
    ab = np.array([(m.a, m.b) for m in modes], np.float32) + np.array(scene.light, np.float32)
    L = np.array([o.mean_L for o in scene.objects], np.float32)
    stripes = _to_rgb(L[None], ab[None])[0]
    return np.tile(stripes[np.arange(width) * count // width], (height, 1, 1))


def limit_to_gamut(L: np.ndarray, ab: np.ndarray) -> np.ndarray:
    """Reduce chroma where `ab` (..., 2) is out of the sRGB gamut at `L` (...); L and hue stay."""
    a, b = ab[..., 0], ab[..., 1]
    chroma = np.sqrt(a * a + b * b)
    table = _largest_chroma()
    hue = (np.arctan2(b, a) / (2 * np.pi) % 1.0) * (table.shape[1] - 1)
    row, column = np.clip(L, 0, len(table) - 1.001), np.clip(hue, 0, table.shape[1] - 1.001)
    i, j = row.astype(np.int32), column.astype(np.int32)
    fi, fj = row - i, column - j
    darker = table[i, j] * (1 - fj) + table[i, j + 1] * fj
    limit = darker * (1 - fi) + (table[i + 1, j] * (1 - fj) + table[i + 1, j + 1] * fj) * fi
    return ab * np.minimum(1, limit / np.maximum(chroma, 1e-3))[..., None]


@lru_cache(maxsize=1)
def _largest_chroma() -> np.ndarray:
    """Largest chroma that survives the way to sRGB and back, by L (rows, 1 unit) and hue (columns, 3 degrees)."""
    degrees = torch.arange(0, 361, 3, dtype=torch.float64)
    L, hue = torch.meshgrid(torch.arange(101, dtype=torch.float64), degrees.deg2rad(), indexing="ij")
    low, high = torch.zeros_like(L), torch.full_like(L, 150)
    for _ in range(14):
        chroma = (low + high) / 2
        lab = torch.stack([L, chroma * hue.cos(), chroma * hue.sin()])[None]
        with one_thread():
            fits = (color.rgb_to_lab(color.lab_to_rgb(lab)) - lab).abs().amax(1)[0] < 0.02
        low, high = torch.where(fits, chroma, low), torch.where(fits, high, chroma)
    return (_GAMUT_MARGIN * low).float().numpy()


def _to_rgb(L: Field, ab: Field) -> np.ndarray:
    """(H, W) and (H, W, 2) to uint8 (H, W, 3), limited to the gamut."""
    ab = limit_to_gamut(L, ab)
    lab = torch.from_numpy(np.stack([L, ab[..., 0], ab[..., 1]]).astype(np.float32))[None]
    with one_thread():
        return color.to_8bit(color.lab_to_rgb(lab))[0].movedim(0, -1).contiguous().numpy()


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch on the calling thread: small work gains little from others, and waits for them on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Placement(NamedTuple):
    """Where an object stands, in units of the picture's side, and how bright it is."""

    kind: int
    depth: float
    x: float
    y: float
    radius: float
    half_width: float
    tilt: float
    flip: float
    mean_L: float

    def overlap(self, other: "_Placement") -> float:
        """Share of the smaller of two bounding boxes that lies in the other."""
        across = _shared(self.x, self.half_width, other.x, other.half_width)
        down = _shared(self.y, self.radius, other.y, other.radius)
        return across * down / (4 * min(self.half_width * self.radius, other.half_width * other.radius))


def _shared(centre: float, reach: float, other_centre: float, other_reach: float) -> float:
    """Length that two intervals have in common."""
    apart = abs(centre - other_centre)
    return max(min(2 * reach, 2 * other_reach, reach + other_reach - apart), 0.0)


class _Layout(NamedTuple):
    """Everything about a scene that is neither texture nor colour; lengths in units of the picture's side.

    Attributes:
        placements: The objects, nearest first.
        horizon, shore: How far down they are; equal without water.
        sun: Unit vector towards the sun: right, down, towards the viewer.
        light: Shift in a and b.
        focus: Depth that is sharp.
        aperture: Blur per unit of depth out of focus.
        noise: Standard deviation of sensor noise in L units.
    """

    placements: tuple[_Placement, ...]
    horizon: float
    shore: float
    sun: tuple[float, float, float]
    light: tuple[float, float]
    focus: float
    aperture: float
    noise: float


def _lay_out(rng: np.random.Generator) -> _Layout:
    horizon = rng.uniform(0.3, 0.52)
    shore = horizon + (rng.uniform(0.07, 0.2) if rng.random() < 0.45 else 0.0)
    side = rng.uniform(0.25, 0.75) * (1 if rng.random() < 0.5 else -1)
    towards = rng.uniform(0.5, 0.8)
    distance = math.hypot(side, 0.6, towards)
    warmth = float(np.clip(rng.normal(0, 2.5), -5, 5))
    return _Layout(
        placements=_place_objects(rng, shore),
        horizon=horizon,
        shore=shore,
        sun=(side / distance, -0.6 / distance, towards / distance),
        light=(0.35 * warmth, warmth),
        focus=rng.uniform(0.2, 1.0),
        aperture=float(rng.choice([0.0, 0.003, 0.009])),
        noise=rng.uniform(0.3, 0.8),
    )


def _place_objects(rng: np.random.Generator, shore: float) -> tuple[_Placement, ...]:
    """Three to nine objects, nearest first, none mostly hidden: crowded ones try elsewhere, a little smaller."""
    placements: list[_Placement] = []
    zoom = rng.uniform(0.8, 1.3)
    for number in range(int(rng.integers(OBJECT_COUNT[0], OBJECT_COUNT[1] + 1))):
        kind = int(rng.integers(len(CLASSES)))
        tried = []
        for attempt in range(14):
            option = _place(rng, kind, shore, zoom * 0.96**attempt)
            tried.append((max((option.overlap(p) for p in placements), default=0.0), attempt, option))
            if tried[-1][0] < 0.3:
                break
        hidden, _, option = min(tried)
        if number < OBJECT_COUNT[0] or hidden < 0.6:
            placements.append(option)
    return tuple(sorted(placements, key=lambda p: -p.depth))


def _place(rng: np.random.Generator, kind: int, shore: float, zoom: float) -> _Placement:
    thing = CLASSES[kind]
    depth = rng.random()
    radius = float(np.clip(thing.scale * zoom * (0.08 + 0.15 * depth), 0.07, min(0.36, 0.42 / thing.width)))
    half_width = radius * thing.width * rng.uniform(0.9, 1.12)
    x = rng.uniform(0.7 * half_width, 1 - 0.7 * half_width)
    if thing.airborne:
        y = rng.uniform(radius + 0.02, max(shore, radius + 0.12))
    else:
        y = shore + (1 - shore) * (0.09 + 0.89 * depth) - radius
    tilt, flip = rng.normal(0, 0.14 if thing.airborne else 0.03), 1.0 if rng.random() < 0.5 else -1.0
    return _Placement(kind, depth, x, y, radius, half_width, tilt, flip, rng.uniform(*_MEAN_L))


def _paint_object(placed: _Placement, layout: _Layout, rng: np.random.Generator, size: int) -> Layer:
    """Paint one object at twice the resolution, average, and put it out of focus."""
    sigma = layout.aperture * abs(placed.depth - layout.focus) * size
    sway = abs(float(np.sin(placed.tilt)))
    rows = _pixels(placed.y, 1.06 * placed.radius + placed.half_width * sway, sigma, size)
    columns = _pixels(placed.x, 1.06 * placed.half_width + 2 * placed.radius * sway, sigma, size)
    x, y = (((np.arange(2 * s.start, 2 * s.stop, dtype=np.float32) + 0.5) / (2 * size)) for s in (columns, rows))
    x, y = np.meshgrid((x - placed.x) / placed.radius, (y - placed.y) / placed.radius - 1)
    cos, sin = float(np.cos(placed.tilt)), float(np.sin(placed.tilt))
    light = (layout.sun[0] * placed.flip, *layout.sun[1:])
    stretch = placed.flip * CLASSES[placed.kind].width * placed.radius / placed.half_width
    u, v = (cos * x + sin * y) * stretch, cos * y - sin * x + 1
    canvas = Canvas(u, v, pitch=1 / (2 * size * placed.radius), light=light, rng=rng)
    paint = CLASSES[placed.kind].paint
    assert paint is not None, "only backgrounds have no painter"
    paint(canvas)
    planes = [_halve(plane) for plane in (canvas.alpha, canvas.L, canvas.trim)]
    if sigma > 0.3:
        planes = [ndimage.gaussian_filter(plane, sigma, mode="nearest", truncate=3) for plane in planes]
    alpha, L, trim = planes
    solid = np.maximum(alpha, 1e-4)
    return Layer(placed.kind, rows, columns, alpha, L / solid, trim / solid)


def _pixels(centre: float, reach: float, sigma: float, size: int) -> slice:
    margin = 1 + 3 * sigma
    return slice(max(int((centre - reach) * size - margin), 0), min(int((centre + reach) * size + margin) + 1, size))


def _halve(plane: Field) -> Field:
    return 0.25 * (plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2])


def _level(layer: Layer, mean_L: float, picture: "_Picture") -> Layer:
    """Shift L so that the mean of what will be visible, shadows included, is about `mean_L`, whatever the class."""
    at = layer.rows, layer.columns
    visible = layer.alpha * picture.clear[at]
    total = max(float(visible.sum()), 1e-6)
    L = layer.L
    for shade in (picture.sunlit[at], 1.0):
        L = np.clip((L + (mean_L - float((L * visible).sum()) / total)) * shade, *_L_RANGE)
    return layer._replace(L=L)


def _cast_shadow(sunlit: Field, layer: Layer, placed: _Placement, layout: _Layout) -> None:
    """Darken what lies behind: the object's outline laid on the ground away from the sun, and where it stands."""
    if CLASSES[placed.kind].airborne:
        return
    size = len(sunlit)
    rise, lean = 0.22, -1.1 * layout.sun[0]
    foot, reach = placed.y + placed.radius, 2 * placed.radius
    sigma = (0.006 + 0.03 * placed.radius) * size
    rows = _pixels(foot - rise * reach / 2, rise * reach / 2 + 0.02, sigma, size)
    columns = _pixels(placed.x + lean * reach / 2, placed.half_width + abs(lean) * reach / 2, sigma, size)
    y, x = ((np.arange(s.start, s.stop) + 0.5) / size for s in (rows, columns))
    height = (foot - y) / rise
    row = np.round((foot - height) * size - 0.5).astype(np.int32)[:, None] - layer.rows.start
    column = np.round((x - lean * height[:, None]) * size - 0.5).astype(np.int32) - layer.columns.start
    tall, wide = layer.alpha.shape
    inside = (height[:, None] >= 0) & (row >= 0) & (row < tall) & (column >= 0) & (column < wide)
    outline = layer.alpha[row.clip(0, tall - 1), column.clip(0, wide - 1)] * inside
    soft = ndimage.gaussian_filter(outline, sigma, mode="constant", truncate=3)
    contact = np.exp(-(((y - foot) / 0.018) ** 2)[:, None] - ((x - placed.x) / (0.75 * placed.half_width))[None] ** 4)
    sunlit[rows, columns] *= (1 - 0.5 * soft) * (1 - 0.3 * contact.astype(np.float32))


class _Paint(NamedTuple):
    """The colours of one surface, light included: the mode drawn, its ab (2,) and that of the trim."""

    mode: int
    ab: Field
    trim_ab: Field


def _draw_paints(rng: np.random.Generator, layout: _Layout) -> tuple[dict[int, _Paint], list[_Paint]]:
    """Draw the modes of all backgrounds, by kind, and of the objects, nearest first; water repeats the sky's draw."""
    of_sky = rng.random()
    backgrounds = {}
    for kind in range(len(CLASSES), len(KINDS)):
        chance = rng.random()
        backgrounds[kind] = _mix(rng, kind, of_sky if kind in (SKY, WATER) else chance, layout.light)
    return backgrounds, [_mix(rng, placed.kind, rng.random(), layout.light) for placed in layout.placements]


def _mix(rng: np.random.Generator, kind: int, chance: float, light: tuple[float, float]) -> _Paint:
    modes = KINDS[kind].modes
    index = int(np.searchsorted(np.cumsum([m.probability for m in modes])[:-1], chance, side="right"))
    ab = np.array([modes[index].a, modes[index].b]) + rng.normal(0, _MODE_SPREAD, 2) + light
    return _Paint(index, ab.astype(np.float32), np.array(KINDS[kind].trim, np.float32) + np.array(light, np.float32))


class _Picture:
    """A picture composed from near to far.

    Attributes:
        L, ab: What has been added, weighted by its visible share. Shapes (H, W), (2, H, W).
        clear: Share of each pixel that is still uncovered.
        sunlit: Share of light that reaches what is added next.
        class_map, instance_map, mode_map: Codes of the surface with the largest share of each pixel.
    """

    def __init__(self, size: int) -> None:
        self.L, self.largest = np.zeros((size, size), np.float32), np.zeros((size, size), np.float32)
        self.ab = np.zeros((2, size, size), np.float32)
        self.clear, self.sunlit = np.ones((size, size), np.float32), np.ones((size, size), np.float32)
        self.class_map, self.instance_map, self.mode_map = (np.zeros((size, size), np.uint8) for _ in range(3))

    def add(self, layer: Layer, paint: _Paint, *, instance: int) -> tuple[tuple[slice, slice], Field]:
        """Put `layer` behind everything so far; return which pixels it touches and its share of each.

        Chroma follows the shading slightly.
        """
        at = layer.rows, layer.columns
        share = layer.alpha * self.clear[at]
        self.L[at] += share * layer.L
        of_trim = share * layer.trim
        of_mode = (share - of_trim) * np.clip(0.76 + 0.0044 * layer.L, 0.85, 1.12)
        for channel in range(2):
            self.ab[channel][at] += of_mode * paint.ab[channel] + of_trim * paint.trim_ab[channel]
        wins = share > self.largest[at]
        self.largest[at][wins] = share[wins]
        self.class_map[at][wins] = layer.kind + 1
        self.instance_map[at][wins] = instance
        self.mode_map[at][wins] = np.where(layer.trim[wins] > 0.5, 0, paint.mode + 1)
        self.clear[at] *= 1 - layer.alpha
        return at, share

    def settle(self, instance: int, share: tuple[tuple[slice, slice], Field], mean_L: float) -> int:
        """Bring the mean L of an object's own pixels, edges with others included, to `mean_L`; return their number."""
        at, weight = share
        own = self.instance_map[at] == instance
        count = int(own.sum())
        if count:
            self.L[at] += weight * (mean_L - float(self.L[at][own].mean())) / float(weight[own].mean())
        return count

    def develop(self, rng: np.random.Generator, noise: float) -> np.ndarray:
        """Add sensor noise of `noise` L units and make bytes."""
        grain = rng.standard_normal((3, *self.L.shape), np.float32) * noise
        L = np.clip(self.L + grain[0], *_L_RANGE)
        return _to_rgb(L, np.stack([self.ab[0] + 0.6 * grain[1], self.ab[1] + 0.6 * grain[2]], axis=-1))


def _check(seed: int, index: int, split: str, size: int, redraw: int) -> None:
    for name, value in (("seed", seed), ("index", index), ("redraw", redraw)):
        if value < 0:
            raise ValueError(f"{name} must be 0 or more, got {value}")
    if split not in SPLIT_CODES:
        raise ValueError(f"split must be one of {', '.join(SPLIT_CODES)}, got {split!r}")
    if not SIZES[0] <= size <= SIZES[1]:
        raise ValueError(f"size must be from {SIZES[0]} to {SIZES[1]} pixels, got {size}")
