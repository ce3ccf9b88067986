"""Which labels of other data sets the vocabulary holds, exactly or nearly: Figures 2(b) and
2(c).
"""

from collections.abc import Mapping
from functools import partial
from statistics import median
from typing import Any

from matplotlib.axes import Axes

from catlip.results.figures import Figure, hide_rows, label_points, series_style, write_out_powers
from catlip.results.run import Run
from catlip.table import shown
from catlip.vocabulary.result import LABEL_SETS, Match, VocabularyStatistics, shown_median

SIMILARITIES = tuple(f"{tenths / 10:.1f}" for tenths in range(1, 11))
Statistics = Run[VocabularyStatistics]


def overlap_figures(
    records: Mapping[str, Statistics], scale: str, suffix: str = ""
) -> list[Figure]:
    """For each rule: the labels by the similarity of their nearest class (2(b)), and the number of
    captions of the classes that match a label exactly (2(c)).
    """
    figures = []
    for i, (rule, record) in enumerate(records.items()):
        end = f"{suffix}_rule_{i + 1}" if i else suffix
        figures += _similarity_figure(record, rule, scale, suffix=end)
        figures += _samples_figure(record, rule, scale, suffix=end)
    return figures


def _similarity_figure(record: Statistics, rule: str, scale: str, suffix: str) -> list[Figure]:
    measured = record.measured
    curves = {name: curve for name in measured.label_sets if (curve := _curve(measured, name))}
    if not curves:
        return []
    said = ", ".join(_exact(measured, name) for name in curves)
    caption = (
        "Labels whose nearest class of the vocabulary has at least a given similarity, by rule "
        f"{rule} at {scale} scale. Found exactly: {said}."
    )
    alt = f"Falling curves, one line per label set. Found exactly: {said}."
    draw = partial(_draw_similarity, curves=curves)
    return [Figure(f"label_overlap{suffix}", caption, alt, draw=draw)]


def _curve(measured: VocabularyStatistics, name: str) -> list[tuple[float, float]]:
    """(similarity, labels in % whose nearest class is at least that similar)."""
    size = measured.labels[name].labels
    points = [(float(least), measured.found(name, least)) for least in SIMILARITIES]
    return [(least, 100 * n / size) for least, n in points if n is not None]


def _exact(measured: VocabularyStatistics, name: str) -> str:
    exact, size = measured.found(name, "1.0"), measured.labels[name].labels
    share = f" ({shown(100 * exact / size, 1)} %)" if exact is not None else ""
    return f"{LABEL_SETS[name]} {shown(exact, 0)} of {shown(size, 0)}{share}"


def _draw_similarity(axes: Axes, curves: dict[str, list[tuple[float, float]]]) -> None:
    ends = []
    for name, curve in curves.items():
        style = _style(name)
        axes.plot(*zip(*curve, strict=True), **style, markersize=5)
        ends.append((*curve[-1], f"{LABEL_SETS[name]}\n{shown(curve[-1][1], 1)} %", style["color"]))
    axes.set_xlim(0.07, 1.03)
    axes.set_ylim(0, 104)
    axes.set_xticks([float(least) for least in SIMILARITIES])
    axes.set_xlabel("path similarity, at least")
    axes.set_ylabel("labels found (%)")
    label_points(axes, ends, gap=0.15)


def _style(name: str) -> dict[str, Any]:
    return series_style(list(LABEL_SETS).index(name))


def _samples_figure(record: Statistics, rule: str, scale: str, suffix: str) -> list[Figure]:
    every = {name: _exact_samples(record, name) for name in record.measured.label_sets}
    counts = {name: captions for name, captions in every.items() if captions}
    if not counts:
        return []
    said = "; ".join(
        f"{LABEL_SETS[name]}: {len(captions):,} classes, median {shown_median(median(captions))} "
        f"captions, from {shown(captions[-1], 0)} to {shown(captions[0], 0)}"
        for name, captions in counts.items()
    )
    caption = (
        f"Captions of each class that matches a label exactly, by rule {rule} at {scale} scale; "
        f"every mark is one such class, the bar their median. {said}."
    )
    alt = f"Marks on a logarithmic axis. {said}."
    height = 1.1 + 0.58 * len(counts)
    draw = partial(_draw_samples, counts=counts)
    return [Figure(f"samples_per_class{suffix}", caption, alt, draw=draw, height=height)]


def _exact_samples(record: Statistics, name: str) -> list[int]:
    """The number of captions of each class that matches a label exactly, descending."""
    matches = record.rows(f"matches_{name}", Match)
    counts = [match.samples for match in matches if match.similarity == 1 and match.samples > 0]
    return sorted(counts, reverse=True)


def _draw_samples(axes: Axes, counts: dict[str, list[int]]) -> None:
    for y, (name, captions) in enumerate(counts.items()):
        colour = _style(name)["color"]
        axes.plot(
            captions,
            [y] * len(captions),
            "|",
            color=colour,
            markersize=13,
            markeredgewidth=1,
            alpha=0.55,
        )
        middle = median(captions)
        axes.plot([middle, middle], [y - 0.3, y + 0.3], color=colour, linewidth=3)
        axes.annotate(
            shown_median(middle),
            (middle, y - 0.3),
            (0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            color=colour,
        )
    axes.set_xscale("log")
    write_out_powers(axes.xaxis)
    names = [f"{LABEL_SETS[name]}\n{len(own):,} classes" for name, own in counts.items()]
    axes.set_yticks(range(len(counts)), names)
    axes.set_ylim(len(counts) - 0.4, -0.75)
    axes.set_xlabel("captions per class")
    hide_rows(axes)
