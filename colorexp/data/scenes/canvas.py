"""What objects paint themselves on: luminance, coverage and trim over a grid, and signed distances to outlines."""

from collections.abc import Sequence

import numpy as np

Field = np.ndarray


class Canvas:
    """Luminance, coverage and trim of one object on a grid of points.

    Attributes:
        u, v: Coordinates of the points. Shape (H, W), float32.
        alpha: Coverage in 0..1.
        L, trim: Luminance relative to the object's mean, and share of the trim colour; both multiplied by `alpha`.
        light: Unit vector towards the light: right, down, towards the viewer.
        rng: Source of the object's own irregularities.
    """

    def __init__(self, u: Field, v: Field, *, pitch: float, light: Sequence[float], rng: np.random.Generator) -> None:
        self.u, self.v, self.pitch, self.light, self.rng = u, v, pitch, light, rng
        self.alpha, self.L, self.trim = (np.zeros_like(u) for _ in range(3))

    def paint(self, distance: Field, L: Field | float, *, trim: bool = False, rim: float = 9.0) -> None:
        """Cover where the signed `distance` to an outline is negative; `rim` units darker along that outline."""
        cover = np.clip(0.5 - distance / self.pitch, 0, 1)
        keep = 1 - cover
        self.alpha = self.alpha * keep + cover
        self.L = self.L * keep + cover * (L - rim * np.clip(1 + distance * 14, 0, 1))
        self.trim = self.trim * keep + cover if trim else self.trim * keep

    def shade(self, L: Field) -> None:
        """Add `L` to what has been painted so far."""
        self.L = self.L + self.alpha * L

    def ball(self, cu: float = 0.0, cv: float = 0.0, ru: float = 1.0, rv: float = 1.0) -> Field:
        """Diffuse light on an ellipsoid with that centre and those radii, about -0.7 to 1."""
        x, y = (self.u - cu) / ru, (self.v - cv) / rv
        z = np.sqrt(np.maximum(1 - x * x - y * y, 0))
        return self.light[0] * x + self.light[1] * y + self.light[2] * z

    def glow(self, cu: float, cv: float, ru: float, rv: float) -> Field:
        """A highlight, 1 at its centre and soft over the radii."""
        return np.exp(-(((self.u - cu) / ru) ** 2) - ((self.v - cv) / rv) ** 2)

    def noise(self, u: Field, v: Field) -> Field:
        """Smooth noise in -1..1 with one random value per unit of `u` and `v`, repeating after 32."""
        return lattice_noise(self.rng.uniform(-1, 1, (32, 32)).astype(np.float32), u, v)

    def cells(self, *index: Field) -> Field:
        """One random value in -1..1 for every whole number, or pair of them, repeating after 64."""
        table = self.rng.uniform(-1, 1, (64,) * len(index)).astype(np.float32)
        return table[tuple(i.astype(np.int32) & 63 for i in index)]


def lattice_noise(table: Field, x: Field, y: Field) -> Field:
    """Interpolate a periodic square `table` (a power of two wide) smoothly at columns `x` and rows `y`, broadcast."""
    (column, fx), (row, fy) = _cell(x), _cell(y)
    side, flat = len(table), table.ravel()
    left, right = column & (side - 1), (column + 1) & (side - 1)
    top, bottom = (row & (side - 1)) * side, ((row + 1) & (side - 1)) * side
    upper = flat.take(top + left) * (1 - fx) + flat.take(top + right) * fx
    return upper * (1 - fy) + (flat.take(bottom + left) * (1 - fx) + flat.take(bottom + right) * fx) * fy


def _cell(x: Field) -> tuple[Field, Field]:
    whole = np.floor(x)
    part = x - whole
    return whole.astype(np.int32), part * part * (3 - 2 * part)


def ellipse(c: Canvas, cu: float, cv: float, ru: float, rv: float, *, turn: float = 0.0) -> Field:
    """Signed distance to an ellipse turned clockwise by `turn` radians; exact for circles."""
    x, y = c.u - cu, c.v - cv
    if turn:
        cos, sin = float(np.cos(turn)), float(np.sin(turn))
        x, y = cos * x + sin * y, cos * y - sin * x
    return (np.sqrt((x / ru) ** 2 + (y / rv) ** 2) - 1) * min(ru, rv)


def box(c: Canvas, cu: float, cv: float, half_u: float, half_v: float, corner: float = 0.0) -> Field:
    """Signed distance to a box with rounded corners."""
    x, y = np.abs(c.u - cu) - (half_u - corner), np.abs(c.v - cv) - (half_v - corner)
    outside = np.sqrt(np.maximum(x, 0) ** 2 + np.maximum(y, 0) ** 2)
    return outside + np.minimum(np.maximum(x, y), 0) - corner


def line(c: Canvas, u0: float, v0: float, u1: float, v1: float, radius: float) -> Field:
    """Signed distance to a line with round ends."""
    du, dv = u1 - u0, v1 - v0
    x, y = c.u - u0, c.v - v0
    along = np.clip((x * du + y * dv) / (du * du + dv * dv), 0, 1)
    return np.sqrt((x - along * du) ** 2 + (y - along * dv) ** 2) - radius


def convex(c: Canvas, *corners: tuple[float, float]) -> Field:
    """Signed distance to a convex polygon, corners clockwise on the screen; a bound near its corners."""
    sides = []
    for (u0, v0), (u1, v1) in zip(corners, corners[1:] + corners[:1], strict=True):
        length = float(np.hypot(u1 - u0, v1 - v0))
        sides.append((c.u - u0) * ((v1 - v0) / length) - (c.v - v0) * ((u1 - u0) / length))
    return np.maximum.reduce(sides)


def step(x: Field, width: float) -> Field:
    """From 0 to 1 around x = 0 over `width`."""
    return np.clip(x / width + 0.5, 0, 1)
