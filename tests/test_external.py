"""Methods from elsewhere: what they deliver is checked, measured like a run, and stands in the papers' tables."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from colorexp import color, config, evaluation, external, metrics, paths
from colorexp.cli import app
from colorexp.data import pairlist
from colorexp.data.datamodule import View2D
from colorexp.data.store import Shards
from colorexp.report import disco, exemplar, tables
from colorexp.report.exemplar import Row
from colorexp.tasks.base import Setting


@pytest.fixture
def here(prepared: Path) -> Path:
    """A project whose test sets are four scenes and four photographs."""
    return prepared


def records(dataset: str = "scenes") -> Shards:
    return Shards(paths.prepared(dataset), "test")


def deliver(method: str, dataset: str = "scenes") -> Path:
    """A copy of the true pictures."""
    folder = external.folder() / method / dataset
    folder.mkdir(parents=True)
    for record in records(dataset):
        Image.fromarray(record.rgb).save(folder / f"{record.id}.png")
    return folder


def gray(method: str, dataset: str = "scenes") -> None:
    """What `colorexp external inputs` writes, sent back as it is."""
    external.write_inputs(dataset, external.folder() / method)


# Checks


def test_no_folder_is_no_method_and_no_error(here: Path) -> None:
    assert external.methods() == []
    assert external.evaluate_all().empty
    assert tables.from_elsewhere("disco") == []
    assert tables.elsewhere("disco", {"psnr": "psnr"}, columns=["method", "quantity"]) == []


def test_everything_that_is_wrong_is_listed(here: Path) -> None:
    folder = deliver("copy")
    first, second, third, _ = (record.id for record in records())
    (folder / f"{first}.png").unlink()
    Image.new("RGB", (5, 7)).save(folder / f"{second}.png")
    (folder / f"{third}.png").write_bytes(b"no picture")
    (folder / "stranger.png").touch()
    with pytest.raises(ValueError, match=r"^copy: 4 problems: ") as refused:
        external.check("copy")
    told = str(refused.value)
    side = records()[0].rgb.shape[0]
    assert f"scenes/{first}.png is missing" in told
    assert f"scenes/{second}.png is 5x7 and not {side}x{side}" in told
    assert f"scenes/{third}.png: not a picture" in told
    assert "scenes/stranger.png belongs to no test picture" in told


def test_unknown_names_are_refused(here: Path) -> None:
    deliver("copy")
    with pytest.raises(ValueError, match="no method 'other' in external; there are: copy"):
        external.check("other")
    shutil.copytree(external.folder() / "copy" / "scenes", external.folder() / "copy" / "moon")
    with pytest.raises(ValueError, match="copy: no data set moon; data sets are: photos, scenes"):
        external.check("copy")
    (external.folder() / "a method").mkdir()
    with pytest.raises(ValueError, match="external/a method: a method is named by"):
        external.methods()


def test_the_folder_is_named_in_the_parameters(here: Path) -> None:
    text = paths.params().read_text()
    paths.params().write_text(text.replace("external_methods: external", "external_methods: elsewhere/methods"))
    assert deliver("copy") == here / "elsewhere/methods/copy/scenes"
    assert len(external.check("copy")) == 4
    paths.params().write_text(text.replace("external_methods: external", "external_methods: 3"))
    with pytest.raises(ValueError, match="external_methods must name the folder of methods from elsewhere, got 3"):
        external.methods()


def test_a_data_set_that_the_profile_lacks_is_passed_over(here: Path) -> None:
    deliver("copy")
    (external.folder() / "copy" / "coco").mkdir()
    assert {picture.dataset for picture in external.check("copy")} == {"scenes"}


def test_changed_lightness_is_flagged_and_changed_colour_is_not(here: Path) -> None:
    folder = deliver("bright")
    assert not any(picture.flagged for picture in external.check("bright"))
    record = records()[0]
    Image.fromarray(np.clip(record.rgb.astype(int) + 12, 0, 255).astype(np.uint8)).save(folder / f"{record.id}.png")
    found = {picture.image: picture for picture in external.check("bright")}
    assert [name for name, picture in found.items() if picture.flagged] == [record.id]
    assert 2 < found[record.id].luminance_difference < 24
    gray("gray")
    assert not any(picture.flagged for picture in external.check("gray"))


# Measures


def measured(paper: str, method: str) -> pd.DataFrame:
    return tables.results(f"external/{paper}/{method}")


def test_the_truth_and_gray_have_the_values_of_theory(here: Path) -> None:
    """At the size at which the paper's runs are measured, which is not the stored one."""
    deliver("copy")
    gray("gray")
    external.evaluate_all()
    cfg = config.load("disco/disco")
    assert cfg.data.size != records()[0].rgb.shape[0]
    truth = measured("disco", "copy")
    assert (truth["psnr"] == metrics.PSNR_CAP).all()
    assert (truth["ab_error"] == 0).all()
    assert (truth["cf_signed"] == truth["true_cf_signed"]).all()
    view = View2D(cfg.data.eval_view, cfg.data.size)
    baseline, chroma = {}, {}
    for record in records():
        rgb = view.apply(torch.from_numpy(record.rgb.copy()).movedim(-1, 0), torch.Generator())[None]
        lab = color.rgb_to_lab(color.from_8bit(rgb))
        flat = torch.cat([lab[:, :1], torch.zeros_like(lab[:, 1:])], 1)
        baseline[record.id] = float(metrics.psnr(color.to_8bit(color.lab_to_rgb(flat)), rgb))
        chroma[record.id] = float(lab[:, 1:].square().sum(1).sqrt().mean())
    none = measured("disco", "gray").set_index("image")
    assert none["psnr"].to_dict() == pytest.approx(baseline, abs=0.05)
    assert none["ab_error"].to_dict() == pytest.approx(chroma, abs=0.2)
    assert (none["cf_signed"] < 1).all()


def test_results_have_the_columns_of_evaluations_and_the_measures_of_the_paper(here: Path) -> None:
    deliver("copy")
    summary = external.evaluate_all()
    assert set(summary["paper"]) == {"adacolvit", "disco", "exemplar", "user_guided"}
    assert summary.set_index("paper").loc["disco", ["dataset", "protocol", "pictures", "flagged"]].tolist() == ["scenes", "0", 4, 0]
    rows = measured("disco", "copy")
    assert list(rows.columns[: len(evaluation.KEYS)]) == list(evaluation.KEYS)
    assert {"psnr", "ab_error", "spread", "luminance_difference"} <= set(rows.columns)
    pd.testing.assert_frame_equal(pd.read_csv(paths.resolve(external.RESULTS) / external.SUMMARY, dtype={"protocol": str}), summary)


def test_methods_that_are_gone_leave_nothing(here: Path) -> None:
    deliver("copy")
    external.evaluate_all()
    shutil.rmtree(external.folder() / "copy")
    external.evaluate_all()
    assert tables.from_elsewhere("disco") == []


def test_a_method_with_hints_stands_with_the_runs_that_had_as_many(here: Path) -> None:
    deliver("copy@10")
    summary = external.evaluate_all()
    assert summary[["paper", "protocol"]].to_numpy().tolist() == [["adacolvit", "10"]]
    columns = ["method", "pictures", "quantity"]
    assert len(tables.elsewhere("adacolvit", {"psnr@10": "psnr"}, columns=columns, protocol="10")) == 1
    assert tables.elsewhere("adacolvit", {"psnr@10": "psnr"}, columns=columns, protocol="5") == []


def test_a_method_without_references_is_measured_under_every_list_of_pairs(here: Path) -> None:
    """The truth has one lightness and one set of colours, whatever reference others had; its histogram is not the references'."""
    deliver("copy")
    summary = external.evaluate_all()
    lines = summary[summary["paper"] == "exemplar"]
    assert lines[["dataset", "protocol", "pictures"]].to_numpy().tolist() == [
        ["scenes", "independent", 4],
        ["scenes", "related", 4],
    ]
    rows = measured("exemplar", "copy")
    assert (rows["ab_error"] == 0).all()
    his = rows.groupby("protocol")["his"].mean()
    assert his["independent"] < his["related"] < 1


def test_a_method_after_references_is_measured_under_its_own_list_of_pairs(here: Path) -> None:
    deliver("he@related")
    summary = external.evaluate_all()
    assert summary[["paper", "protocol", "pictures"]].to_numpy().tolist() == [["exemplar", "related", 4]]
    rows = measured("exemplar", "he@related")
    assert set(rows["reference_kind"]) == {"nearest"}
    listed = {p.image: p.reference for p in pairlist.read(paths.pairs("scenes")) if (p.split, p.subset) == ("test", "related")}
    assert rows.set_index("image")["reference"].to_dict() == listed
    assert exemplar.run_of(Row("external/exemplar/he"), "related") == "external/exemplar/he@related"
    row = exemplar.with_elsewhere(exemplar.METHODS)["He"]
    found = {name: exemplar.cell(row, "chroma error", "scenes", name, labels={}) for name in ("related", "independent")}
    assert found["related"].values.tolist() == [0] * 4
    assert found["independent"].values is None
    assert found["independent"].note == "not measured: no pictures after references of the list independent"


def test_a_view_that_cuts_at_random_is_refused() -> None:
    with pytest.raises(ValueError, match="in the views whole and squash, not crop"):
        external.FromFiles(Setting(config.load("disco/disco").fitting, 0, 1, None), pictures={}, view=View2D("crop", 32))


# Tables


def test_it_is_a_row_of_the_papers_tables(here: Path) -> None:
    deliver("copy")
    folder = deliver("deoldify")
    record = records()[0]
    Image.fromarray(255 - record.rgb).save(folder / f"{record.id}.png")
    external.evaluate_all()
    for run in (name for name in config.runs("disco") if config.load(name).present):
        paths.results(run).parent.mkdir(parents=True, exist_ok=True)
        measured("disco", "copy").iloc[:0].to_parquet(paths.results(run))
    rows = disco.with_elsewhere(disco.METHODS)
    assert list(rows) == [*disco.METHODS, "copy"], "a printed method fills its own row"
    table = disco.compared("table3", rows, ["psnr", "chroma error"]).set_index(["method", "pictures", "quantity"])
    assert table.loc[("copy", "scenes", "psnr"), ["measured", "n", "note"]].tolist() == [50.0, 4, "pictures from elsewhere"]
    assert table.loc[("copy", "scenes", "chroma error"), "measured"] == 0
    assert table.loc[("DeOldify", "ctest10k", "psnr"), ["published", "note"]].tolist() == [
        23.34,
        "not measured: no pictures of ctest10k",
    ]
    assert table.loc[("DeOldify", "scenes", "psnr"), "measured"] < 50
    assert table.loc[("DeOldify", "scenes", "psnr"), "note"].endswith("1 of 4 changed the lightness, which is the input's here")
    assert table.loc[("ChromaGAN", "ctest10k", "psnr"), "note"] == disco.NOT_REBUILT


def test_a_method_that_no_paper_asks_for_is_told(here: Path) -> None:
    external.write_inputs("scenes", here / "external/copy@7")
    with pytest.warns(UserWarning, match="copy@7: measured for no paper, since no run is measured under '7'"):
        assert external.measure("copy@7") == []


# The command line


def test_from_the_command_line(here: Path) -> None:
    """Inputs go out, pictures come back, are checked and measured."""
    call = CliRunner().invoke
    assert call(app, ["external", "inputs", "scenes", "external/gray"]).exit_code == 0
    assert "4 pictures, 0 flagged" in call(app, ["external", "check", "gray"]).stdout
    record = records()[0]
    Image.new("RGB", record.rgb.shape[1::-1], "white").save(f"external/gray/scenes/{record.id}.png")
    assert re.search(rf"scenes/{record.id}: lightness differs by \d+\.\d/255", call(app, ["external", "check", "gray"]).stdout)
    told = call(app, ["external", "evaluate", "gray"]).stdout
    assert "method gray, paper disco, dataset scenes, protocol 0, pictures 4, flagged 1" in told
    refused = call(app, ["external", "inputs", "moon", "out"])
    assert refused.exit_code == 1
    assert "no dataset 'moon'" in refused.stderr
