"""The section on CatLIP's first steps when its classifier's biases start at zero or at the base
rates, with a figure of both losses.
"""

import math
from collections.abc import Callable, Iterable
from functools import partial
from itertools import groupby
from statistics import fmean, geometric_mean

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from bench.step_time.bias_init_result import (
    BIASES,
    BiasInit,
    FirstSteps,
    bias_init_table,
    saved_words,
)
from catlip.results.blocks import Block, Section, Text, side_by_side
from catlip.results.devices import measured
from catlip.results.figures import (
    INK,
    PAPER,
    Figure,
    is_drawable,
    label_points,
    series_style,
    write_out_powers,
)
from catlip.results.rules import MOST, suffix
from catlip.results.run import Records, Run
from catlip.table import shown

STYLES = {"zero": series_style(3), "base_rates": series_style(0)}
POINTS_A_DECADE = 16  # points of an averaged curve in each factor of 10 in steps
MOST_WITH_FIVES = 300  # an axis that spans a smaller factor also has ticks at 2 and 5
Point = tuple[float, float]  # step, loss


def bias_init_sections(records: Records) -> list[Section]:
    """What a zero bias costs, from each record; no section if it was not measured."""
    words = (
        "CatLIP's loss is a sum over classes, nearly all of which are absent from a caption. With "
        "a zero bias, as in the release, the first steps teach the classifier little more than "
        "that; if each bias starts at the log-odds of its class's base rate, it starts from there. "
        "Nothing else differs: all other weights, the images and their order are the same."
    )
    blocks: list[Block] = []
    for i, record in enumerate(measured(records, BiasInit)[:MOST]):
        name = f"bias_init{suffix(i)}"
        blocks += [*side_by_side(bias_init_figures(record, name)), bias_init_table(name, record)]
    title = "What the classifier's bias starts from"
    return [Section("bias-init", title, [Text(words), *blocks])] if blocks else []


def bias_init_figures(record: Run[BiasInit], name: str) -> list[Figure]:
    """Both losses against the step, on logarithmic axes, with the loss of the frequencies alone."""
    curves = {bias: points for bias in BIASES if (points := _curve(record, bias))}
    if len(curves) < len(BIASES):
        return []
    said = "; ".join(
        f"{BIASES[bias]} from {shown(curve[0][1])} to about {shown(_averaged(curve)[-1][1])}"
        for bias, curve in curves.items()
    )
    mean, seeds = record.measured.mean, len(record.measured.seeds)
    caption = (
        f"Loss of the first {curves['zero'][-1][0]:,.0f} "
        f"steps{f', mean of {seeds} seeds' if seeds > 1 else ''}: thin lines show every step, "
        "thick lines averages. The dotted line is the loss on the same images if the classes' "
        f"frequencies are predicted for every image. {saved_words(record, ' (the mark)')}"
    )
    alone = mean.base_rates_alone_loss if is_drawable(mean.base_rates_alone_loss) else None
    draw = partial(_draw, curves=curves, alone=alone, meeting=_meeting(mean))
    alt = f"Loss against steps: {said}; frequencies alone {shown(alone)}."
    return [Figure(name, caption, alt, draw=draw, height=3.6)]


def _curve(record: Run[BiasInit], bias: str) -> list[Point]:
    """(step, loss), the loss a mean over seeds."""
    pairs = zip(record.series("step"), record.series(f"{bias}_loss"), strict=False)
    points = sorted((step, loss) for step, loss in pairs if 1 <= step < 1e9 and is_drawable(loss))
    return _means(points, key=lambda point: point[0])


def _averaged(points: Iterable[Point]) -> list[Point]:
    """The curve averaged to points at about equal distances on a logarithmic axis; the first steps
    are further apart, so each stays a point.
    """
    return _means(points, key=lambda point: math.ceil(POINTS_A_DECADE * math.log10(point[0])))


def _means(points: Iterable[Point], key: Callable[[Point], float]) -> list[Point]:
    """Neighbouring points with equal keys as one point: the geometric mean of the steps, and the
    mean of the losses.
    """
    means = []
    for _, group in groupby(points, key):
        steps, losses = zip(*group, strict=True)
        means.append((geometric_mean(steps), fmean(losses)))
    return means


def _meeting(mean: FirstSteps) -> Point | None:
    """Where a zero bias reaches the loss that the base rates begin at; None if it does not."""
    step, loss = mean.steps_saved, mean.base_rates.initial
    return (step, loss) if step is not None and 1 <= step < 1e9 and is_drawable(loss) else None


def _draw(
    axes: Axes, curves: dict[str, list[Point]], alone: float | None, meeting: Point | None
) -> None:
    names = []
    for bias, points in curves.items():
        colour, averaged = STYLES[bias]["color"], _averaged(points)
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=0.6, alpha=0.4)
        # In front of both curves of single steps.
        axes.plot(*zip(*averaged, strict=True), color=colour, zorder=3)
        names.append((*averaged[-1], f"{BIASES[bias]},\nfrom {shown(points[0][1])}", colour))
    last = max(points[-1][0] for points in curves.values())
    if alone:
        axes.axhline(alone, color=INK, linestyle=":", linewidth=1.4)
        names.append((last, alone, f"frequencies\nalone: {shown(alone)}", INK))
    if meeting:
        style = STYLES["zero"]
        axes.plot(
            *meeting, style["marker"], color=style["color"], markersize=7, markeredgecolor=PAPER
        )
        words = f"step {shown(meeting[0], 0)}"
        axes.annotate(
            words, meeting, (5, 9), textcoords="offset points", color=style["color"], fontsize=9
        )
    _set_axes(axes, last)
    label_points(axes, names, gap=0.14)


def _set_axes(axes: Axes, last: float) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(1, max(last, 2))
    least, most = axes.get_ylim()
    axes.set_ylim(least * (least / most) ** 0.1, most)  # room for the names of curves that end low
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        write_out_powers(axis)
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < MOST_WITH_FIVES * low else (1,)))
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss (nats per image)")
