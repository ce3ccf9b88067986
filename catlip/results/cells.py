"""Cells that the tables of several kinds share."""

from typing import Any

from catlip.results.kind import Interval, Kind, Summary
from catlip.results.run import Run
from catlip.table import Cell, shown

TIMES = "\N{MULTIPLICATION SIGN}"


def summary_cell(summary: Summary | None, anchor: str = "", decimals: int | None = None) -> Cell:
    """The median, with its 5th to 95th percentile below; a dash if nothing was measured."""
    if summary is None:
        return Cell()
    spread = low_to_high(summary.p5, summary.p95, decimals)
    return Cell(shown(summary.median, decimals), spread, anchor)


def ratio_cell(run: Run[Kind], ratio: Interval | None, *, decimals: int = 2) -> Cell:
    """`1.25x` with its 95 % interval below, or with `no interval` after too few rounds."""
    if ratio is None:
        return Cell()
    text = f"{shown(ratio.value, decimals)}{TIMES}"
    return Cell(text, interval(run, ratio, decimals), run.anchor)


def times_cell(value: float | None, anchor: str) -> Cell:
    """`1.25x`, without an interval; a dash if `value` is None."""
    return Cell() if value is None else Cell(f"{shown(value, 2)}{TIMES}", anchor=anchor)


def interval(run: Run[Any], ratio: Interval, decimals: int | None = 2) -> str:
    """`1.20 to 1.31`, or `no interval` if the run had too few rounds."""
    return ends(run.trusted(ratio), decimals)


def ends(ratio: Interval, decimals: int | None = 2) -> str:
    """As `interval`, for a ratio that is known to have enough rounds."""
    return low_to_high(ratio.low, ratio.high, decimals) or "no interval"


def low_to_high(
    low: float | None, high: float | None, decimals: int | None = None, times: float = 1.0
) -> str:
    """`1.20 to 1.31`, both multiplied by `times`; empty if one of the two is None."""
    if low is None or high is None:
        return ""
    return f"{shown(times * low, decimals)} to {shown(times * high, decimals)}"
