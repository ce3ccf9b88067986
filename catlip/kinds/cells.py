"""Cells that the tables of several kinds share."""

from typing import Any

from catlip.kinds.base import Interval, Kind, Summary
from catlip.kinds.run import Run
from catlip.table import Cell, shown

TIMES = "\N{MULTIPLICATION SIGN}"


def summary_cell(summary: Summary | None, anchor: str = "", decimals: int | None = None) -> Cell:
    """The median, with its 5th to 95th percentile below; a dash if nothing was measured."""
    if summary is None:
        return Cell()
    low, high = summary.p5, summary.p95
    spread = ""
    if low is not None and high is not None:
        spread = f"{shown(low, decimals)} to {shown(high, decimals)}"
    return Cell(shown(summary.median, decimals), spread, anchor)


def ratio_cell(run: Run[Kind], ratio: Interval | None, *, decimals: int = 2) -> Cell:
    """`1.25x` with its 95 % interval below, or with `no interval` after too few rounds; a dash if
    `ratio` is None.
    """
    if ratio is None:
        return Cell()
    return Cell(
        f"{shown(ratio.value, decimals)}{TIMES}", interval(run, ratio, decimals), run.anchor
    )


def interval(run: Run[Any], ratio: Interval, decimals: int | None = 2) -> str:
    """`1.20 to 1.31`, or `no interval` if the run had too few rounds."""
    return ends(run.trusted(ratio), decimals)


def ends(ratio: Interval, decimals: int | None = 2) -> str:
    """As `interval`, for a ratio that is known to have enough rounds."""
    if ratio.low is None or ratio.high is None:
        return "no interval"
    return f"{shown(ratio.low, decimals)} to {shown(ratio.high, decimals)}"
