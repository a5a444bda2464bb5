"""Numbers with their resampled spread: what claims are compared with, and what an interval says of a claim."""

import operator
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from colorexp.report.tables import INTERVAL_MINIMUM, RESAMPLES
from colorexp.seeding import seed_of

Relation = Literal["gt", "lt", "ratio_ge", "within"]
REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE = "reproduced", "not reproduced", "inconclusive"
_AT_ONCE = 100
"""Resamplings whose pictures are gathered together, which bounds memory."""


class Estimate(NamedTuple):
    """A number and what resampling makes of it."""

    value: float
    draws: NDArray[np.float64]
    """(RESAMPLES,), all NaN where nothing is known of the number's spread."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """95% percentile interval, or None where the spread is unknown."""
        if np.isnan(self.draws).any():
            return None
        low, high = np.percentile(self.draws, [2.5, 97.5])
        return float(low), float(high)


def constant(value: float) -> Estimate:
    """A number without a spread: a margin, a count, a printed value."""
    return Estimate(value, np.full(RESAMPLES, value))


def lone(value: float) -> Estimate:
    """A number whose spread nobody measured."""
    return Estimate(value, np.full(RESAMPLES, np.nan))


def between(value: float, low: float, high: float, *key: str) -> Estimate:
    """A number whose 95% interval is known: draws that have this interval, of a normal form on either side.

    Args:
        value: The number.
        low: Lower end of its interval, at most `value`.
        high: Upper end.
        key: What the number is; numbers of different keys are drawn independently.
    """
    z = _shuffled(stats.norm.ppf(_levels()), *key)
    scale = np.where(z < 0, value - low, high - value) / stats.norm.ppf(0.975)
    return Estimate(value, value + scale * z)


def repeated(value: float, std: float, n: int, *key: str) -> Estimate:
    """A mean over n repetitions of which `std` is the deviation (over n, not n - 1), by Student's t; one tells no spread."""
    if n < 2:
        return lone(value)
    return Estimate(value, value + std / (n - 1) ** 0.5 * _shuffled(stats.t.ppf(_levels(), n - 1), *key))


def _levels() -> NDArray[np.float64]:
    return (np.arange(RESAMPLES) + 0.5) / RESAMPLES


def _shuffled(values: NDArray[np.float64], *key: str) -> NDArray[np.float64]:
    return np.random.default_rng(seed_of("spread", *key)).permutation(values)


OPERATORS: dict[str, Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mult": operator.mul,
    "Div": operator.truediv,
}


def combine(name: str, one: Estimate, other: Estimate) -> Estimate:
    """Two estimates joined draw by draw, so that what they share cancels; a division by zero has no value and no interval.

    Args:
        name: Of `OPERATORS`.
        one: On the left.
        other: On the right.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        joined = OPERATORS[name](*(np.append(estimate.draws, estimate.value) for estimate in (one, other)))
    joined = np.where(np.isfinite(joined), joined, np.nan)
    return Estimate(float(joined[-1]), joined[:-1])


class Pictures:
    """Resampled means over the pictures that several measures share.

    Args:
        measures: One value per picture (rows) and training seed (columns), without gaps. Pictures that not all of them have are
            left out, so that differences are paired.
        key: What is compared; seeds the resampling.

    Every draw takes pictures with replacement, the same for all measures, and of a run of several seeds also the seeds. One seed
    gives no spread between trainings, two or three give too small a one.
    """

    def __init__(self, measures: Sequence[pd.DataFrame], *, key: str) -> None:
        shared = set.intersection(*(set(m.index) for m in measures)) if measures else set()
        self.images = sorted(shared)
        self._key = key
        rng = np.random.default_rng(seed_of("scorecard", key))
        self._draws = rng.integers(0, max(len(shared), 1), (RESAMPLES, len(shared)), dtype=np.int32)

    def mean(self, measure: pd.DataFrame, *, of: str, counted: "pd.Series[bool] | None" = None) -> Estimate:
        """The mean over pictures and seeds.

        Args:
            measure: As in the constructor.
            of: The run, whose seeds are drawn independently of other runs'.
            counted: Which pictures count, by name; all without it. Fewer than 20 carry no interval.
        """
        values = measure.loc[self.images].to_numpy(np.float64).T  # (seeds, pictures)
        mask = np.ones(len(self.images)) if counted is None else counted.loc[self.images].to_numpy().astype(np.float64)
        if not mask.any():
            return lone(np.nan)
        value = float((values * mask).sum(1).mean() / mask.sum())
        if mask.sum() < INTERVAL_MINIMUM:
            return lone(value)
        chunks = [self._resampled(values * mask, mask, draws) for draws in np.split(self._draws, RESAMPLES // _AT_ONCE)]
        means = np.concatenate(chunks, axis=1)  # (seeds, RESAMPLES)
        rng = np.random.default_rng(seed_of("seeds", self._key, of))
        seeds = rng.integers(0, len(values), (len(values), RESAMPLES))
        return Estimate(value, np.take_along_axis(means, seeds, axis=0).mean(0))

    @staticmethod
    def _resampled(values: NDArray[np.float64], mask: NDArray[np.float64], draws: NDArray[np.int32]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            means: NDArray[np.float64] = values[:, draws].sum(2) / mask[draws].sum(1)
        return means


def effect(relation: Relation, one: Estimate, other: Estimate) -> Estimate:
    """What a relation judges: the ratio for `ratio_ge`, else the difference."""
    return combine("Div" if relation == "ratio_ge" else "Sub", one, other)


def verdict(relation: Relation, margin: float, interval: tuple[float, float] | None) -> str:
    """What the interval of an effect says: one that spans the margin, or is unknown, is inconclusive, and a tie is not greater.

    Args:
        relation: With the effect e: gt is e > margin, lt e < -margin, ratio_ge e >= margin, within -margin <= e <= margin.
        margin: In units of the measure, or the ratio.
        interval: Of the effect.
    """
    if interval is None:
        return INCONCLUSIVE
    low, high = interval
    if relation == "lt":
        relation, low, high = "gt", -high, -low
    if relation == "gt":
        holds, fails = low > margin, high <= margin
    elif relation == "ratio_ge":
        holds, fails = low >= margin, high < margin
    else:
        holds, fails = -margin <= low and high <= margin, low > margin or high < -margin
    return REPRODUCED if holds else NOT_REPRODUCED if fails else INCONCLUSIVE
