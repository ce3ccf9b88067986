"""Where a speed-up comes from: one factor changed at a time, in two orders.

The ratio of a factor is the time per image before its change over the time after it: above 1 is
faster, and ratios multiply. The series `release` leads from the released CLIP configuration to the
released CatLIP one, of which the paper's ratio is.
"""

import math
import textwrap
from dataclasses import dataclass
from functools import cached_property, partial
from statistics import geometric_mean
from typing import TYPE_CHECKING

from bench.self_check.result import SelfCheck, caution
from bench.step_time.steps import CPU_CAUTION, StepKind, step_description
from catlip.records.blocks import Block, Section, Text, command_to_fill, side_by_side
from catlip.records.figures import COLOURS, INK, MUTED, Figure, hide_rows
from catlip.records.kind import Interval, Summary
from catlip.records.run import TIMES, Records, Run, Setting, ends, ratio_cell, times_cell
from catlip.records.select import ENCODERS, MAX_SHOWN, architecture, suffix, unique_runs
from catlip.records.styles import name_of
from catlip.records.table import Cell, Table, clipped, format_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COMMAND = "python -m bench.waterfall"
WORDS = (
    "The paper's 2.7 is of whole trainings, and its release trains CLIP and CatLIP with different "
    "attention, precision, image sizes and more. Here a training step goes from the released CLIP "
    "configuration to the released CatLIP one, one change at a time. Each change is timed before "
    "and after in turns; then all changes once more in reverse order, because the effect of one "
    "may depend on those before it. Reading images and the number of epochs are not included."
)
ORDERS = {"forward": "First to last", "reverse": "Last to first"}
TO_CATLIP = "From the released CLIP configuration to the released CatLIP one"
BUSY = 0.8  # a pair is launch-bound if the device computes for less of a side's step
NO_PADDING = "captions without padding"  # a factor
PUBLISHED = "vit_b16"  # the encoder of the paper's 2.7x
TICKS = (0.1, 0.2, 0.5, 1, 2, 4, 8, 16, 32, 64)
BETWEEN = (0.7, 1.5, 3)  # more ticks, where there is room for their labels
Bar = tuple[str, Interval, Interval | None]  # its label, and its ratio


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two configurations that were timed in turns, or why they were not. `busy` is the fraction of
    a step in which the device computed; None on a CPU, and in older records.
    """

    ratio: Interval | None = None
    flops_ratio: float | None = None
    ms_per_image_before: Summary | None = None
    ms_per_image: Summary | None = None
    busy_before: float | None = None
    busy: float | None = None
    not_run: str | None = None

    @property
    def launch_bound(self) -> str:
        """`55 %` busy, of the side that was less so, if that is too little; otherwise empty."""
        least = min((one for one in (self.busy_before, self.busy) if one is not None), default=1.0)
        return f"{format_number(100 * least, 0)} %" if least < BUSY else ""


@dataclass(frozen=True, kw_only=True)
class Step(Pair):
    """The change of one factor in one order."""

    factor: str
    before: str
    after: str

    @property
    def change(self) -> str:
        """`naive to sdpa`, as readers see it."""
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
        values = [r.value for r in self.ratios.values() if r and 0 < r.value < math.inf]
        return geometric_mean(values) if values else None


@dataclass(frozen=True, kw_only=True)
class ChangeSeries:
    """A series of changes in both orders; and the first configuration timed against the last."""

    orders: dict[str, list[Step]]
    total: Pair

    @cached_property
    def factors(self) -> list[Factor]:
        """Every change, in the forward order."""
        by_change: dict[tuple[str, str], dict[str, Step]] = {}
        for order in ORDERS:
            for step in self.orders.get(order, []):
                by_change.setdefault((step.factor, step.change), {})[order] = step
        factors = []
        for (name, change), steps in by_change.items():
            ratios = {order: steps[order].ratio if order in steps else None for order in ORDERS}
            flops = [step.flops_ratio for step in steps.values() if step.flops_ratio is not None]
            reasons = [step.not_run for step in steps.values() if step.not_run]
            not_run = "" if any(ratios.values()) else (*reasons, "no ratio recorded")[0]
            factors.append(Factor(name, change, ratios, next(iter(flops), None), not_run))
        return factors

    @property
    def launch_bound(self) -> str:
        """A sentence on the pairs that measured the host rather than the device; empty if none."""
        steps = [step for order in ORDERS for step in self.orders.get(order, [])]
        pairs = [(clipped(step.factor, 28), step.launch_bound) for step in steps]
        pairs.append(("first against last", self.total.launch_bound))
        slow = ", ".join(dict.fromkeys(f"{name} ({busy})" for name, busy in pairs if busy))
        if not slow:
            return ""
        return (
            f" Launch-bound, so of the host as much as of the device, which was busy for less than "
            f"{100 * BUSY:.0f} % of a step: {slow}. Larger batches change these ratios."
        )

    def product(self, order: str) -> float | None:
        ratios = [step.ratio.value for step in self.orders.get(order, []) if step.ratio]
        return math.prod(ratios) if ratios else None


@dataclass(frozen=True, kw_only=True)
class Waterfall(StepKind):
    """The series of changes, and the ratio that the paper claims for it."""

    kind = "waterfall"

    published_ratio: float
    release: ChangeSeries
    released_flops_ratio: float | None = None  # of the two releases as they are


def section(main: Setting | None, records: Records) -> Section:
    """Every factor of a few records, and how much of the published ratio each part explains."""
    runs = unique_runs(records, Waterfall)
    blocks: list[Block] = []
    for i, run in enumerate(runs[:MAX_SHOWN]):
        blocks += side_by_side(waterfall_figure(run, f"waterfall{suffix(i)}"))
    if not blocks:
        blocks = command_to_fill("No factor has been timed.", COMMAND)
    elif any(run.is_cpu for run in runs[:MAX_SHOWN]):
        blocks.insert(0, Text(CPU_CAUTION))
    if words := caution(runs[:MAX_SHOWN], records.of(SelfCheck)):
        blocks.insert(0, Text(words))
    return Section("waterfall", "One factor at a time", [Text(WORDS), *blocks])


def waterfall_figure(run: Run[Waterfall], name: str) -> list[Figure]:
    """From the released CLIP configuration to the released CatLIP one, the changes from first to
    last; nothing if none of them was timed.
    """
    series = run.metrics.release
    others = {(one.name, one.change): one.ratios["reverse"] for one in series.factors}
    bars: list[Bar] = []
    words = []
    for step in series.orders.get("forward", []):
        if step.ratio and 1e-3 < step.ratio.value < 1e3:
            factor, ratio = clipped(step.factor, 28), run.trusted(step.ratio)
            other = others[step.factor, step.change]
            bars.append((f"{factor}\n{textwrap.fill(step.change, 24)}", ratio, other))
            words.append(
                f"{factor}, {step.change}: {format_number(ratio.value, 2)} ({ends(ratio)})"
            )
            words[-1] += f", in the other order {format_number(other.value, 2)}" if other else ""
    if not bars:
        return []
    caption = (
        f"{ORDERS['forward']}: how many times faster an image is processed than with the released "
        f"CLIP configuration ({step_description(run)})"
    )
    published = run.metrics.published_ratio
    is_papers = architecture(run.config.model) == PUBLISHED
    if is_papers:
        caption += "; the dashed line is the paper's claim"
    else:
        claim = f"{format_number(published, 1)}{TIMES}"
        caption += f". The paper's {claim} is of another encoder, {ENCODERS[PUBLISHED]}"
    not_run = ", ".join(factor.name for factor in series.factors if factor.not_run)
    caption += f". Not run: {not_run}." if not_run else "."
    caption += series.launch_bound
    draw = partial(
        _draw,
        bars=bars,
        total=series.total.ratio and run.trusted(series.total.ratio),
        published=published if is_papers else None,
    )
    together = format_number(series.product("forward"), 2)
    alt = f"Waterfall on a logarithmic axis. {'; '.join(words)}. Together {together}."
    return [Figure(name, caption, alt, draw=draw, height=2.2 + 0.5 * len(bars))]


def _draw(axes: "Axes", bars: list[Bar], total: Interval | None, published: float | None) -> None:
    """Bars on a logarithmic axis: the bar of each change begins where the bar before it ends."""
    from matplotlib.ticker import NullFormatter, NullLocator

    axes.set_xscale("log")
    at, reach = 1.0, [1.0, published or 1.0]
    for y, (_, ratio, other) in enumerate(bars):
        faster, slower = (ratio.low or 0) > 1, (ratio.high or math.inf) < 1
        colour = COLOURS["catlip" if faster else "clip" if slower else "random"]
        _draw_bar(axes, y, at, ratio=ratio, colour=colour, other=other)
        reach += [at * end for end in (ratio.value, ratio.low, ratio.high) if end is not None]
        at *= ratio.value
        axes.plot([at, at], [y + 0.32, y + 1 - 0.32], color=MUTED, linewidth=0.8)
    below = {"product": Interval(at)}
    if total:
        below["first against last,\nin turns"] = total
        reach.append(total.high or total.value)
    for y, ratio in enumerate(below.values(), len(bars)):
        _draw_bar(axes, y, 1.0, ratio=ratio, colour=INK)
    axes.axvline(1, color=MUTED, linewidth=0.8)
    if published:
        colour = COLOURS["superclass"]
        words, place = f"paper: {format_number(published, 1)}{TIMES}", (published, -0.62)
        axes.axvline(published, color=colour, linestyle="--", linewidth=1.4)
        axes.annotate(words, place, (-4, 0), textcoords="offset points", ha="right", color=colour)
    reach = [end for end in reach if 1e-3 < end < 1e3]
    low, high = min(reach) / 1.06, max(reach) * 1.06
    labels = [*(label for label, *_ in bars), *below]
    axes.set_yticks(range(len(labels)), labels, fontsize=8.5)
    axes.set_ylim(len(labels) - 0.5, -0.95)
    axes.set_xlim(low, high)
    ticks = [tick for tick in TICKS + BETWEEN * (high < 8 * low) if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    hide_rows(axes)
    axes.set_xlabel("times faster than the start (logarithmic)")


def _draw_bar(
    axes: "Axes",
    y: float,
    at: float,
    *,
    ratio: Interval,
    colour: str,
    other: Interval | None = None,
) -> None:
    """A bar that begins at `at`, its interval, and both as words in a column at the right edge,
    with the ratio in the `other` order.
    """
    end, words = at * ratio.value, f"{format_number(ratio.value, 2)}{TIMES}"
    axes.barh(y, abs(end - at), 0.6, min(at, end), color=colour, alpha=0.85)
    if ratio.low is not None and ratio.high is not None:
        if 0 < ratio.low <= ratio.high < 1e6:
            reach = [at * ratio.low, at * ratio.high]
            axes.plot(reach, [y, y], color=INK, linewidth=1.2, solid_capstyle="butt")
        words += f"\n{ends(ratio)}"
    words += f"\nother order {format_number(other.value, 2)}{TIMES}" if other else ""
    column = ("axes fraction", "data")
    axes.annotate(words, (1.02, y), xycoords=column, va="center", color=colour, fontsize=8.5)


def waterfall_table(run: Run[Waterfall]) -> list[Table]:
    """The factors, with both orders side by side, and all together; nothing if the record has no
    factors.
    """
    metrics, series = run.metrics, run.metrics.release
    rows = []
    for factor in series.factors:
        row = [Cell(factor.name), Cell(factor.change)]
        if factor.not_run:
            why = Cell(f"not run: {clipped(factor.not_run, 160)}", "", run.anchor)
            rows.append([*row, why, Cell("not run"), Cell()])
            continue
        ratios = [ratio_cell(run, factor.ratios[order]) for order in ORDERS]
        rows.append([*row, *ratios, times_cell(factor.flops, run.anchor)])
    if rows:
        products = [times_cell(series.product(order), run.anchor) for order in ORDERS]
        total = ratio_cell(run, series.total.ratio)
        flops = times_cell(series.total.flops_ratio, run.anchor)
        rows.append([Cell("product of the above"), Cell(""), *products, flops])
        rows.append([Cell("first against last, in turns"), Cell(""), total, total, flops])
        claim = times_cell(metrics.published_ratio, "")
        released = times_cell(metrics.released_flops_ratio, run.anchor)
        rows.append([Cell("both releases: the paper's times, and FLOPs alone")])
        rows[-1] += [Cell(""), claim, claim, released]
    intervals = "below each ratio its 95 % interval"
    if run.too_few:
        intervals = f"{run.too_few}: too few for intervals"
    caption = (
        "Time of an image before the change over that after it, so above 1 is faster; "
        f"{intervals}. Between the two orders only the sequence of the changes differs. FLOPs are "
        "counted, not measured."
    )
    if any(factor.name == NO_PADDING for factor in series.factors):
        caption += (
            " From last to first, padding is left out after CLIP has become CatLIP, which reads no "
            "captions: that ratio shows the error of the measurement."
        )
    caption += series.launch_bound
    columns = ["Factor", "Change", *ORDERS.values(), "By FLOPs alone"]
    title = f"One factor at a time: {step_description(run)}"
    return [Table("waterfall", title, columns, rows=rows, caption=caption)] if rows else []


def _word(value: str) -> str:
    """A value for readers: `True` -> `on`, `1024` -> `1,024`, `catlip` -> `CatLIP`."""
    if value in ("True", "False"):
        return "on" if value == "True" else "off"
    if value.isdecimal() and len(value) < 9:
        return format_number(float(value), 0)
    return clipped(name_of(value), 28)
