"""Whatever comes through the door is upright 8-bit RGB with a note of what was done, or a reason why not."""

import struct
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageFile

from colorexp.data import images
from colorexp.data.images import BadImage, fit, is_gray, open_image

COLOURS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def opened(content: bytes) -> tuple[np.ndarray, tuple[str, ...]]:
    result = open_image(content)
    assert result.rgb.mode == "RGB"
    return np.asarray(result.rgb), result.notes


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "PPM"])
def test_lossless_formats_keep_every_byte(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    pixels, notes = opened(encoded(Image.fromarray(COLOURS), kind, **options))
    assert np.array_equal(pixels, COLOURS)
    assert notes == ()


@pytest.mark.parametrize("kind", ["JPEG", "GIF"])
def test_lossy_formats_keep_the_colours(kind: str) -> None:
    smooth = np.full((16, 16, 3), [200, 60, 30], np.uint8)
    pixels, _ = opened(encoded(Image.fromarray(smooth), kind))
    assert np.abs(pixels.astype(int) - smooth).max() < 4


def test_a_path_and_its_bytes_are_the_same_picture(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(encoded(Image.fromarray(COLOURS), "JPEG"))
    assert np.array_equal(np.asarray(open_image(path).rgb), opened(path.read_bytes())[0])


# Colour models


def test_cmyk_becomes_rgb_and_is_noted() -> None:
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    for content in (encoded(cyan, "TIFF"), encoded(cyan, "JPEG", quality=100)):
        pixels, notes = opened(content)
        assert notes == ("cmyk",)
        assert np.abs(pixels.astype(int) - [0, 255, 255]).max() < 4


def test_palette_shows_its_colours() -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putdata([0, 1])
    pixels, notes = opened(encoded(picture))
    assert pixels.tolist() == [[[255, 0, 0], [0, 0, 255]]]
    assert notes == ("palette",)


@pytest.mark.parametrize(("transparency", "shown"), [(0, [255, 255, 255]), (bytes([51, 255]), [255, 204, 204])])
def test_transparent_palette_entries_are_laid_on_white(transparency: int | bytes, shown: list[int]) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putdata([0, 1])
    pixels, notes = opened(encoded(picture, transparency=transparency))
    assert pixels.tolist() == [[shown, [0, 0, 255]]]
    assert notes == ("palette", "alpha on white")


def test_alpha_is_laid_on_white() -> None:
    rgba = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 51]]], np.uint8)
    pixels, notes = opened(encoded(Image.fromarray(rgba)))
    assert pixels.tolist() == [[[255, 0, 0], [255, 255, 255], [204, 204, 204]]]
    assert notes == ("alpha on white",)


def test_gray_with_alpha_is_laid_on_white() -> None:
    pixels, notes = opened(encoded(Image.fromarray(np.array([[[10, 255], [10, 0]]], np.uint8))))
    assert pixels.tolist() == [[[10] * 3, [255] * 3]]
    assert notes == ("alpha on white",)


def test_transparent_colour_of_an_rgb_file_is_white() -> None:
    picture = Image.fromarray(np.array([[[1, 2, 3], [9, 8, 7]]], np.uint8))
    pixels, notes = opened(encoded(picture, transparency=(1, 2, 3)))
    assert pixels.tolist() == [[[255] * 3, [9, 8, 7]]]
    assert notes == ("alpha on white",)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_gray_is_scaled_rather_than_clipped(kind: str) -> None:
    levels = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    pixels, notes = opened(encoded(Image.fromarray(levels), kind))
    assert pixels[0].tolist() == [[v] * 3 for v in (0, 1, 128, 255)]
    assert notes == ("16-bit",)


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0])
def test_floating_gray_is_scaled_by_its_range(top: float) -> None:
    levels = np.array([[0, 0.2, 1]], np.float32) * np.float32(top)
    pixels, notes = opened(encoded(Image.fromarray(levels), "TIFF"))
    assert pixels[0].tolist() == [[v] * 3 for v in (0, 51, 255)]
    assert notes == ("16-bit",)


def test_big_endian_and_32_bit_gray_keep_the_range_of_16_bits() -> None:
    levels = np.array([[0, 257, 128 * 257, 65535]])
    big_endian = Image.frombytes("I;16B", (4, 1), levels.astype(">u2").tobytes())
    for picture in (big_endian, Image.fromarray(levels.astype(np.int32))):
        pixels, notes = opened(encoded(picture, "TIFF"))
        assert pixels[0].tolist() == [[v] * 3 for v in (0, 1, 128, 255)]
        assert notes == ("16-bit",)


@pytest.mark.parametrize(
    ("levels", "reason"),
    [
        (np.array([[0.5, np.nan]], np.float32), "^some pixels are NaN or infinite$"),
        (np.array([[0.5, np.inf]], np.float32), "^some pixels are NaN or infinite$"),
        (np.array([[0.5, 1e6]], np.float32), r"^gray values 0\.5\.\.1e\+06 leave 0\.\.65535$"),
        (np.array([[5, 70_000]], np.int32), r"^gray values 5\.\.70000 leave 0\.\.65535$"),
        (np.array([[-1, 9]], np.int32), r"^gray values -1\.\.9 leave 0\.\.65535$"),
    ],
)
def test_gray_that_has_no_known_range_is_refused(levels: np.ndarray, reason: str) -> None:
    with pytest.raises(BadImage, match=reason):
        open_image(encoded(Image.fromarray(levels), "TIFF"))


@pytest.mark.parametrize("mode", ["L", "1"])
def test_gray_becomes_three_equal_channels(mode: str) -> None:
    gray = Image.fromarray(COLOURS).convert(mode)
    pixels, notes = opened(encoded(gray))
    assert np.array_equal(pixels, np.repeat(np.asarray(gray.convert("L"))[..., None], 3, -1))
    assert notes == ()


# Orientation

UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_rotation_is_undone(orientation: int) -> None:
    pixels, notes = opened(encoded(Image.fromarray(COLOURS), exif=turned(orientation)))
    assert np.array_equal(pixels, UPRIGHT[orientation](COLOURS))
    assert notes == ("rotated",)


def test_upright_exif_is_no_rotation() -> None:
    pixels, notes = opened(encoded(Image.fromarray(COLOURS), exif=turned(1)))
    assert np.array_equal(pixels, COLOURS)
    assert notes == ()


def test_a_rotated_jpeg_stands_up() -> None:
    """The common case: a phone held upright writes a wide file and orientation 6."""
    wide = Image.new("RGB", (40, 20), "blue")
    wide.paste("red", (0, 0, 20, 20))
    pixels, notes = opened(encoded(wide, "JPEG", exif=turned(6), quality=95))
    assert pixels.shape == (40, 20, 3)
    assert pixels[5, 10, 0] > 240 > 15 > pixels[35, 10, 0]
    assert notes == ("rotated",)


# What is refused

NOISE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def floating_strip_offset() -> bytes:
    """A TIFF whose strip offset is a fraction; Pillow raises TypeError on it."""
    content = bytearray(encoded(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF"))
    at = content.index(struct.pack("<HH", 273, 4))  # StripOffsets, LONG
    content[at : at + 4] = struct.pack("<HH", 273, 5)  # RATIONAL
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no picture at all", "not a picture"),
        (encoded(NOISE, "ICO"), "not a picture, or of a format that is not allowed"),
        (encoded(NOISE, "JPEG")[:2000], "truncated"),
        (encoded(NOISE, "PNG")[:2000], "truncated"),
        (encoded(NOISE, "WEBP")[:2000], "damaged|not a picture"),
        (encoded(NOISE, "TIFF")[:2000], "truncated|damaged"),
        (encoded(NOISE, "PNG", exif=b"Exif\0\0MM\0*\0\0"), "damaged"),
        (floating_strip_offset(), "damaged"),
    ],
    ids=["text", "format", "JPEG", "PNG", "WEBP", "TIFF", "EXIF", "TIFF with a fraction"],
)
def test_damage_is_told_by_reason(content: bytes, reason: str) -> None:
    """Pillow raises many kinds of exceptions; one that escapes would end a preparation of a million pictures."""
    with pytest.raises(BadImage, match=reason):
        open_image(content)


def refuse_to_decode(self: ImageFile.ImageFile) -> None:
    raise AssertionError("decoded")


@pytest.mark.parametrize("side", [(10_000, 6_000), (12_000, 10_000), (20_000, 20_000)], ids=["60 MP", "120 MP", "400 MP"])
def test_large_pictures_are_refused_from_the_header(side: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """60 MP passes Pillow's own limits silently, 120 MP with a warning, 400 MP not at all; the reason is the same."""
    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse_to_decode)
    header = f"P6 {side[0]} {side[1]} 255\n".encode()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadImage, match="more than 50000000 pixels"):
            open_image(header, max_pixels=50_000_000)
    with pytest.raises(AssertionError, match="decoded"):
        open_image(b"P6 10 10 255\n", max_pixels=50_000_000)


def test_the_limit_itself_is_allowed() -> None:
    content = encoded(Image.fromarray(COLOURS))
    assert open_image(content, max_pixels=54).rgb.size == (9, 6)
    with pytest.raises(BadImage, match="9x6 is more than 53 pixels"):
        open_image(content, max_pixels=53)


def test_unreadable_files_are_told_by_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "broken.png").symlink_to("nowhere.png")
    (tmp_path / "circle.png").symlink_to("circle.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "locked.png").write_bytes(encoded(NOISE))
    real = Path.open

    def guarded(self: Path, *args: object, **kwargs: object) -> object:
        if self.name == "locked.png":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", guarded)
    expected = {
        "empty.png": "^empty file$",
        "broken.png": "^broken link$",
        "circle.png": "^cannot be read: Too many levels",
        "folder.png": "^cannot be read: Is a directory$",
        "locked.png": "^permission denied$",
        "absent.png": "^no such file$",
    }
    for name, reason in expected.items():
        with pytest.raises(BadImage, match=reason):
            open_image(tmp_path / name)


# Sizes


@pytest.mark.parametrize(
    ("size", "how", "expected"),
    [
        ((100, 50), "short", (64, 32)),
        ((50, 100), "short", (32, 64)),
        ((20, 10), "short", (64, 32)),
        ((99, 31), "short", (102, 32)),
        ((1, 7), "short", (32, 224)),
        ((100, 50), "square", (32, 32)),
    ],
)
def test_fit_reaches_its_size(size: tuple[int, int], how: str, expected: tuple[int, int]) -> None:
    assert fit(Image.new("RGB", size), size=32, how=how, resample="lanczos").size == expected


def test_a_picture_of_the_right_size_is_not_resampled() -> None:
    picture = Image.fromarray(COLOURS)
    assert np.array_equal(np.asarray(fit(picture, size=6, how="short", resample="lanczos")), COLOURS)


def test_resampling_is_the_named_one() -> None:
    picture = Image.fromarray(np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    area = np.asarray(fit(picture, size=16, how="short", resample="area"))
    mean = np.asarray(picture, np.float64).reshape(16, 4, 16, 4, 3).mean((1, 3))
    assert np.abs(area - mean).max() < 1  # two passes round twice
    made = [fit(picture, size=16, how="short", resample=name).tobytes() for name in images.RESAMPLE]
    assert len(set(made)) == 3


# Gray


def test_gray_is_every_pixel_gray() -> None:
    gray = np.repeat(np.random.default_rng(3).integers(0, 256, (40, 40, 1), dtype=np.uint8), 3, -1)
    assert is_gray(Image.fromarray(gray))
    assert is_gray(Image.fromarray(gray[:5, :3]))
    assert not is_gray(Image.fromarray(COLOURS))


def test_colours_that_cancel_in_the_thumbnail_count() -> None:
    picture = np.full((40, 40, 3), 100, np.uint8)
    picture[::2, :, 1], picture[1::2, :, 1] = 99, 101
    assert _thumbnail_is_gray(picture)
    assert not is_gray(Image.fromarray(picture))


def _thumbnail_is_gray(picture: np.ndarray) -> bool:
    small = np.asarray(Image.fromarray(picture).reduce(8))
    return bool((small == small[..., :1]).all())
