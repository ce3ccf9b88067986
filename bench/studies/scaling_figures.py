"""Figures of accuracy against the FLOPs of whole trainings of several lengths, one line for each
method.
"""

from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from bench.studies.scaling_result import Curve, Scaling, curves
from catlip.claims import claims, least_pairs
from catlip.method_style import name_of
from catlip.results.estimate import of_pairs, verdict
from catlip.results.figures import Figure
from catlip.results.lines import (
    MOST_LINES,
    Line,
    brief,
    draw_lines,
    height_for,
    how_drawn,
    line_of,
    said,
)
from catlip.results.run import Run
from catlip.table import clipped, shown

TERA = 1e12


def scaling_figures(
    records: Sequence[Run[Scaling]], suffix: str = "", first: Sequence[str] = ()
) -> list[Figure]:
    """One figure for each task; none if no method has several lengths.

    Args:
        records: of one root and scale.
        first: tasks whose figures come first, in this order.
    """
    of_methods = curves(records)
    names = dict.fromkeys(task for curve in of_methods for task in curve.top1)
    tasks = dict.fromkeys([*(task for task in first if task in names), *names])
    return [_figure(of_methods, task, f"scaling_{i}{suffix}") for i, task in enumerate(tasks, 1)]


def against_itself(records: Sequence[Run[Scaling]]) -> list[str]:
    """What the verdict says when a method is compared with itself: one sentence for each method and
    length of training that has enough seeds for two sides.
    """
    least = least_pairs()
    groups: dict[tuple[str, str, int], dict[int, Scaling]] = {}
    for record in records:
        one = record.measured
        if one.fraction == 1:
            groups.setdefault((one.method, one.encoder, one.images), {})[one.seed] = one
    sentences = []
    for (method, _, images), by_seed in groups.items():
        seeds = sorted(by_seed)
        if len(seeds) < 2 * least:
            continue
        each = []
        for task in by_seed[seeds[0]].accuracies:
            accuracies = [100 * by_seed[seed].accuracies[task] for seed in seeds]
            sides = zip(accuracies[:least], accuracies[least : 2 * least], strict=True)
            points = of_pairs([one - other for one, other in sides])
            if points:
                ends = f"{shown(points.low, 1)} to {shown(points.high, 1)}"
                word = verdict(points, claims()["probe_parity"].bound)
                each.append(f"{clipped(task, 24)} {word}, {shown(points.value, 1)} points ({ends})")
        sentences.append(
            f"{name_of(method)} against itself, {least} seeds against {least} others after "
            f"{images:,} images: {'; '.join(each)}."
        )
    return sentences


def _figure(of_methods: Sequence[Curve], task: str, name: str) -> Figure:
    of_task = [curve for curve in of_methods if task in curve.top1]
    every = [_line(curve, task) for curve in of_task]
    lines = every[:MOST_LINES]
    seeds = {len(curve.top1[task]) for curve in of_task[:MOST_LINES]}
    n = " or ".join(map(str, sorted(seeds)))
    return Figure(
        name,
        f"Accuracy on {task} against the operations of a training to the end of its schedule. "
        f"A mark is a training, a line the mean of {n} seeds. {how_drawn(every)}".strip(),
        f"Accuracy on {task} by TFLOPs of training. {said(lines, ' TFLOPs', brief)}.",
        draw=partial(_draw, lines=lines, title=task),
        height=0.82 * height_for(lines),
    )


def _line(curve: Curve, task: str) -> Line:
    tera = [flops / TERA for flops in curve.costs["flops"]]
    points = [
        (x, str(seed), y)
        for seed, row in curve.top1[task].items()
        for x, y in zip(tera, row, strict=True)
    ]
    return line_of(curve.method, points)


def _draw(axes: Axes, lines: Sequence[Line], title: str) -> None:
    points = [point for line in lines for point in line.marks]
    ends = min(x for x, _ in points), max(x for x, _ in points)
    axes.set_xscale("log")
    axes.set_xlim(ends[0] / 1.1, ends[1] * 1.1)
    axes.set_ylim(0, 1.08 * max(y for _, y in points) or 1.0)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks([x for x, _ in lines[0].points], [f"{x:.3g}" for x, _ in lines[0].points])
    axes.set_xlabel("operations of the whole training (10¹² FLOPs, logarithmic)")
    axes.set_ylabel(f"{title}, top-1 (%)")
    draw_lines(axes, lines, lambda x, _: x, leader=":")
