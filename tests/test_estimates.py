"""Intervals cover what they should, and a verdict is never rounded up."""

import numpy as np
import pandas as pd
import pytest

from colorexp.report import estimates
from colorexp.report.estimates import INCONCLUSIVE, NOT_REPRODUCED, REPRODUCED, Pictures


def frame(values: np.ndarray, *seeds: int) -> pd.DataFrame:
    """Pictures are rows."""
    return pd.DataFrame(
        values.reshape(len(values), -1), columns=list(seeds or [0]), index=[f"p{i:03d}" for i in range(len(values))]
    )


def compared(one: pd.DataFrame, other: pd.DataFrame, *, key: str = "x", relation: estimates.Relation = "gt") -> estimates.Estimate:
    pictures = Pictures([one, other], key=key)
    return estimates.effect(relation, pictures.mean(one, of="one"), pictures.mean(other, of="other"))


def test_95_of_100_intervals_cover_the_true_difference() -> None:
    rng, covered = np.random.default_rng(0), 0
    for trial in range(300):
        pictures = rng.normal(0, 5, 60)
        one, other = frame(pictures + 1 + rng.gamma(1, 1, 60)), frame(pictures + rng.gamma(1, 1, 60))
        low, high = compared(one, other, key=str(trial)).interval
        covered += low <= 1 <= high
    assert 0.91 <= covered / 300 <= 0.98


def test_what_pictures_share_cancels() -> None:
    hard = np.random.default_rng(0).normal(0, 100, 40)
    assert compared(frame(hard + 0.5), frame(hard)).interval == pytest.approx((0.5, 0.5))


def test_pictures_that_one_side_lacks_are_left_out_on_both() -> None:
    one, other = frame(np.arange(40.0)), frame(np.arange(40.0)).iloc[:30]
    found = compared(one, other)
    assert found.value == 0
    assert found.interval == (0, 0)


def test_a_ratio_is_that_of_means() -> None:
    found = compared(frame(np.linspace(2, 4, 30)), frame(np.linspace(1, 2, 30)), relation="ratio_ge")
    assert found.value == pytest.approx(2)
    assert found.interval == pytest.approx((2, 2))


def test_seeds_that_disagree_widen_the_interval_and_one_seed_cannot() -> None:
    pictures = np.random.default_rng(0).normal(0, 0.01, (40, 1))
    many = frame(pictures + np.array([-1.0, 0.0, 1.0]), 0, 1, 2)
    zero = frame(np.zeros(40))
    low, high = compared(many, zero).interval
    assert low < -0.6
    assert high > 0.6
    low, high = compared(many[[1]], zero).interval
    assert high - low < 0.02
    assert compared(many, zero).value == pytest.approx(float(pictures.mean()))


def test_seeds_of_two_runs_are_drawn_independently() -> None:
    seeds = frame(np.tile([-1.0, 1.0], (40, 1)), 0, 1)
    low, high = compared(seeds, seeds.copy()).interval
    assert (low, high) == (-2, 2)


def test_a_group_counts_its_own_pictures() -> None:
    values = frame(np.repeat([1.0, 3.0], 30))
    pictures = Pictures([values], key="x")
    counted = values[0] > 2
    assert pictures.mean(values, of="x", counted=counted).interval == pytest.approx((3, 3))
    few = pd.Series([i < 19 for i in range(60)], index=values.index)
    assert pictures.mean(values, of="x", counted=few).interval is None
    assert pictures.mean(values, of="x", counted=few).value == 1


def test_few_pictures_have_no_interval() -> None:
    assert compared(frame(np.ones(19)), frame(np.zeros(19))).interval is None
    assert compared(frame(np.ones(20)), frame(np.zeros(20))).interval is not None


def test_draws_are_the_same_every_time_and_follow_the_key() -> None:
    one, other = frame(np.random.default_rng(0).normal(0, 1, 50)), frame(np.zeros(50))
    assert compared(one, other).interval == compared(one, other).interval
    assert compared(one, other).interval != compared(one, other, key="y").interval


def test_known_intervals_are_kept_and_add_up_as_independent() -> None:
    one, other = (estimates.between(5, 4, 7, key) for key in "ab")
    assert one.interval == pytest.approx((4, 7), abs=0.01)
    low, high = estimates.combine("Add", one, other).interval
    assert 8 < low < 9
    assert 12 < high < 14
    assert estimates.combine("Sub", one, one).interval == (0, 0), "the same number twice"


def test_repetitions_have_students_interval() -> None:
    values = np.array([10.0, 11, 12, 13, 14])
    low, high = estimates.repeated(values.mean(), values.std(), 5, "x").interval
    half = 2.776 * values.std(ddof=1) / 5**0.5
    assert (low, high) == pytest.approx((12 - half, 12 + half), abs=0.05)
    assert estimates.repeated(12, 1, 1, "x").interval is None


def test_a_division_by_zero_says_nothing() -> None:
    found = estimates.combine("Div", estimates.constant(1), estimates.constant(0))
    assert np.isnan(found.value)
    assert found.interval is None


@pytest.mark.parametrize(
    ("relation", "margin", "interval", "wanted"),
    [
        ("gt", 0, (0.1, 1), REPRODUCED),
        ("gt", 0, (0, 1), INCONCLUSIVE),
        ("gt", 0, (-1, 0), NOT_REPRODUCED),
        ("gt", 0, (0, 0), NOT_REPRODUCED),  # a tie is not greater
        ("gt", 0.5, (0.4, 1), INCONCLUSIVE),
        ("gt", 0.5, (0.1, 0.5), NOT_REPRODUCED),
        ("gt", 0.5, (0.51, 1), REPRODUCED),
        ("lt", 0, (-1, -0.1), REPRODUCED),
        ("lt", 0, (0, 1), NOT_REPRODUCED),
        ("lt", 0.5, (-1, -0.5), INCONCLUSIVE),
        ("lt", 0.5, (-1, -0.6), REPRODUCED),
        ("ratio_ge", 2, (2, 3), REPRODUCED),
        ("ratio_ge", 2, (1.9, 3), INCONCLUSIVE),
        ("ratio_ge", 2, (1, 1.99), NOT_REPRODUCED),
        ("within", 0.1, (-0.1, 0.1), REPRODUCED),
        ("within", 0.1, (0.05, 0.2), INCONCLUSIVE),
        ("within", 0.1, (-0.3, 0.3), INCONCLUSIVE),
        ("within", 0.1, (0.11, 0.2), NOT_REPRODUCED),
        ("within", 0.1, (-0.2, -0.11), NOT_REPRODUCED),
        ("gt", 0, None, INCONCLUSIVE),
    ],
)
def test_an_interval_that_spans_the_margin_is_inconclusive(relation: str, margin: float, interval: object, wanted: str) -> None:
    assert estimates.verdict(relation, margin, interval) == wanted
