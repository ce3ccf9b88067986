"""Mean differences and ratios of pairs, with 95 % intervals and verdicts against a bound."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from catlip.claims import least_pairs
from catlip.results.kind import Interval

COVERAGE = 0.95
BETTER, NOT_WORSE, WORSE, CANNOT_TELL = "better", "not worse", "worse", "cannot tell"
HOLDS, FAILS, OPEN = "holds", "does not hold", CANNOT_TELL


@dataclass(frozen=True)
class Estimate:
    """The mean of differences, or the geometric mean of ratios, with its 95 % interval."""

    value: float
    low: float | None = None  # None for too few pairs; for a count, both ends equal `value`
    high: float | None = None
    pairs: int | None = None  # seeds, encoders or rounds that the interval covers
    images: int | None = None  # test images, if the interval covers these, too
    error: float | None = None  # standard error of the mean; None for ratios and counts
    freedom: float = math.inf  # its degrees of freedom

    @property
    def is_count(self) -> bool:
        return self.low is not None and self.low == self.high


def of_mean(
    mean: float, error: float, freedom: float, *, pairs: int, images: int | None = None
) -> Estimate:
    """A mean with the t interval of its standard error."""
    from scipy.stats import t  # takes half a second

    half = float(t.ppf((1 + COVERAGE) / 2, freedom)) * error
    return Estimate(
        mean, mean - half, mean + half, pairs=pairs, images=images, error=error, freedom=freedom
    )


def mean_difference(differences: Sequence[float]) -> Estimate | None:
    """The mean of one difference per pair; None without pairs, or if one is not finite."""
    pairs = len(differences)
    if not pairs or not all(map(math.isfinite, differences)):
        return None
    mean = float(np.mean(differences))
    if pairs < least_pairs():
        return Estimate(mean, pairs=pairs)
    error = float(np.std(differences, ddof=1) / math.sqrt(pairs))
    return of_mean(mean, error, pairs - 1, pairs=pairs)


def geometric_mean_ratio(ratios: Sequence[float]) -> Estimate | None:
    """The geometric mean of one ratio per pair."""
    if not all(0 < ratio < math.inf for ratio in ratios):
        return None
    logarithm = mean_difference([math.log(ratio) for ratio in ratios])
    if logarithm is None:
        return None
    low, high = (None if end is None else math.exp(end) for end in (logarithm.low, logarithm.high))
    return Estimate(math.exp(logarithm.value), low, high, pairs=logarithm.pairs)


def of_interval(interval: Interval | None) -> Estimate | None:
    """The interval that a bench recorded over its rounds; None if an end is missing or infinite."""
    if interval is None or interval.low is None or interval.high is None:
        return None
    if not all(map(math.isfinite, (interval.value, interval.low, interval.high))):
        return None
    return Estimate(interval.value, interval.low, interval.high)


def between(one: Interval, other: Interval) -> Estimate | None:
    """`other` - `one`, between the extremes that both intervals allow; None if one has no ends."""
    if of_interval(one) is None or of_interval(other) is None:
        return None
    low, high = (other.low or 0) - (one.high or 0), (other.high or 0) - (one.low or 0)
    return Estimate(other.value - one.value, low, high)


def counted(value: float | None) -> Estimate | None:
    """A count, which has no spread; None if `value` is None or not finite."""
    return None if value is None or not math.isfinite(value) else Estimate(value, value, value)


def verdict(difference: Estimate, bound: float) -> str:
    """A verdict on the first of two, from first - second."""
    if difference.low is None or difference.high is None:
        return CANNOT_TELL
    if difference.low > 0:
        return BETTER
    if difference.low > -bound:
        return NOT_WORSE
    return WORSE if difference.high < 0 else CANNOT_TELL


def beats(values: Sequence[float], floor: Sequence[float]) -> bool:
    """Whether the interval of the mean over seeds lies above the mean of `floor`."""
    if not floor:
        return True
    above = mean_difference([value - float(np.mean(floor)) for value in values])
    return above is None or above.low is None or above.low > 0


def outcome(rule: str, estimate: Estimate, bound: float) -> str:
    """Whether a claim with this rule of claims.toml holds."""
    low, high = estimate.low, estimate.high
    if low is None or high is None:
        return OPEN
    holds, fails = {
        "above": (low > bound, high < bound),
        "not worse": (low > -bound, high < 0),
        "not above": (high < bound, low > 0),
        "alike": (low > -bound and high < bound, low > 0 or high < 0),
    }[rule]
    return HOLDS if holds else FAILS if fails else OPEN


def power(estimate: Estimate, difference: float) -> float | None:
    """The probability that an experiment of this size tells a true `difference` from 0, in [0, 1];
    None without a standard error.
    """
    from scipy.stats import nct, t

    if not estimate.error:
        return None
    least = t.ppf((1 + COVERAGE) / 2, estimate.freedom)
    off = difference / estimate.error
    return float(nct.sf(least, estimate.freedom, off) + nct.cdf(-least, estimate.freedom, off))
