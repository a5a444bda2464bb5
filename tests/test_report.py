"""Tables say what is published, what was measured, and from where; pages show them and compute nothing."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from ruamel.yaml import YAML
from tiny import ROOT

from colorexp import absent, config, paths, report
from colorexp.report import pages, tables
from colorexp.report.tables import Cell
from colorexp.viz import curves, lines, pictures

PICTURES = [f"test-{i:05d}" for i in range(30)]


def write_results(run: str, accuracy: np.ndarray, *, near_gray: int = 0, dataset: str = "scenes") -> None:
    rows = pd.DataFrame({"image": PICTURES[: len(accuracy)], "accuracy": accuracy})
    rows = rows.assign(dataset=dataset, split="test", protocol="0.5%", way="", seed=0, repeat=0)
    rows = rows.assign(near_gray=[i < near_gray for i in range(len(rows))])
    paths.results(run).parent.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(paths.results(run))


@pytest.fixture
def two_runs(project: Path) -> Path:
    config.use_profile("cpu")
    rng = np.random.default_rng(0)
    base = rng.uniform(0.3, 0.5, 30)
    write_results("user_guided/res_unet", base + 0.1, near_gray=2)
    write_results("user_guided/spread", base)
    return project


def cell(run: str = "user_guided/res_unet", **labels: str) -> Cell:
    return tables.tested(run, "accuracy", dataset="scenes", protocol="0.5%", labels=labels or {"model": run}, published=0.6)


def test_a_comparison_holds_the_promised_columns(two_runs: Path) -> None:
    table = tables.comparison([cell()])
    assert list(table.columns) == ["model", *tables.COLUMNS]
    row = table.iloc[0]
    expected = pd.read_parquet(paths.results("user_guided/res_unet")).query("not near_gray")["accuracy"]
    assert row["measured"] == pytest.approx(expected.mean(), rel=1e-5)
    assert (row["n"], row["dataset"], row["profile"], row["seeds"], row["published"]) == (28, "scenes (test)", "cpu", 1, 0.6)


def test_intervals_cover_the_mean_and_are_the_same_every_time(two_runs: Path) -> None:
    one, again = (tables.comparison([cell()]).iloc[0] for _ in range(2))
    assert one["low"] < one["measured"] < one["high"]
    assert (one["low"], one["high"]) == (again["low"], again["high"])


def test_an_interval_has_the_width_of_the_normal_one(two_runs: Path) -> None:
    values = pd.Series(np.random.default_rng(1).normal(0, 1, 400))
    low, high = tables.bootstrap(values, "width")
    assert low is not None
    assert high is not None
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.15)


def test_the_spread_is_that_of_the_draws_means(two_runs: Path) -> None:
    """One value per picture all the same, and everything else looks at the first draw alone."""
    run = "user_guided/res_unet"
    first = tables.results(run)
    draws = [first.assign(repeat=number, accuracy=first["accuracy"] + shift) for number, shift in enumerate((0, 0.03, 0.06))]
    pd.concat(draws).to_parquet(paths.results(run))
    asked = {"dataset": "scenes", "protocol": "0.5%", "labels": {"model": "A"}, "published": 0.6}
    once, thrice = tables.tested(run, "accuracy", **asked), tables.over_draws(run, "accuracy", **asked)
    row = tables.comparison([thrice._replace(std_published=0.01), once]).set_index("std_published").loc[0.01]
    assert row["std"] == pytest.approx(0.03)
    assert row["n"] == 28
    assert row["measured"] == pytest.approx(once.values.mean() + 0.03, rel=1e-5)
    assert "std" not in tables.comparison([once])
    assert tables.over_draws("user_guided/spread", "accuracy", **asked).std is None
    told = {"quantity": "x", "published": 0.6, "measured": 0.5, "low": np.nan, "std": 0.03, "std_published": 0.01}
    shown = tables.wide(pd.DataFrame([{"model": "A", **told}]), rows=["model"], column="quantity")
    assert shown.loc[0, "x"] == "0.5 ± 0.03 (0.6 ± 0.01)"


def test_few_pictures_carry_no_interval(two_runs: Path) -> None:
    write_results("user_guided/res_unet", np.linspace(0, 1, 4), dataset="scenes")
    row = tables.comparison([cell()]).iloc[0]
    assert np.isnan(row["low"])
    assert row["n"] == 4


def test_a_run_outside_the_profile_is_an_empty_cell_that_says_why(two_runs: Path) -> None:
    row = tables.comparison([cell("user_guided/res_unet_bins16")]).iloc[0]
    assert np.isnan(row["measured"])
    assert "belongs to gpu, paper, the profile is cpu" in row["note"]


def test_other_ways_of_colouring_are_read_when_asked_for(two_runs: Path) -> None:
    run = "user_guided/res_unet"
    rows = pd.read_parquet(paths.results(run))
    pd.concat([rows, rows.assign(way="other", accuracy=0.9)]).to_parquet(paths.results(run))
    asked = {"dataset": "scenes", "protocol": "0.5%", "labels": {"model": run}}
    assert tables.tested(run, "accuracy", **asked).values.max() < 0.7
    assert tables.tested(run, "accuracy", **asked, way="other").values.eq(0.9).all()
    assert tables.tested(run, "accuracy", **asked, way="none").note == "not measured: accuracy"
    sides = (run, "0.5%", "other"), (run, "0.5%")
    row = tables.claims([("", "accuracy", *sides)], dataset="scenes").iloc[0]
    assert (row["first"], row["second"], row["verdict"]) == ("res_unet at 0.5%, other", "res_unet at 0.5%", "holds")


def test_gray_pictures_count_where_there_are_no_others(two_runs: Path) -> None:
    write_results("user_guided/spread", np.linspace(0, 1, 30), near_gray=30)
    assert len(cell("user_guided/spread").values) == 30


def test_a_measure_that_a_run_lacks_says_so(two_runs: Path) -> None:
    empty = tables.tested("user_guided/spread", "loss", dataset="scenes", protocol="0.5%", labels={"model": "spread"})
    assert empty.note == "not measured: loss"
    elsewhere = tables.tested("user_guided/spread", "psnr", dataset="cub", protocol="0.5%", labels={"model": "spread"})
    assert elsewhere.note == "not measured: cub, which this profile lacks"


def test_a_stand_in_speaks_under_its_own_name(two_runs: Path) -> None:
    run = "user_guided/res_unet"
    tables.results(run).rename(columns={"accuracy": "lpips_alex_random"}).to_parquet(paths.results(run))
    cell = tables.tested(run, "lpips_alex", dataset="scenes", protocol="0.5%", labels={"model": "A"})
    assert cell.metric == "lpips_alex_random"
    assert cell.note.startswith("stand-in")
    assert cell.values is not None


def test_a_run_whose_results_are_gone_is_named(project: Path) -> None:
    config.use_profile("cpu")
    assert tables.results("user_guided/spread").empty
    gone = tables.tested("user_guided/spread", "psnr", dataset="scenes", protocol="0", labels={"model": "spread"})
    table = tables.comparison([gone])
    assert table["note"].tolist() == ["not run: user_guided/spread has no results; dvc repro makes them"]
    assert tables.wide(table.assign(quantity="psnr"), rows=["model"], column="quantity")["note"].str.startswith("not run: ").all()
    untrained = tables.trained("user_guided/res_unet", "accuracy", labels={})
    assert untrained.note == "not run: user_guided/res_unet was not trained; dvc repro does"
    with pytest.raises(ValueError, match="no run 'user_guided/spred'"):
        tables.results("user_guided/spred")


def test_of_nothing_there_are_tables_and_figures_that_say_so() -> None:
    empty = tables.comparison([])
    assert tables.wide(empty, rows=["model"], column="quantity").empty
    figure = lines.panels(pd.DataFrame(columns=["panel", "x", "y", "line"]), panel="panel", x="x", y="y", line="line")
    history = curves.per_epoch(pd.DataFrame(columns=["epoch"]), quantities=["loss"])
    for shown in (figure, history, pictures.grid([], columns=["a"]), pictures.grid([[], []], columns=[])):
        assert [text.get_text() for text in shown.texts] == ["not run: there is nothing to show"]


def test_differences_are_paired(two_runs: Path) -> None:
    """Over pictures alone both vary by 0.2; the difference is 0.1 for every one of them."""
    found = tables.difference(cell(), cell("user_guided/spread"))
    assert found is not None
    assert found.mean == pytest.approx(0.1)
    assert found.low == pytest.approx(0.1)
    assert found.high == pytest.approx(0.1)
    assert found.n == 28


def test_claims_name_both_sides_and_what_is_missing(two_runs: Path) -> None:
    sides = ("user_guided/res_unet", "0.5%"), ("user_guided/spread", "0.5%")
    asked = [("beats spreading", "accuracy", *sides), ("filter", "accuracy", sides[0], ("user_guided/res_unet_unfiltered", "0.5%"))]
    table = tables.claims(asked, dataset="scenes")
    assert table["difference"][0] == pytest.approx(0.1)
    assert (table["first"][0], table["second"][0]) == ("res_unet at 0.5%", "spread at 0.5%")
    assert np.isnan(table["difference"][1])
    assert "not run in this profile" in table["note"][1]


def test_published_numbers_are_the_papers() -> None:
    table1 = tables.published("user_guided", "table1")
    assert tables.printed(table1, method="ResUNet", dataset="coco-test", metric="accuracy") == 0.6074
    assert len(table1) == 12
    with pytest.raises(KeyError, match="0 published values"):
        tables.printed(table1, method="ResUNet", dataset="coco-test", metric="psnr")


def test_repetitions_are_runs_that_differ_in_the_seed_alone(project: Path) -> None:
    text = paths.params().read_text()
    again = "    res_unet_seed1:\n      <<: *res_unet\n      parent: res_unet\n      seed: 1\n"
    paths.params().write_text(text.replace("    trans_unet: &trans_unet\n", again + "    trans_unet: &trans_unet\n", 1))
    assert tables.repetitions("user_guided/res_unet") == ["user_guided/res_unet", "user_guided/res_unet_seed1"]


def test_overview_and_overrides_show_what_changes(project: Path) -> None:
    config.use_profile("cpu")
    overview = tables.overview("user_guided").set_index("run")
    assert overview.loc["res_unet_bins16", "by"] == "bins: 16"
    assert overview.loc["res_unet_bins16", "in this profile"] == "no (in gpu, paper)"
    changed = tables.overrides("user_guided/res_unet").set_index("key")
    assert (changed.loc["lr", "paper"], changed.loc["lr", "cpu"]) == ("0.01", "0.003")
    assert "bins" not in changed.index


def test_wide_puts_published_and_interval_into_a_cell() -> None:
    row = {"model": "A", "quantity": "accuracy", "published": 0.5, "measured": 0.25, "low": 0.2, "high": 0.3}
    shown = tables.wide(
        pd.DataFrame([row, {**row, "quantity": "loss", "published": np.nan, "low": np.nan}]), rows=["model"], column="quantity"
    )
    assert shown.to_dict("records") == [{"model": "A", "accuracy": "0.25 [0.2, 0.3] (0.5)", "loss": "0.25"}]


def test_markdown_and_latex_escape_what_would_break_them() -> None:
    frame = pd.DataFrame({"name": ["a|b", "50%_x"], "value": [0.5, np.nan]})
    assert tables.markdown(frame).splitlines() == ["| name | value |", "|---|---|", "| a/b | 0.5 |", "| 50%_x |  |"]
    assert r"50\%\_x" in tables.latex(frame)


def test_latex_wraps_long_texts_and_breaks_long_tables() -> None:
    frame = pd.DataFrame({"run": ["a", "b"], "why": ["short", "word " * 20], "value": [0.5, 1.0]})
    assert tables.latex(frame).startswith("\\begin{tabular}{lp{0.60\\linewidth}l}\n")
    assert tables.latex(frame.drop(columns="why")).startswith("\\begin{tabular}{ll}\n")
    assert tables.latex(pd.concat([frame] * 20)).startswith("\\begin{longtable}{lp{0.60\\linewidth}l}\n")
    assert tables.latex(frame[:0].astype(float)).startswith("\\begin{tabular}{lll}\n")


def test_samples_are_read_back(project: Path) -> None:
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    file = paths.samples("user_guided/spread") / "scenes" / "test-00000.truth.png"
    file.parent.mkdir(parents=True)
    Image.fromarray(picture).save(file)
    assert tables.samples("user_guided/spread") == ["scenes/test-00000.truth"]
    assert np.array_equal(tables.sample("user_guided/spread", "scenes/test-00000.truth"), picture)
    assert tables.sample("user_guided/spread", "scenes/none") is None


def test_every_exhibit_has_a_caption() -> None:
    stages = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]
    plots = [path for stage in stages.values() for plot in stage.get("plots", []) for path in plot]
    assert {Path(path).stem for path in plots} == pages.CAPTIONS.keys()
    assert all(caption.endswith(".") for caption in pages.CAPTIONS.values())


def test_figures_have_stable_bytes(project: Path) -> None:
    history = pd.DataFrame({"epoch": [0, 1], "train/loss": [2.0, 1.0], "val/loss": [2.0, 1.5]})
    for name in ("one.png", "two.png"):
        report.save(curves.side_by_side({"A": history}, quantities=["loss"]), name)
    assert (project / "one.png").read_bytes() == (project / "two.png").read_bytes()


def test_absent_results_read_as_empty(project: Path) -> None:
    absent.write("evaluate", "user_guided/res_unet", "no reason", out="artifacts/results")
    assert tables.results("user_guided/res_unet").empty
    absent.write("train", "user_guided/res_unet", "no reason", out="artifacts/runs/user_guided/res_unet")
    assert tables.history("user_guided/res_unet").empty
    assert json.loads(paths.report_metrics("user_guided/res_unet").read_text()) == {"status": "not run in this profile"}


def test_wide_tells_every_note_once_and_counts_pictures() -> None:
    row = {"model": "A", "published": np.nan, "measured": 0.5, "low": np.nan, "high": np.nan, "n": 200.0}
    frame = pd.DataFrame([{**row, "quantity": q, "note": note} for q, note in (("x", "epoch 2; cut"), ("y", "cut"), ("z", None))])
    assert tables.wide(frame, rows=["model"], column="quantity").loc[0, ["n", "note"]].tolist() == ["200", "epoch 2; cut"]


def test_wide_takes_a_label_that_is_empty(tmp_path: Path) -> None:
    """An empty label of a written table is read back as no label."""
    told = {"quantity": "psnr", "published": None, "low": None, "high": None, "n": 4, "note": ""}
    pd.DataFrame(
        [{"model": "A", "said": "", "measured": 20.0, **told}, {"model": "B", "said": "high", "measured": 30.0, **told}]
    ).to_csv(tmp_path / "table.csv", index=False)
    shown = tables.wide(pd.read_csv(tmp_path / "table.csv"), rows=["model", "said"], column="quantity")
    assert shown[["model", "said"]].to_numpy().tolist() == [["A", ""], ["B", "high"]]


def test_wide_leaves_out_what_says_nothing() -> None:
    row = {"published": np.nan, "measured": np.nan, "low": np.nan, "high": np.nan, "n": pd.NA, "note": "not measured: x"}
    frame = pd.DataFrame(
        [
            {**row, "model": "A", "quantity": "psnr", "measured": 0.5, "low": 0.5, "high": 0.5, "std": 0.0, "note": None},
            {**row, "model": "A", "quantity": "lpips"},
            {**row, "model": "B", "quantity": "psnr", "published": 0.7},
            {**row, "model": "B", "quantity": "lpips"},
            {**row, "model": "C", "quantity": "psnr"},
        ]
    )
    shown = tables.wide(frame, rows=["model"], column="quantity").set_index("model")
    assert shown.index.tolist() == ["A", "B"]
    assert shown.loc["A", ["psnr", "lpips", "note"]].tolist() == ["0.5", "–", ""]
    assert shown.loc["B", ["psnr", "note"]].tolist() == ["– (0.7)", "not measured: x"]


def test_names_of_points_lie_on_no_other_point_or_name() -> None:
    from colorexp.viz import lines

    rows = [
        {"panel": "p", "x": x, "y": y, "name": name} for name, x, y in (("low", 0, 0), ("on its name", 0.1, 0.01), ("far", 1, 1))
    ]
    axis = lines.panels(pd.DataFrame(rows), panel="panel", x="x", y="y", line="name", labelled=True).axes[0]
    up = {text.get_text(): text.xyann[1] for text in axis.texts}
    colours = [text.get_color() for text in axis.texts]
    assert len(set(colours)) == 3 and set(colours) == {drawn.get_color() for drawn in axis.lines}
    assert up["far"] == 4
    assert up["low"] > 4, "the second point would lie under it"


def test_absent_runs_are_described_by_the_papers_values(project: Path) -> None:
    table = tables.overview("adacolvit").set_index("run")
    assert table.loc["icolorit_t_d24", "by"] == "depth: 24"
    assert "width: 384" in table.loc["icolorit_s", "by"]
    assert "epochs" in table.loc["icolorit_t_d6", "by"], "which the profile trains, shorter than its parent"


def test_verdicts_need_the_whole_interval(two_runs: Path) -> None:
    sides = ("user_guided/res_unet", "0.5%"), ("user_guided/spread", "0.5%")
    asked = [("more", "accuracy", *sides), ("less", "accuracy", *sides[::-1]), ("same", "accuracy", sides[0], sides[0])]
    assert tables.claims(asked, dataset="scenes")["verdict"].tolist() == ["holds", "does not hold", "undecided"]


def test_lines_are_drawn_per_panel_and_group() -> None:
    from colorexp.viz import lines

    rows = [
        {"set": s, "hints": n, "psnr": 20 + n + k, "run": r}
        for s in "ab"
        for n in (0, 1, 2, 5, 10, 20, 50)
        for k, r in enumerate("xy")
    ]
    table = pd.DataFrame([*rows, {"set": "a", "hints": 100, "psnr": np.nan, "run": "x"}])
    figure = lines.panels(table, panel="set", x="hints", y="psnr", line="run", by_rank=True)
    assert [axis.get_title() for axis in figure.axes] == ["a", "b"]
    first = figure.axes[0].get_lines()[0]
    assert list(first.get_xdata()) == [0, 1, 2, 3, 4, 5, 6], "by rank"
    assert list(first.get_ydata()) == [20, 21, 22, 25, 30, 40, 70]
    few = lines.panels(table[table["hints"].isin([1, 5])], panel="set", x="hints", y="psnr", line="run")
    assert list(few.axes[0].get_lines()[0].get_xdata()) == [1, 5]


def test_a_line_looks_alike_in_every_panel_and_like_no_other_line() -> None:
    from colorexp.viz import lines

    rows = [{"set": s, "x": x, "y": x, "run": f"run {k}"} for s in "ab" for k in range(19) for x in (0, 1) if s == "a" or k > 3]
    figure = lines.panels(pd.DataFrame(rows), panel="set", x="x", y="y", line="run", baseline="run 7")
    looks = [{drawn.get_label(): (drawn.get_color(), str(drawn._dash_pattern)) for drawn in axis.lines} for axis in figure.axes]
    assert len(set(looks[0].values())) == 19
    assert looks[1].items() <= looks[0].items() and len(looks[1]) == 15
    assert figure.axes[0].lines[7].get_linestyle() == ":" and figure.axes[0].lines[6].get_linestyle() == "--"


def test_rows_of_panels_share_what_stands_across() -> None:
    from colorexp.viz import lines

    rows = [
        {"set": s, "x": n, "y": n + 10 * k, "run": "a", "kind": kind} for s in "pq" for n in (1, 2) for k, kind in enumerate("uv")
    ]
    figure = lines.panels(pd.DataFrame(rows), panel="set", x="x", y="y", line="run", row="kind", labelled=True)
    assert [axis.get_title() for axis in figure.axes] == ["p", "q"] * 2
    assert [axis.get_ylabel() for axis in figure.axes] == ["u", "", "v", ""]
    assert [list(axis.get_lines()[0].get_ydata()) for axis in figure.axes] == [[1, 2]] * 2 + [[11, 12]] * 2


def test_the_printed_loss_can_fill_the_main_rows(project: Path) -> None:
    from colorexp.report import adacolvit

    assert adacolvit.run_of("AdaColViT-T") == "adacolvit/adacolvit_t"
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("adacolvit: {exhibit_run: released}", "adacolvit: {exhibit_run: paper}"))
    assert adacolvit.run_of("AdaColViT-T") == "adacolvit/adacolvit_t_paper_loss"
    assert adacolvit.run_of(adacolvit.BASELINE) == "adacolvit/spread"
