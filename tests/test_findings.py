"""Sentences follow their numbers: other numbers, another sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from colorexp import config, paths
from colorexp.report import adacolvit, findings, tables

PICTURES = [f"test-{i:05d}" for i in range(40)]


def write(run: str, psnr: float, cost: float, *, spread: float = 0.5, **measures: float) -> None:
    rng = np.random.default_rng(0)
    frames = []
    for repeat, dataset in ((0, "scenes"), (1, "scenes"), (0, "photos")):
        names = PICTURES[: 40 if dataset == "scenes" else 4]
        values = psnr + 0.1 * repeat + rng.normal(0, spread, len(names))
        frame = pd.DataFrame({"image": names, "psnr": values, "multiply_adds_m": cost, **measures})
        frames.append(frame.assign(dataset=dataset, split="test", protocol="10", way="", seed=0, repeat=repeat, near_gray=False))
    paths.results(f"adacolvit/{run}").parent.mkdir(parents=True, exist_ok=True)
    pd.concat(frames).to_parquet(paths.results(f"adacolvit/{run}"))


@pytest.fixture
def evaluated(project: Path) -> Path:
    config.use_profile("cpu")
    write("icolorit_t", 22.0, 100.0)
    write("adacolvit_t", 23.0, 55.0)
    write("swinir_s", 23.0, 80.0)
    return project


def test_a_difference_stands_beside_the_papers(evaluated: Path) -> None:
    told = findings.versus("table2", "AdaColViT-T", ["iColoriT-T", "Uformer-S"])
    assert told.startswith("- AdaColViT-T minus iColoriT-T: +1.00 dB [")
    assert "on photos, at 0.55 of its multiply-adds" in told
    assert "The paper: +0.02 dB on ctest10k, at 0.55." in told
    assert "Uformer" not in told, "which the profile leaves out"


def test_means_over_draws_are_told_as_such(evaluated: Path) -> None:
    path = paths.results("adacolvit/adacolvit_t")
    rows = pd.read_parquet(path)
    rows.loc[rows["repeat"] == 1, "psnr"] += 1  # 0.1 above the first draw so far
    rows.to_parquet(path)
    told = findings.versus("table2", "AdaColViT-T", ["iColoriT-T"], over_draws=True).splitlines()
    assert told[0].endswith("are means: 2.")
    assert told[1].startswith("- AdaColViT-T minus iColoriT-T: +1.50 dB [")
    assert findings.versus("table2", "AdaColViT-T", ["iColoriT-T"]).startswith("- AdaColViT-T minus iColoriT-T: +1.00 dB [")


def test_each_method_stands_against_its_dense_parent_and_another_cost_is_named(evaluated: Path) -> None:
    write("dynamicvit", 21.5, 87.0)
    write("adavit", 21.0, 97.0)
    told = findings.beside_dense("table3", ["DynamicViT", "AdaViT", "A-ViT", "AdaColViT-T-d24", "AdaColViT-T"])
    assert "- DynamicViT minus iColoriT-T: -0.50 dB [" in told
    assert "at 0.87 of its multiply-adds. The paper: -0.06 dB on ctest10k, at 0.87." in told
    assert "The paper: +0.02 dB on ctest10k, at 0.55." in told, "which Table 3 lacks and Table 2 has"
    assert told.splitlines()[-1].endswith("so compared at another cost: AdaViT (0.97 for 0.84).")
    assert "another cost" not in findings.beside_dense("table3", ["DynamicViT", "AdaColViT-T"])


@pytest.mark.parametrize(
    ("on_objects", "verdict"), [(2.0, "as the claim says"), (0.5, "against the claim"), (1.0, "undecided")], ids=str
)
def test_the_larger_network_shall_gain_more_on_objects(evaluated: Path, on_objects: float, verdict: str) -> None:
    rng = np.random.default_rng(1)
    for run, factor in (("icolorit_t", 0.0), ("icolorit_t_d6", 1.0)):
        write(run, 22.0, 100.0)
        rows = pd.read_parquet(paths.results(f"adacolvit/{run}"))
        rows["ab_error_background"] = 5 + factor
        rows["ab_error_objects"] = 5 + factor * on_objects + rng.normal(0, 0.3, len(rows))
        rows.to_parquet(paths.results(f"adacolvit/{run}"))
    table = adacolvit.disagreement("iColoriT-T-d6", "iColoriT-T")
    assert table["difference"].iloc[2] == pytest.approx(table["difference"].iloc[1] - table["difference"].iloc[0])
    assert findings.larger(table).endswith(f"That is {verdict}.")


@pytest.mark.parametrize(
    ("inside", "verdict"), [(0.5, "as the claim says"), (0.3, "against the claim"), (0.4, "undecided")], ids=str
)
def test_more_patches_shall_be_kept_on_objects(evaluated: Path, inside: float, verdict: str) -> None:
    write("adacolvit_t", 23.0, 55.0, patch_ratio=0.4, layer_ratio=0.6, kept_objects=1.0, kept_background=1.0, share_background=0.4)
    rows = pd.read_parquet(paths.results("adacolvit/adacolvit_t"))
    rows["share_objects"] = inside + np.where(np.arange(len(rows)) % 2, 0.01, -0.01)
    rows.to_parquet(paths.results("adacolvit/adacolvit_t"))
    write("adacolvit_t_patches", 23.0, 55.0)
    told = findings.kept(one_run("adacolvit_t"))
    assert f"On scenes the branches that run keep {inside:.3f} of the patches of objects" in told
    assert f"That is {verdict}." in told
    assert "block 3's feed-forward keeps every patch of all pictures: its row shows no choice." in told


def one_run(run: str) -> pd.DataFrame:
    rows = tables.results(f"adacolvit/{run}").query("dataset == 'scenes'")
    shares = ("kept_objects", "kept_background", "share_objects", "share_background")
    return pd.DataFrame([{"run": run, "pictures": "scenes", "n": len(rows), **{name: rows[name].mean() for name in shares}}])


def test_computation_shall_rise_with_colour_and_objects(evaluated: Path) -> None:
    rows = pd.read_parquet(paths.results("adacolvit/adacolvit_t"))
    rows["true_cf_signed"] = np.arange(len(rows))
    rows["multiply_adds_m"] = rows["true_cf_signed"] + 50
    rows["objects"] = -rows["true_cf_signed"].where(rows["dataset"] == "scenes")
    rows.to_parquet(paths.results("adacolvit/adacolvit_t"))
    told = findings.computation(adacolvit.follows()).splitlines()
    assert len(told) == 2, "none for four photographs"
    assert told[0].startswith("- Rank correlation of multiply-adds with colourfulness on 40 scenes: +1.00 [")
    assert told[0].endswith("as the claim says.")
    assert told[1].endswith("against the claim.")
    rows.assign(multiply_adds_m=55.0).to_parquet(paths.results("adacolvit/adacolvit_t"))
    assert findings.computation(adacolvit.follows()) == findings.NOTHING


def test_runs_are_told_one_by_one_and_constant_ones_named() -> None:
    row = {"run": "adacolvit_t", "pictures": "scenes", "n": 200, "patch_ratio": 0.26, "patch_ratio_std": 0.02}
    row |= {"patch_ratio_target": 0.25, "layer_ratio": 0.6, "layer_ratio_std": 0.004, "layer_ratio_target": 0.625}
    rows = [row, {**row, "run": "adavit", "layer_ratio_target": None}, {**row, "pictures": "photos", "n": 4}]
    told = findings.constancy(pd.DataFrame(rows)).splitlines()
    assert told[0] == (
        "- adacolvit_t on scenes: patches 0.260, +0.010 off the target, standard deviation 0.020; "
        "layers 0.600, -0.025 off the target, standard deviation 0.004."
    )
    assert told[1].startswith("- adavit on scenes: patches")
    assert told[2:] == ["- Standard deviations below 0.01, as good as constant: layers of adacolvit_t."]


def test_dynamicvit_aims_at_the_mean_over_its_blocks(evaluated: Path) -> None:
    write("dynamicvit", 22.0, 87.0, patch_ratio=0.8, layer_ratio=1.0)
    for name in config.runs("adacolvit"):
        if config.load(name).present and not paths.results(name).is_file():
            write(name.split("/")[1], 22.0, 50.0)
    table = adacolvit.adaptivity().set_index(["run", "pictures"])
    blocks = [1, 0.88, 0.88, 0.88**2, 0.88**3, 0.88**3]  # six here: patches are dropped before the second, fourth and fifth
    assert table.loc[("dynamicvit", "scenes"), "patch_ratio_target"] == pytest.approx(np.mean(blocks))
    assert pd.isna(table.loc[("dynamicvit", "scenes"), "layer_ratio_target"])


def test_shades_go_from_the_least_share_to_the_most(evaluated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planes = {"a.1.share": np.array([[51, 102]]), "b.1.share": np.array([[153, 153]])}
    monkeypatch.setattr(tables, "sample", lambda run, label: planes.get(label))
    told = findings.shades(["a", "b"], [1, 50])
    assert told == "- With 1 hint the shares shaded go from 0.20 to 0.60; most minus least within a picture is 0.00 to 0.20."


@pytest.mark.parametrize(("ms", "told"), [(12.0, "1.67 times as fast"), (19.5, "1.03 times as fast")], ids=str)
def test_latencies_tell_both_speed_ups_and_what_asking_adds(project: Path, ms: float, told: str) -> None:
    config.use_profile("cpu")
    folder = project / "reports" / "timings"
    folder.mkdir(parents=True, exist_ok=True)
    about = {"latency_std_ms": 0.1, "repeats": 5, "machine": "", "note": ""}
    rows = [("icolorit_t", 1.43, 20.0), ("adacolvit_t", 0.78, ms)]
    named = [
        {"run": f"adacolvit/{run}", "multiply_adds_g": g, "latency_ms": t, "latency_mean_ms": t, **about} for run, g, t in rows
    ]
    pd.DataFrame(named).to_csv(folder / "efficiency.csv")
    asked = {"what": "AdaColViT-T with its own linear layers asked, over the same decisions given", "value": 1.13}
    pd.DataFrame([{"what": "another", "value": 9.0}, asked]).to_csv(folder / "adacolvit_promises.csv")
    lines = findings.latencies(adacolvit.latencies(["iColoriT-T", "AdaColViT-T"])).splitlines()
    assert told in lines[0]
    assert "the paper 1.79 times at 0.55." in lines[0]
    assert lines[0].endswith("is saved.") == (ms > 19)
    assert lines[1].endswith("takes 1.13 of that time.")


def test_an_interval_around_zero_decides_nothing_and_a_claim_says_the_same(evaluated: Path) -> None:
    write("swinir_s", 23.02, 80.0, spread=0.6)
    told = findings.versus("table2", "AdaColViT-T", ["SwinIR-S"])
    sides = ("adacolvit/adacolvit_t", "10"), ("adacolvit/swinir_s", "10")
    row = tables.claims([("", "psnr", *sides)], dataset="scenes").iloc[0]
    assert f"[{row['low']:+.2f}, {row['high']:+.2f}], undecided on scenes" in told
    assert row["verdict"] == "undecided"
    assert "too few pictures for an interval" in told


def test_nothing_to_compare_is_said(evaluated: Path) -> None:
    assert findings.versus("table3", "AdaColViT-T", ["A-ViT"]) == findings.NOTHING
    assert findings.computation(pd.DataFrame()) == findings.NOTHING


def test_table_2_has_the_spread_of_draws_beside_the_papers(evaluated: Path) -> None:
    write("spread", 20.0, 0.0)
    table = adacolvit.compared("table2", ["AdaColViT-T"], over_draws=True)
    cells = table.set_index(["method", "pictures", "quantity"])
    rows = tables.results("adacolvit/adacolvit_t", every_draw=True).query("dataset == 'scenes'")
    assert cells.loc[("AdaColViT-T", "scenes", "psnr@10"), "std"] == pytest.approx(
        rows.groupby("repeat")["psnr"].mean().std(), abs=1e-6
    )
    assert cells.loc[("AdaColViT-T", "scenes", "gflops"), "std"] == 0
    assert cells.loc[("AdaColViT-T", "ctest10k", "psnr@10"), "std_published"] == 0.01
    assert "std" not in adacolvit.compared("table3", ["AdaColViT-T"])


def test_what_grows_with_hints_and_what_does_not() -> None:
    rows = [
        {"pictures": "scenes", "method": m, "hints": n, "measured": v}
        for m, *vs in (("A", 1, 2, 3), ("B", 1, 3, 2))
        for n, v in enumerate(vs)
    ]
    assert findings.rises(pd.DataFrame(rows)) == "- On scenes, steps of hints at which PSNR falls: B (1)."
    assert "none, for any method" in findings.rises(pd.DataFrame(rows[:3]))


def test_the_frontier_is_what_nothing_cheaper_beats() -> None:
    points = {"cheap": (1.0, 20.0), "good": (2.0, 22.0), "worse": (3.0, 21.0), "dear": (4.0, 22.04), adacolvit.BASELINE: (0, 30.0)}
    rows: list[dict[str, Any]] = [
        {"method": m, "hints": "5 hints", "gflops": g, "measure": "PSNR (dB)", "value": v} for m, (g, v) in points.items()
    ]
    distances = [{**row, "measure": "LPIPS (vgg)", "value": row["value"] / 100} for row in rows]
    psnr, lpips = findings.frontier(pd.DataFrame([*rows, *distances])).splitlines()
    assert psnr == "- PSNR (dB), 5 hints, from the cheapest on, each better by 0.05 or more than all before: cheap, good."
    assert lpips.endswith("each better by 0.001 or more than all before: cheap."), "less is better"


def test_the_losses_ratio_is_that_of_the_history(evaluated: Path) -> None:
    folder = paths.run("adacolvit/adacolvit_t")
    folder.mkdir(parents=True)
    pd.DataFrame({"train/huber": [0.5, 0.2, 0.1], "train/sparsity": [0.1, 0.1, 0.05]}).to_csv(folder / "history.csv")
    table = adacolvit.balance().set_index(["run", "when"])
    assert table.loc[("adacolvit_t", "first epoch"), "sparsity_over_huber"] == pytest.approx(0.2)
    assert table.loc[("adacolvit_t", "last epoch"), "sparsity_over_huber"] == pytest.approx(0.5)
    assert "not run in this profile" in table.loc[("adacolvit_t_paper_loss", "last epoch"), "note"]
    assert "0.5 of the Huber term in the last epoch" in findings.balance(table.reset_index())


@pytest.mark.parametrize(
    ("columns", "wanted"), [(["lpips_alex_random"], "lpips_alex_random"), (["lpips_alex", "lpips_vgg_unit"], "lpips_vgg_unit")]
)
def test_lpips_is_the_papers_where_it_is_measured(evaluated: Path, columns: list[str], wanted: str) -> None:
    write("icolorit_t", 22.0, 100.0, **dict.fromkeys(columns, 0.1))
    assert adacolvit.quality_measures() == ["psnr", wanted]
    assert ("stand-in" in adacolvit.axis_of(wanted)) == wanted.endswith("_random")
