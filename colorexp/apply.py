"""A trained run on a picture of one's own."""

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from colorexp import color, hints, paths, runs
from colorexp.config import Hinting, Run
from colorexp.data import palettes, references
from colorexp.data.datamodule import resize
from colorexp.data.images import MAX_PIXELS, BadImage, open_image
from colorexp.tasks.base import Colorizer
from colorexp.types import Batch

LONGEST = 4
"""Times the working size of a picture's shorter side that its longer side may have."""


def colorize_file(
    picture: Path, target: Path, *, run: str, hints_file: Path | None = None, reference: str | None = None
) -> list[str]:
    """Read a picture, colour it with a trained run, write a PNG of the same size.

    Args:
        picture: Any format that `open_image` takes; only its lightness is used.
        target: The PNG; one that exists is written over, whole or not at all.
        run: `<paper>/<run>`.
        hints_file: Coloured hints in pixels of the picture, see `hints.read`.
        reference: A picture of any format and size whose colours are wanted, or `palettes/<rrggbb>-<rrggbb>-...`.

    Returns:
        What the user should be warned of.

    Raises:
        BadImage: If the picture or the reference cannot be used.
        ValueError: If the target is no PNG, the picture or the reference itself or in data/bundled, the run takes no hints, takes
            no reference or needs one, or a hint is malformed, outside, or of an impossible colour.
        FileNotFoundError: If the run has not been trained.
    """
    if target.resolve() == picture.resolve():
        raise ValueError(f"{paths.shown(target)} is the picture itself; give the result another name")
    if reference and target.resolve() == Path(reference).resolve():
        raise ValueError(f"{paths.shown(target)} is the reference; give the result another name")
    if target.resolve().is_relative_to(paths.bundled().resolve()):
        bundled = paths.shown(paths.bundled())
        raise ValueError(f"{paths.shown(target)} would lie in {bundled}, which the pipeline manages; name another place (--out)")
    if target.suffix.lower() != ".png" or target.is_dir():
        raise ValueError(f"{paths.shown(target)} must be the name of a PNG file")
    cfg, task = runs.load(paths.run(run))
    rgb, _ = _opened(picture)
    if hints_file and not task.takes_hints:
        raise ValueError(f"{run} takes no hints: leave {paths.shown(hints_file)} out or choose another run")
    if reference and not task.takes_reference:
        raise ValueError(f"{run} takes no reference: leave {paths.shown(reference)} out or choose another run")
    if task.takes_reference and not reference:
        raise ValueError(f"{run} colours after a reference: give it a picture or palettes/<rrggbb>-<rrggbb>-... (--reference)")
    wanted, warnings = _open_reference(reference, cfg.referencing.reference_size) if reference else (None, [])
    given = hints.read(hints_file, size=(rgb.shape[1], rgb.shape[2])) if hints_file else None
    try:
        coloured = colorize(rgb, task, cfg, given=given, reference=wanted)
    except ValueError as error:
        raise ValueError(f"{paths.shown(hints_file)}: {error}") if hints_file else error from None
    encoded = BytesIO()
    Image.fromarray(coloured.permute(1, 2, 0).numpy()).save(encoded, "PNG")
    paths.write_atomically(target, encoded.getvalue())
    return warnings


def _opened(file: Path) -> tuple[Tensor, tuple[str, ...]]:
    """A picture, uint8 (3, H, W), and what `open_image` notes of its file."""
    try:
        opened = open_image(file, max_pixels=MAX_PIXELS)
    except BadImage as reason:
        raise BadImage(f"{paths.shown(file)}: {reason}") from None
    return torch.from_numpy(np.array(opened.rgb)).permute(2, 0, 1), opened.notes


def _shows_through(file: Path) -> bool:
    """Whether a picture with an alpha channel is opaque not everywhere."""
    with Image.open(file) as picture:
        least, _ = picture.convert("RGBA").getchannel("A").getextrema()
    return bool(least < 255)  # type: ignore[operator]  # a band of bytes


def _open_reference(reference: str, side: int) -> tuple[Tensor, list[str]]:
    """Lab of a picture's file or of a palette, squashed to a square, (1, 3, side, side); and what to warn of."""
    drawn = reference.startswith(palettes.PREFIX)
    rgb, notes = (palettes.picture(palettes.parse(reference), references.STRIPES), ()) if drawn else _opened(Path(reference))
    lab = color.rgb_to_lab(color.from_8bit(resize(rgb, (side, side))[None]))
    warnings = []
    if "alpha on white" in notes and _shows_through(Path(reference)):
        warnings.append(f"{paths.shown(reference)} has transparent pixels, which count as white")
    if bool(color.is_gray(lab[:, 1:])):
        warnings.append(f"{paths.shown(reference)} is gray and gives no colour: what there is, is the network's own")
    return lab, warnings


@torch.no_grad()
def colorize(
    rgb: Tensor, task: Colorizer, cfg: Run, *, given: hints.Hints | None = None, reference: Tensor | None = None
) -> Tensor:
    """Colour one picture at its full size: chroma is predicted at the run's working size, lightness is the picture's own.

    The working size is that of the shorter side, or, of a picture more than `LONGEST` times as long, a part of it.

    Args:
        rgb: uint8 (3, H, W); only its lightness is used.
        task: A trained task.
        cfg: Its run.
        given: Coloured hints in pixels of the picture.
        reference: Lab of the picture whose colours are wanted, physical (1, 3, h, w), for a task that takes one.

    Returns:
        uint8 (3, H, W).

    Raises:
        ValueError: If a hint has no colour, lies outside, or its colour cannot be shown.
    """
    height, width = rgb.shape[-2:]
    scale = min(cfg.data.size / min(height, width), LONGEST * cfg.data.size / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    L = color.rgb_to_lab(color.from_8bit(rgb)[None])[:, :1]
    small = F.interpolate(L, size, mode="bicubic", antialias=True).clamp(0, color.L_MAX)
    mask, ab = _scaled_hints(given, (height, width), size, cfg.hinting)
    batch: Batch = {"id": ["picture"], "draw": [0], "L": small, "ab": torch.zeros_like(ab), "hint_mask": mask, "hint_ab": ab}
    if reference is not None:
        batch |= {"reference_L": reference[:, :1], "reference_ab": reference[:, 1:], "reference_own": torch.tensor([False])}
        batch |= {"reference_id": ["reference"], "reference_kind": ["given"]}
    predicted = F.interpolate(task.predict(batch).ab, (height, width), mode="bicubic")
    return color.to_8bit(color.lab_to_rgb(torch.cat([L, predicted], 1)))[0]


def _scaled_hints(
    given: hints.Hints | None, full: tuple[int, int], size: tuple[int, int], as_trained: Hinting
) -> tuple[Tensor, Tensor]:
    if given is None or len(given.corners) == 0:
        return torch.zeros(1, 1, *size, dtype=torch.bool), torch.zeros(1, 2, *size)
    outside = ((given.corners < 0) | (given.corners >= torch.tensor(full))).any(1)
    if bool(outside.any()):
        row, col = given.corners[outside][0].tolist()
        raise ValueError(
            f"the hint at row {row}, column {col} lies outside the picture (rows 0..{full[0] - 1}, columns 0..{full[1] - 1})"
        )
    patch = as_trained.hint_patch
    ratio = torch.tensor([size[0] / full[0], size[1] / full[1]])
    limit = torch.tensor([max(0, size[0] - patch), max(0, size[1] - patch)])
    corners = torch.minimum((given.corners * ratio - (patch - 1) / 2).round().clamp(min=0).long(), limit)
    if as_trained.hint_layout == "cells":
        corners = corners // patch * patch
    mask, ab = hints.paint(hints.Hints(corners, given.ab), size, patch=patch)
    return mask[None], ab[None]
