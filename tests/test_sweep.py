"""Figure 6's sweep: trained networks asked to keep more or less, against random decisions of about the same cost."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import quick

from colorexp import config, evaluation, paths, runs, sweep
from colorexp.report import adacolvit, findings, tables

RUNS = {"patches and layers": "adacolvit_t", adacolvit.RANDOM: "adacolvit_t_random", adacolvit.DENSE: "icolorit_t"}


@pytest.fixture
def swept(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    monkeypatch.setattr(adacolvit, "SELECTIONS", RUNS)
    config.use_profile("cpu")  # in which random decisions are trained as well
    for run in RUNS.values():
        name = f"adacolvit/{run}"
        experiment = runs.build(quick(name, protocols=["10"]), out=paths.run(name))
        runs.train(experiment)
        evaluation.save(name, evaluation.evaluate(experiment.cfg, runs.load(experiment.out)[1]))
    return sweep.selection()


def test_less_is_computed_the_higher_the_threshold_and_the_smaller_the_share(swept: pd.DataFrame) -> None:
    cost = dict(list(swept.groupby("selection")["gflops"]))
    assert cost["patches and layers"].is_monotonic_decreasing
    assert cost["patches and layers"].iloc[0] > cost["patches and layers"].iloc[-1]
    assert cost[adacolvit.RANDOM].is_monotonic_increasing
    assert len(cost[adacolvit.RANDOM]) == len({*sweep.SHARES, 0.589})


def test_the_point_of_the_training_is_the_runs_own_result(swept: pd.DataFrame) -> None:
    own = swept[swept["as_trained"]].set_index("selection")
    assert own["setting"].to_dict() == {"patches and layers": "threshold 0.5", "random": "share 0.589", "nothing pruned": "dense"}
    for name in (adacolvit.DENSE, "patches and layers"):
        rows = tables.results(f"adacolvit/{RUNS[name]}")
        assert own.loc[name, "psnr"] == pytest.approx(rows["psnr"].mean())
        assert own.loc[name, "gflops"] == pytest.approx(rows["multiply_adds_m"].mean() / 1000)


def test_learned_points_stand_against_random_selection_of_the_same_cost(swept: pd.DataFrame) -> None:
    random = swept[swept["selection"] == adacolvit.RANDOM].sort_values("gflops")
    learned = swept[swept["selection"] == "patches and layers"]
    assert swept.loc[swept["selection"] != "patches and layers", "difference"].isna().all()
    for row in learned.to_dict("records"):
        # beyond its ends np.interp stays at the last value, as the nearest point does
        there = np.interp(row["gflops"], random["gflops"], random["psnr"])
        assert row["difference"] == pytest.approx(row["psnr"] - there, abs=1e-6)
        assert row["random_gflops"] == pytest.approx(np.clip(row["gflops"], random["gflops"].min(), random["gflops"].max()))
    assert findings.selection(swept).startswith("- patches and layers: between")


def point(name: str, gflops: float, level: float) -> sweep.Point:
    return sweep.Point(name, f"at {gflops:g}", False, gflops, pd.Series(level + np.arange(30) / 100))


def test_both_stand_against_one_alone_at_its_cost() -> None:
    curve = [point(adacolvit.BOTH, 3.0, 24.0), point(adacolvit.BOTH, 1.0, 20.0)]
    points = [*curve, point("layers", 1.5, 20.5), point("patches", 4.0, 24.5)]
    table = pd.DataFrame([sweep._row(p, points, "scenes") for p in points])
    assert table["both_difference"].isna().tolist() == [True, True, False, False]
    layers, patches = table.to_dict("records")[2:]
    assert (layers["both_gflops"], patches["both_gflops"]) == (1.5, 3.0)
    assert layers["both_difference"] == pytest.approx(0.5)
    assert layers["both_low"] == pytest.approx(0.5), "paired: every picture differs by as much"
    told = findings.selection(table)
    assert "Both against layers alone at 1.5000 GMAC: +0.50 dB [+0.50, +0.50]." in told
    assert "Both against patches alone at 3.0000 and 4.0000 GMAC, where costs are nearest: -0.50 dB" in told


def test_pictures_are_colored_as_their_evaluation_saw_them(swept: pd.DataFrame) -> None:
    run = "adacolvit/adacolvit_t"
    cfg, task = runs.load(paths.run(run), evaluating=True)
    seen = evaluation.evaluate(replace(cfg, evaluation=replace(cfg.evaluation, samples=2)), task).samples
    kept = [label.removesuffix(".truth") for label in seen if label.endswith(".truth")]
    assert len(kept) == 4, "two of each set"
    for name, (truth, made) in zip(kept, sweep.colored(run, kept), strict=True):
        np.testing.assert_array_equal(truth, seen[f"{name}.truth"])
        assert np.abs(made.astype(int) - seen[f"{name}.10"]).max() <= 1, "alone instead of in a batch"
    with pytest.raises(ValueError, match="has no test picture 'none'"):
        sweep.colored(run, [f"{kept[0].split('/')[0]}/none"])
    assert sweep.colored("adacolvit/unknown", []) == []
    table = adacolvit.extremes("AdaColViT-T", count=2)
    costs = tables.results(run).query("protocol == '10'")["multiply_adds_m"]
    assert (table["multiply_adds_m"].iloc[0], table["multiply_adds_m"].iloc[-1]) == (costs.min(), costs.max())
