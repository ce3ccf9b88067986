"""Where a speed-up comes from: one factor changed at a time, in two orders.

The ratio of a factor is the time per image before its change over the time after it: above 1 is
faster, and ratios multiply. If a factor has different ratios in the two orders, its effect depends
on what was changed before it. A record holds two *ways*, which are series of changes: `release`,
from the released CLIP configuration to the released CatLIP one (the paper's ratio is of this one),
and `further`, from there to options that neither release uses.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

from bench.step_time.steps import StepKind, step_description
from catlip.method_style import name_of
from catlip.results.cells import ratio_cell, times_cell
from catlip.results.kind import Interval, Summary
from catlip.results.run import Run
from catlip.table import Cell, Table, clipped, shown

ORDERS = {"forward": "First to last", "reverse": "Last to first"}
NAMES = {"from": "before", "to": "after"}  # name in a record (`from` is a keyword) -> field
INTERACTS = (
    "The two orders' intervals do not overlap: the effect of this change depends on what was "
    "changed before it."
)
OF_THIS_PROCESSOR = (
    "The number of operations hardly changes: the ratio shows how this processor does them, and a "
    "GPU may show no such ratio."
)
# On a CPU, a factor with a ratio above LARGE and a ratio of FLOPs below EXPLAINED gets a remark.
LARGE, EXPLAINED = 1.3, 1.05


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two configurations that were timed in turns, or why they were not."""

    ratio: Interval | None = None
    flops_ratio: float | None = None
    ms_per_image_before: Summary | None = None
    ms_per_image: Summary | None = None
    not_run: str | None = None


@dataclass(frozen=True, kw_only=True)
class Step(Pair):
    """The change of one factor in one order; `host_ratio` is of cropping, timed on the host."""

    factor: str
    before: str
    after: str
    host_ratio: Interval | None = None

    @property
    def change(self) -> str:
        """`naive to sdpa`."""
        return f"{_word(self.before)} to {_word(self.after)}"


@dataclass(frozen=True)
class Factor:
    """One change, with its ratio in each order (None if it was not run)."""

    name: str
    change: str
    ratios: dict[str, Interval | None]
    flops: float | None
    not_run: str

    @property
    def mean(self) -> float | None:
        """The geometric mean over the orders in which it was run."""
        logs = [math.log(r.value) for r in self.ratios.values() if r and 0 < r.value < math.inf]
        return math.exp(sum(logs) / len(logs)) if logs else None

    @property
    def is_beyond_arithmetic(self) -> bool:
        """Whether its ratio is large although its number of operations hardly changes."""
        return (self.mean or 1.0) > LARGE and (self.flops or math.inf) < EXPLAINED

    @property
    def interacts(self) -> bool:
        """Whether the intervals of the two orders do not overlap."""
        bounds = [
            (r.low, r.high)
            for r in self.ratios.values()
            if r and r.low is not None and r.high is not None
        ]
        return len(bounds) == 2 and max(low for low, _ in bounds) > min(high for _, high in bounds)


@dataclass(frozen=True, kw_only=True)
class Way:
    """A series of changes in both orders; and the first configuration timed against the last."""

    orders: dict[str, list[Step]]
    total: Pair

    @cached_property
    def factors(self) -> list[Factor]:
        """Every change, in the forward order."""
        by_change: dict[tuple[str, str], dict[str, Step]] = {}
        for order in ORDERS:
            for step in self.orders.get(order, []):
                by_change.setdefault((step.factor, step.change), {}).setdefault(order, step)
        return [_factor(name, change, steps) for (name, change), steps in by_change.items()]

    @property
    def not_run(self) -> list[str]:
        """The names of the factors that were not run in any order."""
        return [factor.name for factor in self.factors if factor.not_run]

    def drift(self, order: str) -> float | None:
        """The largest ratio between two times of the same configuration, from two pairs in a row,
        at least 1; None if no two pairs share a configuration.

        It shows that a machine was slower for a while, which no ratio's interval does.
        """
        run = [step for step in self.orders.get(order, []) if step.ratio]
        times = [
            (before.ms_per_image.median, after.ms_per_image_before.median)
            for before, after in pairwise(run)
            if before.ms_per_image and after.ms_per_image_before
        ]
        return max(
            (max(one, other) / min(one, other) for one, other in times if one and other),
            default=None,
        )

    def product(self, order: str) -> float | None:
        """The product of the ratios of all changes of an order; None if none was run."""
        ratios = [step.ratio.value for step in self.orders.get(order, []) if step.ratio]
        return math.prod(ratios) if ratios else None

    def left_over(self, order: str) -> float | None:
        """The ratio of the first configuration to the last, divided by `product`; None if one of
        the two is missing.
        """
        product, total = self.product(order), self.total.ratio
        return total.value / product if product and total else None


def _factor(name: str, change: str, steps: dict[str, Step]) -> Factor:
    ratios = {order: steps[order].ratio if order in steps else None for order in ORDERS}
    flops = [step.flops_ratio for step in steps.values() if step.flops_ratio is not None]
    reasons = [step.not_run for step in steps.values() if step.not_run]
    not_run = "" if any(ratios.values()) else (*reasons, "no ratio recorded")[0]
    return Factor(name, change, ratios, flops=flops[0] if flops else None, not_run=not_run)


@dataclass(frozen=True, kw_only=True)
class Waterfall(StepKind):
    """Both ways, and the ratio that the paper claims for the first."""

    kind = "waterfall"

    published_ratio: float
    unit: str
    release: Way
    further: Way

    @classmethod
    def read(cls, metrics: dict[str, Any]) -> Self:
        return super().read(_renamed(metrics, NAMES))

    def metrics(self) -> dict[str, Any]:
        renamed = _renamed(super().metrics(), {ours: theirs for theirs, ours in NAMES.items()})
        assert isinstance(renamed, dict)
        return renamed


def _renamed(tree: Any, names: dict[str, str]) -> Any:
    """The JSON `tree` with keys renamed by `names`."""
    if isinstance(tree, dict):
        return {names.get(key, key): _renamed(value, names) for key, value in tree.items()}
    return [_renamed(value, names) for value in tree] if isinstance(tree, list) else tree


@dataclass(frozen=True)
class NamedWay:
    """A way as readers see it.

    Attributes:
        start: the configuration that the changes begin with.
        published: the speed-up that the changes should explain; None except for `release`.
    """

    name: str
    title: str
    start: str
    way: Way
    published: float | None


def ways(measured: Waterfall) -> list[NamedWay]:
    """The ways that have changes."""
    release = NamedWay(
        "release",
        "From the released CLIP configuration to the released CatLIP one",
        "the released CLIP configuration",
        way=measured.release,
        published=measured.published_ratio,
    )
    further = NamedWay(
        "further",
        "From the released CatLIP configuration to what neither release does",
        "the released CatLIP configuration",
        way=measured.further,
        published=None,
    )
    return [named for named in (release, further) if named.way.factors]


def waterfall_tables(run: Run[Waterfall], end: str = "") -> list[Table]:
    """One table per way: its factors with both orders side by side, then all factors together.

    Args:
        end: ending of the tables' names.
    """
    return [_table(f"waterfall_{named.name}{end}", run, named) for named in ways(run.measured)]


def _table(name: str, run: Run[Waterfall], named: NamedWay) -> Table:
    way = named.way
    rows = [
        *(_factor_row(run, factor) for factor in way.factors),
        [Cell("Together")],
        *_together(run, named),
    ]
    columns = ["Factor", "Change", *ORDERS.values(), "By FLOPs alone"]
    intervals = "below each ratio its 95 % interval"
    if run.too_few:
        intervals = f"{run.too_few}: too few for intervals"
    caption = (
        "Time of an image before the change over that after it, so above 1 is faster; "
        f"{intervals}. Between the two orders only the sequence of the changes differs. FLOPs are "
        "counted, not measured. Left over is the ratio of first to last, divided by the product; "
        "one configuration, timed in two pairs in a row, should take the same time in both."
    )
    title = f"{named.title}: {step_description(run)}"
    return Table(name, title, columns, rows=rows, caption=caption)


def _factor_row(run: Run[Waterfall], factor: Factor) -> list[Cell]:
    remarks = []
    if factor.interacts and not run.too_few:
        remarks.append(INTERACTS)
    if run.is_cpu and factor.is_beyond_arithmetic:
        remarks.append(OF_THIS_PROCESSOR)
    row = [Cell(factor.name, remarks=tuple(remarks)), Cell(factor.change)]
    if factor.not_run:
        why = Cell(f"not run: {clipped(factor.not_run, 160)}", "", run.anchor)
        return [*row, why, Cell("not run"), Cell()]
    ratios = [ratio_cell(run, factor.ratios[order]) for order in ORDERS]
    return [*row, *ratios, times_cell(factor.flops, run.anchor)]


def _together(run: Run[Waterfall], named: NamedWay) -> list[list[Cell]]:
    def each(value: Callable[[str], float | None]) -> list[Cell]:
        return [times_cell(value(order), run.anchor) for order in ORDERS]

    way, total = named.way, ratio_cell(run, named.way.total.ratio)
    numbers = {
        "Product of the above": each(way.product),
        "First against last, in turns": [total, total],
        "Left over": each(way.left_over),
        "One configuration in two pairs, at most": each(way.drift),
    }
    rows = [[Cell(what), Cell(""), *cells, Cell("")] for what, cells in numbers.items()]
    if named.published is not None:
        what = "The paper's claim, of whole trainings at its scale"
        claim = times_cell(named.published, "")
        rows.append([Cell(what), Cell(""), claim, claim, Cell("")])
    return rows


def _word(value: str) -> str:
    """A value for readers: `True` -> `on`, `1024` -> `1,024`, `catlip` -> `CatLIP`."""
    if value in ("True", "False"):
        return "on" if value == "True" else "off"
    if value.isdecimal() and len(value) < 9:
        return shown(float(value), 0)
    return clipped(name_of(value), 28)
