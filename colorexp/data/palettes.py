"""Palettes as references: a handful of colours without any meaning, drawn here or read from the published Palette-and-Text data.

A palette has a name that says all of it, `palettes/<rrggbb>-<rrggbb>-...`, so that a list of pairs needs no file beside it.
"""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from colorexp import color, paths

PREFIX = "palettes/"
COLOURS = 5
"""Of a palette, as in the published data."""
LIGHTNESS = 60.0
"""At which most chroma can be shown."""
PUBLISHED = "hexcolor_vf"
"""Subfolder of the published data that holds `*_palettes_rgb.pkl`."""

Palette = tuple[tuple[int, int, int], ...]
"""sRGB bytes, from left to right."""


def draw(rng: Generator, *, colours: int = COLOURS) -> Palette:
    """A palette whose colours are uniform over the sRGB cube, and so in gamut.

    Args:
        rng: Draws the colours.
        colours: How many, at least 1.

    Raises:
        ValueError: If `colours` is below 1.

    Source: "Yes, Attention Is All You Need, for Exemplar based Colorization", section 4.1.

    Deviation: the paper takes palettes that people made; where their files are absent, ours are random.
    """
    if colours < 1:
        raise ValueError(f"a palette has at least one colour, got colours = {colours}")
    values = torch.randint(0, 256, (colours, 3), generator=rng)
    return tuple((r, g, b) for r, g, b in values.tolist())


def of_picture(rgb: Tensor, rng: Generator, *, colours: int = COLOURS) -> Palette:
    """The chroma of some pixels of a picture at one lightness, which so does not tell where they belong.

    Args:
        rgb: uint8, shape (3, h, w).
        rng: Draws the pixels.
        colours: How many, at least 1.
    """
    at = torch.randint(0, rgb.shape[1] * rgb.shape[2], (colours,), generator=rng)
    lab = color.rgb_to_lab(color.from_8bit(rgb.flatten(1)[:, at])[None, :, None])
    lab[:, 0] = LIGHTNESS
    values = color.to_8bit(color.lab_to_rgb(lab))[0, :, 0]
    return tuple((r, g, b) for r, g, b in values.T.tolist())


def name(palette: Palette) -> str:
    """What a list of pairs calls a palette.

    Raises:
        ValueError: If it has no colour.
    """
    if not palette:
        raise ValueError("an empty palette has no colour to give")
    return PREFIX + "-".join(f"{r:02x}{g:02x}{b:02x}" for r, g, b in palette)


def parse(text: str) -> Palette:
    """The palette that `name` named.

    Raises:
        ValueError: If the text is no such name, or names no colour.
    """
    codes = text.removeprefix(PREFIX)
    if not text.startswith(PREFIX) or not re.fullmatch(r"[0-9a-fA-F]{6}(-[0-9a-fA-F]{6})*", codes):
        what = "names an empty palette" if not codes else "names no palette"
        raise ValueError(f"{text!r} {what}; expected {PREFIX}<rrggbb>-<rrggbb>-... with at least one colour")
    return tuple((r, g, b) for r, g, b in (bytes.fromhex(code) for code in codes.split("-")))


def picture(palette: Palette, size: int) -> Tensor:
    """A palette as vertical stripes of equal width. uint8, shape (3, size, size).

    Raises:
        ValueError: If the palette has no colour, or more than `size` columns can hold.

    Unspecified: how the paper shows a palette to the network; its Figure 1 has stripes of equal width.
    """
    if not 1 <= len(palette) <= size:
        raise ValueError(f"a palette of 1 to {size} colours fits a picture of {size} pixels, got {len(palette)}")
    stripe = torch.arange(size) * len(palette) // size
    colours = torch.tensor(palette, dtype=torch.uint8)
    return colours[stripe].T[:, None].expand(3, size, size).contiguous()


def read(folder: Path) -> list[Palette]:
    """All palettes of the published data, without repetitions, in the order of its files.

    Args:
        folder: Holds `hexcolor_vf/*_palettes_rgb.pkl`, or those files themselves.

    Raises:
        FileNotFoundError: If there is no such folder, or no such file in it.
        ValueError: If a file is damaged, holds anything but palettes of colours in 0..255, or an empty palette; it is named.
    """
    inner = folder / PUBLISHED
    files = sorted((inner if inner.is_dir() else folder).glob("*_palettes_rgb.pkl"))
    if not files:
        what = "holds no" if folder.is_dir() else "is no folder with"
        raise FileNotFoundError(f"{paths.shown(folder)} {what} {PUBLISHED}/*_palettes_rgb.pkl (the Palette-and-Text data)")
    found = dict.fromkeys(palette for file in files for palette in _read_file(file))
    return list(found)


def _read_file(file: Path) -> list[Palette]:
    try:
        with file.open("rb") as content:
            raw = _Plain(content, encoding="latin1").load()
    except Exception as error:  # a damaged pickle is a damaged programme: it can fail in any way
        raise ValueError(f"{paths.shown(file)} is damaged, or holds more than plain values: {error}") from None
    if not isinstance(raw, list | tuple | np.ndarray) or len(raw) == 0:
        raise ValueError(f"{paths.shown(file)} holds no palette: expected a list of palettes of [r, g, b]")
    return [_palette(values, f"{paths.shown(file)}, palette {number}") for number, values in enumerate(raw)]


def _palette(values: Any, where: str) -> Palette:  # noqa: ANN401  whatever was pickled
    try:
        colours = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        colours = np.full(0, np.nan)
    if colours.size == 0:
        raise ValueError(f"{where} is empty or no list of colours: {values!r}")
    if colours.ndim != 2 or colours.shape[1] != 3 or not ((colours >= 0) & (colours <= 255)).all():
        raise ValueError(f"{where} is not a list of [r, g, b] in 0..255: {values!r}")
    return tuple((r, g, b) for r, g, b in colours.round().astype(int).tolist())


_ALLOWED = {
    (f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")
} | {("numpy", "ndarray"), ("numpy", "dtype")}  # fmt: skip


class _Plain(pickle.Unpickler):
    """Containers, numbers and arrays of numbers; whatever else a file names is refused, and not imported."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401  pickle's
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)
