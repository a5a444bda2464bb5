"""A trained run on a picture of one's own: size and lightness are the picture's, hints are obeyed, bad input is refused."""

import errno
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import change, make_batch, make_project, quick
from torch import Tensor

from colorexp import color, hints, paths, runs
from colorexp.apply import LONGEST, colorize, colorize_file
from colorexp.data.images import BadImage

MAIN = "user_guided/res_unet"
SPREAD = "user_guided/spread"
GREEN = (-40.0, 35.0)


@pytest.fixture(scope="module")
def trained(tiny_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with a trained network and the baseline."""
    folder = make_project(tmp_path_factory.mktemp("apply") / "project", prepared=tiny_project)
    with chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        for name in (MAIN, SPREAD):
            runs.train(runs.build(quick(name)))
        yield folder


@pytest.fixture
def network(trained: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.chdir(trained)
    cfg, task = runs.load(paths.run(MAIN))
    return SimpleNamespace(cfg=cfg, task=task)


@pytest.fixture
def spread(trained: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.chdir(trained)
    cfg, task = runs.load(paths.run(SPREAD))
    return SimpleNamespace(cfg=cfg, task=task)


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    """Smooth, of middling lightness, uint8 (3, H, W)."""
    batch = make_batch(height, width, pictures=1, seed=seed)
    lab = torch.cat([40 + 0.3 * batch["L"], 0.3 * batch["ab"]], 1)
    return color.to_8bit(color.lab_to_rgb(lab))[0]


def lab_of(rgb: Tensor) -> Tensor:
    return color.rgb_to_lab(color.from_8bit(rgb)[None])[0]


def given(*corners: tuple[int, int], ab: tuple[float, float] | None = GREEN) -> hints.Hints:
    return hints.Hints(torch.tensor(corners), torch.tensor([ab] * len(corners)) if ab else None)


@pytest.mark.parametrize("size", [(33, 57), (32, 32), (200, 31), (7, 90), (1, 5), (129, 64)])
def test_a_picture_keeps_its_size(network: SimpleNamespace, size: tuple[int, int]) -> None:
    coloured = colorize(picture(*size), network.task, network.cfg)
    assert coloured.shape == (3, *size)
    assert coloured.dtype == torch.uint8


def test_a_very_long_picture_is_coloured_within_bounds(network: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the working size of a line of pixels would be that of a square times its length."""
    seen: list[tuple[int, ...]] = []
    predict = network.task.predict
    monkeypatch.setattr(network.task, "predict", lambda batch: seen.append(tuple(batch["L"].shape[2:])) or predict(batch))
    assert colorize(picture(1, 2000), network.task, network.cfg).shape == (3, 1, 2000)
    assert seen == [(1, LONGEST * network.cfg.data.size)]


def test_lightness_is_the_pictures_own(spread: SimpleNamespace) -> None:
    """Where the colour can be shown at that lightness."""
    rgb = picture(60, 85)
    coloured = colorize(rgb, spread.task, spread.cfg, given=given((10, 10), ab=(15.0, 20.0)))
    assert (lab_of(coloured)[0] - lab_of(rgb)[0]).abs().max() < 0.8  # 2 of 255
    assert (lab_of(coloured)[1:] - torch.tensor([15.0, 20.0]).view(2, 1, 1)).abs().max() < 2


def test_only_the_lightness_is_used(network: SimpleNamespace) -> None:
    rgb = picture(40, 52)
    gray = lab_of(rgb)
    gray[1:] = 0
    as_gray = color.to_8bit(color.lab_to_rgb(gray[None]))[0]
    coloured, from_gray = (colorize(p, network.task, network.cfg).int() for p in (rgb, as_gray))
    assert (coloured - from_gray).abs().float().mean() < 3  # lightness itself is rounded to 8 bits


def test_without_hints_the_baseline_leaves_gray(spread: SimpleNamespace) -> None:
    assert lab_of(colorize(picture(40, 40), spread.task, spread.cfg))[1:].abs().max() < 1


def test_hints_reach_the_network(network: SimpleNamespace) -> None:
    rgb = picture(64, 80)
    plain, hinted = (colorize(rgb, network.task, network.cfg, given=g) for g in (None, given((20, 60))))
    assert not torch.equal(plain, hinted)


@pytest.mark.parametrize("corner", [(0, 0), (63, 79), (21, 61)])
def test_a_network_that_was_trained_on_cells_is_given_cells(
    network: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, corner: tuple[int, int]
) -> None:
    seen: list[Tensor] = []
    predict = network.task.predict
    monkeypatch.setattr(network.task, "predict", lambda batch: seen.append(batch["hint_mask"][0, 0]) or predict(batch))
    cfg = replace(network.cfg, hinting=replace(network.cfg.hinting, hint_layout="cells", hint_patch=2))
    colorize(picture(64, 80), network.task, cfg, given=given(corner))
    rows, cols = seen[0].nonzero().T
    assert len(rows) == 4 and rows.min() % 2 == 0 and cols.min() % 2 == 0


@pytest.mark.parametrize("corner", [(0, 0), (63, 95), (20, 70), (63, 0)])
def test_the_colour_is_right_where_the_hint_is(spread: SimpleNamespace, corner: tuple[int, int]) -> None:
    """Pixels of the picture, whatever the size that the network works at; up to the very border."""
    far = (63 - corner[0], 95 - corner[1])
    both = hints.Hints(torch.tensor([corner, far]), torch.tensor([GREEN, (30.0, -20.0)]))
    ab = lab_of(colorize(picture(64, 96), spread.task, spread.cfg, given=both))[1:]
    for (row, col), wanted in zip((corner, far), both.ab, strict=True):
        assert torch.dist(ab[:, row, col], wanted) < 12
    middle = ab[:, 31, 47]
    assert torch.dist(middle, both.ab[0]) > 12


def test_a_hint_outside_the_picture_is_named_in_its_own_pixels(network: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match=r"hint at row 64, column 5 lies outside the picture \(rows 0\.\.63, columns 0\.\.95\)"):
        colorize(picture(64, 96), network.task, network.cfg, given=given((3, 3), (64, 5)))


def test_a_colour_that_cannot_be_shown_is_named(network: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match=r"a = -120, b = -90 is outside the sRGB gamut"):
        colorize(picture(64, 96), network.task, network.cfg, given=given((3, 3), ab=(-120.0, -90.0)))


def test_hints_without_colours_are_refused(network: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match="these hints have no colours"):
        colorize(picture(64, 96), network.task, network.cfg, given=given((3, 3), ab=None))


def test_an_empty_hint_file_is_no_hint(network: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "hints.txt").write_text("# none yet\n")
    rgb = picture(40, 40)
    coloured = colorize(rgb, network.task, network.cfg, given=hints.read(tmp_path / "hints.txt"))
    assert torch.equal(coloured, colorize(rgb, network.task, network.cfg))


def test_a_pictures_colours_do_not_depend_on_the_hints_order(spread: SimpleNamespace) -> None:
    rgb = picture(40, 60)
    one, other = (colorize(rgb, spread.task, spread.cfg, given=given(*c)) for c in (((3, 3), (30, 50)), ((30, 50), (3, 3))))
    assert torch.equal(one, other)


# References

TRANSFER = "user_guided/transfer"


@pytest.fixture
def transfer(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that takes a reference, under another name: params.yaml has none without training."""
    monkeypatch.chdir(trained)
    model, task = "colorexp.models.transfer:HistogramMatching", "colorexp.tasks.transfer:ReferenceTransfer"
    cfg = replace(change(quick(SPREAD), model=model, task=task), options={})
    runs.train(runs.build(cfg, out=paths.run(TRANSFER)))


def test_colours_are_the_references(transfer: None, tmp_path: Path) -> None:
    blue = color.to_8bit(color.lab_to_rgb(torch.cat([torch.full((1, 1, 30, 40), 55.0), torch.full((1, 2, 30, 40), -20.0)], 1)))[0]
    source, reference = save(picture(50, 70), tmp_path / "in.png"), save(blue, tmp_path / "blue.png")
    assert colorize_file(source, tmp_path / "out.png", run=TRANSFER, reference=str(reference)) == []
    made = torch.from_numpy(np.array(Image.open(tmp_path / "out.png"))).permute(2, 0, 1)
    assert made.shape == (3, 50, 70)
    assert (lab_of(made)[1:] + 20).abs().mean() < 1.5


def test_a_reference_may_have_any_size_and_transparency_or_be_a_palette(transfer: None, tmp_path: Path) -> None:
    source = save(picture(50, 70), tmp_path / "in.png")
    for size in ((3, 200), (401, 7)):
        Image.new("RGBA", size, (200, 30, 30, 120)).save(tmp_path / "odd.png")
        (warning,) = colorize_file(source, tmp_path / "out.png", run=TRANSFER, reference=str(tmp_path / "odd.png"))
        assert warning.endswith("odd.png has transparent pixels, which count as white")
    assert colorize_file(source, tmp_path / "out.png", run=TRANSFER, reference="palettes/ff0000-880000") == []
    a = lab_of(torch.from_numpy(np.array(Image.open(tmp_path / "out.png"))).permute(2, 0, 1))[1]
    assert a.min() > 10
    with pytest.raises(ValueError, match="'palettes/' names an empty palette"):
        colorize_file(source, tmp_path / "out.png", run=TRANSFER, reference="palettes/")


def test_a_picture_may_be_its_own_reference(transfer: None, tmp_path: Path) -> None:
    ramp = torch.linspace(40, 220, 64).expand(64, 64)
    rgb = torch.stack([ramp, 0.8 * ramp, 0.5 * ramp]).round().to(torch.uint8)
    source = save(rgb, tmp_path / "in.png")
    assert colorize_file(source, tmp_path / "out.png", run=TRANSFER, reference=str(source)) == []
    made = torch.from_numpy(np.array(Image.open(tmp_path / "out.png"))).permute(2, 0, 1)
    assert (lab_of(made) - lab_of(rgb)).abs().mean() < 3


def test_a_gray_reference_is_warned_of(transfer: None, tmp_path: Path) -> None:
    source = save(picture(50, 70), tmp_path / "in.png")
    Image.new("L", (40, 40), 90).save(tmp_path / "gray.jpg")
    for reference in (str(tmp_path / "gray.jpg"), "palettes/202020-a0a0a0"):
        (warning,) = colorize_file(source, tmp_path / "out.png", run=TRANSFER, reference=reference)
        assert warning.endswith(f"{reference} is gray and gives no colour: what there is, is the network's own")
    assert np.ptp(np.array(Image.open(tmp_path / "out.png")).astype(int), axis=2).max() <= 1


def test_references_are_given_to_those_that_take_them(transfer: None, tmp_path: Path) -> None:
    source = save(picture(40, 40), tmp_path / "in.png")
    with pytest.raises(
        ValueError, match=r"user_guided/transfer colours after a reference: give it a picture or palettes/.*--reference"
    ):
        colorize_file(source, tmp_path / "out.png", run=TRANSFER)
    with pytest.raises(ValueError, match=r"user_guided/res_unet takes no reference: leave palettes/ff0000 out"):
        colorize_file(source, tmp_path / "out.png", run=MAIN, reference="palettes/ff0000")
    with pytest.raises(BadImage, match=r"nowhere\.png: no such file"):
        colorize_file(source, tmp_path / "out.png", run=TRANSFER, reference=str(tmp_path / "nowhere.png"))
    with pytest.raises(ValueError, match=r"blue\.png is the reference"):
        colorize_file(source, tmp_path / "blue.png", run=TRANSFER, reference=str(tmp_path / "blue.png"))
    assert not (tmp_path / "out.png").exists()


# Files


def save(rgb: Tensor, path: Path) -> Path:
    Image.fromarray(rgb.permute(1, 2, 0).numpy()).save(path)
    return path


def test_a_file_is_coloured_like_the_picture_it_holds(network: SimpleNamespace, tmp_path: Path) -> None:
    rgb = picture(50, 70)
    (tmp_path / "hints.txt").write_text("10 20 #336699\n40 60 #aa5533\n")
    target = tmp_path / "new" / "folder" / "out.png"
    colorize_file(save(rgb, tmp_path / "in.png"), target, run=MAIN, hints_file=tmp_path / "hints.txt")
    expected = colorize(rgb, network.task, network.cfg, given=hints.read(tmp_path / "hints.txt"))
    assert np.array_equal(np.asarray(Image.open(target)), expected.permute(1, 2, 0).numpy())


def test_a_rotated_photograph_comes_out_upright(network: SimpleNamespace, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(40, 60).permute(1, 2, 0).numpy()).save(tmp_path / "turned.jpg", exif=exif)
    colorize_file(tmp_path / "turned.jpg", tmp_path / "out.png", run=MAIN)
    assert Image.open(tmp_path / "out.png").size == (40, 60)


def test_a_gray_file_is_coloured(network: SimpleNamespace, tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 44), 120, np.uint8)).save(tmp_path / "gray.png")
    colorize_file(tmp_path / "gray.png", tmp_path / "out.png", run=MAIN)
    made = Image.open(tmp_path / "out.png")
    assert (made.mode, made.size) == ("RGB", (44, 40))


@pytest.mark.parametrize(("content", "message"), [(b"", "empty file"), (b"a text", "not a picture"), (None, "no such file")])
def test_what_is_no_picture_is_refused(network: SimpleNamespace, tmp_path: Path, content: bytes | None, message: str) -> None:
    bad = tmp_path / "bad.png"
    if content is not None:
        bad.write_bytes(content)
    with pytest.raises(BadImage, match=rf"bad\.png: {message}"):
        colorize_file(bad, tmp_path / "out.png", run=MAIN)
    assert not (tmp_path / "out.png").exists()


def test_a_truncated_picture_is_refused(network: SimpleNamespace, tmp_path: Path) -> None:
    whole = save(picture(64, 64), tmp_path / "whole.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadImage, match=r"truncated|damaged"):
        colorize_file(tmp_path / "half.png", tmp_path / "out.png", run=MAIN)


def test_a_malformed_hint_line_is_named(network: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "hints.txt").write_text("1 2 #336699\n3 4 blue\n")
    with pytest.raises(ValueError, match=r"hints\.txt, line 2: expected .* got '3 4 blue'"):
        colorize_file(save(picture(40, 40), tmp_path / "in.png"), tmp_path / "out.png", run=MAIN, hints_file=tmp_path / "hints.txt")


def test_a_run_that_was_not_trained_is_named(network: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="trans_unet holds no trained run"):
        colorize_file(save(picture(40, 40), tmp_path / "in.png"), tmp_path / "out.png", run="user_guided/trans_unet")


def test_the_photographs_of_the_pipeline_stay_alone(network: SimpleNamespace) -> None:
    """DVC removes or refuses what else lies in data/bundled."""
    bundled = paths.bundled()
    bundled.mkdir(parents=True, exist_ok=True)
    source = save(picture(40, 40), paths.root() / "data" / "mine.png")
    for target in (bundled / "out.png", bundled / "new" / "out.png", Path("data/../data/bundled/out.png")):
        with pytest.raises(ValueError, match=r"out\.png would lie in data/bundled, which the pipeline manages; name another place"):
            colorize_file(source, target, run=MAIN)
    assert not list(bundled.rglob("out.png"))
    colorize_file(source, bundled.parent / "out.png", run=MAIN)


def test_a_result_is_written_over_whole_or_not_at_all(
    network: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = save(picture(40, 40), tmp_path / "in.png"), tmp_path / "out.png"
    target.write_bytes(b"older")

    def full(self: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            colorize_file(source, target, run=MAIN)
    assert target.read_bytes() == b"older"
    colorize_file(source, target, run=MAIN)
    assert Image.open(target).size == (40, 40)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "out.png"]


def test_a_larger_working_size_changes_chroma_alone(network: SimpleNamespace) -> None:
    rgb = picture(70, 90)
    small, large = (colorize(rgb, network.task, change(network.cfg, size=size)) for size in (32, 64))
    assert small.shape == large.shape
    assert not torch.equal(small, large)
