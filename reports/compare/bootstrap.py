"""An interval for the difference, and for the ratio, of the medians of two lists of raw samples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catlip.results.least_counts import FEWEST

RESAMPLES = 2_000
SEED = 0
MOST = 2_000  # all resamples are in memory at once
SMALLEST = 1e-9  # lists with a sample at or below this have no ratio


@dataclass(frozen=True)
class Intervals:
    """95 % intervals of median(other) - median(one), and of median(other) / median(one) where all
    samples are above zero.
    """

    difference: tuple[float, float]
    ratio: tuple[float, float] | None


def intervals(one: Sequence[float], other: Sequence[float]) -> Intervals | None:
    """Percentile bootstrap. Each list is resampled on its own, because the runs did not take turns.

    Args:
        one, other: samples in one unit, from runs at different times.
    Returns: None if a list has fewer than FEWEST or more than MOST samples, or one that is not
        finite. Swapping the lists mirrors the result exactly: the ends of an interval change
        places, differences change sign, and ratios are inverted.
    """
    for samples in (one, other):
        if not FEWEST <= len(samples) <= MOST or not all(map(math.isfinite, samples)):
            return None
    if list(one) <= list(other):
        return _resampled(one, other)
    mirrored = _resampled(other, one)
    low, high = mirrored.difference
    ratio = mirrored.ratio and (1 / mirrored.ratio[1], 1 / mirrored.ratio[0])
    return Intervals((-high, -low), ratio)


def _resampled(one: Sequence[float], other: Sequence[float]) -> Intervals:
    draw = np.random.default_rng(SEED)
    first, second = (_medians(np.asarray(samples, dtype=float), draw) for samples in (one, other))
    ratio = _ends(second / first) if min(*one, *other) > SMALLEST else None
    return Intervals(_ends(second - first), ratio)


def _medians(samples: NDArray[np.float64], draw: np.random.Generator) -> NDArray[np.float64]:
    chosen = draw.integers(len(samples), size=(RESAMPLES, len(samples)))
    return np.asarray(np.median(samples[chosen], axis=1))


def _ends(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
