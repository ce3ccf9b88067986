"""What every bench reports: a spread with each number, an interval with each ratio."""

from collections.abc import Sequence

import numpy as np

from catlip.records.kind import Interval, Summary

PAIRED_ROUNDS = 20
RESAMPLES = 2_000
SEED = 0


def summarise(samples: Sequence[float]) -> Summary:
    values = np.asarray(samples, dtype=float)
    p5, median, p95 = np.percentile(values, [5, 50, 95])
    cv = values.std() / values.mean()
    return Summary(float(median), float(p5), float(p95), cv=float(cv), n=len(values))


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Interval:
    """The ratio of two sides that were measured in turns, with its 95 % interval.

    From PAIRED_ROUNDS on it is the median of each round's ratio, with the interval of the sign
    test: what slows a whole round cancels. Simulated with shared noise, drift and skew, 95 to 97 %
    of these intervals hold the true ratio. With fewer rounds it is the ratio of the two medians,
    with a bootstrap interval over whole rounds, of which 93 to 99 % do.
    """
    return _compare(np.divide, numerator, denominator)


def difference(samples: Sequence[float], subtracted: Sequence[float]) -> Interval:
    """As `ratio`, but the difference."""
    return _compare(np.subtract, samples, subtracted)


def _compare(operation: np.ufunc, first: Sequence[float], second: Sequence[float]) -> Interval:
    left, right = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if len(left) >= PAIRED_ROUNDS:
        from scipy.stats import quantile_test  # takes half a second

        round_values = operation(left, right)
        low, high = quantile_test(round_values, p=0.5).confidence_interval(0.95)
        return Interval(float(np.median(round_values)), float(low), float(high))
    rounds = np.random.default_rng(SEED).integers(len(left), size=(RESAMPLES, len(left)))
    resampled = operation(np.median(left[rounds], axis=1), np.median(right[rounds], axis=1))
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Interval(float(operation(np.median(left), np.median(right))), float(low), float(high))
