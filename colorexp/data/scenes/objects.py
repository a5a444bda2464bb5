"""What scenes are made of, 16 kinds of objects and 5 of background: colour modes, outlines and luminance textures.

Every class paints itself on a `Canvas` in its own coordinates: u to the right, v downwards, the object between v = -1
and v = 1 and |u| <= `ObjectClass.width`, standing on v = 1. It paints luminance only. What it paints as `trim` (a
trunk, a pole, a window) always has the class's trim colour; everything else takes the mode drawn for the object.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from colorexp.data.scenes.canvas import Canvas, box, convex, ellipse, line, step


@dataclass(frozen=True)
class Mode:
    """One colour a class can have: centre in ab units and how often it is drawn."""

    name: str
    a: float
    b: float
    probability: float


@dataclass(frozen=True)
class ObjectClass:
    """One kind of object, or of background, and the colours it can have.

    Attributes:
        modes: Colours an instance is drawn from; for objects at least 40 ab units apart; probabilities sum to 1.
        trim: Colour (a, b) of the parts that never change.
        scale: Half the height relative to that of an object of scale 1 at the same distance.
        width: Half the width in units of half the height.
        airborne: Whether it hangs in the air and casts no shadow.
        paint: Paints one instance; None for backgrounds.
    """

    name: str
    modes: tuple[Mode, ...]
    trim: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    width: float = 1.0
    airborne: bool = False
    paint: Callable[[Canvas], None] | None = None


def _grass(c: Canvas) -> None:
    height = (1 - c.v) / 2
    for layer, blades in enumerate((7, 6, 5)):
        bend = c.rng.uniform(-0.25, 0.25)
        across = (c.u / (0.55 + 0.45 * height) - bend * height**2 + c.rng.random() * 0.3) * blades / 1.7
        blade = np.floor(across)
        top = (0.98 - 0.13 * layer) * (0.8 + 0.2 * c.cells(blade)) * (1 - 0.28 * (c.u * c.u))
        middle = across - blade - 0.5 - 0.16 * c.cells(blade) * height
        width = np.where(height < top, 0.44 * np.sqrt(np.clip(1 - height / top, 0, 1)), -1.0)
        inside = np.maximum(np.abs(middle) - width, 3 * (c.v - 0.98 + 0.3 * c.u**2))
        gleam = 30 * middle * c.light[0] + 7 * (np.abs(middle) < 0.08)
        c.paint(inside * 1.4 / blades, 9 * layer + 8 * c.cells(blade) + 16 * height + gleam, rim=5)


def _orange(c: Canvas) -> None:
    body = ellipse(c, 0, 0.08, 0.95, 0.92)
    bulge = 0.35 + np.sqrt(np.maximum(1 - c.u**2 - (c.v - 0.08) ** 2, 0))
    pores = c.noise(15 * c.u / bulge, 15 * (c.v - 0.08) / bulge)
    c.paint(body, 26 * c.ball(0, 0.08) - 13 * np.abs(pores), rim=6)
    c.shade(26 * c.glow(0.45 * c.light[0], -0.3, 0.24, 0.2))
    navel = c.rng.uniform(-0.15, 0.15)
    c.shade(-20 * c.glow(navel, -0.62, 0.12, 0.07))
    c.paint(ellipse(c, navel + 0.28, -0.82, 0.32, 0.13, turn=-0.35), 8 + 8 * np.cos(40 * c.u), trim=True)


def _tyre(c: Canvas) -> None:
    radius = np.sqrt(c.u**2 + c.v**2)
    angle = np.arctan2(c.v, c.u) + c.rng.random()
    blocks, spoke_pairs = int(c.rng.integers(18, 25)), int(c.rng.integers(4, 7)) / 2
    tread = np.sin(blocks * angle + 14 * radius)
    outer = radius - 0.94 - 0.03 * np.clip(4 * tread, -1, 1)
    rubber = 14 * np.sin(44 * radius) * (radius < 0.76) + 17 * np.clip(3 * tread, -1, 1) * step(radius - 0.77, 0.05)
    c.paint(np.maximum(outer, 0.5 - radius), rubber + 12 * c.ball())
    rim = np.maximum(radius - 0.53, 0.4 - radius)
    spokes = np.maximum(np.abs(np.sin(spoke_pairs * angle)) * radius - 0.07, radius - 0.47)
    c.paint(radius - 0.5, -26.0, trim=True)
    c.paint(np.minimum(np.minimum(rim, spokes), radius - 0.15), 22 + 14 * c.ball(0, 0, 0.5, 0.5), trim=True)


def _sunflower(c: Canvas) -> None:
    lean = c.rng.uniform(-0.15, 0.15)
    c.paint(line(c, 0, -0.3, lean, 0.98, 0.055), -2 + 40 * c.u * c.light[0], trim=True)
    for side, low in ((-1, 0.62), (1, 0.42)):
        leaf = ellipse(c, side * 0.32 + lean / 2, low, 0.33, 0.13, turn=-0.5 * side)
        c.paint(leaf, 4 + 7 * np.sin(38 * (c.u * side + c.v)), trim=True)
    v, petals = c.v + 0.36, int(c.rng.integers(11, 16))
    radius, angle = np.sqrt(c.u**2 + v * v), np.arctan2(v, c.u)
    for layer in range(2):
        petal = np.abs(np.cos(petals / 2 * angle + layer * 1.57 + lean))
        edge = (0.62 - 0.03 * layer) * (0.66 + 0.34 * np.sqrt(petal))
        streaks = 8 * np.cos(6 * petals * angle) * (radius - 0.2)
        c.paint((radius - edge) * 0.8, 10 + 8 * layer + 9 * petal - streaks, rim=14)
    seeds = np.sin(13 * angle + 46 * np.sqrt(radius)) * np.sin(-8 * angle + 46 * np.sqrt(radius))
    c.paint(radius - 0.27, -34 + 16 * seeds + 12 * c.ball(0, -0.36, 0.4, 0.4))


def _basket(c: Canvas) -> None:
    handle = np.abs(ellipse(c, 0, 0.05, 0.68, 0.97)) - 0.06
    c.paint(np.maximum(handle, c.v), 6 + 14 * np.sin(26 * (c.u + c.v)))
    strands = c.rng.uniform(4.6, 6.4)
    across, down = strands * c.u / (0.85 - 0.12 * c.v) + 0.5, 0.95 * strands * c.v + c.rng.random()
    over = (np.floor(across) + np.floor(down)) % 2
    strand = np.where(over, np.sin(np.pi * (down % 1)), np.sin(np.pi * (across % 1)))
    weave = 28 * strand + 8 * over + 5 * c.cells(np.floor(across), np.floor(down))
    body = convex(c, (-0.95, -0.02), (0.95, -0.02), (0.74, 0.98), (-0.74, 0.98))
    c.paint(body, weave + 18 * c.u * c.light[0])
    c.paint(box(c, 0, 0.0, 0.99, 0.1, 0.09), 20 + 10 * np.sin(24 * c.u + 8 * c.v), rim=14)


def _apple(c: Canvas) -> None:
    left, right = ellipse(c, -0.3, 0.14, 0.64, 0.82), ellipse(c, 0.3, 0.14, 0.64, 0.82)
    blend = np.clip(0.5 + (right - left) / 0.3, 0, 1)
    body = right * (1 - blend) + left * blend - 0.075 * blend * (1 - blend)
    streaks = c.noise(16 * c.u / (1.1 - 0.5 * (c.v - 0.1) ** 2) + 9, 1.2 * c.v + 5)
    c.paint(body, 30 * c.ball(0, 0.14, 1.02, 0.95) + 3 * streaks, rim=8)
    c.shade(-26 * c.glow(0, -0.58, 0.34, 0.13))
    side = 1 if c.light[0] > 0 else -1
    c.shade(30 * step(-ellipse(c, 0.44 * side, -0.16, 0.14, 0.26, turn=0.45 * side), 0.06))
    c.paint(line(c, 0, -0.54, 0.1 * side, -0.95, 0.05), -16.0, trim=True)
    c.paint(ellipse(c, -0.26 * side, -0.8, 0.27, 0.12, turn=0.4 * side), 8 + 9 * np.cos(40 * c.v), trim=True)


def _tree(c: Canvas) -> None:
    trunk = np.abs(c.u - 0.03 * np.sin(5 * c.v)) - 0.09 - 0.09 * np.clip(c.v - 0.55, 0, 1) ** 2 / 0.2
    bark = 10 * c.noise(22 * c.u, 4 * c.v + 9)
    c.paint(np.maximum(trunk, np.maximum(c.v - 0.99, -c.v - 0.1)), -10 + bark + 60 * c.u * c.light[0], trim=True)
    leaves = c.noise(15 * c.u, 15 * c.v) + 0.8 * c.noise(27 * c.u + 3, 27 * c.v)
    ragged = 0.055 * c.noise(9 * c.u + 5, 9 * c.v)
    clumps = ((-0.38, -0.05), (0.38, -0.02), (0.0, 0.02), (-0.28, -0.42), (0.3, -0.4), (0, -0.58))
    radius = 0.375
    for u, v in clumps:
        u, v = u + c.rng.uniform(-0.08, 0.08), v + c.rng.uniform(-0.04, 0.04)
        lit = 20 * c.ball(u, v, radius * 1.1, radius * 1.1) + 13 * leaves - 7 * v
        c.paint(ellipse(c, u, v, radius, radius) + ragged, lit, rim=8)


def _butterfly(c: Canvas) -> None:
    half = np.abs(c.u)
    mirrored = Canvas(half, c.v, pitch=c.pitch, light=c.light, rng=c.rng)
    slant = c.rng.uniform(-0.1, 0.1)
    wings = (
        (ellipse(mirrored, 0.42, 0.42, 0.36, 0.5, turn=-0.6 + slant), (0.44, 0.5)),
        (ellipse(mirrored, 0.52, -0.36, 0.62, 0.38, turn=-0.75 + slant), (0.68, -0.52)),
    )
    veins = np.abs(np.sin(7 * np.arctan2(c.v - 0.05, half + 0.12)))
    for wing, (spot_u, spot_v) in wings:
        border = step(wing + 0.1, 0.04)
        L = 16 - 20 * (veins < 0.25) - 34 * border + 8 * np.cos(9 * half)
        c.paint(wing, L, rim=4)
        c.shade(36 * step(-ellipse(mirrored, spot_u, spot_v, 0.1, 0.1), 0.05) * (wing < 0))
        dots = np.sin(20 * np.arctan2(c.v - 0.05, half)) - 0.25
        c.shade(40 * step(dots, 0.6) * border * (wing < -0.035))
    c.paint(ellipse(c, 0, 0.08, 0.09, 0.55), -28 + 12 * np.sin(30 * c.v), trim=True)
    c.paint(line(mirrored, 0.02, -0.42, 0.26, -0.92, 0.03), -30.0, trim=True)


def _mushroom(c: Canvas) -> None:
    stem = np.abs(c.u) - 0.24 - 0.1 * np.clip(c.v - 0.3, 0, 1) ** 2
    fibres = 7 * c.noise(20 * c.u, 2 * c.v)
    c.paint(np.maximum(stem, np.abs(c.v - 0.4) - 0.58), 14 + fibres + 44 * c.u * c.light[0], trim=True)
    ring = ellipse(c, 0, 0.34, 0.36, 0.1)
    c.paint(ring, 20 + 8 * np.sin(50 * c.u), trim=True)
    gills = ellipse(c, 0, 0.02, 0.9, 0.17)
    c.paint(gills, -14 + 10 * np.sin(44 * c.u / (0.5 + np.abs(c.v))), trim=True)
    cap = np.maximum(ellipse(c, 0, 0.02, 0.98, 0.98), c.v - 0.04 + 0.1 * c.u**2 - 0.06)
    c.paint(cap, 30 * c.ball(0, 0.1, 1.1, 1.1) - 6, rim=10)
    c.shade(14 * c.glow(0.4 * c.light[0], -0.6, 0.2, 0.16) * (c.v < 0.1))
    spots = ((-0.02, -0.62), (-0.5, -0.36), (0.47, -0.42), (0.02, -0.2), (-0.74, -0.04), (0.7, -0.08))
    shift = c.rng.uniform(-0.07, 0.07)
    for u, v in spots:
        radius = 0.17 + 0.07 * v * abs(u)
        spot = ellipse(c, u + shift, v, radius * (1.05 - 0.35 * abs(u)), radius)
        c.paint(np.maximum(spot, cap + 0.03), 28 + 10 * c.ball(u, v, 0.3, 0.3), trim=True, rim=5)


def _car(c: Canvas) -> None:
    cabin = convex(c, (-1.12, -0.08), (-0.72, -0.92), (0.42, -0.92), (1.0, -0.08))
    hood = box(c, 0, 0.22, 1.76, 0.4, 0.22)
    c.paint(np.minimum(cabin, hood), 8 - 20 * step(c.v - 0.28, 0.3) + 15 * c.glow(0, -0.05, 9, 0.1), rim=10)
    c.shade(13 * step(-0.82 - c.v, 0.06))
    glare = 26 * (np.abs((c.u + 0.5 * c.v + 0.35) % 0.9 - 0.3) < 0.13)
    for corners in (
        ((-0.92, -0.16), (-0.64, -0.78), (-0.18, -0.78), (-0.18, -0.16)),
        ((-0.06, -0.16), (-0.06, -0.78), (0.36, -0.78), (0.78, -0.16)),
    ):
        c.paint(convex(c, *corners), -16 + glare, trim=True, rim=14)
    c.shade(-22 * ((np.abs(c.u + 0.12) < 0.025) + (np.abs(c.u - 0.86) < 0.025)) * (c.v > -0.1) * (c.v < 0.5))
    c.paint(box(c, 0.05, 0.08, 0.1, 0.03, 0.02), 26.0, trim=True)
    c.paint(ellipse(c, 1.62, 0.14, 0.13, 0.12), 36.0, trim=True)
    c.paint(box(c, -1.68, 0.14, 0.07, 0.12, 0.03), -6.0, trim=True)
    c.paint(box(c, 0, 0.52, 1.8, 0.07, 0.06), 4.0, trim=True)
    for u in (-1.02, 1.02):
        radius = ellipse(c, u, 0.58, 0.41, 0.41)
        c.paint(radius, -32.0, trim=True)
        spokes = 14 * np.cos(6 * np.arctan2(c.v - 0.58, c.u - u))
        c.paint(radius + 0.18, 14 + spokes, trim=True)


def _shirt(c: Canvas) -> None:
    sag = -0.8 + 0.1 * (c.u**2 - 1)
    for side in (-1, 1):
        post = line(c, 1.16 * side, -0.95, 1.16 * side, 0.98, 0.055)
        c.paint(post, -6 + 5 * c.noise(24 * c.u, 4 * c.v), trim=True)
    c.paint(np.maximum(np.abs(c.v - sag + 0.1) - 0.025, np.abs(c.u) - 1.16), -12.0, trim=True)
    body = convex(c, (-0.52, -0.84), (0.52, -0.84), (0.6, 0.72), (-0.6, 0.72))
    half = np.abs(c.u)
    above, below = -c.v - 0.84 + 0.42 * (half - 0.4), (c.v + 0.12 + 0.55 * (half - 1)) * 0.8
    sleeve = np.maximum.reduce([half - 1.02, above, below, 0.3 - half])
    neck = 0.24 - np.sqrt(c.u**2 + (c.v + 0.9) ** 2)
    cloth = np.maximum(np.minimum(body, sleeve), neck)
    folds = c.noise(5 * c.u + 2 * c.v, 1.3 * c.v + 4)
    knit = np.sin(44 * c.v) * np.sin(40 * c.u)
    stripes = 13 * np.clip(3 * np.sin(c.rng.uniform(10, 17) * c.v + 1.5 * np.maximum(half - 0.55, 0)), -1, 1)
    c.paint(cloth, stripes + 11 * folds + 5 * knit + 10 * c.u * c.light[0], rim=8)
    c.shade(-20 * (np.abs(half - 0.54 + 0.04 * c.v) < 0.03) * (c.v < -0.1) * (cloth < 0))
    c.paint(np.maximum(np.abs(neck + 0.045) - 0.045, c.v + 0.4 + 9 * (c.v < -0.92)), -18.0, rim=0)
    for side in (-1, 1):
        c.paint(box(c, 0.45 * side, -0.86, 0.04, 0.12, 0.02), -16.0, trim=True)


def _umbrella(c: Canvas) -> None:
    c.paint(line(c, 0, -0.9, 0, 0.8, 0.035), -10.0, trim=True)
    hook = np.maximum(np.abs(ellipse(c, 0.15, 0.8, 0.15, 0.15)) - 0.045, 0.8 - c.v)
    c.paint(hook, -14.0, trim=True)
    rise = np.clip((c.v + 0.02) / 0.9, -1, 1)
    panel = 2.5 * np.arcsin(np.clip(c.u / np.maximum(np.sqrt(1 - rise * rise), 0.05), -1, 1)) * (2 / np.pi)
    inside = (panel + 0.5) % 1
    hem = c.v - 0.03 + 0.22 * np.sin(np.pi * inside) * np.sqrt(np.clip(1 - (c.u / 1.05) ** 2, 0, 1))
    dome = np.maximum(ellipse(c, 0, -0.02, 0.98, 0.92), hem)
    alternate = 13 * (np.floor(panel + 0.5) % 2) - 5
    ribs = -20 * step(0.06 - np.minimum(inside, 1 - inside), 0.05)
    c.paint(dome, alternate + ribs + 20 * c.ball(0, 0, 1.05, 1.0) + 12 * np.sin(np.pi * inside), rim=8)
    c.paint(line(c, 0, -0.98, 0, -0.88, 0.04), -10.0, trim=True)


def _balloon(c: Canvas) -> None:
    for side in (-1, 1):
        c.paint(line(c, 0.16 * side, 0.42, 0.12 * side, 0.78, 0.018), -20.0, trim=True)
    taper = np.clip((c.v + 0.15) / 0.72, 0, 1)
    half_width = np.where(c.v < -0.28, np.sqrt(np.maximum(0.5041 - (c.v + 0.28) ** 2, 1e-4)), 0.71 - 0.53 * taper**1.7)
    envelope = np.maximum((np.abs(c.u) - half_width) * 0.8, np.maximum(c.v - 0.52, -c.v - 0.99))
    gore = np.arcsin(np.clip(c.u / half_width, -1, 1)) * (int(c.rng.integers(6, 11)) / np.pi)
    seam = np.abs(np.sin(np.pi * gore))
    zigzag = np.abs((gore + 0.5) % 1 - 0.5) * 0.28
    band = (np.abs(c.v + 0.26 + zigzag) < 0.13) | (np.abs(c.v - 0.32) < 0.07)
    L = 26 * c.ball(0, -0.28, 0.75, 0.85) + 14 * seam + 18 * band
    c.paint(envelope, L, rim=8)
    c.paint(box(c, 0, 0.87, 0.16, 0.12, 0.03), -14 + 12 * np.sin(60 * c.u) * np.sin(50 * c.v), trim=True)


def _wall(c: Canvas) -> None:
    courses = c.rng.uniform(3.5, 4.8)
    row = (c.v + 1) * courses
    column = c.u * 0.51 * courses + 0.5 * (np.floor(row) % 2) + 7
    joint = np.minimum(np.minimum(row % 1, 1 - row % 1), 1.95 * np.minimum(column % 1, 1 - column % 1)) / courses
    brick = 9 * c.cells(np.floor(column), np.floor(row)) + 5 * c.noise(18 * c.u, 18 * c.v)
    bevel = 14 * ((row % 1) < 0.3)
    c.paint(box(c, 0, 0.16, 1.32, 0.83), brick + bevel - 26 * step(0.035 - joint, 0.025))
    grain = 4 * c.noise(16 * c.u, 16 * c.v)
    c.paint(box(c, 0, -0.8, 1.38, 0.16, 0.04), 12 + grain - 10 * (np.abs(c.u % 0.69) < 0.025), trim=True)


def _flag(c: Canvas) -> None:
    c.paint(line(c, -0.95, -0.88, -0.95, 0.98, 0.045), 8 + 200 * (c.u + 0.95) * c.light[0], trim=True)
    c.paint(ellipse(c, -0.95, -0.92, 0.08, 0.08), 14.0, trim=True)
    phase = c.rng.uniform(0, 6.28)
    sway = np.clip(c.u + 0.95, 0, 2)
    wave = 0.085 * sway * np.sin(5.2 * c.u + phase)
    fold = np.cos(5.2 * c.u + phase + 0.5 * c.v) * np.sqrt(sway)
    cloth = np.maximum(np.abs(c.v + 0.36 - wave) - 0.44, np.abs(c.u - 0.03) - 0.95)
    fine = 4 * np.sin(60 * (c.v - wave)) + 4 * c.noise(6 * c.u, 2 * c.v)
    c.paint(cloth, 15 * fold + fine, rim=8)
    c.paint(np.maximum(cloth, np.abs(c.u - 0.03) - 0.3), 30 + 15 * fold + fine, trim=True, rim=8)


def _house(c: Canvas) -> None:
    c.paint(box(c, 0.5, -0.6, 0.13, 0.34), 4 + 10 * np.sin(38 * c.v))
    siding = 9 * np.abs((c.v * 8) % 1 - 0.3)
    c.paint(box(c, 0, 0.46, 0.86, 0.52), 6 + siding + 10 * c.u * c.light[0], trim=True)
    row = (c.v + 1) * 8
    tiles = np.sin(np.pi * ((c.u * 6 + 0.5 * (np.floor(row) % 2)) % 1)) * 8 - 16 * ((row % 1) > 0.72)
    c.paint(convex(c, (-0.62, -0.78), (0.62, -0.78), (1.08, 0.02), (-1.08, 0.02)), tiles + 2, rim=10)
    for u in (-0.52, 0.52):
        c.paint(box(c, u, 0.42, 0.26, 0.27), 2.0)
        pane = np.maximum(np.maximum(box(c, u, 0.42, 0.19, 0.2), 0.025 - np.abs(c.u - u)), 0.025 - np.abs(c.v - 0.42))
        c.paint(pane, -24 + 34 * (c.v - c.u + u < 0.36), trim=True, rim=0)
    c.paint(box(c, 0, 0.62, 0.18, 0.36, 0.04), -8 + 8 * np.sin(42 * c.u))
    c.paint(ellipse(c, 0.1, 0.64, 0.035, 0.035), 26.0, trim=True)


_BARK, _LEAF, _OLIVE = (10.0, 18.0), (-24.0, 30.0), (-6.0, 24.0)
_STEEL, _CREAM, _STONE, _LINEN = (0.0, -3.0), (2.0, 11.0), (0.0, 4.0), (0.0, 2.0)

_APPLE = (Mode("red", 50, 31, 0.6), Mode("green", -26, 38, 0.4))
_TREE = (Mode("summer", -25, 27, 0.65), Mode("autumn", 29, 39, 0.35))
_BUTTERFLY = (Mode("orange", 32, 43, 0.5), Mode("blue", 0, -40, 0.5))
_MUSHROOM = (Mode("red", 50, 32, 0.7), Mode("ochre", 9, 29, 0.3))
_FLAG = (Mode("red", 49, 29, 0.6), Mode("blue", 3, -41, 0.4))
_HOUSE = (Mode("terracotta", 32, 26, 0.6), Mode("slate", -4, -24, 0.4))
_CAR = (Mode("red", 50, 30, 0.4), Mode("blue", 2, -40, 0.3), Mode("yellow", 2, 46, 0.15), Mode("green", -32, 16, 0.15))
_SHIRT = (Mode("blue", 2, -40, 0.4), Mode("white", 0, 3, 0.25), Mode("red", 48, 28, 0.2), Mode("green", -34, 26, 0.15))
_UMBRELLA = tuple(
    Mode(name, a, b, 0.25) for name, a, b in (("red", 50, 29), ("yellow", 2, 47), ("violet", 33, -35), ("teal", -27, -8))
)
_BALLOON = (
    Mode("red", 50, 31, 0.35),
    Mode("yellow", 3, 49, 0.3),
    Mode("blue", 2, -41, 0.2),
    Mode("green", -33, 27, 0.15),
)
_WALL = (
    Mode("brick", 35, 24, 0.5),
    Mode("ochre", -3, 37, 0.2),
    Mode("blue", 4, -30, 0.15),
    Mode("green", -34, 11, 0.15),
)

CLASSES: tuple[ObjectClass, ...] = (
    ObjectClass("grass", (Mode("green", -28, 33, 1.0),), scale=0.6, paint=_grass),
    ObjectClass("orange", (Mode("orange", 32, 46, 1.0),), trim=_LEAF, scale=0.6, paint=_orange),
    ObjectClass("tyre", (Mode("rubber", 0, -6, 1.0),), trim=_STEEL, scale=0.7, paint=_tyre),
    ObjectClass("sunflower", (Mode("yellow", 5, 50, 1.0),), trim=_LEAF, scale=1.05, width=0.7, paint=_sunflower),
    ObjectClass("basket", (Mode("wicker", 12, 30, 1.0),), scale=0.7, paint=_basket),
    ObjectClass("apple", _APPLE, trim=_OLIVE, scale=0.62, paint=_apple),
    ObjectClass("tree", _TREE, trim=_BARK, scale=1.35, width=0.8, paint=_tree),
    ObjectClass("butterfly", _BUTTERFLY, trim=_STEEL, scale=0.6, width=1.1, airborne=True, paint=_butterfly),
    ObjectClass("mushroom", _MUSHROOM, trim=_CREAM, scale=0.72, paint=_mushroom),
    ObjectClass("flag", _FLAG, trim=_LINEN, scale=1.15, width=1.05, paint=_flag),
    ObjectClass("house", _HOUSE, trim=_CREAM, scale=1.2, width=1.1, paint=_house),
    ObjectClass("car", _CAR, trim=_STEEL, scale=0.62, width=1.82, paint=_car),
    ObjectClass("shirt", _SHIRT, trim=_BARK, scale=0.95, width=1.24, paint=_shirt),
    ObjectClass("umbrella", _UMBRELLA, trim=_BARK, scale=0.9, paint=_umbrella),
    ObjectClass("balloon", _BALLOON, trim=_BARK, scale=1.15, width=0.74, airborne=True, paint=_balloon),
    ObjectClass("wall", _WALL, trim=_STONE, scale=0.66, width=1.4, paint=_wall),
)
"""The 16 object classes; the code of a class in a class map is its index here plus one."""

BACKGROUNDS: tuple[ObjectClass, ...] = (
    ObjectClass("sky", (Mode("day", -4, -20, 0.7), Mode("dusk", 14, 11, 0.3)), trim=(0.0, -2.0)),
    ObjectClass("hills", (Mode("green", -14, 14, 0.7), Mode("heather", 10, -13, 0.3))),
    ObjectClass("water", (Mode("day", -7, -18, 0.7), Mode("dusk", 14, 11, 0.3))),
    ObjectClass("meadow", (Mode("green", -17, 20, 0.75), Mode("lavender", 9, -8, 0.25))),
    ObjectClass("sand", (Mode("sand", 3, 12, 1.0),)),
)
"""The backgrounds; their codes in a class map follow those of the objects. Water takes the sky's draw.

They are paler than objects, as in photographs; centres of their modes are at least 35 ab units apart.
"""
SKY, HILLS, WATER, MEADOW, SAND = range(len(CLASSES), len(CLASSES) + len(BACKGROUNDS))
