"""Transfer without learning gives the reference's colours, by lightness alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import change, make_batch, quick, rng
from torch import Tensor

from colorexp import evaluation, metrics, paths, runs
from colorexp.config import Run
from colorexp.data import pairlist
from colorexp.models.transfer import HistogramMatching, MeanStdTransfer
from colorexp.runs import build_task

MODELS = (MeanStdTransfer(), HistogramMatching())


def reference(height: int = 40, width: int = 56) -> tuple[Tensor, Tensor]:
    batch = make_batch(height, width, seed=7)
    return batch["L"], batch["ab"]


@pytest.fixture
def gray() -> Tensor:
    return make_batch(32, 48)["L"]


def test_mean_and_spread_are_the_references(gray: Tensor) -> None:
    reference_L, reference_ab = reference()
    ab = MeanStdTransfer()(gray, reference_L, reference_ab)
    assert ab.shape == (2, 2, 32, 48)
    for of in (torch.mean, lambda x, dim: torch.std(x, dim, correction=0)):
        torch.testing.assert_close(of(ab, dim=(2, 3)), of(reference_ab, dim=(2, 3)), rtol=1e-4, atol=1e-4)


def test_chroma_follows_lightness_as_in_the_reference(gray: Tensor) -> None:
    """Where light things are yellow in the reference they become yellow."""
    reference_L = make_batch(40, 40, seed=2)["L"]
    reference_ab = torch.cat([reference_L / 4, -reference_L / 2], 1)
    ab = MeanStdTransfer()(gray, reference_L, reference_ab)
    for channel, sign in enumerate((1, -1)):
        together = torch.stack([gray[0].flatten(), sign * ab[0, channel].flatten()])
        assert torch.corrcoef(together)[0, 1] > 0.999


def test_matched_histograms_are_the_references(gray: Tensor) -> None:
    reference_L, reference_ab = reference()
    ab = HistogramMatching()(gray, reference_L, reference_ab)
    assert metrics.his(ab, reference_ab).min() > 0.97
    assert metrics.his(MeanStdTransfer()(gray, reference_L, reference_ab), reference_ab).max() < 0.9


def test_the_lightest_pixel_takes_the_lightest_ones_chroma() -> None:
    L, reference_L = (100 * torch.rand(2, 1, 9, 11, generator=rng(seed)) for seed in range(2))
    reference_ab = torch.rand(2, 2, 9, 11, generator=rng(2))
    ab = HistogramMatching()(L, reference_L, reference_ab).flatten(2)
    for pick in (torch.argmax, torch.argmin):
        for n in range(2):
            target, source = pick(L[n].flatten()), pick(reference_L[n].flatten())
            assert torch.equal(ab[n, :, target], reference_ab[n].flatten(1)[:, source])


def test_a_picture_after_itself_keeps_its_colours() -> None:
    batch = make_batch(32, 48)
    assert torch.equal(HistogramMatching()(batch["L"], batch["L"], batch["ab"]), batch["ab"])


@pytest.mark.parametrize("model", MODELS)
def test_flat_pictures_and_gray_references_give_finite_colours(model: torch.nn.Module, gray: Tensor) -> None:
    reference_L, reference_ab = reference()
    flat = model(torch.full_like(gray, 50.0), reference_L, reference_ab)
    assert flat.isfinite().all()
    assert not model(gray, reference_L, torch.zeros_like(reference_ab)).any()
    plain = model(gray, torch.full_like(reference_L, 50.0), reference_ab)
    assert plain.isfinite().all()


def test_a_picture_of_one_lightness_takes_the_mean(gray: Tensor) -> None:
    reference_L, reference_ab = reference()
    ab = MeanStdTransfer()(torch.full_like(gray, 50.0), reference_L, reference_ab)
    torch.testing.assert_close(ab, reference_ab.mean((2, 3), keepdim=True).expand_as(ab))


@pytest.mark.parametrize("model", MODELS)
def test_pictures_of_a_batch_do_not_mix(model: torch.nn.Module, gray: Tensor) -> None:
    reference_L, reference_ab = reference()
    together = model(gray, reference_L, reference_ab)
    alone = torch.cat([model(gray[n : n + 1], reference_L[n : n + 1], reference_ab[n : n + 1]) for n in range(2)])
    torch.testing.assert_close(together, alone)


# As a run, from start to end


def run(model: str, **values: object) -> Run:
    cfg = replace(quick("user_guided/spread", metrics=["psnr", "his"], protocols=["0"]), options={})
    task = "colorexp.tasks.transfer:ReferenceTransfer"
    usual = {"model": f"colorexp.models.transfer:{model}", "task": task, "pairs": ["related", "independent"], "reference_size": 64}
    return change(cfg, **{**usual, **values})


def test_rows_say_which_reference_each_picture_had(prepared: Path) -> None:
    rows = evaluation.evaluate(cfg := run("HistogramMatching"), build_task(cfg)).rows
    assert list(rows.columns[: len(evaluation.KEYS) + 2]) == [*evaluation.KEYS, *evaluation.REFERENCE_KEYS]
    listed = {(p.image, p.subset): (p.reference, p.kind) for p in pairlist.read(paths.pairs("scenes")) if p.split == "test"}
    found = {(r.image, r.protocol): (r.reference, r.reference_kind) for r in rows.itertuples()}
    assert found == listed
    assert set(rows["reference_kind"]) == {"nearest", "farthest", "palette"}
    assert rows["his"].min() > 0.9


def test_spread_inside_objects_is_measured_on_scenes_alone(prepared: Path) -> None:
    rows = evaluation.evaluate(cfg := run("MeanStdTransfer", evaluate_on=["scenes", "photos"]), build_task(cfg)).rows
    assert rows.loc[rows["dataset"] == "scenes", "spread"].notna().any()
    assert rows.loc[rows["dataset"] == "photos", "spread"].isna().all()


def test_gray_references_are_warned_of_by_name(prepared: Path) -> None:
    first, *others = [pair for pair in pairlist.read(paths.pairs("scenes")) if pair.subset == "related"]
    gray = first._replace(reference="palettes/202020-a0a0a0")
    pairlist.write(paths.root() / "gray.csv", [gray, *others])
    cfg = run("MeanStdTransfer", pairs=["related"], pair_lists={"scenes": "gray.csv"}, evaluate_on=["scenes"])
    told = rf"1 references of scenes \(related\) are gray and give no colour: of scenes/{gray.image}$"
    with pytest.warns(UserWarning, match=told):
        evaluation.evaluate(cfg, build_task(cfg))


def test_the_summary_has_the_related_pairs(prepared: Path) -> None:
    rows = evaluation.evaluate(cfg := run("MeanStdTransfer"), build_task(cfg)).rows
    means = evaluation.summarise(rows)["scenes"]
    assert set(means) == {"related", "independent"}
    assert set(means["related"]) == {"psnr", "his", "spread", "spread_true"}
    assert evaluation.headline(rows)["scenes"] == {name: means["related"][name] for name in ("psnr", "his")}


def test_samples_show_the_reference(prepared: Path) -> None:
    found = evaluation.evaluate(cfg := run("HistogramMatching", samples=2, evaluate_on=["photos"]), build_task(cfg)).samples
    labels = ("truth", "related", "related.reference", "related.input", "independent", "independent.reference", "independent.input")
    assert {name.partition(".")[2] for name in found} == set(labels)
    for name, picture in found.items():
        if name.endswith(".reference"):
            assert picture.shape == (64, 64, 3)
        if name.endswith(".input"):
            assert np.ptp(picture.astype(int), axis=2).max() <= 1


def test_there_is_nothing_to_train(prepared: Path) -> None:
    runs.train(runs.build(cfg := run("MeanStdTransfer"), out="out"))
    loaded = runs.load(paths.resolve("out"))[1]
    assert loaded.takes_reference and not loaded.takes_hints
    with pytest.raises(ValueError, match="cannot be trained"):
        build_task(cfg).loss(make_batch(), torch.zeros(1))


def test_a_task_that_takes_references_needs_pairs(prepared: Path) -> None:
    cfg = run("MeanStdTransfer", pairs=[])
    with pytest.raises(ValueError, match=r"colours after references: params\.yaml must name `pairs` of it, related or independent"):
        evaluation.evaluate(cfg, build_task(cfg))


def test_runs_without_references_are_measured_under_pairs_as_well(prepared: Path) -> None:
    """How near an automatic colouring is to the reference's histogram."""
    cfg = quick("user_guided/spread", metrics=["his", "chroma"], protocols=["0"], pairs=["related"])
    rows = evaluation.evaluate(cfg, build_task(cfg)).rows
    assert set(rows["protocol"]) == {"related"}
    assert (rows["chroma"] == 0).all(), "there are no hints"
    assert rows["his"].max() < 0.9, "which gray has with itself, not with a reference"


def test_pairs_have_no_hints_to_write(prepared: Path) -> None:
    with pytest.raises(ValueError, match="measured under pairs"):
        evaluation.write_hints(run("MeanStdTransfer"), prepared / "hints")
