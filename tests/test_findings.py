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
        frames.append(frame.assign(dataset=dataset, split="test", protocol="10", seed=0, repeat=repeat, near_gray=False))
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
    assert "The paper: +0.02 dB on imagenet-ctest10k, at 0.55." in told
    assert "Uformer" not in told, "which the profile leaves out"


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
    points = {"cheap": (1.0, 20.0), "good": (2.0, 22.0), "worse": (3.0, 21.0)}
    rows: list[dict[str, Any]] = [
        {"method": m, "hints": "5 hints", "gflops": g, "measure": "PSNR (dB)", "value": v} for m, (g, v) in points.items()
    ]
    told = findings.frontier(pd.DataFrame([*rows, {**rows[0], "measure": "LPIPS (vgg)", "value": 99.0}]))
    assert told == "- 5 hints: no method gives more for less than cheap, good."


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
