"""DISCO's tables put the right run and way beside the right printed number, and its sentences follow their numbers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from colorexp import config, metrics, paths
from colorexp.evaluation import Results
from colorexp.report import disco, disco_claims, disco_findings, disco_frameworks, superpixels, tables
from colorexp.report.disco import Row

PICTURES = [f"test-{i:05d}" for i in range(40)]
WAYS = ("", "truth_colors", "truth_clusters", "random", "samples", "distinct", *(f"anchors_{n}" for n in disco.TRIED))


def write(run: str, ways: tuple[str, ...] = ("",), **measures: float) -> None:
    """Results around the given values, 100 above them for every way but the usual one; pictures differ alike in all of them."""
    rng = np.random.default_rng(0).uniform(-0.1, 0.1, 40)
    values = {"psnr": 20.0, "cf_signed": 30.0, "true_cf_signed": 50.0, "chroma": 10.0, "true_chroma": 20.0, "ab_error": 15.0}
    values |= {"spread": 5.0, "spread_true": 8.0, "mode_coverage": 0.5, "diversity": 9.0} | measures
    frames = []
    for way in ways:
        shift = 100.0 if way else 0.0
        frame = pd.DataFrame({"image": PICTURES} | {name: value + shift + rng for name, value in values.items()})
        frames.append(frame.assign(dataset="scenes", split="test", protocol="0", way=way, seed=0, repeat=0, near_gray=False))
    paths.results(f"disco/{run}").parent.mkdir(parents=True, exist_ok=True)
    pd.concat(frames).to_parquet(paths.results(f"disco/{run}"))
    np.savez(paths.features(f"disco/{run}"))


@pytest.fixture
def evaluated(project: Path) -> Path:
    """All runs of the profile cpu, alike but for what a test writes anew."""
    config.use_profile("cpu")
    for name in config.runs("disco"):
        if config.load(name).present:
            write(name.split("/")[1], WAYS)
    return project


def test_table_3_has_the_paper_s_rows_and_ours(evaluated: Path) -> None:
    table = disco.compared("table3", disco.METHODS, ["fid", "colorfulness", "psnr", "is"]).set_index(
        ["method", "pictures", "quantity"]
    )
    assert table.loc[("DISCO", "coco", "fid"), "published"] == 10.59
    assert table.loc[("DISCO", "coco", "fid"), "note"] == "not measured: coco, which this profile lacks"
    assert table.loc[("DeOldify", "ctest10k", "psnr"), ["published", "note"]].tolist() == [23.34, disco.NOT_REBUILT]
    assert table.loc[("DISCO", "scenes", "psnr"), "measured"] == pytest.approx(20, abs=0.1)
    assert table.loc[(disco.GIVEN, "scenes", "psnr"), "measured"] == pytest.approx(120, abs=0.1), "the way with true colours"
    assert table.loc[("DISCO", "legacy", "is"), "published"] == 13.72
    assert ("DISCO", "legacy", "psnr") not in table.index, "which has no truth"
    assert ("DISCO", "scenes", "is") not in table.index


def test_further_cells_stand_last(evaluated: Path) -> None:
    labels = {"method": "DISCO", "pictures": "gray", "quantity": "colorfulness"}
    gray = tables.Cell(labels, "cf_signed", values=pd.Series([1.0, 3.0]))
    last = disco.compared("table3", disco.METHODS, ["colorfulness"], more=[gray]).iloc[-1]
    assert (last["pictures"], last["measured"], last["n"]) == ("gray", 2.0, 2)


def test_table_4_names_ways_and_variants(evaluated: Path) -> None:
    write("disco_no_anchors", cf_signed=12.0)
    table = disco.compared("table4", disco.VARIANTS, ["colorfulness"], label="variant").set_index(["variant", "pictures"])
    assert len(table.loc[pd.IndexSlice[:, "coco"], :]) == 13
    assert table.loc[("No anchor branch", "scenes"), "measured"] == pytest.approx(12, abs=0.1)
    assert table.loc[("Ground-truth color", "scenes"), "measured"] == pytest.approx(130, abs=0.1)
    assert table.loc[("Ground-truth color", "coco"), "published"] == 52.54
    assert np.isnan(table.loc[("Random locations", "coco"), "published"])
    assert "not run in this profile" in table.loc[("Calm (lambda 0.8)", "scenes"), "note"]


def test_variants_of_the_released_code_have_its_numbers(evaluated: Path) -> None:
    table = disco.compared("table4", disco.VARIANTS, ["fid"], label="variant").set_index(["variant", "pictures"])["published"]
    assert table["Calm (lambda 0.8)", "coco"] == 10.47
    assert table["Random locations, also in training", "coco"] == 10.25


def test_objects_are_asked_for_on_scenes_and_all_else_on_the_first_test_set(
    evaluated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disco, "test_sets", lambda: ["photos", "legacy", "scenes"])
    table1 = disco_frameworks.frameworks().set_index(["framework", "quantity"])
    assert table1.loc[("Disentangled model", "spread over chroma"), "measured"] > 0
    assert table1.loc[("Ground truth", "spread over chroma"), "dataset"] == "scenes (test)"
    assert table1.loc[("Disentangled model", "colorfulness"), "dataset"] == "photos"
    claims = disco_claims.claims().set_index("metric")["dataset"]
    assert claims["mode_coverage"] == "scenes (test)"
    assert set(claims["cf_signed"]) == {"photos (test)"}
    table4 = disco.compared("table4", disco.VARIANTS, ["chroma error", "spread"], label="variant")
    asked = table4.groupby("pictures")["quantity"].unique().map(list).to_dict()
    assert asked == {"coco": ["chroma error"], "photos": ["chroma error"], "scenes": ["chroma error", "spread"]}


def test_without_a_truth_no_difference_of_errors_is_told(evaluated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disco, "NO_TRUTH", "scenes")
    told = disco_findings.versus("table4", disco.VARIANTS, "Dual branch", ["No anchor branch"], ("colorfulness", "chroma error"))
    assert "colorfulness +0.00" in told
    assert "chroma error" not in told


def test_the_printed_variant_can_fill_the_main_rows(project: Path) -> None:
    text = paths.params().read_text()
    paths.params().write_text(text.replace("disco: {exhibit_run: released}", "disco: {exhibit_run: paper}"))
    assert disco.main() == "disco/disco_paper"
    assert disco.row_of(Row("disco_calm")).run == "disco/disco_calm"


def features(run: str, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(9).normal(size=(count, 8)).astype(np.float32)
    ours = truth + rng.normal(size=truth.shape).astype(np.float32)
    kept = {"scenes/truth/features": truth, "scenes/0/features": ours, "scenes/0.truth_colors/features": truth}
    np.savez(paths.features(f"disco/{run}"), **kept)


@pytest.mark.parametrize("network", ["fid_tf", "fid_tf_random"])
def test_kid_is_that_of_the_way_and_says_when_it_is_a_stand_in(
    evaluated: Path, monkeypatch: pytest.MonkeyPatch, network: str
) -> None:
    monkeypatch.setattr(disco, "extractor", lambda name, folder: network)
    features("disco", 30, 1)
    own, given = (disco.cell(Row("disco", way), "kid", "scenes", labels={"x": way}) for way in ("", "truth_colors"))
    stored = {name: torch.from_numpy(array) for name, array in disco.kept_features("disco/disco").items()}
    assert own.values == pytest.approx(metrics.kid(stored["scenes/0/features"], stored["scenes/truth/features"]))
    assert given.values < own.values
    assert own.metric == f"kid_{network}"
    assert ("stand-in" in own.note) == network.endswith("_random")


def test_fid_of_few_pictures_stays_empty_with_its_reason(evaluated: Path) -> None:
    features("disco", 30, 1)
    cell = disco.cell(Row("disco"), "fid", "scenes", labels={"x": ""}, published=10.59)
    assert cell.values is None
    assert cell.note == "not measured: FID needs 2048 pictures, there are 30"
    features("disco", 4, 1)
    assert disco.cell(Row("disco"), "kid", "scenes", labels={"x": ""}).note.startswith("not measured: 4 pictures")


def test_table_1_measures_every_word(evaluated: Path) -> None:
    folder = evaluated / "reports" / "timings"
    folder.mkdir(parents=True)
    pd.DataFrame([{"run": "disco/disco", "latency_ms": 123.0, "note": ""}]).to_csv(folder / "efficiency.csv")
    write("coltran", ("", "samples"), cf_signed=70.0)
    table = disco_frameworks.frameworks().set_index(["framework", "quantity"])
    assert table.loc[("Disentangled model", "ms per picture"), "measured"] == 123
    assert table.loc[("Regression model", "ms per picture"), "note"] == "not measured: latency"
    assert table.loc[("Disentangled model", "modes reached"), "measured"] == pytest.approx(100.5, abs=0.1), "of sampled colourings"
    assert table.loc[("Ground truth", "spread over chroma"), "measured"] == pytest.approx(0.4, abs=0.01)
    told = disco_findings.frameworks(table.reset_index())
    assert told.startswith("- Colorfulness, largest first: autoregression 70 (paper: colorfulness high), ")
    assert "; the truth 50." in told.splitlines()[0]


def test_table_5_stands_beside_what_was_counted(evaluated: Path) -> None:
    folder = evaluated / "reports" / "timings"
    folder.mkdir(parents=True)
    row = {"run": "disco/disco", "parameters": 43_063_739, "multiply_adds_g": 127.74, "latency_ms": np.nan}
    pd.DataFrame([row]).to_csv(folder / "efficiency.csv")
    table = disco.costs().set_index(["method", "quantity"])
    assert table.loc[("DISCO", "params_m"), ["published", "measured"]].tolist() == [43.06, pytest.approx(43.0637)]
    assert table.loc[("DISCO", "time_ms"), "note"] == "not measured: latency_ms"
    assert table.loc[("InstColor", "gflops"), "note"] == disco.NOT_REBUILT


def test_numbers_of_anchors_are_read_from_their_ways(evaluated: Path) -> None:
    for run, own in (("disco_a5", 20.0), ("disco", 25.0), ("disco_a11", 28.0)):
        write(run, WAYS, cf_signed=own)
    table = disco.by_anchors()
    rows = table[table["quantity"] == "colorfulness"].set_index(["trained with", "anchors"])["measured"]
    assert rows.index.get_level_values("anchors").unique().tolist() == [3, 5, 8, 11, 14]
    assert rows["5 anchors", 5] == pytest.approx(20, abs=0.1)
    assert rows["8 anchors", 8] == pytest.approx(25, abs=0.1)
    assert rows["11 anchors", 14] == pytest.approx(128, abs=0.1)
    told = disco_findings.anchors(table)
    assert "- colorfulness, trained with 5 anchors: 120 with 3, 120 with 14; falls from 3 to 5." in told


@pytest.mark.parametrize(("pictures", "asked"), [(29, "kid"), (30, "fid")])
def test_figure_11_has_fid_where_there_are_pictures_enough(
    evaluated: Path, monkeypatch: pytest.MonkeyPatch, pictures: int, asked: str
) -> None:
    monkeypatch.setattr(disco, "extractor", lambda name, folder: "fid_tf_random")
    monkeypatch.setattr(metrics, "FID_MINIMUM", 30)
    features("disco", pictures, 1)
    table = disco.by_anchors()
    assert set(table["quantity"]) == {"colorfulness", "chroma error", asked}
    own = table[(table["quantity"] == asked) & table["measured"].notna()]
    assert own["measure"].tolist() == [f"{asked.upper()} (stand-in: random weights)"]


def test_samples_are_photographs_with_a_truth_then_scenes(evaluated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {"coco": ["coco/b.0", "coco/b.truth"], "legacy": ["legacy/c.truth"], "scenes": ["scenes/d.truth", "scenes/e.truth"]}
    monkeypatch.setattr(tables, "samples", lambda run: sorted(n for names in kept.values() for n in names))
    assert disco.samples(photographs=2, scenes=1) == ["coco/b", "scenes/d"]
    kept["photos"] = ["photos/z.truth"]
    assert disco.samples(photographs=2, scenes=1) == ["photos/z", "scenes/d"], "photographs that every profile has"


def test_claims_compare_the_ways_and_name_them(evaluated: Path) -> None:
    write("disco_no_anchors", cf_signed=12.0)
    table = disco_claims.claims().set_index("claim")
    assert len(table) == len(disco_claims.CLAIMS), "no two claims read alike"
    first = table.iloc[0]
    assert (first["first"], first["second"], first["verdict"]) == ("disco", "disco_no_anchors", "holds")
    assert first["difference"] == pytest.approx(18)
    below = table.loc["the chroma error stays below that of gray"]
    assert below["difference"] == pytest.approx(5), "each picture against its own mean chroma"
    given = table.loc["true anchor colours raise PSNR (Table 3)"]
    assert (given["first"], given["difference"]) == ("disco, truth_colors", pytest.approx(100))
    assert table["verdict"].ne("").all()


def test_what_does_not_hold_is_told_with_a_cause(evaluated: Path) -> None:
    write("disco_no_anchors", cf_signed=90.0)
    told = disco_findings.verdicts(disco_claims.claims())
    claim = disco_claims.CLAIMS[0]
    assert f"- {claim.text}: -60.00 [" in told
    assert claim.otherwise in told
    write("disco_no_anchors", cf_signed=10.0)
    assert claim.otherwise not in disco_findings.verdicts(disco_claims.claims())


def test_every_claim_asks_for_what_the_profile_measures(project: Path) -> None:
    """Else it would read "not measured" for ever."""
    for claim in disco_claims.CLAIMS:
        for row in (claim.first, claim.second):
            cfg = config.load(disco.row_of(row).run, profile="cpu")
            assert cfg.present
            assert row.way in ("", *cfg.evaluation.ways), claim.text


def test_differences_stand_beside_the_paper_s(evaluated: Path) -> None:
    write("ugcolor", cf_signed=20.0)
    told = disco_findings.versus("table3", disco.METHODS, disco.OURS, ["UGColor", "InstColor"])
    assert told.startswith(
        "- DISCO minus UGColor: colorfulness +10.00 [+10.00, +10.00] on scenes. The paper: colorfulness +23.52 on ctest10k;"
    )
    assert "InstColor" not in told


def test_rows_are_ordered_by_kid_and_stand_ins_marked() -> None:
    row = {"pictures": "scenes", "quantity": "kid", "metric": "kid_fid_tf_random", "published": np.nan}
    rows = [{**row, "variant": "A", "measured": 0.2}, {**row, "variant": "B", "measured": 0.1}]
    rows += [
        {**row, "variant": name, "pictures": "coco", "quantity": "fid", "published": v, "measured": None}
        for name, v in (("B", 9), ("A", 7))
    ]
    ours, theirs = disco_findings.kernel_distances(pd.DataFrame(rows), "variant").splitlines()
    assert ours.endswith("best first: B 0.1, A 0.2.")
    assert "random weights" in ours
    assert theirs == "- Published FID on coco, best first: A 7, B 9."


@pytest.mark.parametrize(("worse", "said"), [(8.0, "they keep more"), (5.0, "they keep less")])
def test_superpixels_stand_against_squares_picture_by_picture(worse: float, said: str, project: Path) -> None:
    about = {"dataset": "scenes", "image": PICTURES, "near_gray": [True] * 2 + [False] * 38}
    noise = np.linspace(0, 3, 40)
    measured = {
        name: Results(pd.DataFrame({**about, "ab_error": error + noise, "psnr": 30.0}), {}, {})
        for name, error in zip(superpixels.METHODS, (6.0, worse), strict=True)
    }
    table = superpixels.reconstruction(measured)
    gain = table.set_index("method").loc[superpixels.GAIN]
    assert (gain["measured"], gain["n"]) == (pytest.approx(worse - 6), 38)
    assert superpixels.gains(table).endswith(f": {said}.")


def test_figure_3_shows_borders_on_the_truth() -> None:
    picture, other = np.full((4, 4, 3), 9, np.uint8), np.zeros((4, 4, 3), np.uint8)
    edges = np.zeros((4, 4), np.uint8)
    edges[1] = 255
    soft = {"scenes/a.truth": picture, "scenes/a.0": other, "scenes/a.0.superpixels": edges, "scenes/b.truth": picture}
    measured = {name: Results(pd.DataFrame(), {}, soft) for name in superpixels.METHODS}
    rows, names = superpixels.figure3(measured, each=1)
    assert names == ["a"]
    assert (rows[0][1][1] == 255).all()
    assert (rows[0][1][0] == 9).all()
