"""What every bench reports: a spread with each number, an interval with each ratio."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from catlip.results.kind import Interval, Summary

RESAMPLES = 2_000
SEED = 0


def summarise(samples: Sequence[float]) -> Summary:
    values = np.asarray(samples, dtype=float)
    p5, median, p95 = np.percentile(values, [5, 50, 95])
    cv = values.std() / values.mean()
    return Summary(float(median), float(p5), float(p95), cv=float(cv), n=len(values))


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Interval:
    """The ratio of two medians, with its 95 % bootstrap interval. The samples were taken in turns;
    rounds are resampled whole, so that what slowed the machine for a while slows both.
    """
    return _compare(np.divide, numerator, denominator)


def difference(samples: Sequence[float], subtracted: Sequence[float]) -> Interval:
    """As `ratio`, but the difference of the two medians."""
    return _compare(np.subtract, samples, subtracted)


def _compare(operation: np.ufunc, first: Sequence[float], second: Sequence[float]) -> Interval:
    one, other = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    rounds = np.random.default_rng(SEED).integers(len(one), size=(RESAMPLES, len(one)))
    resampled = operation(np.median(one[rounds], axis=1), np.median(other[rounds], axis=1))
    return _interval(operation(np.median(one), np.median(other)), resampled)


def share(counts: NDArray[np.int64], totals: NDArray[np.int64]) -> Interval:
    """The sum of `counts` over the sum of `totals`, both [groups], with its 95 % bootstrap interval
    over groups: the members of a group are not independent.
    """
    groups = np.random.default_rng(SEED).integers(len(totals), size=(RESAMPLES, len(totals)))
    return _interval(counts.sum() / totals.sum(), counts[groups].sum(1) / totals[groups].sum(1))


def _interval(value: float, resampled: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Interval(float(value), float(low), float(high))
