"""Where a trained exemplar network looks: the position whose colours move most, points that find themselves, and their pictures."""

from collections.abc import Iterator
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import environment, make_project, quick
from torch import Tensor

from colorexp import color, evaluation, matching, paths, runs
from colorexp.apply import colorize_file
from colorexp.data import pairlist
from colorexp.data.store import Shards
from colorexp.report import exemplar
from colorexp.report.exemplar import Example
from colorexp.types import Batch
from colorexp.viz import abplane, marks

MAIN = "exemplar/exemplar"
FIRST = Example("scenes/test-00000", "nearest")


@pytest.fixture(scope="module")
def project(tiny_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with a trained network, in which the tests run."""
    folder = make_project(tmp_path_factory.mktemp("matching") / "project", prepared=tiny_project)
    with chdir(folder), environment(WANDB_MODE="disabled"):
        runs.train(runs.build(quick(MAIN)))
        matching.trained.cache_clear()
        yield folder
        matching.trained.cache_clear()


# Evaluation's pictures, one at a time


def test_one_picture_has_the_reference_that_evaluations_show_it_with(project: Path) -> None:
    cfg = matching.trained()[0]
    listed = {(p.image, p.subset): p for p in pairlist.read(paths.pairs("scenes")) if p.split == "test"}
    for subset in pairlist.SUBSETS:
        batch = evaluation.one(cfg, "scenes", subset, "test-00002")
        pair = listed["test-00002", subset]
        assert batch["id"] == ["scenes/test-00002"]
        assert (batch["reference_id"], batch["reference_kind"]) == ([pair.reference], [pair.kind])
    assert not batch["hint_mask"].any()


def test_one_picture_is_coloured_as_in_the_evaluation(project: Path) -> None:
    cfg, task = matching.trained()
    rows = evaluation.evaluate(cfg, task).rows.query("dataset == 'photos' and protocol == 'related' and way == ''")
    row = rows.iloc[0]
    batch = evaluation.one(cfg, "photos", "related", row["image"])
    with torch.no_grad():
        error = (task.predict(batch).ab - batch["ab"]).square().sum(1).sqrt().mean()
    assert float(error) == pytest.approx(row["ab_error"], rel=1e-3)


def test_a_picture_without_such_a_reference_is_named_with_those_that_have_one(project: Path) -> None:
    with pytest.raises(ValueError, match=r"scenes has no test picture 'test-00009'; it has, for example, test-0000\d, "):
        evaluation.one(matching.trained()[0], "scenes", "related", "test-00009")


# Figure 3


@pytest.fixture(params=["released", "paper"])
def variant(project: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both have a posterior."""
    cfg, task = matching.trained()
    if request.param != cfg.options["variant"]:
        cfg = replace(cfg, options=cfg.options | {"variant": request.param})
        task = runs.build_task(cfg).eval()
    monkeypatch.setattr(matching, "trained", lambda: (cfg, task))
    return str(request.param)


def distributions(example: Example) -> tuple[Tensor, Tensor, Tensor]:
    """Prior, likelihood and posterior by forward passes; the likelihood is that after a gray reference, which says nothing."""
    task, batch = matching.trained()[1], matching.pair(example)
    gray = {**batch, "reference_ab": torch.zeros_like(batch["reference_ab"])}
    with torch.no_grad():
        prior = task.model.describe(*task.inputs(batch)[1:]).histogram
        return prior[0], task(gray).posterior[0], task(batch).posterior[0]


def test_the_posterior_is_shown_where_it_moves_most(variant: str) -> None:
    """Over all positions of all candidates."""
    listed = {(p.image, p.kind) for p in pairlist.read(paths.pairs("scenes"))}
    chosen = [(f"test-0000{i}", kind) for i in range(4) for kind in ("nearest", "farthest")]
    candidates = [Example(f"scenes/{image}", kind) for image, kind in chosen if (image, kind) in listed]
    assert len(candidates) > 4
    seen = matching.posterior(candidates)
    found = {one: distributions(one) for one in candidates}
    moved = {one: (before - after).abs().sum(0).max().item() / 2 for one, (_, before, after) in found.items()}
    shown = np.abs(seen.shown["likelihood"] - seen.shown["posterior"]).sum() / 2
    assert shown == pytest.approx(max(moved.values()), rel=1e-4)
    assert shown > 0
    best = max(moved, key=lambda one: moved[one])
    batch = matching.pair(best)
    assert np.array_equal(seen.picture, matching._as_rgb(batch["L"], torch.zeros_like(batch["ab"])))
    prior, _, after = found[best]
    row, col = (place // matching.CELL for place in seen.place)
    assert np.allclose(seen.shown["posterior"], after[:, row, col].numpy(), atol=1e-6)
    assert np.allclose(seen.shown["prior (the reference)"], prior.numpy())
    assert len(seen.centres) == len(seen.rgb) == len(color.ab_database())
    product = seen.shown["likelihood"] * (0.9999 * prior.numpy() + 0.0001 / len(prior))
    assert np.allclose(seen.shown["posterior"], product / product.sum(), atol=1e-5) == (variant == "paper"), "eq. 4"


# Where the attention looks


def after_itself(example: Example) -> Batch:
    """The picture as its own reference, at the size of the network's references."""
    dataset, _, image = example.name.partition("/")
    batch = evaluation.one(matching.trained()[0], dataset, "related", image)
    return {**batch, "reference_L": batch["L"], "reference_ab": batch["ab"]}


def test_points_of_a_picture_after_itself_look_at_themselves(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "pair", after_itself)
    looks = matching.correspondences([FIRST], points=3)
    targets = looks.stars[0, 0]
    assert len(targets) == 2
    for n, star in enumerate(targets):
        (peak,) = looks.stars[0, 2 + n]
        assert peak.rgb == star.rgb
        assert abs(peak.row - star.row) < 4, "a position is 4 pixels of either picture"
        assert abs(peak.col - star.col) < 4


def test_every_line_has_its_columns_even_where_points_are_few(project: Path) -> None:
    looks = matching.correspondences([FIRST, Example("scenes/test-00001", "nearest")], points=3)
    assert looks.columns == ["gray", "reference", "point 1", "point 2", "point 3", "ours"]
    for line, row in enumerate(looks.rows):
        assert len(row) == 6
        lit = [picture for picture in row[2:5] if picture is not None]
        assert len(lit) == len(looks.stars[line, 0]) > 0
        for n, picture in enumerate(lit):
            assert picture.astype(int).sum() < row[1].astype(int).sum(), "darker where nobody looks"
            (peak,) = looks.stars[line, 2 + n]
            assert np.abs(picture[peak.row, peak.col].astype(int) - row[1][peak.row, peak.col]).max() <= 16
        assert np.ptp(row[0].astype(int), axis=2).max() <= 1
    figure = marks.starred(looks.rows, looks.stars, columns=looks.columns, labels=["one", "two"])
    assert len(figure.axes) == 12
    assert len(figure.axes[0].lines) == len(looks.stars[0, 0])


def test_an_untrained_run_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matching.trained.cache_clear()
    monkeypatch.setattr(exemplar, "main", lambda: "exemplar/no_prior")
    with pytest.raises(FileNotFoundError, match="exemplar/no_prior holds no trained run"):
        matching.trained()


# The ab plane


def test_a_distribution_is_discs_of_its_probabilities() -> None:
    centres, rgb = np.array([[0.0, 0.0], [50.0, -20.0], [-30.0, 40.0]]), np.eye(3)
    shown = {"likelihood": np.array([0.5, 0.25, 0.25]), "posterior": np.array([0.0, 0.2, 0.8])}
    figure = abplane.distributions(shown, centres, rgb, picture=np.zeros((8, 6, 3), np.uint8), place=(5, 2))
    picture, likelihood, posterior = figure.axes
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in picture.lines] == [(2, 5)] * 2, "across, then down"
    for axis, (title, prob) in zip((likelihood, posterior), shown.items(), strict=True):
        discs = axis.collections[-1]
        assert np.allclose(discs.get_sizes() / discs.get_sizes().max(), prob / prob.max())
        assert np.array_equal(np.asarray(discs.get_offsets()), centres)
        assert np.array_equal(discs.get_facecolors()[:, :3], rgb)
        assert axis.get_title().startswith(title)
    assert posterior.get_title() == "posterior\npeak 0.80 at a -30, b 40"


# A reference of one's own


def saved(rgb: np.ndarray, path: Path) -> str:
    Image.fromarray(rgb).save(path)
    return str(path)


def chroma_of(file: Path) -> Tensor:
    rgb = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)[None]
    return color.rgb_to_lab(color.from_8bit(rgb))[:, 1:]


def test_a_gray_reference_is_warned_of_and_colours_are_the_database_s(project: Path, tmp_path: Path) -> None:
    """Whatever gray it is: there is nothing in it to match."""
    record = Shards(paths.prepared("scenes"), "test")[0]
    source = tmp_path / "in.png"
    saved(record.rgb, source)
    light, dark = (saved(np.full((20, 30), value, np.uint8), tmp_path / f"{value}.png") for value in (60, 200))
    outs = []
    for number, reference in enumerate((light, dark)):
        (warning,) = colorize_file(source, tmp_path / f"out{number}.png", run=MAIN, reference=reference)
        assert "is gray" in warning
        outs.append((tmp_path / f"out{number}.png").read_bytes())
    assert outs[0] == outs[1]
    assert colorize_file(source, tmp_path / "red.png", run=MAIN, reference="palettes/ff0000-00ff00") == []
    assert (tmp_path / "red.png").read_bytes() != outs[0]


def test_a_reference_of_another_size_with_alpha_or_the_picture_itself_is_fine(project: Path, tmp_path: Path) -> None:
    record = Shards(paths.prepared("scenes"), "test")[0]
    source = tmp_path / "in.png"
    saved(record.rgb, source)
    seen = np.concatenate([record.rgb, np.full((*record.rgb.shape[:2], 1), 255, np.uint8)], 2)
    assert colorize_file(source, tmp_path / "itself.png", run=MAIN, reference=str(source)) == []
    assert colorize_file(source, tmp_path / "alpha.png", run=MAIN, reference=saved(seen, tmp_path / "rgba.png")) == []
    assert (tmp_path / "itself.png").read_bytes() == (tmp_path / "alpha.png").read_bytes()
    assert colorize_file(source, tmp_path / "small.png", run=MAIN, reference=saved(record.rgb[:9, :50], tmp_path / "s.png")) == []
    assert chroma_of(tmp_path / "small.png").isfinite().all()
