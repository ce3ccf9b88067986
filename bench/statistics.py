"""The few statistics that every bench reports: a spread with each number, an interval with each ratio."""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2_000
SEED = 0


def summarise(samples: Sequence[float]) -> dict[str, float]:
    """Median, 5th and 95th percentile, coefficient of variation and count, in the unit of the samples."""
    values = np.asarray(samples, dtype=float)
    p5, median, p95 = np.percentile(values, [5, 50, 95])
    return {"median": median, "p5": p5, "p95": p95, "cv": values.std() / values.mean(), "n": len(values)}


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> dict[str, float]:
    """The ratio of two medians, with its 95 % bootstrap interval.

    Args:
        numerator, denominator: samples taken in turns, one of each per round; rounds are resampled whole, so that what slowed
            the machine for a while slows both.
    Returns: value, low, high.
    """
    above, below = np.asarray(numerator, dtype=float), np.asarray(denominator, dtype=float)
    if len(above) != len(below):
        raise ValueError(f"interleaved samples come in pairs, not {len(above)} and {len(below)}")
    rounds = np.random.default_rng(SEED).integers(len(above), size=(RESAMPLES, len(above)))
    resampled = np.median(above[rounds], axis=1) / np.median(below[rounds], axis=1)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return {"value": float(np.median(above) / np.median(below)), "low": float(low), "high": float(high)}
