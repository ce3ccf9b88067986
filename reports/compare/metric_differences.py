"""The metrics in which pairs of records differ: both values, their difference and their ratio, each
with its range.
"""

import math
from collections.abc import Sequence
from typing import Any

from catlip.results.run import one_device
from catlip.table import (
    MOST_DECIMALS,
    Cell,
    Table,
    decimals_of,
    mean_and_spread,
    quantity_of,
    shown,
)
from reports.compare.bootstrap import FEWEST, Intervals, intervals
from reports.compare.differences import ABSENT, Place, differing, leaves, named, told
from reports.compare.measures import Measure, measures, whole_of
from reports.compare.pairing import Pair

COLUMNS = ("Metric", "A", "B", "B \N{MINUS SIGN} A", "B / A")
OF_ONE = (
    "In brackets after a value: the interval that its record gives, or its 5th to 95th percentile "
    "and the number of samples. After a difference or a ratio: its 95 % bootstrap interval, where "
    f"both records hold the {FEWEST} or more raw samples behind a median; it covers the variation "
    "within the two runs, not the variation between runs."
)
OF_SEEDS = (
    "Mean ± sample standard deviation over the n pairs of equal name and seed; after the mean "
    "difference and the ratio of the means: the lowest and the highest of a pair."
)
NO_RATIO = "No ratios: the records are from different devices, or a device is not named."

# A pair, and the measures of its two records.
Found = tuple[Pair, dict[Place, Any], dict[Place, Any]]


def metrics_table(pairs: Sequence[Pair]) -> tuple[Table | None, int]:
    """A table of the metrics that differ in any pair (None if all are equal), and the number of
    metrics that are equal in every pair.
    """
    measured = [(pair, measures(pair.one), measures(pair.other)) for pair in pairs]
    places = dict.fromkeys(place for _, one, other in measured for place in (*one, *other))
    different = set().union(*map(_different, pairs))
    share_ratio = one_device(record for pair in pairs for record in (pair.one, pair.other))
    rows = [_row(place, measured, share_ratio) for place in sorted(places) if place in different]
    equal = len(places) - len(rows)
    if not rows:
        return None, equal
    caption = OF_SEEDS if len(pairs) > 1 else OF_ONE
    if not share_ratio:
        caption += f" {NO_RATIO}"
    title = "What differs in the metrics"
    return Table("metrics", title, COLUMNS, rows=rows, caption=caption), equal


def _different(pair: Pair) -> set[Place]:
    """The places of the measures of which any part differs."""
    sides = [leaves(record.metrics) for record in (pair.one, pair.other)]
    places = differing(pair.one.metrics, pair.other.metrics)
    return {whole_of(place, side) for place in places for side in sides if place in side}


def _row(place: Place, measured: Sequence[Found], share_ratio: bool) -> list[Cell]:
    values = [(one.get(place, ABSENT), other.get(place, ABSENT)) for _, one, other in measured]
    both = [(a, b) for a, b in values if isinstance(a, Measure) and isinstance(b, Measure)]
    if not both:
        ones, others = [_plain(a) for a, _ in values], [_plain(b) for _, b in values]
        cells = [Cell(words) for words in told(ones, others)]
    elif len(measured) == 1:
        cells = _of_one(measured[0][0], *both[0], share_ratio=share_ratio)
    else:
        cells = _of_seeds([(a.value, b.value) for a, b in both], share_ratio)
    return [Cell(named(place)), *cells]


def _plain(value: Any) -> Any:
    return shown(value.value) if isinstance(value, Measure) else value


def _of_one(pair: Pair, a: Measure, b: Measure, share_ratio: bool) -> list[Cell]:
    """The cells for one pair, with bootstrap intervals if both records have the raw samples."""
    behind = sorted(set(a.samples) & set(b.samples))
    spans = intervals(pair.one.series(behind[0]), pair.other.series(behind[0])) if behind else None
    decimals = _decimals([a.value, b.value], b.value - a.value)
    return [
        *(Cell(shown(side.value, decimals), _own_range(side, decimals)) for side in (a, b)),
        Cell(_signed(b.value - a.value), _range(spans.difference, signed=True) if spans else ""),
        *_ratio([(a.value, b.value)], spans, share_ratio),
    ]


def _of_seeds(values: Sequence[tuple[float, float]], share_ratio: bool) -> list[Cell]:
    """The cells for the pairs of several seeds: means, and the lowest and highest of a pair."""
    differences = [b - a for a, b in values]
    mean = quantity_of(differences)
    assert mean is not None  # there is at least one pair
    sides = [quantity_of(side) for side in zip(*values, strict=True)]
    decimals = _decimals([value for pair in values for value in pair], mean.mean)
    extremes = ""
    if math.isfinite(mean.mean):
        extremes = _range((min(differences), max(differences)), signed=True)
    return [
        *(Cell(mean_and_spread(side, decimals), f"n = {side.n}") for side in sides if side),
        Cell(_signed(mean.mean), extremes),
        *_ratio(values, None, share_ratio),
    ]


def _ratio(
    values: Sequence[tuple[float, float]], spans: Intervals | None, share_ratio: bool
) -> list[Cell]:
    """The ratio of the means with its interval or its range; a dash where devices differ or a
    number is not above zero.
    """
    above_zero = all(
        a > 0 and b > 0 and 0 < b / a < math.inf and 0 < a / b < math.inf for a, b in values
    )
    if not (share_ratio and above_zero):
        return [Cell()]
    ratios = [b / a for a, b in values]
    if len(values) > 1:
        small = _range((min(ratios), max(ratios)))
    else:
        small = _range(spans.ratio) if spans and spans.ratio else "no interval"
    return [Cell(shown(sum(b for _, b in values) / sum(a for a, _ in values)), small)]


def _own_range(measure: Measure, decimals: int) -> str:
    """The interval of a number and its count of samples, as its own record gives them."""
    words = []
    if measure.low is not None and measure.high is not None:
        words.append(f"{shown(measure.low, decimals)} to {shown(measure.high, decimals)}")
    if measure.n is not None:
        words.append(f"n = {measure.n}")
    return ", ".join(words)


def _decimals(values: Sequence[float], difference: float) -> int:
    """How many decimals show three digits of every value and, if MOST_DECIMALS allows it, two
    digits of the difference.
    """
    if all(value.is_integer() for value in values):
        return 0
    return max(0, *map(decimals_of, values), min(MOST_DECIMALS, decimals_of(difference) - 1))


def _range(ends: tuple[float, float], signed: bool = False) -> str:
    return " to ".join(map(_signed if signed else shown, ends))


def _signed(value: float) -> str:
    sign = "+" if value > 0 else "\N{MINUS SIGN}" if value < 0 else ""
    return sign + shown(abs(value), 0 if value.is_integer() else None)
