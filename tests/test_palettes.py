"""Palettes: colours that can be shown, names that say all of it, and published files that are read without running them."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import rng

from colorexp.data import palettes

SUNSET = ((255, 128, 0), (16, 0, 32), (200, 200, 210))


def test_the_same_draw_gives_the_same_palette_and_another_another() -> None:
    assert palettes.draw(rng(3)) == palettes.draw(rng(3))
    drawn = {palettes.draw(rng(seed)) for seed in range(50)}
    assert len(drawn) == 50
    assert {len(palette) for palette in drawn} == {palettes.COLOURS}
    values = np.array(list(drawn))
    assert values.min() < 8 and values.max() > 247  # all of the cube


def test_a_name_holds_the_palette() -> None:
    assert palettes.name(SUNSET) == "palettes/ff8000-100020-c8c8d2"
    for palette in (SUNSET, SUNSET[:1], palettes.draw(rng(), colours=9)):
        assert palettes.parse(palettes.name(palette)) == palette
    assert palettes.parse("palettes/FF8000") == SUNSET[:1]


@pytest.mark.parametrize("text", ["palettes/ff80", "palettes/ff8000-", "palettes/ff8000_100020", "ff8000", "palettes/gg8000"])
def test_what_is_no_name_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' names no palette; expected palettes/<rrggbb>-"):
        palettes.parse(text)


def test_an_empty_palette_is_an_error() -> None:
    with pytest.raises(ValueError, match="'palettes/' names an empty palette"):
        palettes.parse("palettes/")
    with pytest.raises(ValueError, match="an empty palette has no colour"):
        palettes.name(())
    with pytest.raises(ValueError, match="1 to 8 colours fits a picture of 8 pixels, got 0"):
        palettes.picture((), 8)
    with pytest.raises(ValueError, match="colours = 0"):
        palettes.draw(rng(), colours=0)


def test_a_picture_shows_every_colour_in_order_and_alike_wide() -> None:
    picture = palettes.picture(SUNSET, 64)
    assert (picture.dtype, picture.shape) == (torch.uint8, (3, 64, 64))
    assert torch.equal(picture, picture[:, :1].expand_as(picture))
    row = [tuple(pixel) for pixel in picture[:, 0].T.tolist()]
    assert list(dict.fromkeys(row)) == list(SUNSET)
    assert {row.count(colour) for colour in SUNSET} <= {21, 22}


# The published data


def publish(folder: Path, **files: Any) -> Path:
    inner = folder / palettes.PUBLISHED
    inner.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (inner / f"{name}_palettes_rgb.pkl").write_bytes(pickle.dumps(content))
    return folder


def test_published_palettes_are_read_once_each(tmp_path: Path) -> None:
    other = np.array([[1, 2, 3], [4, 5, 6]])
    folder = publish(tmp_path, test=[[list(colour) for colour in SUNSET], other], train=[other.astype(float), np.zeros((5, 3))])
    expected = [SUNSET, ((1, 2, 3), (4, 5, 6)), ((0, 0, 0),) * 5]
    assert palettes.read(folder) == expected
    assert palettes.read(folder / palettes.PUBLISHED) == expected


def test_a_folder_without_palettes_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"{tmp_path.name} holds no hexcolor_vf/"):
        palettes.read(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere is no folder with hexcolor_vf/"):
        palettes.read(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "test_palettes_rgb.pkl holds no palette"),
        ({"a": 1}, "test_palettes_rgb.pkl holds no palette"),
        ([[[1, 2, 3]], []], r"palette 1 is empty"),
        ([[[1, 2]]], r"palette 0 is not a list of \[r, g, b\] in 0\.\.255"),
        ([[[1, 2, 256]]], r"palette 0 is not a list of \[r, g, b\] in 0\.\.255: \[\[1, 2, 256\]\]"),
        ([["red"]], "palette 0 is empty or no list"),
    ],
)
def test_what_is_no_palette_is_named(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        palettes.read(publish(tmp_path, test=content))


class Trap:
    """Whoever unpickles it makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.target,)


def test_pickled_code_is_refused_and_not_run(tmp_path: Path) -> None:
    folder = publish(tmp_path, test=[Trap(tmp_path / "made")])
    with pytest.raises(ValueError, match=r"test_palettes_rgb\.pkl is damaged, or holds more than plain values: it names pathlib"):
        palettes.read(folder)
    assert not (tmp_path / "made").exists()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = publish(tmp_path, test=[[[1, 2, 3]]]) / palettes.PUBLISHED / "test_palettes_rgb.pkl"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"test_palettes_rgb\.pkl is damaged"):
        palettes.read(tmp_path)
