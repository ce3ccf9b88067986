"""The first steps of CatLIP from a zero bias of its classifier and from the base rates: both
losses, and what is saved.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import groupby
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from catlip.table import Cell, Table, clipped, number_cell, quantity_cell, shown
from reports.read.devices import measured
from reports.read.measured import anchor_of, summarise
from reports.read.records import Record, Records, drawable, lookup, number, text
from reports.read.rules import MOST, suffix
from reports.render.blocks import Block, Section, Text, side_by_side
from reports.render.figures import INK, PAPER, Figure, label_points, series_style, write_out_powers

BIASES = {"zero": "zero bias", "base_rates": "base rates"}
STYLES = {"zero": series_style(3), "base_rates": series_style(0)}
POINTS_A_DECADE = 16  # of steps, of an averaged curve
MOST_WITH_FIVES = 300  # from the least to the most of an axis that also has ticks at 2 and 5
MOST_SEEDS, MOST_SPANS = 32, 8
Point = tuple[float, float]  # step, loss


def bias_init_sections(records: Records) -> list[Section]:
    """What a zero bias costs, of each record; no section where it was not measured."""
    words = (
        "CatLIP's loss is a sum over classes, nearly all of which are absent from a caption. With "
        "a zero bias, as in the "
        "release, the first steps teach the classifier little more than that; with the log-odds of "
        "each class's base rate in "
        "its bias it starts from there. Nothing else differs: the same other weights, the same "
        "images in the same order."
    )
    blocks: list[Block] = []
    for i, record in enumerate(measured(records, "bias_init")[:MOST]):
        blocks += [
            *side_by_side(bias_init_figures(record, suffix(i))),
            *bias_init_tables(record, suffix(i)),
        ]
    return (
        [Section("bias-init", "What the classifier's bias starts from", [Text(words), *blocks])]
        if blocks
        else []
    )


def bias_init_figures(record: Record, suffix: str = "") -> list[Figure]:
    """Both losses against the step, on logarithmic axes, with the loss of the frequencies alone."""
    curves = {bias: found for bias in BIASES if (found := _curve(record, bias))}
    if len(curves) < len(BIASES):
        return []
    said = "; ".join(
        f"{BIASES[bias]} from {shown(curve[0][1])} to about {shown(_averaged(curve)[-1][1])}"
        for bias, curve in curves.items()
    )
    alone, seeds = drawable(record.metrics, "base_rates_alone_loss"), len(_seeds(record))
    caption = (
        f"Loss of the first {curves['zero'][-1][0]:,.0f} "
        f"steps{f', mean of {seeds} seeds' if seeds > 1 else ''}: thin lines of "
        "every step, thick ones averaged. Dotted is what the classes' frequencies alone, whatever "
        "is in an image, give on the "
        f"same images. {_saved(record, ' (the mark)')}"
    )
    draw = partial(_draw, curves=curves, alone=alone, meeting=_meeting(record))
    alt = f"Loss against steps: {said}; frequencies alone {shown(alone)}."
    return [Figure(f"bias_init{suffix}", caption, alt, draw, 3.6)]


def _seeds(record: Record) -> list[dict[str, Any]]:
    found = lookup(record.metrics, "seeds")
    return (
        [row for row in found if isinstance(row, dict)][:MOST_SEEDS]
        if isinstance(found, list)
        else []
    )


def _curve(record: Record, bias: str) -> list[Point]:
    """(step, loss), the loss a mean over seeds."""
    pairs = zip(record.series("step"), record.series(f"{bias}_loss"), strict=False)
    points = sorted((step, loss) for step, loss in pairs if 1 <= step < 1e9 and 1e-9 < loss < 1e13)
    return _means(points, key=lambda point: point[0])


def _averaged(points: Iterable[Point]) -> list[Point]:
    """The curve in points that are about as far from each other on a logarithmic axis, or further
    where steps are.
    """
    return _means(points, key=lambda point: math.ceil(POINTS_A_DECADE * math.log10(point[0])))


def _means(points: Iterable[Point], key: Callable[[Point], float]) -> list[Point]:
    """Neighbouring points of equal keys as one, steps averaged as a logarithmic axis shows them."""
    groups = [list(group) for _, group in groupby(points, key)]
    return [
        (math.exp(fmean(math.log(x) for x, _ in group)), fmean(y for _, y in group))
        for group in groups
    ]


def _meeting(record: Record) -> Point | None:
    """Where a zero bias has come to the loss that the base rates begin at."""
    step, loss = (
        drawable(record.metrics, "steps_saved"),
        drawable(record.metrics, "base_rates_initial_loss"),
    )
    return (step, loss) if step is not None and loss is not None and 1 <= step < 1e9 else None


def _saved(record: Record, where: str = "") -> str:
    """After how many steps a zero bias is where the base rates begin, and `where` that is shown."""
    steps, iterations = (
        drawable(record.metrics, "steps_saved"),
        drawable(record.recipe, "iterations"),
    )
    images = drawable(record.metrics, "images_seen")
    if steps is None:
        return "In these steps a zero bias does not come to the loss that the base rates begin at."
    seen = f" ({shown(steps * images / iterations, 0)} images)" if images and iterations else ""
    return (
        f"A zero bias takes {shown(steps, 0)} steps{seen} to the loss that the base rates begin "
        f"at{where}."
    )


def _draw(
    axes: Axes, curves: dict[str, list[Point]], alone: float | None, meeting: Point | None
) -> None:
    names = []
    for bias, points in curves.items():
        colour, averaged = STYLES[bias]["color"], _averaged(points)
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=0.6, alpha=0.4)
        axes.plot(
            *zip(*averaged, strict=True), color=colour, zorder=3
        )  # above both curves of single steps
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


def bias_init_tables(record: Record, suffix: str = "") -> list[Table]:
    """The first loss and the means that each bias reaches, beside what is expected of the first."""
    names = _names(record)
    if not any(
        number(record.metrics, f"{bias}{name}") is not None for bias in BIASES for name in names
    ):
        return []
    columns = ["Loss (nats per image)", "Zero bias", "Base rates", "Zero bias is higher by"]
    rows = [_expected(record), *(_row(record, what, name) for name, what in names.items())]
    few = " Of one seed, a small difference may be chance." if len(_seeds(record)) == 1 else ""
    caption = f"{_saved(record)} Differences are of the same images, seed by seed.{few}"
    title = f"Both biases, {clipped(text(record.recipe, 'encoder'), 40)} on {record.where}"
    return [Table(f"bias_init{suffix}", title, columns, rows, caption)]


def _names(record: Record) -> dict[str, str]:
    """What follows the bias in a metric's name -> what it is called."""
    spans = [
        found
        for name in record.metrics
        if (found := re.fullmatch(r"zero(_loss_(\d{1,9})_to_(\d{1,9}))", name))
    ]
    named = {
        span[1]: f"Mean of steps {int(span[2]):,} to {int(span[3]):,}"
        for span in spans[:MOST_SPANS]
    }
    return {"_initial_loss": "First step"} | named


def _expected(record: Record) -> list[Cell]:
    metrics, anchor = record.metrics, anchor_of(record)
    uniform, alone = number(metrics, "uniform_loss"), number(metrics, "base_rates_alone_loss")
    classes = f"V ln 2, of {shown(number(metrics, 'num_classes'), 0)} classes"
    entropy = f"by their entropy {shown(number(metrics, 'base_rate_entropy'), 2)}"
    row = [Cell("Expected of the first step"), number_cell(uniform, 2, anchor, classes)]
    return [*row, number_cell(alone, 2, anchor, f"frequencies alone; {entropy}"), Cell()]


def _row(record: Record, what: str, name: str) -> list[Cell]:
    each = [[number(row, f"{bias}{name}") for bias in BIASES] for row in _seeds(record)]
    gaps = [zero - rates for zero, rates in each if zero is not None and rates is not None]
    values: Sequence[Iterable[float | None]] = (
        [zero for zero, _ in each],
        [rates for _, rates in each],
        gaps,
    )
    return [
        Cell(what),
        *(quantity_cell(summarise(found), 2, anchor_of(record)) for found in values),
    ]
