"""Mean differences and ratios of pairs, with 95 % intervals and verdicts against a bound."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from catlip.records.claims import min_pairs
from catlip.records.kind import Interval

N = TypeVar("N", float, "Score", "Score | float")
COVERAGE = 0.95
POWER = 0.8
BETTER, NOT_WORSE, WORSE, CANNOT_TELL = "better", "not worse", "worse", "cannot tell"
HOLDS, FAILS, OPEN = "holds", "does not hold", CANNOT_TELL


@dataclass(frozen=True, eq=False)
class Score:
    """An accuracy, or a difference of accuracies, with the value of each test image. It is not a
    float, so that code that would lose the images, and with them their interval, fails.

    Attributes:
        by_image: [N] the value of each test image, NaN if it could not be read; None if unknown.
        clusters: [N] a number for each image, the same for images that were sampled together; None
            if each image was sampled by itself.
    """

    value: float
    by_image: NDArray[np.float64] | None = None
    clusters: NDArray[np.int64] | None = None

    def __add__(self, other: "Score | float") -> "Score":
        """The sum has images if both scores have as many."""
        if not isinstance(other, Score):
            by_image = None if self.by_image is None else self.by_image + other
            return Score(self.value + other, by_image, self.clusters)
        total = self.value + other.value
        if self.by_image is None or other.by_image is None:
            return Score(total)
        if len(self.by_image) != len(other.by_image):
            return Score(total)
        clusters = self.clusters if self.clusters is not None else other.clusters
        return Score(total, self.by_image + other.by_image, clusters)

    def __mul__(self, factor: float) -> "Score":
        by_image = None if self.by_image is None else factor * self.by_image
        return Score(factor * self.value, by_image, self.clusters)

    def __sub__(self, other: "Score | float") -> "Score":
        negative: Score | float = other * -1
        return self + negative

    def __rsub__(self, other: float) -> "Score":
        return self * -1 + other

    def __truediv__(self, divisor: float) -> "Score":
        return self * (1 / divisor)

    __radd__, __rmul__ = __add__, __mul__


def value_of(number: Score | float) -> float:
    return number.value if isinstance(number, Score) else number


def mean_of(values: Iterable[N]) -> N:
    """The mean of numbers, or of scores."""
    total, *others = values
    for each in others:
        total = total + each
    return total / (1 + len(others))


@dataclass(frozen=True)
class Estimate:
    """The mean of differences, or the geometric mean of ratios, with its 95 % interval."""

    value: float
    low: float | None = None  # None for too few pairs; for a count, both ends equal `value`
    high: float | None = None
    pairs: int | None = None  # seeds, encoders or rounds that the interval covers
    images: int | None = None  # test images, if the interval covers these, too
    clusters: int | None = None  # of these images, if some were sampled together
    # Standard error of the mean, for ratios of its logarithm; None for counts and for the
    # intervals that benches recorded.
    error: float | None = None
    freedom: float = math.inf  # its degrees of freedom
    is_ratio: bool = False

    @property
    def is_count(self) -> bool:
        return self.low is not None and self.low == self.high


def mean_difference(differences: Sequence[Score | float]) -> Estimate | None:
    """The mean of one difference per pair; None without pairs, or if one is not finite. The
    interval is over pairs and, if all are scores of the same images, in several clusters, over the
    test images that all could read.
    """
    pairs, points = len(differences), [*map(value_of, differences)]
    if not pairs or not all(map(math.isfinite, points)):
        return None
    mean = float(np.mean(points))
    if pairs < min_pairs():
        return Estimate(mean, pairs=pairs)
    scores = [score for score in differences if isinstance(score, Score)]
    images = {0 if score.by_image is None else len(score.by_image) for score in scores}
    if len(scores) == pairs and len(images) == 1 and min(images) > 1:
        clusters = next((score.clusters for score in scores if score.clusters is not None), None)
        values = np.array([score.by_image for score in scores])
        is_read = np.isfinite(values).all(axis=0)
        clusters = None if clusters is None else clusters[is_read]
        # One image or one cluster is one draw, and has no spread.
        if is_read.sum() > 1 and (clusters is None or len(np.unique(clusters)) > 1):
            return mean_over_seeds_and_images(values[:, is_read], clusters)
    error = float(np.std(points, ddof=1) / math.sqrt(pairs))
    return _with_interval(Estimate(mean, pairs=pairs, error=error, freedom=pairs - 1))


def mean_over_seeds_and_images(
    differences: NDArray[np.float64], clusters: NDArray[np.int64] | None = None
) -> Estimate:
    """The mean of [S, N] differences of S seeds and N test images as crossed random effects: its
    variance is V_seed / S + V_image / N + V_rest / (S N), estimated by mean squares, with
    Satterthwaite's degrees of freedom. Images of a cluster count as one draw: clusters, two at
    least, take the place of images, with the means of their images in proportion to their number.
    """
    (seeds, images), num_clusters = differences.shape, None
    if clusters is not None:
        cluster_of_image = np.unique(clusters, return_inverse=True)[1]
        num_clusters = int(cluster_of_image.max()) + 1
        means = differences.mean(axis=1, keepdims=True)
        above = [np.bincount(cluster_of_image, weights=row) for row in differences - means]
        differences = means + np.array(above) * num_clusters / images
    columns = differences.shape[1]
    mean = differences.mean()
    rows_above, columns_above = differences.mean(axis=1) - mean, differences.mean(axis=0) - mean
    rest = differences - mean - rows_above[:, None] - columns_above[None]
    freedoms = np.array([seeds - 1, columns - 1, (seeds - 1) * (columns - 1)])
    squares = np.array(
        [columns * (rows_above**2).sum(), seeds * (columns_above**2).sum(), (rest**2).sum()]
    )
    mean_squares = squares / freedoms
    seed_square, column_square, rest_square = mean_squares
    variance = seed_square + column_square - rest_square  # of the mean, times seeds and columns
    if variance <= max(seed_square, column_square):  # a variance estimated below 0 counts as 0
        variance = max(seed_square, column_square)
        freedom = freedoms[0] if seed_square >= column_square else freedoms[1]
    else:
        freedom = variance**2 / (mean_squares**2 / freedoms).sum()
    estimate = Estimate(
        float(mean),
        pairs=seeds,
        images=images,
        clusters=num_clusters,
        error=float(np.sqrt(variance / (seeds * columns))),
        freedom=float(freedom),
    )
    return _with_interval(estimate)


def _with_interval(estimate: Estimate) -> Estimate:
    """The t interval of its standard error."""
    from scipy.stats import t  # takes half a second

    half = float(t.ppf((1 + COVERAGE) / 2, estimate.freedom)) * (estimate.error or 0)
    return replace(estimate, low=estimate.value - half, high=estimate.value + half)


def geometric_mean_ratio(ratios: Sequence[float]) -> Estimate | None:
    if not all(0 < ratio < math.inf for ratio in ratios):
        return None
    logarithm = mean_difference([math.log(ratio) for ratio in ratios])
    if logarithm is None:
        return None
    low, high = (None if end is None else math.exp(end) for end in (logarithm.low, logarithm.high))
    return replace(logarithm, value=math.exp(logarithm.value), low=low, high=high, is_ratio=True)


def from_interval(interval: Interval | None) -> Estimate | None:
    """The interval that a bench recorded over its rounds; None if an end is missing or infinite."""
    if interval is None or interval.low is None or interval.high is None:
        return None
    if not all(map(math.isfinite, (interval.value, interval.low, interval.high))):
        return None
    return Estimate(interval.value, interval.low, interval.high)


def interval_difference(one: Interval, other: Interval) -> Estimate | None:
    """`other` - `one`, between the extremes that both intervals allow; None if one has no ends."""
    if from_interval(one) is None or from_interval(other) is None:
        return None
    low, high = (other.low or 0) - (one.high or 0), (other.high or 0) - (one.low or 0)
    return Estimate(other.value - one.value, low, high)


def count_estimate(value: float | None) -> Estimate | None:
    """A count, which has no spread; None if `value` is None or not finite."""
    return None if value is None or not math.isfinite(value) else Estimate(value, value, value)


def verdict(difference: Estimate, bound: float) -> str:
    """A verdict on the first of two, from the difference first - second."""
    if difference.low is None or difference.high is None:
        return CANNOT_TELL
    if difference.low > 0:
        return BETTER
    if difference.low > -bound:
        return NOT_WORSE
    return WORSE if difference.high < 0 else CANNOT_TELL


def beats(values: Sequence[float], floor: Sequence[float]) -> bool:
    """Whether the interval of the mean over seeds lies above the mean of `floor`; with few seeds,
    whether the mean does.
    """
    if not floor:
        return True
    above = mean_difference([value - mean_of(floor) for value in values])
    return above is None or (above.value if above.low is None else above.low) > 0


def p_values(rule: str, estimate: Estimate, bound: float) -> tuple[float, float]:
    """The two-sided p-values of "holds" and of "does not hold" by a rule of claims.toml. At 5 %
    they agree with the 95 % interval; `holm` compares them with less.
    """
    above, below = partial(_tail, estimate, sign=1), partial(_tail, estimate, sign=-1)
    holds, fails = {
        "above": (above(bound), below(bound)),
        "not worse": (above(-bound), below(0)),
        "not above": (below(bound), above(0)),
        "alike": (max(above(-bound), below(bound)), min(above(0), below(0))),
    }[rule]
    return min(1, 2 * holds), min(1, 2 * fails)


def _tail(estimate: Estimate, limit: float, sign: int) -> float:
    """One-sided p-value of an estimate above `limit` (sign 1) or below it (-1)."""
    from scipy.stats import t

    value, low, high = estimate.value, estimate.low, estimate.high
    if low is None or high is None:
        return 1.0
    if estimate.is_ratio:
        if limit <= 0:  # no ratio is below it
            return float(sign < 0)
        value, limit = math.log(value), math.log(limit)
    error = estimate.error
    if error is None:  # the normal law with this end; a count has no spread
        error = abs(value - (low if limit < value else high)) / t.ppf((1 + COVERAGE) / 2, math.inf)
    if not error:
        return float(sign * (value - limit) <= 0)
    return float(t.sf(sign * (value - limit) / error, estimate.freedom))


def outcome(rule: str, estimate: Estimate, bound: float) -> str:
    """Whether a claim with this rule of claims.toml holds."""
    holds, fails = (p < 1 - COVERAGE for p in p_values(rule, estimate, bound))
    return HOLDS if holds else FAILS if fails else OPEN


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: up to 5 %, any false statement has a chance of at most 5 %."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, (len(p_values) - rank) * p_values[i])
        adjusted[i] = min(1.0, largest)
    return adjusted


def smallest_effect(estimate: Estimate) -> float | None:
    """The true difference (or factor, for ratios) that experiments with this standard error detect
    in 4 of 5 cases; None for a count, and without an interval.
    """
    from scipy.optimize import brentq
    from scipy.stats import nct, norm, t

    if estimate.low is None or estimate.high is None or estimate.is_count:
        return None
    error, freedom = estimate.error, estimate.freedom
    if error is None:
        error = (estimate.high - estimate.low) / 2 / norm.ppf((1 + COVERAGE) / 2)
    needed = t.ppf((1 + COVERAGE) / 2, freedom)
    if math.isinf(freedom):
        errors = needed + norm.ppf(POWER)
    else:
        errors = brentq(lambda off: nct.sf(needed, freedom, off) - POWER, 0, 3 * needed + 3)
    effect = float(errors * error)
    return math.exp(effect) if estimate.is_ratio else effect
