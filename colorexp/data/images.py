"""The one door through which pictures enter: formats, sizes and colour models are checked and named here."""

import struct
import warnings
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".gif"})
NOT_OPENED = frozenset({".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd", ".dng", ".cr2", ".cr3", ".nef", ".arw"})
"""Suffixes of pictures whose formats are not allowed; they are listed as left out, other files are no pictures."""
MAX_PIXELS = 50_000_000

RESAMPLE = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
}


DAMAGE = (OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError, struct.error)
"""What Pillow's decoders raise on damaged files."""


class BadImage(ValueError):
    """A file that cannot be used as a picture; the message says why, without the path."""


class Opened(NamedTuple):
    """A picture as it came through the door."""

    rgb: Image.Image
    """8-bit RGB, upright."""
    notes: tuple[str, ...]
    """What was done to it: `cmyk`, `palette`, `16-bit`, `alpha on white`, `rotated`."""


def read_bytes(path: Path) -> bytes:
    """The file's bytes.

    Raises:
        BadImage: If it is a broken link, may not be read, or is empty.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise BadImage("broken link" if path.is_symlink() else "no such file") from None
    except PermissionError:
        raise BadImage("permission denied") from None
    except OSError as error:
        raise BadImage(f"cannot be read: {error.strerror or error}") from None
    if not content:
        raise BadImage("empty file")
    return content


def open_image(source: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> Opened:
    """Open, check, orient and convert a picture.

    Args:
        source: A path, or the file's bytes.
        max_pixels: Larger pictures are refused from their header, before anything is decoded.

    Returns:
        The picture as 8-bit RGB and what was done to it.

    Raises:
        BadImage: If it is not a picture of an allowed format, too large, truncated or damaged, or gray of more than 16 bits whose
            values are no numbers or leave the 16 bits.

    Unspecified: transparent pixels are laid on white; CMYK is converted without a colour profile; floating gray has the range 1,
        255 or 65535, whichever is the first to hold its largest value, and what is below zero is black.
    """
    content = read_bytes(source) if isinstance(source, Path) else source
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # max_pixels is the limit that counts
        try:
            picture = Image.open(BytesIO(content), formats=FORMATS)
        except UnidentifiedImageError:
            raise BadImage("not a picture, or of a format that is not allowed") from None
        except Image.DecompressionBombError:
            raise BadImage(f"more than {max_pixels} pixels") from None
        except DAMAGE as error:
            raise BadImage(f"damaged: {error}") from None
    if picture.width * picture.height > max_pixels:
        raise BadImage(f"{picture.width}x{picture.height} is more than {max_pixels} pixels")
    try:
        picture.load()
        return _to_rgb(picture)
    except BadImage:
        raise
    except DAMAGE as error:
        raise BadImage("truncated" if "truncated" in str(error) else f"damaged: {error}") from None


def _to_rgb(picture: Image.Image) -> Opened:
    notes = []
    if picture.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        notes.append("rotated")
        ImageOps.exif_transpose(picture, in_place=True)
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        notes.append("16-bit")
        picture = _from_16bit(picture)
    if picture.mode == "P":
        notes.append("palette")
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    if picture.mode == "CMYK":
        notes.append("cmyk")
    if picture.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in picture.info:
        notes.append("alpha on white")
        layered = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
    return Opened(picture if picture.mode == "RGB" else picture.convert("RGB"), tuple(notes))


def _from_16bit(picture: Image.Image) -> Image.Image:
    values = np.asarray(picture).astype(np.float64)
    if not np.isfinite(values).all():
        raise BadImage("some pixels are NaN or infinite")
    low, high = values.min(), values.max()
    if high > 65535 or (low < 0 and picture.mode != "F"):
        raise BadImage(f"gray values {low:g}..{high:g} leave 0..65535")
    scale = next(top for top in ((1, 255, 65535) if picture.mode == "F" else (65535,)) if high <= top)
    return Image.fromarray((values.clip(0, scale) * (255 / scale)).round().astype(np.uint8), mode="L")


def fit(picture: Image.Image, *, size: int, how: str, resample: str) -> Image.Image:
    """Resize to a short side of `size` (`how="short"`) or squash to a square (`how="square"`)."""
    if how == "square":
        target = (size, size)
    else:
        scale = size / min(picture.size)
        target = (max(size, round(picture.width * scale)), max(size, round(picture.height * scale)))
    return picture if picture.size == target else picture.resize(target, RESAMPLE[resample])


def is_gray(picture: Image.Image) -> bool:
    """Whether every pixel of an RGB picture has three equal channels."""
    thumbnail = picture.reduce(8) if min(picture.size) >= 8 else picture  # colour nearly always shows in the thumbnail
    return _channels_agree(thumbnail) and _channels_agree(picture)


def _channels_agree(picture: Image.Image) -> bool:
    red, green, blue = picture.split()
    return all(ImageChops.difference(green, other).getextrema()[1] == 0 for other in (red, blue))
