"""A waterfall on a logarithmic axis: the bar of each change begins where the one before it ends."""

import math
import textwrap
from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, NullLocator

from bench.plan.result import Analytic, Projection
from bench.step_time.steps import step_description
from bench.waterfall.result import ORDERS, Factor, NamedWay, Waterfall, ways
from catlip.results.cells import TIMES, interval
from catlip.results.figures import COLOURS, INK, MUTED, Figure, hide_rows
from catlip.results.kind import Interval
from catlip.results.pretrained import ENCODERS, architecture
from catlip.results.run import Run
from catlip.table import clipped, shown

TICKS = (0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.4, 1.7, 2, 2.7, 4, 6, 10, 20, 50, 100)
PRODUCT, LEFT_OVER, AT_ONCE = "product", "left over", "first against last,\nin turns"
# Factors that operations and bytes sent do not explain.
UNEXPLAINED = ("attention", "precision", "images per device")
LEAST_APART = 0.08  # of two ticks, as a fraction of the axis
FORWARD = "forward"  # the one of ORDERS that the figures show
PUBLISHED = "vit_b16"  # the encoder of the paper's 2.7x
Limits = tuple[float, float]
Bar = tuple[str, Interval]  # its label, and its ratio


def waterfall_figures(record: Run[Waterfall], suffix: str = "") -> list[Figure]:
    """One figure for each way, with the changes from first to last; the table also has the other
    order.
    """
    return [f for named in ways(record.measured) for f in _panel(record, named, suffix)]


def attribution(
    waterfall: Run[Waterfall], analytic: Run[Analytic], projection: Run[Projection]
) -> str:
    """How much of the published ratio each part explains, where that number comes from, and what is
    left; empty if a part is not known.
    """
    flops = analytic.measured.flops_ratios.get("clip/catlip")
    ratios = {ratio.layouts: ratio for ratio in projection.measured.paper_ratios}
    published = waterfall.measured.published_ratio
    if not flops or "as published" not in ratios:
        return ""
    sizes = analytic.measured.flops_ratio_with_own_sizes / flops
    sent = ratios["as published"].communication
    left = published / (flops * sizes * sent)
    measured = "; ".join(
        f"{factor.name}, {factor.change}: {_worth(factor)}"
        for factor in waterfall.measured.release.factors
        if factor.name in UNEXPLAINED
    )
    return (
        f"Of the published {shown(published, 1)}, the operations of a step explain "
        f"{shown(flops, 2)} (arithmetic), the image sizes of each release {shown(sizes, 2)} "
        f"(arithmetic), and the exchange on the published layouts {shown(sent, 2)} (projected). "
        f"That leaves {shown(left, 2)} for kernels, precision and all else; here, on "
        f"{waterfall.where}: {measured}."
    )


def _worth(factor: Factor) -> str:
    return "not run" if factor.mean is None else f"{shown(factor.mean, 2)} times (measured)"


def _panel(record: Run[Waterfall], named: NamedWay, suffix: str) -> list[Figure]:
    bars = _bars(record, named)
    if not bars:
        return []
    total = named.way.total.ratio and record.trusted(named.way.total.ratio)
    published = named.published if _is_published(record) else None
    reach = _reach(bars) + ([total.high or total.value] if total else [])
    limits = (min([*reach, 1.0]) / 1.06, max([*reach, published or 1.0]) * 1.06)
    return [
        Figure(
            f"waterfall_{named.name}{suffix}",
            _caption(record, named),
            _alt(record, named, bars),
            draw=partial(_draw, bars=bars, total=total, limits=limits, published=published),
            height=1.2 + 0.5 * (len(bars) + (3 if total else 1)),
        )
    ]


def _is_published(record: Run[Waterfall]) -> bool:
    """Whether the encoder is the one that the paper's speed-up is of."""
    return architecture(record.setup.model) == PUBLISHED


def _bars(record: Run[Waterfall], named: NamedWay) -> list[Bar]:
    bars = []
    for step in named.way.orders.get(FORWARD, []):
        if step.ratio and 1e-3 < step.ratio.value < 1e3:
            label = f"{clipped(step.factor, 28)}\n{textwrap.fill(step.change, 24)}"
            bars.append((label, record.trusted(step.ratio)))
    return bars


def _reach(bars: list[Bar]) -> list[float]:
    """Where the bars and their intervals begin and end."""
    at, ends = 1.0, [1.0]
    for _, ratio in bars:
        ends += [at * bound for bound in (ratio.value, ratio.low, ratio.high) if bound is not None]
        at *= ratio.value
    return [end for end in ends if 1e-3 < end < 1e3]


def _caption(record: Run[Waterfall], named: NamedWay) -> str:
    caption = (
        f"{ORDERS[FORWARD]}: how many times faster an image is processed than with {named.start} "
        f"({step_description(record)})"
    )
    if not named.published:
        caption += "."
    elif _is_published(record):
        caption += "; the dashed line is the paper's claim."
    else:
        claim = f"{shown(named.published, 1)}{TIMES}"
        caption += f". The paper's {claim} is of another encoder, {ENCODERS[PUBLISHED]}."
    not_run = named.way.not_run
    return f"{caption} Not run: {', '.join(not_run)}." if not_run else caption


def _alt(record: Run[Waterfall], named: NamedWay, bars: list[Bar]) -> str:
    said = "; ".join(
        f"{_on_one_line(label)}: {shown(ratio.value, 2)} ({interval(record, ratio)})"
        for label, ratio in bars
    )
    together = shown(named.way.product(FORWARD), 2)
    return f"Waterfall on a logarithmic axis. {said}. Together {together}."


def _on_one_line(label: str) -> str:
    name, _, change = label.partition("\n")
    return f"{name}, {' '.join(change.split())}"


def _draw(
    axes: Axes, bars: list[Bar], total: Interval | None, limits: Limits, published: float | None
) -> None:
    axes.set_xscale("log")
    at = 1.0
    for y, (_, ratio) in enumerate(bars):
        colour = COLOURS["catlip"] if ratio.value >= 1 else COLOURS["clip"]
        _draw_bar(axes, y, at, ratio=ratio, colour=colour)
        at *= ratio.value
        axes.plot([at, at], [y + 0.32, y + 1 - 0.32], color=MUTED, linewidth=0.8)
    below = {PRODUCT: (1.0, Interval(at))}
    if total:
        below |= {LEFT_OVER: (at, Interval(total.value / at)), AT_ONCE: (1.0, total)}
    for y, (start, ratio) in enumerate(below.values(), len(bars)):
        _draw_bar(axes, y, start, ratio=ratio, colour=INK)
    axes.axvline(1, color=MUTED, linewidth=0.8)
    if published:
        colour = COLOURS["superclass"]
        said = f"paper: {shown(published, 1)}{TIMES}"
        axes.axvline(published, color=colour, linestyle="--", linewidth=1.4)
        axes.annotate(
            said, (published, -0.62), (-4, 0), textcoords="offset points", ha="right", color=colour
        )
    _set_axes(axes, [*(label for label, _ in bars), *below], limits)


def _set_axes(axes: Axes, labels: list[str], limits: Limits) -> None:
    axes.set_yticks(range(len(labels)), labels, fontsize=8.5)
    axes.set_ylim(len(labels) - 0.5, -0.95)
    axes.set_xlim(*limits)
    ticks = _ticks(limits)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    hide_rows(axes)
    axes.set_xlabel("times faster than the start (logarithmic)")


def _draw_bar(axes: Axes, y: float, at: float, *, ratio: Interval, colour: str) -> None:
    """A bar that begins at `at`, its interval, and both as words in a column at the right edge."""
    end = at * ratio.value
    axes.barh(y, abs(end - at), 0.6, min(at, end), color=colour, alpha=0.85)
    if ratio.low is not None and ratio.high is not None and 0 < ratio.low <= ratio.high < 1e6:
        ends = [at * ratio.low, at * ratio.high]
        axes.plot(ends, [y, y], color=INK, linewidth=1.2, solid_capstyle="butt")
    words = f"{shown(ratio.value, 2)}{TIMES}"
    if ratio.low is not None and ratio.high is not None:
        words += f"\n{shown(ratio.low, 2)} to {shown(ratio.high, 2)}"
    axes.annotate(
        words,
        (1.02, y),
        xycoords=("axes fraction", "data"),
        va="center",
        color=colour,
        fontsize=8.5,
    )


def _ticks(limits: Limits) -> list[float]:
    """Round numbers within the limits, not nearer to each other than a tick's label is wide."""
    kept: list[float] = []
    for tick in sorted(TICKS, key=lambda tick: tick != 1):  # 1 comes first, so it is always kept
        apart = all(
            abs(math.log(tick / other)) > LEAST_APART * math.log(limits[1] / limits[0])
            for other in kept
        )
        if limits[0] <= tick <= limits[1] and apart:
            kept.append(tick)
    return sorted(kept)
