"""The pruning threshold: what it leaves of classes and labels, and what the probes say of it, in
Figure 6's form.
"""

from functools import partial
from itertools import count
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from catlip.kinds.vocabulary import LABEL_SETS
from catlip.table import Cell, Table, clipped, number_cell, quantity_cell, shown
from reports.paper.paper_tables import stated
from reports.read.measured import anchor_of, means_by, summarise
from reports.read.records import Record, entries, number
from reports.render.figures import Figure, series_style, thinned

MOST_PROBES = 4
MOST_TICKS = 6
Point = tuple[float, float]  # threshold, accuracy in %


def probes(record: Record) -> dict[str, list[Point]]:
    """Probe -> every seed's point, of the probes with top-1 accuracies; repeated runs of a seed are
    averaged.
    """
    thresholds, seeds = record.series("threshold"), record.series("seed")
    found: dict[str, list[Point]] = {}
    for name in [name for name in record.samples if name.endswith("_top1")][:MOST_PROBES]:
        rows = zip(thresholds, seeds or count(), record.series(name), strict=False)
        kept = [
            ((t, seed), 100 * top1)
            for t, seed, top1 in rows
            if (t == 0 or 1 <= t < 1e12) and 0 <= top1 <= 1
        ]
        points = sorted((t, top1) for (t, _), top1 in means_by(kept).items())
        if points:
            probe = name.removesuffix("_top1")
            found[LABEL_SETS.get(probe, clipped(probe, 24))] = points
    return found


def threshold_figures(record: Record, suffix: str = "") -> list[Figure]:
    """A panel a probe: accuracy against the pruning threshold."""
    found = probes(record)
    return [
        _figure(record, i, probe, points, suffix) for i, (probe, points) in enumerate(found.items())
    ]


def _figure(record: Record, index: int, probe: str, points: list[Point], suffix: str) -> Figure:
    means = _means(points)
    said = ", ".join(f"{shown(accuracy, 1)} % above {t:,.0f}" for t, accuracy in means)
    caption = (
        f"Linear-probe accuracy on {probe} against the pruning threshold, at {record.scale} scale; "
        "every mark is a seed, the "
        f"line their mean. {stated('figure_6', '6')}"
    )
    classes = {t: number(record.metrics, "thresholds", f"{t:.0f}", "classes") for t, _ in means}
    draw = partial(_draw, probe=probe, points=points, classes=classes, style=series_style(index))
    return Figure(f"threshold_{index + 1}{suffix}", caption, f"Accuracy on {probe}: {said}.", draw)


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
    classes: dict[float, float | None],
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


def threshold_table(record: Record, suffix: str = "") -> list[Table]:
    """What each threshold leaves, costs and reaches; accuracies as mean and spread over seeds."""
    kept = entries(record.metrics, "thresholds")
    thresholds = sorted((t for t in kept if t.isdecimal() and len(t) < 15), key=int)
    if not thresholds:
        return []
    found, anchor = probes(record), anchor_of(record)
    columns = [
        "Threshold",
        "Classes",
        "Labels a caption",
        "Captions without a label",
        "Training time (s)",
    ]
    columns += [f"{probe}, top-1 (%)" for probe in found]
    rows = [
        [
            Cell(f"{int(t):,}"),
            *(
                number_cell(number(kept, t, key), decimals, anchor)
                for key, decimals in KEPT.items()
            ),
            *(
                quantity_cell(summarise(a for at, a in points if at == int(t)), 1, anchor)
                for points in found.values()
            ),
        ]
        for t in thresholds
    ]
    return [
        Table(
            f"threshold{suffix}",
            f"The pruning threshold, {record.scale} scale on {record.device}",
            columns,
            rows,
        )
    ]


KEPT = {"classes": 0, "labels_per_caption": 2, "captions_without_label": 0, "train_seconds": None}
