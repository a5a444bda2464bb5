"""Hints: their number, their places, their colours, and the files that name them."""

from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor

from colorexp import color, hints
from colorexp.hints import Amount, Hints


def rng(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


def draw(amount: str, *, size: tuple[int, int] = (64, 48), patch: int = 3, layout: str = "free", seed: int = 0) -> Tensor:
    return hints.sample(size, amount=Amount.parse(amount), patch=patch, layout=layout, rng=rng(seed))


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0.5%", Amount(0.005, 0.005, share=True)),
        ("100%", Amount(1, 1, share=True)),
        ("0%", Amount(0, 0, share=True)),
        ("10", Amount(10, 10, share=False)),
        ("0", Amount(0, 0, share=False)),
        ("0-128", Amount(0, 128, share=False)),
        ("7-7", Amount(7, 7, share=False)),
        ("5-0", None),
        ("101%", None),
        ("-1", None),
        ("1.5", None),
        ("1-2%", None),
        (".5%", None),
        ("", None),
        (" 10", None),
        ("ten", None),
        ("10\n", None),
        ("1000000", Amount(1e6, 1e6, share=False)),
        ("1000001", None),
        ("9" * 5000, None),
        ("0-" + "9" * 30, None),
        ("٣", None),
    ],
)
def test_amounts_are_read_or_refused(text: str, amount: Amount | None) -> None:
    if amount is not None:
        assert Amount.parse(text) == pytest.approx(amount)
        assert Amount.parse(text).share == amount.share
        return
    with pytest.raises(ValueError, match="an amount of hints"):
        Amount.parse(text)


def test_half_a_percent_of_the_released_code_is_36_hints() -> None:
    assert int(256 * 256 * 0.005 / 9) == 36
    assert len(draw("0.5%", size=(256, 256))) == 36
    assert len(draw("0.5%", size=(128, 96), patch=1)) == int(128 * 96 * 0.005)


def test_a_range_is_drawn_uniformly_with_both_ends() -> None:
    some = rng()
    counts = [Amount.parse("2-5").draw((64, 64), 3, some) for _ in range(400)]
    frequencies = torch.bincount(torch.tensor(counts), minlength=7) / 400
    assert frequencies[[0, 1, 6]].sum() == 0
    assert frequencies[2:6].tolist() == pytest.approx([0.25] * 4, abs=0.08)


@pytest.mark.parametrize("layout", ["free", "cells"])
@pytest.mark.parametrize("patch", [1, 3, 16])
@pytest.mark.parametrize("size", [(64, 48), (17, 50), (16, 16)])
def test_every_hint_lies_inside_the_picture(layout: str, patch: int, size: tuple[int, int]) -> None:
    corners = draw("40", size=size, patch=patch, layout=layout)
    assert corners.dtype == torch.int64
    assert (corners >= 0).all()
    assert (corners + patch <= torch.tensor(size)).all()
    assert hints.rasterise(corners, size, patch=patch).any()


def test_free_hints_reach_every_place() -> None:
    corners = draw("5000", size=(8, 6), patch=3)
    assert len(corners) == 5000
    assert set(map(tuple, corners.tolist())) == {(row, col) for row in range(6) for col in range(4)}


def test_no_cell_is_hinted_twice() -> None:
    for seed in range(20):
        corners = draw("20", size=(34, 50), patch=8, layout="cells", seed=seed)  # 4 x 6 cells
        assert len(corners) == 20
        assert len(corners.unique(dim=0)) == 20
        assert (corners % 8 == 0).all()
    everything = draw("1000", size=(34, 50), patch=8, layout="cells")
    assert set(map(tuple, everything.tolist())) == {(row, col) for row in range(0, 32, 8) for col in range(0, 48, 8)}


@pytest.mark.parametrize("layout", ["free", "cells"])
@pytest.mark.parametrize("amount", ["1%", "12", "3-30"])
def test_hints_depend_on_their_generator_alone(layout: str, amount: str) -> None:
    state = torch.get_rng_state()
    one, again, other = (draw(amount, layout=layout, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patch": 49}, "49x49 does not fit into a picture of 64x48"),
        ({"patch": 0}, "0x0"),
        ({"layout": "grid"}, "'free' or 'cells', got 'grid'"),
    ],
)
def test_unusable_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw("3", **arguments)


def test_true_is_hinted() -> None:
    mask = hints.rasterise(torch.tensor([[0, 1], [1, 2], [4, 3]]), (6, 5), patch=2)
    expected = [
        [0, 1, 1, 0, 0],
        [0, 1, 1, 1, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 1, 1],
        [0, 0, 0, 1, 1],
    ]
    assert mask.dtype == torch.bool
    assert torch.equal(mask, torch.tensor([expected], dtype=torch.bool))


def test_no_hints_mark_nothing() -> None:
    assert not hints.rasterise(draw("0"), (6, 5), patch=2).any()


@pytest.mark.parametrize("corner", [[5, 0], [0, 4], [-1, 0], [0, -1]])
def test_the_first_hint_outside_is_named(corner: list[int]) -> None:
    corners = torch.tensor([[0, 0], corner, [90, 90]])
    with pytest.raises(ValueError, match=f"row {corner[0]}, column {corner[1]} leaves the picture of 6x5"):
        hints.rasterise(corners, (6, 5), patch=2)


def test_free_hints_show_every_pixel_of_their_own() -> None:
    ab = torch.randn(2, 10, 12, generator=rng())
    mask = hints.rasterise(torch.tensor([[0, 0], [5, 7]]), (10, 12), patch=3)
    shown = hints.colours(ab[None], mask[None], patch=3, layout="free")[0]
    assert torch.equal(shown[:, mask[0]], ab[:, mask[0]])
    assert not shown[:, ~mask[0]].any()


def test_cells_show_their_mean() -> None:
    ab = torch.randn(2, 10, 13, generator=rng())  # 3 x 4 cells and a strip right and below
    corners = draw("5", size=(10, 13), patch=3, layout="cells")
    mask = hints.rasterise(corners, (10, 13), patch=3)
    shown = hints.colours(ab[None], mask[None], patch=3, layout="cells")[0]
    assert shown.shape == ab.shape
    for row, col in corners.tolist():
        cell = (slice(None), slice(row, row + 3), slice(col, col + 3))
        assert torch.allclose(shown[cell], ab[cell].mean((1, 2), keepdim=True).expand(2, 3, 3), atol=1e-6)
    assert not shown[:, ~mask[0]].any()


def test_showing_colours_leaves_the_picture_alone() -> None:
    ab = torch.randn(2, 8, 8, generator=rng())
    before, mask = ab.clone(), hints.rasterise(torch.tensor([[0, 0]]), (8, 8), patch=4)
    for layout in ("free", "cells"):
        hints.colours(ab[None], mask[None], patch=4, layout=layout).zero_()
    assert torch.equal(ab, before)


def test_the_last_of_overlapping_hints_stays_on_top() -> None:
    given = Hints(torch.tensor([[0, 0], [1, 1]]), torch.tensor([[10.0, 20.0], [-30.0, 5.0]]))
    mask, ab = hints.paint(given, (4, 5), patch=2)
    assert torch.equal(mask, hints.rasterise(given.corners, (4, 5), patch=2))
    assert ab[:, 0, 0].tolist() == [10, 20]
    assert ab[:, 1, 1].tolist() == [-30, 5]
    assert not ab[:, ~mask[0]].any()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Hints(torch.tensor([[0, 0]]), None), "have no colours"),
        (Hints(torch.tensor([[9, 0]]), torch.zeros(1, 2)), "row 9, column 0 leaves"),
        (Hints(torch.zeros(2, 2).long(), torch.tensor([[0.0, 0.0], [100.0, -100.0]])), "a = 100, b = -100"),
    ],
)
def test_what_cannot_be_painted_is_named(given: Hints, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hints.paint(given, (8, 8), patch=2)


@pytest.mark.parametrize("layout", ["free", "cells"])
def test_positions_survive_a_file(tmp_path: Path, layout: str) -> None:
    corners = draw("9", layout=layout)
    hints.write(tmp_path / "new" / "a.txt", corners)
    read = hints.read(tmp_path / "new" / "a.txt")
    assert torch.equal(read.corners, corners)
    assert read.ab is None


def test_no_hints_survive_a_file(tmp_path: Path) -> None:
    hints.write(tmp_path / "none.txt", draw("0"))
    assert hints.read(tmp_path / "none.txt").corners.shape == (0, 2)


def test_hint_folders_look_like_those_of_icolorit(tmp_path: Path) -> None:
    path = tmp_path / hints.folder_name("10", 2) / "ILSVRC2012_val_00000001.txt"
    hints.write(path, torch.tensor([[0, 14], [220, 2]]))
    assert path.relative_to(tmp_path).as_posix() == "h2-n10/ILSVRC2012_val_00000001.txt"
    assert path.read_text() == "0 14\n220 2\n"
    assert hints.folder_name("0.5%", 3) == "h3-n0.5%"


def test_colours_are_read_as_ab_or_as_rgb(tmp_path: Path) -> None:
    path = tmp_path / "hints.txt"
    path.write_text("# the sky\n\n3 4 -12.5 +20\n  5 6   #c83c1E \n")
    read = hints.read(path)
    assert read.corners.tolist() == [[3, 4], [5, 6]]
    rgb = torch.tensor([0xC8, 0x3C, 0x1E]).view(1, 3, 1, 1) / 255
    expected = color.rgb_to_lab(rgb)[0, 1:, 0, 0].tolist()
    assert read.ab[0].tolist() == [-12.5, 20]
    assert read.ab[1].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("code", ["000000", "ff0000", "00ff00", "0000ff", "ffff00", "ff00ff", "00ffff", "0087ff"])
def test_every_rgb_can_be_painted(tmp_path: Path, code: str) -> None:
    path = tmp_path / "hints.txt"
    path.write_text(f"0 0 #{code}\n")
    assert hints.paint(hints.read(path), (4, 4), patch=2)[0].sum() == 4


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("1 2\n3\n", 2),
        ("1 2 3\n", 1),
        ("1 2\n\n# note\n-1 4\n", 4),
        ("1 2 #12345\n", 1),
        ("1 2 #gg0000\n", 1),
        ("1 2 nan 3\n", 1),
        ("1.5 2\n", 1),
        ("1 2 3 4 5\n", 1),
        ("1 2\n3 4 5 6\n", 2),
        ("1 2 3 4\n5 6\n", 2),
    ],
)
def test_a_malformed_line_is_named_with_its_file(tmp_path: Path, text: str, line: int) -> None:
    path = tmp_path / "hints.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"hints.txt, line {line}:"):
        hints.read(path)


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbf3 4 #c83c1e\r\n# the sky \xc3\xa4\r\n5 6 1.5 -2\r\n", b"3 4 #c83c1e\r\n\r\n5 6 1.5 -2"]
)
def test_files_saved_on_windows_are_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "hints.txt").write_bytes(content)
    read = hints.read(tmp_path / "hints.txt")
    assert read.corners.tolist() == [[3, 4], [5, 6]]
    assert read.ab[1].tolist() == [1.5, -2]


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\x00\xff", "1 2 #336699\n".encode("utf-16")])
def test_a_file_that_is_no_text_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "hints.txt").write_bytes(content)
    with pytest.raises(ValueError, match=r"hints\.txt is no text in UTF-8: expected lines 'row col'"):
        hints.read(tmp_path / "hints.txt")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("9" * 5000 + " 3", "row and column have at most 9 digits, got '9"),
        ("3 1234567890 1 2", "row and column have at most 9 digits, got '3 1234567890 1 2'"),
        ("3 4 " + "9" * 5000 + " 1", r"a and b lie in -128\.\.128, got '3 4 9"),
        ("3 4 1 -128.5", r"a and b lie in -128\.\.128, got '3 4 1 -128\.5'"),
        ("x" * 100_000, "expected 'row col'"),
    ],
)
def test_absurd_numbers_are_refused_in_a_short_line(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "hints.txt").write_text(f"1 2 3 4\n{line}\n")
    with pytest.raises(ValueError, match=rf"hints\.txt, line 2: {message}") as caught:
        hints.read(tmp_path / "hints.txt")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 5", r"cells of 2x2 pixels, whose rows and columns are multiples of 2; got row 2, column 5$"),
        ("31 4", r"multiples of 2; got row 31, column 4$"),
        ("32 4", r"the hint at row 32, column 4 leaves the picture of 32x48: rows are 0\.\.30, columns 0\.\.46$"),
        ("4 48 #336699", r"the hint at row 4, column 48 leaves the picture of 32x48"),
    ],
)
def test_a_hint_that_is_no_cell_of_the_picture_is_named_with_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    colour = " #000000" if "#" in line else ""
    (tmp_path / "hints.txt").write_text(f"0 0{colour}\n30 46{colour}\n\n{line}\n")
    with pytest.raises(ValueError, match=rf"hints\.txt, line 4: .*{message}"):
        hints.read(tmp_path / "hints.txt", size=(32, 48), patch=2, layout="cells")


def test_free_hints_lie_anywhere_inside_the_picture(tmp_path: Path) -> None:
    (tmp_path / "hints.txt").write_text("29 45\n1 1\n1 1\n")
    assert hints.read(tmp_path / "hints.txt", size=(32, 48), patch=3).corners.tolist() == [[29, 45], [1, 1], [1, 1]]
    with pytest.raises(ValueError, match=r"line 1: the hint at row 29, column 45 leaves the picture of 31x48"):
        hints.read(tmp_path / "hints.txt", size=(31, 48), patch=3)
