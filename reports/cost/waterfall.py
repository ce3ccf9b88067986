"""Where a speed-up comes from: one factor changed at a time, in two orders.

A factor's ratio is the time of an image before its change over that after, so above 1 is faster,
and ratios multiply. Where the two orders give a factor different ratios, what it is worth depends
on what was changed before it. A record holds two *ways*: from the released CLIP configuration to
the released CatLIP one, which the paper's ratio is of, and on to what neither does.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from catlip.least_counts import too_few
from catlip.method_style import name_of
from catlip.table import MISSING, Cell, Table, clipped, shown
from reports.read.measured import Ratio, anchor_of, ratio_at, ratio_of
from reports.read.records import Record, as_number, drawable, lookup, number, text
from reports.summary.tables import TIMES, step_description, times_cell

ORDERS = {"forward": "First to last", "reverse": "Last to first"}
WAYS = {
    "release": (
        "From the released CLIP configuration to the released CatLIP one",
        "the released CLIP configuration",
    ),
    "further": (
        "What neither release does, from the released CatLIP configuration on",
        "the released CatLIP configuration",
    ),
}
MOST_FACTORS = 24
INTERACTS = (
    "The two orders' intervals do not meet: what this change is worth depends on what was changed "
    "before it."
)

Step = dict[str, Any]


@dataclass(frozen=True)
class Factor:
    """One change, with what it was worth in each order; None where it was not run."""

    name: str
    change: str
    ratios: dict[str, Ratio | None]
    flops: float | None
    not_run: str

    @property
    def mean(self) -> float | None:
        """The geometric mean over the orders in which it was run."""
        logs = [math.log(r.value) for r in self.ratios.values() if r and 0 < r.value < math.inf]
        return math.exp(sum(logs) / len(logs)) if logs else None

    @property
    def interacts(self) -> bool:
        """Whether the intervals of the two orders lie apart."""
        bounds = [
            (r.low, r.high)
            for r in self.ratios.values()
            if r and r.low is not None and r.high is not None
        ]
        return len(bounds) == 2 and max(low for low, _ in bounds) > min(high for _, high in bounds)


@dataclass(frozen=True)
class Way:
    """Several changes, one after the other."""

    name: str
    record: Record

    @property
    def title(self) -> str:
        return WAYS[self.name][0]

    @property
    def start(self) -> str:
        """What the changes begin with."""
        return WAYS[self.name][1]

    def steps(self, order: str) -> list[Step]:
        """The changes of an order as recorded."""
        found = lookup(self.record.metrics, self.name, "orders", order)
        return (
            [step for step in found if isinstance(step, dict)][:MOST_FACTORS]
            if isinstance(found, list)
            else []
        )

    @cached_property
    def factors(self) -> list[Factor]:
        """Every change, in the forward order."""
        by_change: dict[tuple[str, str], dict[str, Step]] = {}
        for order in ORDERS:
            for step in self.steps(order):
                by_change.setdefault((name_in(step), change_in(step)), {}).setdefault(order, step)
        return [
            _factor(self.record, name, change, found) for (name, change), found in by_change.items()
        ]

    @property
    def not_run(self) -> list[str]:
        """The names of the factors that were not run in any order."""
        return [factor.name for factor in self.factors if factor.not_run]

    def product(self, order: str) -> float | None:
        """What all changes of an order multiply to; None where none was run."""
        ratios = [r.value for step in self.steps(order) if (r := ratio_at(step.get("ratio")))]
        return math.prod(ratios) if ratios else None

    @property
    def total(self) -> Ratio | None:
        """The first configuration against the last, timed in turns."""
        return ratio_of(self.record, lookup(self.record.metrics, self.name, "total", "ratio"))

    @property
    def published(self) -> float | None:
        """The speed-up that the changes are to explain; only the releases' differences are."""
        return drawable(self.record.metrics, "published_ratio") if self.name == "release" else None


def ways(record: Record) -> list[Way]:
    """The ways that the record holds."""
    return [way for name in WAYS if (way := Way(name, record)).factors]


def _factor(record: Record, name: str, change: str, found: dict[str, Step]) -> Factor:
    ratios = {order: ratio_of(record, lookup(found.get(order), "ratio")) for order in ORDERS}
    flops = next(
        (f for step in found.values() if (f := number(step, "flops_ratio")) is not None), None
    )
    reason = next((why for step in found.values() if (why := text(step, "not_run"))), "")
    return Factor(
        name, change, ratios, flops, "" if any(ratios.values()) else reason or "no ratio recorded"
    )


def waterfall_tables(record: Record, suffix: str = "") -> list[Table]:
    """Of each way, factors with both orders side by side, then all of them together."""
    return [_table(way, f"waterfall_{way.name}{suffix}") for way in ways(record)]


def _table(way: Way, name: str) -> Table:
    anchor = anchor_of(way.record)
    rows = [
        *(_factor_row(factor, anchor) for factor in way.factors),
        [Cell("Together")],
        *_together(way, anchor),
    ]
    columns = ["Factor", "Change", *ORDERS.values(), "By FLOPs alone"]
    few = too_few(way.record.kind, way.record.samples)
    caption = (
        "Time of an image before the change over that after it, so above 1 is faster; "
        f"{f'{few}: too few for intervals' if few else 'below each ratio its 95 % interval'}. "
        "Between the two orders only the sequence of the changes differs. FLOPs are counted, not "
        "measured."
    )
    return Table(name, f"{way.title}: {step_description(way.record)}", columns, rows, caption)


def _factor_row(factor: Factor, anchor: str) -> list[Cell]:
    row = [Cell(factor.name, remarks=(INTERACTS,) if factor.interacts else ()), Cell(factor.change)]
    if factor.not_run:
        return [
            *row,
            Cell(f"not run: {clipped(factor.not_run, 160)}", "", anchor),
            Cell("not run"),
            Cell(),
        ]
    return [
        *row,
        *(times_cell(factor.ratios[order], anchor) for order in ORDERS),
        _plain(factor.flops, anchor),
    ]


def _together(way: Way, anchor: str) -> list[list[Cell]]:
    rows = [
        [
            Cell("Product of the above"),
            Cell(""),
            *(_plain(way.product(order), anchor) for order in ORDERS),
            Cell(""),
        ]
    ]
    total = times_cell(way.total, anchor)
    rows.append([Cell("First against last, in turns"), Cell(""), total, total, Cell("")])
    if way.published is not None:
        claim = _plain(way.published, "")
        rows.append(
            [
                Cell("The paper's claim, of whole trainings at its scale"),
                Cell(""),
                claim,
                claim,
                Cell(""),
            ]
        )
    return rows


def _plain(value: float | None, anchor: str) -> Cell:
    return Cell() if value is None else Cell(f"{shown(value, 2)}{TIMES}", "", anchor)


def name_in(step: Step) -> str:
    """The factor's name."""
    return clipped(text(step, "factor") or "?", 28)


def change_in(step: Step) -> str:
    """`naive to sdpa`."""
    return f"{_word(step.get('from'))} to {_word(step.get('to'))}"


def _word(value: Any) -> str:
    """`on`, `1,024`, `CatLIP`, `sdpa`."""
    if isinstance(value, bool) or value in ("True", "False"):
        return "on" if value in (True, "True") else "off"
    if isinstance(value, str):
        return (
            shown(float(value), 0)
            if value.isdecimal() and len(value) < 9
            else clipped(name_of(value), 28)
        )
    found = as_number(value)
    return MISSING if found is None else shown(found, 0 if found.is_integer() else None)
