"""A figure of the pruning threshold in Figure 6's form: the accuracy of the probes, and the number
of classes that are kept.
"""

from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from bench.studies.threshold_result import Point, Threshold, probes
from catlip.results.figures import Figure, series_style, thinned
from catlip.results.lines import (
    MOST_LINES,
    Line,
    draw_lines,
    height_for,
    how_drawn,
    means_of,
    said,
)
from catlip.results.run import Run
from catlip.table import clipped, shown

MOST_TICKS = 6


def threshold_figures(record: Run[Threshold], suffix: str = "") -> list[Figure]:
    """Accuracy against the pruning threshold, one line for each probe; no figure without probes."""
    of_probes = probes(record).items()
    every = [_line(i, probe, points) for i, (probe, points) in enumerate(of_probes)]
    lines = every[:MOST_LINES]
    if not lines:
        return []
    caption = (
        f"Linear-probe accuracy against the pruning threshold, at {record.scale} scale; every mark "
        f"is a seed. {how_drawn(every)}"
    )
    alt = f"Accuracy by threshold. {said(lines, '', lambda t: f'{t:,.0f}')}."
    classes = {float(t): left.classes for t, left in record.measured.thresholds.items()}
    draw = partial(_draw, lines=lines, classes=classes)
    height = height_for(lines)
    return [Figure(f"threshold{suffix}", caption.strip(), alt, draw=draw, height=height)]


def _line(index: int, probe: str, points: Sequence[Point]) -> Line:
    style = series_style(index)
    means = means_of([(t, str(i), accuracy) for i, (t, accuracy) in enumerate(points)])
    return Line(
        clipped(probe, 24), "", style["color"], marker=style["marker"], means=means, marks=points
    )


def _draw(axes: Axes, lines: Sequence[Line], classes: dict[float, int]) -> None:
    thresholds = sorted({t for line in lines for t, _ in line.points})
    smallest = min((t for t in thresholds if t > 0), default=1.0)
    if thresholds[0] == 0:
        axes.set_xscale("symlog", linthresh=smallest)
    else:
        axes.set_xscale("log")
    axes.set_ylim(0, 1.08 * max(y for line in lines for _, y in line.marks) or 1.0)
    ticks = [thresholds[i] for i in thinned(len(thresholds), MOST_TICKS)]
    axes.set_xticks(ticks, [f"{t:,.0f}\n{shown(classes.get(t), 0)}" for t in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("pruning threshold (occurrences), and below it the classes kept")
    axes.set_ylabel("top-1 accuracy (%)")
    draw_lines(axes, lines, lambda x, _: x, leader=":")
