"""The numbers among a record's metrics, each with what the record itself says of its spread and its
raw samples.
"""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reports.compare.differences import Place, leaves
from reports.read.records import Record, as_number

SUMMARY = ("median", "p5", "p95", "cv", "n")  # how a bench sums up a list of samples
INTERVAL = ("value", "low", "high")  # how it gives a ratio


@dataclass(frozen=True)
class Measure:
    """A number.

    Attributes:
        value: the number; of a summary its median.
        low, high: of a summary its 5th and 95th percentile, of a ratio the ends of its interval;
            else None.
        n: how many samples it sums up, or None.
        samples: the names of the lists of n samples that have this median: those behind it.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    samples: tuple[str, ...] = ()


def measures(record: Record) -> dict[Place, Measure | Any]:
    """Everything in the metrics by its place; a summary or a ratio is one `Measure`, and what is no
    number stays what it is.
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
        elif place[-1] in ("median", "value"):
            by_place[whole] = (
                _summary(whole, flat, medians) if place[-1] == "median" else _ratio(whole, flat)
            )
    return by_place


def whole_of(place: Place, flat: Mapping[Place, Any]) -> Place:
    """Where the summary or the ratio stands that a leaf is part of; the leaf's own place where it
    is part of none.
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
    assert median is not None  # else it is no summary
    assert n is not None
    behind = [
        name
        for name, (count, of) in medians.items()
        if count == n and math.isclose(of, median, rel_tol=1e-9)
    ]
    return Measure(median, low, high, n=int(n) if math.isfinite(n) else None, samples=tuple(behind))


def _ratio(whole: Place, flat: Mapping[Place, Any]) -> Measure:
    value, low, high = (as_number(flat.get((*whole, part))) for part in INTERVAL)
    assert value is not None  # else it is no ratio
    return Measure(value, low, high)


def _medians(record: Record) -> dict[str, tuple[int, float]]:
    """Length and median of every list of samples; a list of rows, or with anything that is no
    finite number, has none.
    """
    series = {name: record.series(name) for name in record.samples}
    return {
        name: (len(s), statistics.median(s))
        for name, s in series.items()
        if s and all(map(math.isfinite, s))
    }
