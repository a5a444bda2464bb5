"""Results -> files under reports/."""

import io
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from colorexp import paths

LIMIT = 300_000
"""Bytes of a figure."""
LEVELS = (255, 63, 31)
"""Steps per channel that are tried in turn; with 31 a value is off by 4 of 255."""


class _Savable(Protocol):
    def savefig(self, fname: io.BytesIO, *, format: str) -> None: ...  # noqa: A002  matplotlib's


def save(figure: _Savable, out: str | Path) -> _Savable:
    """Write a figure as PNG, its path relative to the project, the same bytes every time; hand it on for the notebook to show.

    Photographs make a PNG large. Above `LIMIT` bytes channels are rounded to fewer levels; where that is not enough the picture
    shrinks, too.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    paths.write_atomically(paths.resolve(out), _small(Image.open(drawn).convert("RGB")))
    return figure


def _small(picture: Image.Image) -> bytes:
    for levels in LEVELS:
        found = _png(picture, levels)
        if len(found) <= LIMIT:
            return found
    return _small(picture.resize((round(0.9 * picture.width), round(0.9 * picture.height)), Image.Resampling.LANCZOS))


def _png(picture: Image.Image, levels: int) -> bytes:
    rounded = np.round(np.round(np.asarray(picture) / 255 * levels) * 255 / levels).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(rounded).save(file, "PNG", optimize=True)
    return file.getvalue()
