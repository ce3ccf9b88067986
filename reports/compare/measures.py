"""The numbers in a record's metrics, each with the spread and the raw samples that the record gives
for it.
"""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from catlip.results.run import Run, as_number
from reports.compare.differences import Place, leaves

SUMMARY = ("median", "p5", "p95", "cv", "n")  # fields of a bench's summary of a list of samples
INTERVAL = ("value", "low", "high")  # fields of a ratio and its interval


@dataclass(frozen=True)
class Measure:
    """A number from a record's metrics.

    Attributes:
        value: the number itself, or the median of a summary.
        low, high: the 5th and 95th percentile of a summary, or the ends of a ratio's interval; else
            None.
        n: how many samples a summary is of, or None.
        samples: the names of the lists that have n samples and this median: the raw samples behind
            it.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    samples: tuple[str, ...] = ()


def measures(record: Run) -> dict[Place, Measure | Any]:
    """All metrics by place. A number, a summary or a ratio becomes one `Measure`; any other value
    stays as it is.
    """
    flat = leaves(record.metrics)
    medians = _medians(record)
    by_place: dict[Place, Measure | Any] = {}
    for place, value in flat.items():
        whole = whole_of(place, flat)
        if whole == place:
            # A seed is a name, not a quantity.
            number = None if place[-1].endswith("seed") else as_number(value)
            by_place[place] = value if number is None else Measure(number)
        elif place[-1] == "median":
            by_place[whole] = _summary(whole, flat, medians)
        elif place[-1] == "value":
            by_place[whole] = _ratio(whole, flat)
    return by_place


def whole_of(place: Place, flat: Mapping[Place, Any]) -> Place:
    """The place of the summary or ratio that a leaf is part of; the leaf's own place if it is part
    of none.
    """
    for parts, needed in ((SUMMARY, ("median", "n")), (INTERVAL, INTERVAL)):
        if place[-1] in parts and all(
            as_number(flat.get((*place[:-1], part))) is not None for part in needed
        ):
            return place[:-1]
    return place


def _summary(
    whole: Place, flat: Mapping[Place, Any], medians: Mapping[str, tuple[int, float]]
) -> Measure:
    median, low, high, n = (
        as_number(flat.get((*whole, part))) for part in ("median", "p5", "p95", "n")
    )
    assert median is not None  # whole_of has checked it
    assert n is not None
    behind = [
        name
        for name, (count, of) in medians.items()
        if count == n and math.isclose(of, median, rel_tol=1e-9)
    ]
    return Measure(median, low, high, n=int(n) if math.isfinite(n) else None, samples=tuple(behind))


def _ratio(whole: Place, flat: Mapping[Place, Any]) -> Measure:
    value, low, high = (as_number(flat.get((*whole, part))) for part in INTERVAL)
    assert value is not None  # whole_of has checked it
    return Measure(value, low, high)


def _medians(record: Run) -> dict[str, tuple[int, float]]:
    """Length and median of every list of samples, without lists of rows, empty lists, and lists
    with a value that is not a finite number.
    """
    series = {name: record.series(name) for name in record.samples}
    return {
        name: (len(s), statistics.median(s))
        for name, s in series.items()
        if s and all(map(math.isfinite, s))
    }
