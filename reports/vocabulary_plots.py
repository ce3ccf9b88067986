"""Figure 3's forms for our own captions: the long tail of synsets, and how many of them a pruning threshold keeps."""

from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes

from reports.cells import shown
from reports.figures import MUTED, Figure, colour_of, thinned
from reports.records import Record, number

THRESHOLDS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2500, 5000, 10_000, 100_000)
MOST_TICKS = 9


def vocabulary_figures(record: Record | None) -> list[Figure]:
    """How often each synset occurs (3(a)), and how many occur more often than a threshold (3(b)).

    Args:
        record: of kind `vocabulary`, with every synset's count in `samples.counts`; None gives no figure.
    """
    counts = sorted((count for count in record.series("counts") if count > 0), reverse=True) if record else []
    if record is None or not counts:
        return []
    return [_long_tail(counts, number(record.metrics, "num_classes")), _pruning(counts)]


def _long_tail(counts: Sequence[float], kept: float | None) -> Figure:
    said = f"{len(counts):,} synsets, from {shown(counts[0], 0)} occurrences down to {shown(counts[-1], 0)}"
    caption = f"How often each synset occurs in our captions, in Figure 3(a)'s form: {said}."
    alt = f"Falling curve on a logarithmic scale: {said}."
    return Figure("vocabulary_counts", caption, alt, partial(_draw_long_tail, counts=counts, kept=kept))


def _draw_long_tail(axes: Axes, counts: Sequence[float], kept: float | None) -> None:
    positions = thinned(len(counts), 1500)
    axes.plot([i + 1 for i in positions], [counts[i] for i in positions], color=colour_of("catlip"))
    axes.set_yscale("log")
    axes.set_xlim(0, 1.02 * len(counts))
    axes.set_xlabel("synset, by descending count")
    axes.set_ylabel("occurrences")
    if kept is not None and 0 < kept < len(counts):
        side, shift = ("left", 0.015) if kept < 0.6 * len(counts) else ("right", -0.015)
        axes.axvline(kept, color=MUTED, linestyle="--", linewidth=1.2)
        axes.text(
            kept + shift * len(counts),
            0.93,
            f"{kept:,.0f} kept",
            ha=side,
            transform=axes.get_xaxis_transform(),
            color=MUTED,
        )


def _pruning(counts: Sequence[float]) -> Figure:
    kept = {threshold: sum(count > threshold for count in counts) for threshold in THRESHOLDS}
    kept = {threshold: synsets for threshold, synsets in kept.items() if synsets}
    said = ", ".join(f"{synsets:,} above {threshold:,}" for threshold, synsets in kept.items())
    caption = "How many synsets occur more often than a pruning threshold, in Figure 3(b)'s form, for our captions."
    alt = f"Falling curve of synsets kept: {said}."
    return Figure("vocabulary_thresholds", caption, alt, partial(_draw_pruning, kept=kept))


def _draw_pruning(axes: Axes, kept: dict[int, int]) -> None:
    chosen = [list(kept.items())[i] for i in thinned(len(kept), MOST_TICKS)]
    axes.plot([synsets for _, synsets in chosen], "o-", color=colour_of("catlip"))
    for i, (_, synsets) in enumerate(chosen):
        axes.annotate(
            f"{synsets:,}",
            (i, synsets),
            (2, 7),
            textcoords="offset points",
            ha="left",
            fontsize=9,
            color=colour_of("catlip"),
        )
    axes.set_xticks(range(len(chosen)), [f"{threshold:,}" for threshold, _ in chosen])
    axes.set_xlim(-0.4, len(chosen) - 0.3)
    axes.set_ylim(0, 1.18 * chosen[0][1])
    axes.set_xlabel("pruning threshold (occurrences)")
    axes.set_ylabel("synsets kept")
