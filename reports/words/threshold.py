"""The pruning threshold: what it leaves of classes and labels, and what the probes say of it, in
Figure 6's form.
"""

from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from catlip.kinds.words.threshold import Point, Threshold, probes
from catlip.table import shown
from reports.read.records import Record
from reports.render.figures import Figure, series_style, thinned

MOST_TICKS = 6


def threshold_figures(record: Record[Threshold], suffix: str = "") -> list[Figure]:
    """A panel a probe: accuracy against the pruning threshold."""
    by_probe = probes(record)
    return [
        _figure(record, i, probe, points, suffix)
        for i, (probe, points) in enumerate(by_probe.items())
    ]


def _figure(
    record: Record[Threshold], index: int, probe: str, points: list[Point], suffix: str
) -> Figure:
    means = _means(points)
    said = ", ".join(f"{shown(accuracy, 1)} % above {t:,.0f}" for t, accuracy in means)
    caption = (
        f"Linear-probe accuracy on {probe} against the pruning threshold, at {record.scale} scale; "
        f"every mark is a seed, the line their mean."
    )
    reached = record.measured.thresholds
    classes = {t: reached[int(t)].classes if int(t) in reached else None for t, _ in means}
    draw = partial(_draw, probe=probe, points=points, classes=classes, style=series_style(index))
    return Figure(
        f"threshold_{index + 1}{suffix}", caption, f"Accuracy on {probe}: {said}.", draw=draw
    )


def _means(points: list[Point]) -> list[Point]:
    thresholds = sorted({t for t, _ in points})
    return [
        (t, sum(own) / len(own))
        for t in thresholds
        if (own := [a for threshold, a in points if threshold == t])
    ]


def _draw(
    axes: Axes,
    probe: str,
    points: list[Point],
    classes: dict[float, int | None],
    style: dict[str, Any],
) -> None:
    means = _means(points)
    axes.plot(*zip(*means, strict=True), "-", color=style["color"], linewidth=1.6)
    axes.plot(
        *zip(*points, strict=True),
        style["marker"],
        color=style["color"],
        alpha=0.55,
        markersize=7,
        markeredgewidth=0,
    )
    smallest = min((t for t, _ in means if t > 0), default=1.0)
    axes.set_xscale("symlog", linthresh=smallest) if means[0][0] == 0 else axes.set_xscale("log")
    ticks = [means[i][0] for i in thinned(len(means), MOST_TICKS)]
    axes.set_xticks(ticks, [f"{t:,.0f}\n{shown(classes[t], 0)}" for t in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("pruning threshold (occurrences), and below it the classes kept")
    axes.set_ylabel(f"{probe}, top-1 accuracy (%)")
    axes.margins(x=0.06, y=0.12)
