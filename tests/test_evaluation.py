"""Evaluation: one row per picture and protocol, a pure function of run, weights and pictures."""

import json
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tiny import change, copy_data, environment, make_project, quick

from colorexp import backbones, color, evaluation, hints, metrics, paths, runs
from colorexp.config import Metric, Run
from colorexp.data.store import Shards
from colorexp.types import Batch, Prediction

MAIN = "user_guided/res_unet"
MEASURES = ["psnr", "ssim", "cf_signed", "chroma", "ab_error"]
SETTING: dict[str, Any] = {"evaluate_on": ["scenes", "photos"], "metrics": MEASURES, "samples": 2, "eval_batch": 3}


@pytest.fixture(scope="module")
def trained(tiny_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A run, its weights, and its results."""
    folder = make_project(tmp_path_factory.mktemp("evaluation") / "project", prepared=tiny_project)
    with chdir(folder), environment(WANDB_MODE="disabled"):
        experiment = runs.build(quick(MAIN, **SETTING))
        runs.train(experiment)
        cfg, task = experiment.cfg, runs.load(experiment.out, evaluating=True)[1]
        yield SimpleNamespace(project=folder, cfg=cfg, task=task, results=evaluation.evaluate(cfg, task))


def rows_of(cfg: Run, trained: SimpleNamespace) -> pd.DataFrame:
    return evaluation.evaluate(cfg, trained.task).rows


def seen_hints(cfg: Run, trained: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """The hint masks that a task is shown, by protocol order and picture."""
    seen: dict[str, torch.Tensor] = {}
    real = trained.task.predict

    def predict(batch: Batch) -> Any:
        number = sum(key.startswith(f"{batch['id'][0]}#") for key in seen)
        seen.update({f"{name}#{number}": mask for name, mask in zip(batch["id"], batch["hint_mask"], strict=True)})
        return real(batch)

    monkeypatch.setattr(trained.task, "predict", predict)
    evaluation.evaluate(cfg, trained.task)
    monkeypatch.undo()
    return seen


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(mask, other[key]) for key, mask in one.items())


# Rows


def test_there_is_a_row_per_picture_and_protocol(trained: SimpleNamespace) -> None:
    rows = trained.results.rows
    assert not rows.duplicated(["dataset", "image", "protocol"]).any()
    pictures = {name: {record.id for record in Shards(paths.prepared(name), "test")} for name in ("scenes", "photos")}
    for protocol in trained.cfg.evaluation.protocols:
        for name, expected in pictures.items():
            assert set(rows[(rows.dataset == name) & (rows.protocol == protocol)].image) == expected
    assert len(rows) == 2 * sum(len(ids) for ids in pictures.values())


def test_rows_say_what_they_are_and_hold_what_was_asked_for(trained: SimpleNamespace) -> None:
    rows = trained.results.rows
    assert list(rows.columns[: len(evaluation.KEYS)]) == list(evaluation.KEYS)
    assert {*MEASURES, "true_cf_signed", "true_chroma", "loss", "accuracy", "accuracy_small"} <= set(rows.columns)
    assert set(rows.split) == {"test"}
    assert set(rows.seed) == {trained.cfg.seed}
    always = rows[[*MEASURES, "loss", "accuracy"]]
    assert np.isfinite(always.to_numpy()).all()
    assert rows[rows.dataset == "photos"].accuracy_large.isna().all(), "no objects are known in photographs"


def test_measures_are_those_of_the_saved_picture(trained: SimpleNamespace) -> None:
    """Against the metric functions on the 8-bit samples."""
    rows, samples = trained.results.rows, trained.results.samples
    for name in [label.removesuffix(".truth") for label in samples if label.endswith(".truth")]:
        dataset, image = name.split("/")
        for protocol in trained.cfg.evaluation.protocols:
            row = rows[(rows.dataset == dataset) & (rows.image == image) & (rows.protocol == protocol)].iloc[0]
            rgb, truth = (torch.tensor(samples[f"{name}.{kind}"]).permute(2, 0, 1)[None] for kind in (protocol, "truth"))
            assert row.psnr == pytest.approx(float(metrics.psnr(rgb, truth)), rel=1e-5)
            assert row.cf_signed == pytest.approx(float(metrics.cf_signed(rgb)), rel=1e-5)
            assert row.true_cf_signed == pytest.approx(float(metrics.cf_signed(truth)), rel=1e-5)


def test_true_colours_score_perfectly(trained: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    real = trained.task.predict

    def perfect(batch: Batch) -> Prediction:
        return Prediction(batch["ab"], {**real(batch).extras, "mode": batch["ab"]})

    monkeypatch.setattr(trained.task, "predict", perfect)
    rows = rows_of(trained.cfg, trained)
    assert (rows.ab_error == 0).all()
    assert (rows.accuracy == 1).all()
    assert (rows.ssim > 0.9999).all()
    assert (rows.cf_signed == rows.true_cf_signed).all()


# Purity


def test_evaluating_twice_gives_the_same_numbers(trained: SimpleNamespace) -> None:
    torch.manual_seed(99)
    again = evaluation.evaluate(trained.cfg, trained.task)
    pd.testing.assert_frame_equal(again.rows, trained.results.rows, check_exact=True)
    assert again.samples.keys() == trained.results.samples.keys()
    assert all(np.array_equal(picture, again.samples[name]) for name, picture in trained.results.samples.items())


def test_evaluating_draws_nothing_from_the_global_generator(trained: SimpleNamespace) -> None:
    before = torch.get_rng_state()
    evaluation.evaluate(change(trained.cfg, evaluate_on=["scenes"]), trained.task)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_picture_does_not_depend_on_its_neighbours(trained: SimpleNamespace) -> None:
    alone = rows_of(change(trained.cfg, eval_batch=1, evaluate_on=["scenes"], protocols=["0", "3%"]), trained)
    together = trained.results.rows
    together = together[together.dataset == "scenes"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, together[alone.columns], rtol=1e-4, check_exact=False)


def test_every_run_sees_the_same_hints(trained: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its seed, its order of protocols, its batches and its training."""
    usual = seen_hints(trained.cfg, trained, monkeypatch)
    assert any(mask.any() for mask in usual.values())
    assert equal(usual, seen_hints(change(trained.cfg, seed=5, eval_batch=1, hints="50", epochs=9), trained, monkeypatch))
    other = change(trained.cfg, name="user_guided/simple_unet", train_on={"scenes": 3}, near_gray_filter="none")
    assert equal(usual, seen_hints(other, trained, monkeypatch))
    fewer = seen_hints(change(trained.cfg, evaluate_on=["photos"]), trained, monkeypatch)
    assert equal(fewer, {key: mask for key, mask in usual.items() if key.startswith("photos/")})


def test_a_protocol_says_how_many_hints_there_are(trained: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = seen_hints(change(trained.cfg, protocols=["0", "5"], hint_layout="cells"), trained, monkeypatch)
    assert {int(mask.sum()) for key, mask in seen.items() if key.endswith("#0")} == {0}
    assert {int(mask.sum()) for key, mask in seen.items() if key.endswith("#1")} == {5 * trained.cfg.hinting.hint_patch**2}


def test_rows_of_further_ways_stand_beside_those_of_the_usual_one(
    trained: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = trained.task.predict
    gray = {"": usual, "gray": lambda batch: Prediction(torch.zeros_like(batch["ab"]), usual(batch).extras)}
    monkeypatch.setattr(trained.task, "ways", lambda: gray)
    found = evaluation.evaluate(change(trained.cfg, ways=["gray"], protocols=["0"]), trained.task)
    assert found.rows.groupby("way")["chroma"].max()["gray"] == 0
    rows = found.rows[found.rows["way"] == ""].reset_index(drop=True)
    before = trained.results.rows
    pd.testing.assert_frame_equal(rows, before[before["protocol"] == "0"].reset_index(drop=True))
    names = [name for name in found.samples if name.endswith(".0.gray")]
    assert names
    for name in names:
        assert np.ptp(found.samples[name].astype(int), axis=2).max() <= 1
        assert name.removesuffix(".gray") in found.samples


def test_an_unknown_way_is_named_before_training(trained: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match=r"runs\.user_guided\.res_unet\.ways names 'sideways'; .* offers: none"):
        runs.build_task(change(trained.cfg, ways=["sideways"]))


def test_repeats_are_further_draws_of_the_first_protocol(trained: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    again = evaluation.evaluate(change(trained.cfg, repeats=3), trained.task)
    assert again.rows.groupby("protocol")["repeat"].unique().map(sorted).to_dict() == {"3%": [0, 1, 2], "0": [0]}
    first = again.rows[again.rows.repeat == 0].reset_index(drop=True)
    pd.testing.assert_frame_equal(first, trained.results.rows, check_exact=True)
    psnr = again.rows[again.rows.protocol == "3%"].groupby(["dataset", "image"])["psnr"]
    assert (psnr.nunique() == 3).any(), "other hints give other pictures"
    assert again.samples.keys() == trained.results.samples.keys()
    assert all(np.array_equal(picture, again.samples[name]) for name, picture in trained.results.samples.items())
    seen = seen_hints(change(trained.cfg, repeats=3, protocols=["3%"], evaluate_on=["scenes"]), trained, monkeypatch)
    masks = [torch.stack([mask for key, mask in seen.items() if key.endswith(f"#{number}")]) for number in range(3)]
    assert not torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[1], masks[2])


# Hint files


@pytest.mark.parametrize("layout", ["free", "cells"])
def test_hints_written_to_files_give_the_same_results(trained: SimpleNamespace, tmp_path: Path, layout: str) -> None:
    cfg = change(trained.cfg, hint_layout=layout)
    drawn = rows_of(cfg, trained)
    written = evaluation.write_hints(cfg, tmp_path / "hints")
    assert written == len(drawn)
    files = {name: str(tmp_path / "hints" / name) for name in ("scenes", "photos")}
    assert len(list((tmp_path / "hints").rglob("*.txt"))) == written
    pd.testing.assert_frame_equal(rows_of(change(cfg, hint_files=files), trained), drawn, check_exact=True)


def test_hints_are_read_from_files(trained: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / hints.folder_name("3%", 3)
    for record in Shards(paths.prepared("scenes"), "test"):
        hints.write(folder / f"{record.id}.txt", torch.tensor([[4, 9]]))
    cfg = change(trained.cfg, evaluate_on=["scenes"], hint_files={"scenes": str(tmp_path)})
    expected = hints.rasterise(torch.tensor([[4, 9]]), (32, 32), patch=3)
    seen = seen_hints(cfg, trained, monkeypatch)
    assert all(torch.equal(mask, expected) for key, mask in seen.items() if key.endswith("#0"))


def test_a_missing_hint_file_is_named(trained: SimpleNamespace, tmp_path: Path) -> None:
    evaluation.write_hints(trained.cfg, tmp_path)
    missing = tmp_path / "scenes" / hints.folder_name("3%", 3) / "test-00002.txt"
    missing.unlink()
    with pytest.raises(FileNotFoundError) as error:
        rows_of(change(trained.cfg, hint_files={"scenes": str(tmp_path / "scenes")}), trained)
    assert str(missing) in str(error.value)


def test_a_hint_file_for_larger_pictures_is_refused(trained: SimpleNamespace, tmp_path: Path) -> None:
    evaluation.write_hints(change(trained.cfg, size=64), tmp_path)
    with pytest.raises(ValueError, match=r"\.txt, line \d+: the hint at row \d+, column \d+ leaves the picture of 32x32"):
        rows_of(change(trained.cfg, hint_files={"scenes": str(tmp_path / "scenes")}), trained)


def test_a_hint_file_beside_the_cells_is_refused(trained: SimpleNamespace, tmp_path: Path) -> None:
    evaluation.write_hints(change(trained.cfg, hint_layout="free"), tmp_path)
    cfg = change(trained.cfg, hint_layout="cells", hint_files={"scenes": str(tmp_path / "scenes")})
    with pytest.raises(ValueError, match=r"test-\d+\.txt, line \d+: hints are cells of 3x3 pixels"):
        rows_of(cfg, trained)


def test_a_hint_file_with_colours_is_refused(trained: SimpleNamespace, tmp_path: Path) -> None:
    evaluation.write_hints(trained.cfg, tmp_path)
    file = tmp_path / "scenes" / hints.folder_name("3%", 3) / "test-00001.txt"
    file.write_text("4 9 #ff0000\n")
    with pytest.raises(ValueError, match=r"test-00001\.txt gives colours; an evaluation shows the picture's own"):
        rows_of(change(trained.cfg, hint_files={"scenes": str(tmp_path / "scenes")}), trained)


# Pairs


def test_pairs_are_read_from_a_list_of_ones_own(trained: SimpleNamespace, tmp_path: Path) -> None:
    """Pictures that it does not name are not measured."""
    rows = "test-00003,related,palettes/ff0000\ntest-00001,related,scenes/train-00002\ntest-00001,independent,palettes/00ff00\n"
    (tmp_path / "mine.csv").write_text(f"image,subset,reference\n{rows}")
    lists = {"scenes": str(tmp_path / "mine.csv")}
    cfg = change(trained.cfg, evaluate_on=["scenes"], pairs=["independent", "related"], pair_lists=lists, metrics=["psnr", "his"])
    found = evaluation.evaluate(cfg, trained.task)
    assert found.rows[["protocol", "image", "reference", "reference_kind"]].to_numpy().tolist() == [
        ["independent", "test-00001", "palettes/00ff00", "given"],
        ["related", "test-00001", "scenes/train-00002", "given"],
        ["related", "test-00003", "palettes/ff0000", "given"],
    ]
    red = found.samples["scenes/test-00003.related.reference"]
    assert red.reshape(-1, 3).tolist() == [[255, 0, 0]] * len(red) ** 2


def test_all_that_a_list_of_ones_own_misses_is_named(trained: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("image,subset,reference\ntest-00001,related,scenes/a\ntest-00009,related,b.png\n")
    cfg = change(trained.cfg, evaluate_on=["scenes"], pairs=["related"], pair_lists={"scenes": str(tmp_path / "mine.csv")})
    with pytest.raises(
        FileNotFoundError, match=r"mine\.csv \(related\) names 3 missing pictures: test picture scenes/test-00009, "
    ):
        rows_of(cfg, trained)


def test_pairs_that_no_stage_made_are_named(trained: SimpleNamespace, prepared: Path) -> None:
    paths.pairs("scenes").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"no list of pairs at artifacts/pairs/scenes\.csv; run `dvc repro` or `colorexp pairs"
    ):
        rows_of(change(trained.cfg, evaluate_on=["scenes"], pairs=["related"]), trained)


# Aesthetics


def test_aesthetics_are_unknown_without_a_model(trained: SimpleNamespace) -> None:
    rows = rows_of(change(trained.cfg, evaluate_on=["scenes"], metrics=["aesthetics", "psnr"]), trained)
    assert rows["aesthetics"].isna().all()
    assert "aesthetics" not in evaluation.summarise(rows)["scenes"]["0"]


def test_aesthetics_are_what_the_model_says_of_each_picture(trained: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    class Greenness(torch.nn.Module):
        def forward(self, rgb: torch.Tensor) -> torch.Tensor:
            return rgb[:, 1].mean((1, 2))

    monkeypatch.setattr(backbones, "aesthetics", lambda folder: Greenness())
    cfg = change(trained.cfg, evaluate_on=["scenes"], metrics=["aesthetics"], protocols=["0"])
    found = evaluation.evaluate(cfg, trained.task)
    for row in found.rows.itertuples():
        if (name := f"scenes/{row.image}.0") in found.samples:
            assert row.aesthetics == pytest.approx(found.samples[name][..., 1].mean() / 255, abs=1e-5)
    monkeypatch.setattr(Greenness, "forward", lambda self, rgb: rgb.mean((2, 3)))
    with pytest.raises(ValueError, match=r"one number per picture, shape \(3,\), got \(3, 3\)"):
        evaluation.evaluate(cfg, trained.task)


# What cannot be measured


def test_every_measure_that_params_may_name_is_known() -> None:
    assert {*evaluation._PLAIN, *evaluation._LPIPS, "aesthetics"} == set(get_args(Metric))


def test_a_dataset_without_test_pictures_is_named(prepared: Path, trained: SimpleNamespace) -> None:
    folder = copy_data(prepared) / "photos"
    table = pd.read_parquet(folder / "manifest.parquet")
    table[table.split != "test"].to_parquet(folder / "manifest.parquet")
    with pytest.raises(ValueError, match="the dataset 'photos' has no test picture"):
        rows_of(trained.cfg, trained)


def test_an_unprepared_dataset_is_named(trained: SimpleNamespace) -> None:
    with pytest.raises(FileNotFoundError, match=r"folder is not prepared; run `dvc repro` or `colorexp prepare folder`"):
        rows_of(change(trained.cfg, evaluate_on=["folder"]), trained)


# Samples and features


def test_samples_are_the_first_pictures_with_input_and_truth(trained: SimpleNamespace) -> None:
    names = {f"{dataset}/{rows.image.iloc[i]}" for dataset, rows in trained.results.rows.groupby("dataset") for i in (0, 1, 2, 3)}
    samples = trained.results.samples
    shown = {label.removesuffix(".truth") for label in samples if label.endswith(".truth")}
    assert shown <= names
    assert sorted(name.split("/")[0] for name in shown) == ["photos"] * 2 + ["scenes"] * 2
    columns = [f"{p}{kind}" for p in trained.cfg.evaluation.protocols for kind in ("", ".input")] + ["truth"]
    assert set(samples) == {f"{name}.{column}" for name in shown for column in columns}
    assert {picture.dtype for picture in samples.values()} == {np.dtype(np.uint8)}


def test_a_samples_input_shows_hints_on_gray(trained: SimpleNamespace) -> None:
    for label, picture in trained.results.samples.items():
        spread = np.ptp(picture.astype(int), axis=2)
        if label.endswith(".0.input"):
            assert spread.max() <= 1
        elif label.endswith(".3%.input"):
            assert 0 < (spread > 8).mean() < 0.2


def test_truth_is_the_stored_picture(trained: SimpleNamespace) -> None:
    cfg = change(trained.cfg, evaluate_on=["scenes"], size=64, protocols=["0"])
    samples = evaluation.evaluate(cfg, trained.task).samples
    for record in list(Shards(paths.prepared("scenes"), "test"))[:2]:
        assert np.abs(samples[f"scenes/{record.id}.truth"].astype(int) - record.rgb).max() <= 1


def test_no_samples_are_kept_where_none_are_asked_for(trained: SimpleNamespace) -> None:
    assert evaluation.evaluate(change(trained.cfg, samples=0, evaluate_on=["scenes"]), trained.task).samples == {}


class Inception(torch.nn.Module):
    """Stands in for the networks that must be downloaded: means and maxima of the picture."""

    def forward(self, rgb: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert rgb.dtype == torch.uint8
        return rgb.float().mean((2, 3)), rgb.float().amax((2, 3))


def test_features_are_kept_per_protocol_and_once_for_the_truth(trained: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backbones.INCEPTIONS, "fid_tf", lambda folder=None: SimpleNamespace(network=Inception()))
    results = evaluation.evaluate(change(trained.cfg, features="fid_tf", samples=4), trained.task)
    columns = [*trained.cfg.evaluation.protocols, "truth"]
    assert set(results.features) == {f"{d}/{c}/{k}" for d in ("scenes", "photos") for c in columns for k in ("features", "logits")}
    assert {len(values) for values in results.features.values()} == {4}
    shown = [results.samples[f"scenes/test-0000{i}.truth"] for i in range(4)]
    assert np.allclose(results.features["scenes/truth/features"], [picture.mean((0, 1)) for picture in shown], atol=1e-3)
    assert trained.results.features == {}
    fewer = evaluation.evaluate(change(trained.cfg, features="fid_tf", features_of=3, samples=0), trained.task).features
    assert {len(values) for values in fewer.values()} == {3}
    assert np.allclose(fewer["scenes/truth/features"], results.features["scenes/truth/features"][:3])


# Files


def saved(results: evaluation.Results, out: str = evaluation.OFFICIAL) -> dict[str, bytes]:
    evaluation.save(MAIN, results, out=out)
    files = [*paths.resolve(out).rglob("*"), *paths.resolve("reports").rglob("*")]
    return {path.relative_to(paths.root()).as_posix(): path.read_bytes() for path in files if path.is_file()}


def test_results_are_saved_where_the_pipeline_reads_them(prepared: Path, trained: SimpleNamespace) -> None:
    files = saved(trained.results)
    pd.testing.assert_frame_equal(pd.read_parquet(paths.results(MAIN)), trained.results.rows, check_exact=True)
    assert json.loads(paths.report_metrics(MAIN).read_text()) == evaluation.headline(trained.results.rows)
    assert paths.features(MAIN).is_file()
    for label, picture in trained.results.samples.items():
        assert np.array_equal(np.asarray(Image.open(paths.samples(MAIN) / f"{label}.png")), picture)
    assert not [name for name in files if "partial" in name]


def test_saving_twice_leaves_the_same_bytes_and_no_older_sample(prepared: Path, trained: SimpleNamespace) -> None:
    stale = paths.samples(MAIN) / "scenes" / "stale.truth.png"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"older")
    first = saved(trained.results)
    assert not stale.exists()
    again = evaluation.evaluate(trained.cfg, trained.task)
    assert saved(again) == first


def test_results_by_hand_leave_the_reports_alone(prepared: Path, trained: SimpleNamespace) -> None:
    files = saved(trained.results, out="scratch/mine")
    assert not (prepared / "reports").exists()
    assert f"scratch/mine/{MAIN}.json" in files


# Means


def table(**columns: list[Any]) -> pd.DataFrame:
    usual = {"dataset": ["d"] * 4, "split": ["test"] * 4, "image": list("abcd"), "seed": [0] * 4, "repeat": [0] * 4}
    usual |= {"way": [""] * 4}
    return pd.DataFrame({**usual, "protocol": ["0", "0", "10", "10"], "near_gray": [False] * 4, **columns})


def test_near_gray_pictures_do_not_count(trained: SimpleNamespace) -> None:
    rows = table(psnr=[10.0, 20.0, 30.0, 50.0], near_gray=[False, True, False, False])
    assert evaluation.summarise(rows) == {"d": {"0": {"psnr": 10.0}, "10": {"psnr": 40.0}}}
    assert evaluation.headline(rows) == {"d": {"psnr": 40.0}}


def test_where_all_pictures_are_near_gray_they_count() -> None:
    rows = table(psnr=[10.0, 20.0, 30.0, 50.0], near_gray=[True] * 4)
    assert evaluation.summarise(rows) == {"d": {"0": {"psnr": 15.0}, "10": {"psnr": 40.0}}}


def test_means_are_those_of_the_first_draw_of_hints() -> None:
    rows = table(psnr=[10.0, 20.0, 30.0, 50.0], repeat=[0, 1, 0, 1])
    assert evaluation.summarise(rows) == {"d": {"0": {"psnr": 10.0}, "10": {"psnr": 30.0}}}


def test_means_are_those_of_the_usual_way() -> None:
    rows = table(psnr=[10.0, 20.0, 30.0, 50.0], way=["", "other", "", "other"])
    assert evaluation.summarise(rows) == {"d": {"0": {"psnr": 10.0}, "10": {"psnr": 30.0}}}


def test_what_is_unknown_is_left_out_of_means() -> None:
    rows = table(psnr=[10.0, np.nan, 30.0, 50.0], accuracy_small=[np.nan] * 4)
    assert evaluation.summarise(rows)["d"]["0"] == {"psnr": 10.0}


def test_the_headline_is_that_of_most_hints() -> None:
    rows = table(psnr=[1.0, 1.0, 2.0, 2.0], accuracy=[0.1, 0.1, 0.2, 0.2], chroma=[9.0] * 4, protocol=["128", "128", "10", "10"])
    assert evaluation.headline(rows) == {"d": {"psnr": 1.0, "accuracy": 0.1}}


def test_the_headline_is_that_of_related_pairs() -> None:
    rows = table(psnr=[1.0, 1.0, 2.0, 2.0], his=[0.5, 0.5, 0.7, 0.7], protocol=["independent"] * 2 + ["related"] * 2)
    assert evaluation.headline(rows) == {"d": {"psnr": 2.0, "his": 0.7}}


def test_means_are_rounded_to_six_digits() -> None:
    assert evaluation.summarise(table(psnr=[1 / 3, 1 / 3, 2 / 3, 2 / 3]))["d"]["0"]["psnr"] == 0.333333


def test_marked_pictures_are_those_of_the_runs_filter(trained: SimpleNamespace) -> None:
    marked = {
        name: rows_of(change(trained.cfg, near_gray_filter=name, evaluate_on=["scenes"], protocols=["0"]), trained).near_gray
        for name in ("none", "joint", "marginal")
    }
    shares = pd.read_parquet(paths.prepared("scenes") / "manifest.parquet").query("split == 'test'").sort_values("id")
    assert not marked["none"].any()
    assert marked["joint"].tolist() == (shares.gray_joint > 0.7).tolist()
    assert marked["marginal"].tolist() == ((shares.gray_a >= 0.7) & (shares.gray_b >= 0.7)).tolist()
    assert marked["marginal"].any()
    assert color.NEAR_GRAY_BINS == (-16, 24)
