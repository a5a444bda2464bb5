"""Figure 6's sweep: trained networks asked to keep more or less, against random decisions of about the same cost."""

from pathlib import Path

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
        evaluation.save(name, evaluation.evaluate(*runs.load(experiment.out)))
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


def test_learned_points_stand_against_the_random_one_of_the_nearest_cost(swept: pd.DataFrame) -> None:
    random = swept[swept["selection"] == adacolvit.RANDOM].set_index("setting")
    learned = swept[swept["selection"] == "patches and layers"]
    assert swept.loc[swept["selection"] != "patches and layers", "difference"].isna().all()
    for row in learned.to_dict("records"):
        assert abs(row["random_gflops"] - row["gflops"]) == pytest.approx((random["gflops"] - row["gflops"]).abs().min())
        assert row["difference"] == pytest.approx(row["psnr"] - random.loc[row["random_setting"], "psnr"], abs=1e-6)
    assert findings.selection(swept).startswith("- patches and layers: between")
