"""Colour hints: how many, where, which colour; on a grid of cells or free; in memory and in files. True = hinted.

A hint is a small square of pixels, named by its top-left pixel ("row col"). Two layouts are in use:

- `free` squares anywhere, overlaps allowed, every pixel keeps its own colour (User Guided Image Colorization, section 4.1);
- `cells` of a grid, no cell twice, every cell shows its mean colour (iColoriT, AdaColViT).
"""

import re
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from colorexp import color, paths
from colorexp.amount import Amount as Amount
from colorexp.amount import folder_name as folder_name

Layout = Literal["free", "cells"]


class Hints(NamedTuple):
    """Hints given by hand or by file."""

    corners: Tensor
    """(N, 2) int64, row and column of the top-left pixel."""
    ab: Tensor | None
    """(N, 2) float32 in ab units, or None where the picture's own colours are meant."""


def sample(size: tuple[int, int], *, amount: Amount, patch: int, layout: Layout, rng: Generator) -> Tensor:
    """Draw hint positions.

    Args:
        size: Height and width of the picture.
        amount: How many.
        patch: Side of a hint in pixels.
        layout: `free` or `cells`.
        rng: Where the draws come from.

    Returns:
        Top-left pixels, int64. Shape (N, 2). With `cells`, N is at most the number of cells.

    Raises:
        ValueError: If a hint does not fit into the picture or the layout is unknown.

    Source: User Guided Image Colorization, section 4.1 (`free`); AdaColViT, section 4.1 (`cells`).
    """
    height, width = size
    if patch < 1 or patch > min(size):
        raise ValueError(f"a hint of {patch}x{patch} does not fit into a picture of {height}x{width}")
    count = amount.draw(size, patch, rng)
    if layout == "free":
        rows = torch.randint(0, height - patch + 1, (count,), generator=rng)
        cols = torch.randint(0, width - patch + 1, (count,), generator=rng)
        return torch.stack([rows, cols], 1)
    if layout == "cells":
        down, across = height // patch, width // patch
        cell = torch.randperm(down * across, generator=rng)[:count]
        return torch.stack([cell // across, cell % across], 1) * patch
    raise ValueError(f"layout must be 'free' or 'cells', got {layout!r}")


def rasterise(corners: Tensor, size: tuple[int, int], *, patch: int) -> Tensor:
    """Mark the pixels that hints cover.

    Args:
        corners: Top-left pixels. Shape (N, 2).
        size: Height and width of the picture.
        patch: Side of a hint in pixels.

    Returns:
        True = hinted. Shape (1, H, W).

    Raises:
        ValueError: If a hint leaves the picture; the first such one is named.
    """
    height, width = size
    outside = (corners < 0).any(1) | (corners[:, 0] > height - patch) | (corners[:, 1] > width - patch)
    if bool(outside.any()):
        row, col = corners[outside][0].tolist()
        raise ValueError(f"hint at row {row}, column {col} leaves the picture of {height}x{width} (hint side {patch})")
    mask = torch.zeros(height, width, dtype=torch.bool)
    rows, cols = (corners[:, axis, None] + torch.arange(patch) for axis in (0, 1))
    mask[rows[:, :, None], cols[:, None]] = True
    return mask[None]


def colours(ab: Tensor, mask: Tensor, *, patch: int, layout: Layout) -> Tensor:
    """The colours that hints show, taken from the pictures themselves.

    Args:
        ab: Chroma. Shape (B, 2, H, W).
        mask: True = hinted. Shape (B, 1, H, W).
        patch: Side of a hint in pixels.
        layout: `free` hints show each pixel's colour, `cells` their mean.

    Returns:
        Colour where hinted, zero elsewhere. Shape (B, 2, H, W).
    """
    if layout == "cells":
        # sides that are no multiples leave a strip without cells, which no hint covers
        mean = F.avg_pool2d(ab, patch).repeat_interleave(patch, 2).repeat_interleave(patch, 3)
        ab = F.pad(mean, (0, ab.shape[3] - mean.shape[3], 0, ab.shape[2] - mean.shape[2]))
    return ab * mask


def paint(given: Hints, size: tuple[int, int], *, patch: int) -> tuple[Tensor, Tensor]:
    """Turn coloured hints into a mask and a colour map.

    Args:
        given: Positions and colours.
        size: Height and width of the picture.
        patch: Side of a hint in pixels.

    Returns:
        Mask (1, H, W), True = hinted; colours (2, H, W), zero elsewhere. Of overlapping hints the last one stays on top.

    Raises:
        ValueError: If hints have no colours, one leaves the picture, or a colour cannot be shown at any lightness.
    """
    if given.ab is None:
        raise ValueError("these hints have no colours; give 'row col a b' or 'row col #rrggbb'")
    if not bool((inside := color.in_gamut(given.ab)).all()):
        a, b = given.ab[~inside][0].tolist()
        raise ValueError(f"the colour a = {a:g}, b = {b:g} is outside the sRGB gamut at every lightness")
    mask = rasterise(given.corners, size, patch=patch)
    painted = torch.zeros(2, *size)
    for (row, col), ab in zip(given.corners.tolist(), given.ab, strict=True):
        painted[:, row : row + patch, col : col + patch] = ab[:, None, None]
    return mask, painted


def write(path: Path, corners: Tensor) -> None:
    """Write one picture's hint positions, a "row col" line each (the format of iColoriT's hint folders)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row} {col}\n" for row, col in corners.tolist()))


def read(path: Path, *, size: tuple[int, int] | None = None, patch: int = 1, layout: Layout = "free") -> Hints:
    """Read a hint file: lines `row col`, `row col a b` or `row col #rrggbb`; empty lines and `# ` comments are skipped.

    Of a `#rrggbb` colour only the chroma counts. The text is UTF-8, with or without a byte-order mark. A place may stand twice, as
    it does in iColoriT's files, which are drawn with replacement.

    Args:
        path: The file.
        size: Height and width of the picture that the hints are for; None accepts any place.
        patch: Side of a hint in pixels.
        layout: Hints of `cells` begin at multiples of `patch`.

    Raises:
        ValueError: If the file is no text in UTF-8, a line is malformed or holds a number that no picture has, a hint leaves the
            picture or is no cell, or some lines have colours and others none; file and line are named.
    """
    name = paths.shown(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{name} is no text in UTF-8: expected lines 'row col', 'row col a b' or 'row col #rrggbb'") from None
    corners: list[tuple[int, int]] = []
    tints: list[tuple[float, float]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("# "):
            continue
        where = f"{name}, line {number}"
        corner, tint = _parse_line(line, where)
        _check_place(*corner, size, patch=patch, layout=layout, where=where)
        corners.append(corner)
        tints.extend(tint)
        if tints and len(tints) != len(corners):
            raise ValueError(f"{where}: either every hint has a colour or none has")
    positions = torch.tensor(corners, dtype=torch.int64).view(-1, 2)
    return Hints(positions, torch.tensor(tints) if tints else None)


def _check_place(row: int, col: int, size: tuple[int, int] | None, *, patch: int, layout: Layout, where: str) -> None:
    if layout == "cells" and (row % patch or col % patch):
        raise ValueError(
            f"{where}: hints are cells of {patch}x{patch} pixels, whose rows and columns are multiples of {patch}; got row {row}, "
            f"column {col}"
        )
    if size and (row > size[0] - patch or col > size[1] - patch):
        raise ValueError(
            f"{where}: the hint at row {row}, column {col} leaves the picture of {size[0]}x{size[1]}: "
            f"rows are 0..{size[0] - patch}, columns 0..{size[1] - patch}"
        )


_DIGITS = 9
"""Of a row or column; longer ones are no pixel of any picture, and overflow in the end."""


def _parse_line(line: str, where: str) -> tuple[tuple[int, int], list[tuple[float, float]]]:
    number = r"[+-]?[0-9]+(?:\.[0-9]+)?"
    match = re.fullmatch(rf"\s*([0-9]+)\s+([0-9]+)(?:\s+(?:({number})\s+({number})|#([0-9a-fA-F]{{6}})))?\s*", line)
    told = line.strip() if len(line) <= 80 else f"{line.strip()[:80]}..."
    if not match:
        raise ValueError(f"{where}: expected 'row col', 'row col a b' or 'row col #rrggbb', got {told!r}")
    row, col, a, b, code = match.groups()
    if max(len(row), len(col)) > _DIGITS:
        raise ValueError(f"{where}: row and column have at most {_DIGITS} digits, got {told!r}")
    if a is not None and max(abs(float(a)), abs(float(b))) > color.AB_LIMIT:
        raise ValueError(f"{where}: a and b lie in -{color.AB_LIMIT:g}..{color.AB_LIMIT:g}, got {told!r}")
    corner = (int(row), int(col))
    if code:
        rgb = color.from_8bit(torch.tensor(list(bytes.fromhex(code)), dtype=torch.uint8))
        a, b = color.rgb_to_lab(rgb.view(1, 3, 1, 1))[0, 1:, 0, 0].tolist()
    return corner, [] if a is None else [(float(a), float(b))]
