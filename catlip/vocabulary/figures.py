"""Figures of our own captions with one line for each rule: in Figure 3's forms, the long tail of
synsets and how many of them a pruning threshold keeps; and how many labels a caption has.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes

from catlip.results.figures import THOUSANDS, Figure, label_points, thinned, write_out_powers
from catlip.results.run import Run
from catlip.results.select import rule_style
from catlip.table import shown
from catlip.vocabulary.result import VocabularyCounts

THRESHOLDS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2500, 5000, 10_000)
MOST_TICKS = 8
TAIL_POINTS = 1500
LAST_BIN = 32  # of the histogram of labels per caption: this many or more


@dataclass(frozen=True)
class Tail:
    """How often the synsets of one rule's labels occur.

    Attributes:
        points: (rank, occurrences) by ascending rank, the most frequent synset having rank 1.
        kept: how many synsets are classes; None where that is not known.
        above: pruning threshold -> how many synsets occur more often.
    """

    points: Sequence[tuple[float, float]]
    kept: float | None
    above: Mapping[int, int]


def tail_of(record: Run[VocabularyCounts]) -> Tail | None:
    """The tail from a record of kind `vocabulary_statistics`, or of kind `vocabulary`, which holds
    the count of every synset; None if the record has no counts.
    """
    ranks, counts = record.series("tail_rank"), record.series("tail_count")
    points = sorted(
        (rank, n)
        for rank, n in zip(ranks, counts, strict=False)
        if 1 <= rank < math.inf and 1 <= n < math.inf
    )
    every = sorted((n for n in record.series("counts") if 1 <= n < math.inf), reverse=True)
    points = points or [(i + 1, every[i]) for i in thinned(len(every), TAIL_POINTS)]
    if not points:
        return None
    kept = record.measured.num_classes
    above = record.measured.unique_synsets_above or {
        threshold: sum(n > threshold for n in every) for threshold in THRESHOLDS
    }
    return Tail(points, kept if 0 < kept <= points[-1][0] else None, above)


def vocabulary_figures(
    records: Mapping[str, Run[VocabularyCounts]], scale: str, suffix: str = ""
) -> list[Figure]:
    """How often each synset occurs (3(a)), how many synsets occur more often than a threshold
    (3(b)), and how many labels a caption has.

    Args:
        records: rule -> its record of kind `vocabulary_statistics` or `vocabulary`.
        scale: of these records, for the figures' captions.
        suffix: of the figures' names.
    """
    tails = {rule: tail for rule, record in records.items() if (tail := tail_of(record))}
    pruned = {rule: dict(tail.above) for rule, tail in tails.items() if any(tail.above.values())}
    shares = {rule: fractions for rule, record in records.items() if (fractions := _shares(record))}
    figures = []
    if tails:
        figures.append(_long_tail(tails, scale, suffix))
    if pruned:
        figures.append(_pruning(pruned, scale, suffix))
    if shares:
        figures.append(_labels(shares, scale, suffix))
    return figures


def _long_tail(tails: dict[str, Tail], scale: str, suffix: str) -> Figure:
    said = "; ".join(
        f"Rule {rule}: {tail.points[-1][0]:,.0f} synsets, from {shown(tail.points[0][1], 0)} "
        f"occurrences down to {shown(tail.points[-1][1], 0)}"
        for rule, tail in tails.items()
    )
    caption = (
        f"How often each synset occurs in the captions, at {scale} scale; a mark shows where the "
        f"vocabulary is cut. {said}."
    )
    alt = f"Falling curves on a logarithmic scale. {said}."
    draw = partial(_draw_long_tail, tails=tails)
    return Figure(f"vocabulary_counts{suffix}", caption, alt, draw=draw)


def _draw_long_tail(axes: Axes, tails: dict[str, Tail]) -> None:
    names = []
    for rule, tail in tails.items():
        style, last = rule_style(rule), tail.points[-1][0]
        axes.plot(*zip(*tail.points, strict=True), color=style["color"])
        cut = tail.kept or last
        rank, occurrences = min(tail.points, key=lambda point: abs(point[0] - cut))
        name = f"{rule}: \n{last:,.0f} synsets"
        if tail.kept:
            name = f"{rule}: kept\n{tail.kept:,.0f} of {last:,.0f}"
            axes.plot(rank, occurrences, style["marker"], color=style["color"], markersize=8)
        names.append((rank, occurrences, name, style["color"]))
    axes.set_yscale("log")
    write_out_powers(axes.yaxis)
    axes.set_xlim(0, 1.02 * max(tail.points[-1][0] for tail in tails.values()))
    axes.set_ylim(0.8, 1.6 * max(tail.points[0][1] for tail in tails.values()))
    axes.xaxis.set_major_formatter(THOUSANDS)
    axes.set_xlabel("synset, by descending count")
    axes.set_ylabel("occurrences")
    label_points(axes, names, gap=0.16)


def _pruning(above: dict[str, dict[int, int]], scale: str, suffix: str) -> Figure:
    said = "; ".join(
        f"Rule {rule}: " + ", ".join(f"{n:,.0f} above {t:,}" for t, n in kept.items() if n)
        for rule, kept in above.items()
    )
    caption = f"How many synsets occur more often than a pruning threshold, at {scale} scale."
    alt = f"Falling curves of synsets kept. {said}."
    draw = partial(_draw_pruning, above=above)
    return Figure(f"vocabulary_thresholds{suffix}", caption, alt, draw=draw)


def _draw_pruning(axes: Axes, above: dict[str, dict[int, int]]) -> None:
    thresholds = sorted({t for kept in above.values() for t, n in kept.items() if n})
    thresholds = [thresholds[i] for i in thinned(len(thresholds), MOST_TICKS)]
    top = max(n for kept in above.values() for n in kept.values())
    names: list[tuple[float, float, str, str]] = []
    for rule, kept in above.items():
        style = rule_style(rule)
        colour = style["color"]
        points = [(x, kept[t]) for x, t in enumerate(thresholds) if t in kept]
        if not points:
            continue
        axes.plot(*zip(*points, strict=True), f"{style['marker']}-", color=colour, markersize=5)
        if not names:  # only the first curve's numbers are written at its points
            for x, n in points:
                axes.annotate(
                    f"{n:,.0f}",
                    (x, n),
                    (3, 6),
                    textcoords="offset points",
                    fontsize=9,
                    color=colour,
                )
        names.append((*points[-1], rule, colour))
    axes.set_xticks(range(len(thresholds)), [f"{threshold:,}" for threshold in thresholds])
    axes.set_xlim(-0.3, len(thresholds) - 0.4)
    axes.set_ylim(0, 1.15 * top)
    axes.set_xlabel("pruning threshold (occurrences)")
    axes.yaxis.set_major_formatter(THOUSANDS)
    axes.set_ylabel("synsets kept")
    if len(names) > 1:
        label_points(axes, names, gap=0.09)


def _shares(record: Run) -> list[float]:
    """The captions, in %, that have 0, 1, 2, ... labels; empty if that is not recorded."""
    counts = record.series("captions_by_labels")[: LAST_BIN + 1]
    total = sum(counts)
    if not all(0 <= n < math.inf for n in counts) or not total:
        return []
    while counts and not counts[-1]:
        counts.pop()
    return [100 * n / total for n in counts]


def _labels(shares: dict[str, list[float]], scale: str, suffix: str) -> Figure:
    said = []
    for rule, fractions in shares.items():
        first = [f"{shown(share, 1)} % have {n}" for n, share in enumerate(fractions[:8])]
        said.append(f"Rule {rule}: {', '.join(first)}")
    caption = f"Captions (%) by their number of labels, at {scale} scale."
    alt = f"Bars. {'; '.join(said)}."
    draw = partial(_draw_labels, shares=shares)
    return Figure(f"labels_per_caption{suffix}", caption, alt, draw=draw)


def _draw_labels(axes: Axes, shares: dict[str, list[float]]) -> None:
    width = 0.84 / len(shares)
    most = max(map(len, shares.values()))
    for i, (rule, fractions) in enumerate(shares.items()):
        middles = [n - 0.42 + (i + 0.5) * width for n in range(len(fractions))]
        colour = rule_style(rule)["color"]
        axes.bar(middles, fractions, width, color=colour)
        y = 0.93 - 0.09 * i
        axes.text(0.97, y, rule, ha="right", va="center", transform=axes.transAxes, color=colour)
    ticks = [n for n in range(most) if most <= 14 or n % 4 == 0]
    axes.set_xticks(ticks, [f"{n} or more" if n == LAST_BIN else str(n) for n in ticks])
    axes.grid(axis="x", visible=False)
    axes.set_xlabel("labels per caption")
    axes.set_ylabel("captions (%)")
