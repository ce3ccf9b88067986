"""Which synsets of the captions a vocabulary keeps, and how near its classes are to the labels of
other data sets: the records, and the tables and figures of both. Figures have one line for each
rule, in the forms of the paper's Figures 2 and 3.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar

from catlip.label.result import Examples, Labelling, example_figure
from catlip.results.blocks import Block, Section, Text, side_by_side, to_fill
from catlip.results.figures import (
    THOUSANDS,
    Figure,
    hide_rows,
    label_points,
    series_style,
    thinned,
    write_out_powers,
)
from catlip.results.run import Records, Run, Setting, of_kind
from catlip.results.select import ByRule, by_rule, by_scale, rule_rank, rule_style, suffix
from catlip.table import MISSING, Cell, Table, clipped, number_cell, share_cell, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABEL = "python -m catlip.label data/starter/pretrain --rule paper --labels-dir runs/starter/labels"
STATISTICS = (
    "python -m catlip.vocabulary stats runs/starter/vocabulary.json --against imagenet coco ade20k"
)
LABEL_SETS = {
    "imagenet": "ImageNet-1k",
    "places365": "Places365",
    "coco": "COCO",
    "ade20k": "ADE20k",
    "fashion_mnist": "Fashion-MNIST",
}
# Least similarity, 1 / (1 + steps) rounded down -> how a column calls it.
STEPS = {"1.0": "Exactly", "0.5": "Within 1 step", "0.3": "Within 2 steps", "0.2": "Within 4 steps"}

SIMILARITIES = tuple(f"{tenths / 10:.1f}" for tenths in range(1, 11))
THRESHOLDS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2500, 5000, 10_000)
IMAGENET_CLASSES = 1000
MAX_CAUSES = 8
MAX_TICKS = 8
TAIL_POINTS = 1500
LAST_BIN = 32  # of the histogram of labels per caption: this many or more


@dataclass(frozen=True, kw_only=True)
class LabelCounts:
    """The labels of a data set: how many it has, how many of these have no synset, and how many are
    exactly a class. `least`, `median` and `most` count the captions of these exact classes; they
    are None without any such class.
    """

    labels: int
    without_synset: int = 0
    exact: int
    least: int | None = None
    median: float | None = None
    most: int | None = None


@dataclass(frozen=True, kw_only=True)
class VocabularyCounts(ByRule):
    """Counts of the synsets in captions, and of the classes that a vocabulary keeps; None if
    unknown.

    Attributes:
        threshold, top_k: how the classes were chosen; one of the two is None.
        unique_synsets_above: threshold -> how many synsets occur more often.
        imagenet_classes_occurring, imagenet_classes: how many of ImageNet-1k's classes are among
            all synsets, and among the classes.
    """

    kind = "vocabulary"

    num_classes: int
    num_captions: int | None = None
    captions_without_label: int | None = None
    labels_per_caption: float | None = None
    unique_synsets: int
    unique_synsets_above: dict[int, int] = field(default_factory=dict)
    imagenet_classes_occurring: int
    imagenet_classes: int | None = None
    threshold: int | None = None
    top_k: int | None = None


@dataclass(frozen=True)
class Match:
    """A label and the class nearest to it; a label without a synset has no class and similarity 0.

    `samples` is the number of captions that name the class.
    """

    label: str
    class_id: int | None
    synset: str
    similarity: float
    samples: int


@dataclass(frozen=True, kw_only=True)
class VocabularyStatistics(VocabularyCounts):
    """A vocabulary beside the labels of other data sets.

    Attributes:
        overlap: label set -> similarity "0.1" to "1.0" -> number of labels whose nearest class is
            at least that similar.
        labels: label set -> its counts.
    """

    kind = "vocabulary_statistics"
    rows: ClassVar = {"matches_": Match}

    overlap: dict[str, dict[str, int]]
    labels: dict[str, LabelCounts]

    @property
    def imagenet(self) -> LabelCounts | None:
        return self.labels.get("imagenet")

    @property
    def label_sets(self) -> list[str]:
        """The known label sets that the vocabulary is compared with."""
        return [name for name in LABEL_SETS if name in self.labels and self.labels[name].labels > 0]

    def found(self, label_set: str, similarity: str) -> int | None:
        """How many labels have a class of at least this similarity; None if it is not recorded."""
        return self.overlap.get(label_set, {}).get(similarity)


def vocabulary_section(main: Setting | None, records: Records) -> Section:
    blocks: list[Block] = []
    for i, examples in enumerate(by_scale(records, main, Examples)):
        blocks += side_by_side(example_figure(examples[0], suffix(i)))
    kinds = (VocabularyStatistics, VocabularyCounts, Labelling)
    for i, labelled in enumerate(by_scale(records, main, *kinds)):
        scale, end = labelled[0].scale, suffix(i)
        counted: list[Run[VocabularyCounts]]
        counted = of_kind(labelled, VocabularyStatistics) or of_kind(labelled, VocabularyCounts)
        labelling: list[Run[Labelling]] = of_kind(labelled, Labelling)
        vocabularies = by_rule(counted)
        blocks += side_by_side(vocabulary_figures(vocabularies, scale, end))
        table = labels_table(by_rule(labelling), vocabularies, scale, suffix=end)
        if table.rows:
            blocks.append(table)
    blocks = blocks or to_fill("No caption has been labelled.", LABEL)
    return Section("vocabulary", "Captions and vocabulary", blocks)


def overlap_section(main: Setting | None, records: Records) -> Section:
    words = (
        "A label of another data set may be a class of the vocabulary, or have one near it in "
        "WordNet's graph."
    )
    blocks: list[Block] = []
    for i, counted in enumerate(by_scale(records, main, VocabularyStatistics)):
        rules, scale = by_rule(counted), counted[0].scale
        blocks += side_by_side(overlap_figures(rules, scale, suffix(i)))
        blocks += overlap_table(rules, scale, suffix(i))
    blocks = blocks or to_fill("Not run.", STATISTICS)
    return Section("overlap", "Labels of other data sets in the vocabulary", [Text(words), *blocks])


def labels_table(
    labelling: Mapping[str, Run[Labelling]],
    vocabularies: Mapping[str, Run[VocabularyCounts]],
    scale: str,
    suffix: str = "",
) -> Table:
    """Captions, labels and classes, one column per rule. If a rule has no run of labelling, the
    numbers of its labels are taken from its vocabulary.
    """
    rules = sorted({*labelling, *vocabularies}, key=rule_rank)
    causes = dict.fromkeys(cause for run in labelling.values() for cause in run.measured.unlabelled)
    labelled = {rule: _labels_counted(run) for rule, run in vocabularies.items()}
    labelled |= {rule: _labelled(run, [*causes][:MAX_CAUSES]) for rule, run in labelling.items()}
    kept = {rule: _kept(run) for rule, run in vocabularies.items()}
    rows = []
    for columns_by_rule in (labelled, kept):
        for name in dict.fromkeys(name for column in columns_by_rule.values() for name in column):
            cells = [columns_by_rule.get(rule, {}).get(name, Cell()) for rule in rules]
            if any(cell.text != MISSING for cell in cells):
                rows.append([Cell(name), *cells])
    columns = ["What", *(f"Rule {rule}" for rule in rules)]
    title = f"Captions, labels and classes, {scale} scale"
    caption = "Percentages below a number are of the captions, or of ImageNet-1k's 1,000 classes."
    return Table(f"labels{suffix}", title, columns, rows=rows, caption=caption)


def _labelled(run: Run[Labelling], causes: Sequence[str]) -> dict[str, Cell]:
    labels, anchor, processes = run.measured, run.anchor, ""
    if isinstance(run.setup.workers, int) and run.setup.workers > 0:
        processes = f"{run.setup.workers} process{'es' * (run.setup.workers != 1)}"
    without = sum(labels.unlabelled.values()) if labels.unlabelled else None
    return {
        "captions labelled": number_cell(labels.captions, 0, anchor),
        "labels per caption": number_cell(labels.labels_per_caption, 2, anchor),
        "captions without a label": share_cell(without, labels.captions, anchor),
        **{
            f"of these: {clipped(cause)}": number_cell(labels.unlabelled.get(cause), 0, anchor)
            for cause in causes
        },
        "captions too long to be read whole": number_cell(labels.cut, 0, anchor),
        "labels on disk (bytes per caption)": number_cell(labels.bytes_per_caption, 1, anchor),
        "captions labelled per second, whole run": number_cell(
            labels.captions_per_s, 0, anchor, small=processes
        ),
    }


def _labels_counted(run: Run[VocabularyCounts]) -> dict[str, Cell]:
    counts, anchor = run.measured, run.anchor
    return {
        "labels per caption": number_cell(counts.labels_per_caption, 2, anchor),
        "captions without a label": share_cell(
            counts.captions_without_label, counts.num_captions, anchor
        ),
    }


def _kept(run: Run[VocabularyCounts]) -> dict[str, Cell]:
    counts, anchor = run.measured, run.anchor
    # Older records have it only in their config.
    threshold = run.setup.threshold if counts.threshold is None else counts.threshold
    top_k = run.setup.top_k if counts.top_k is None else counts.top_k
    how = "" if top_k is None else f"the {shown(top_k, 0)} most frequent"
    if threshold is not None:
        how = f"over {shown(threshold, 0)} times"
    imagenet = {
        "ImageNet-1k classes among all synsets": counts.imagenet_classes_occurring,
        "ImageNet-1k classes among the classes": counts.imagenet_classes,
    }
    return {
        "captions counted for the vocabulary": number_cell(counts.num_captions, 0, anchor),
        "different synsets": number_cell(counts.unique_synsets, 0, anchor),
        "classes (synsets kept)": number_cell(counts.num_classes, 0, anchor, small=how),
        **{name: share_cell(n, IMAGENET_CLASSES, anchor) for name, n in imagenet.items()},
    }


@dataclass(frozen=True)
class Tail:
    """How often the synsets of one rule's labels occur: (rank, occurrences) by ascending rank, how
    many are kept as classes, and pruning threshold -> how many occur more often.
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
    (3(b)), and how many labels a caption has; a line or bar for each rule.
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
    words = "; ".join(
        f"Rule {rule}: {tail.points[-1][0]:,.0f} synsets, from {shown(tail.points[0][1], 0)} "
        f"occurrences down to {shown(tail.points[-1][1], 0)}"
        for rule, tail in tails.items()
    )
    caption = (
        f"How often each synset occurs in the captions, at {scale} scale; a mark shows where the "
        f"vocabulary is cut. {words}."
    )
    alt = f"Falling curves on a logarithmic scale. {words}."

    def draw(axes: "Axes") -> None:
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

    return Figure(f"vocabulary_counts{suffix}", caption, alt, draw=draw)


def _pruning(above: dict[str, dict[int, int]], scale: str, suffix: str) -> Figure:
    words = "; ".join(
        f"Rule {rule}: " + ", ".join(f"{n:,.0f} above {t:,}" for t, n in kept.items() if n)
        for rule, kept in above.items()
    )
    caption = f"How many synsets occur more often than a pruning threshold, at {scale} scale."
    alt = f"Falling curves of synsets kept. {words}."

    def draw(axes: "Axes") -> None:
        thresholds = sorted({t for kept in above.values() for t, n in kept.items() if n})
        thresholds = [thresholds[i] for i in thinned(len(thresholds), MAX_TICKS)]
        top = max(n for kept in above.values() for n in kept.values())
        names: list[tuple[float, float, str, str]] = []
        text: dict[str, Any] = {"textcoords": "offset points", "fontsize": 9}
        for rule, kept in above.items():
            style = rule_style(rule)
            colour = style["color"]
            points = [(x, kept[t]) for x, t in enumerate(thresholds) if t in kept]
            if not points:
                continue
            axes.plot(*zip(*points, strict=True), f"{style['marker']}-", color=colour, markersize=5)
            if not names:  # only the first curve's numbers are written at its points
                for x, n in points:
                    axes.annotate(f"{n:,.0f}", (x, n), (3, 6), color=colour, **text)
            names.append((*points[-1], rule, colour))
        axes.set_xticks(range(len(thresholds)), [f"{threshold:,}" for threshold in thresholds])
        axes.set_xlim(-0.3, len(thresholds) - 0.4)
        axes.set_ylim(0, 1.15 * top)
        axes.set_xlabel("pruning threshold (occurrences)")
        axes.yaxis.set_major_formatter(THOUSANDS)
        axes.set_ylabel("synsets kept")
        if len(names) > 1:
            label_points(axes, names, gap=0.09)

    return Figure(f"vocabulary_thresholds{suffix}", caption, alt, draw=draw)


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
    summaries = []
    for rule, fractions in shares.items():
        first = [f"{shown(share, 1)} % have {n}" for n, share in enumerate(fractions[:8])]
        summaries.append(f"Rule {rule}: {', '.join(first)}")
    caption = f"Captions (%) by their number of labels, at {scale} scale."
    alt = f"Bars. {'; '.join(summaries)}."

    def draw(axes: "Axes") -> None:
        width = 0.84 / len(shares)
        most = max(map(len, shares.values()))
        for i, (rule, fractions) in enumerate(shares.items()):
            middles = [n - 0.42 + (i + 0.5) * width for n in range(len(fractions))]
            colour = rule_style(rule)["color"]
            axes.bar(middles, fractions, width, color=colour)
            y = 0.93 - 0.09 * i
            axes.text(
                0.97, y, rule, ha="right", va="center", transform=axes.transAxes, color=colour
            )
        ticks = [n for n in range(most) if most <= 14 or n % 4 == 0]
        axes.set_xticks(ticks, [f"{n} or more" if n == LAST_BIN else str(n) for n in ticks])
        axes.grid(axis="x", visible=False)
        axes.set_xlabel("labels per caption")
        axes.set_ylabel("captions (%)")

    return Figure(f"labels_per_caption{suffix}", caption, alt, draw=draw)


def overlap_figures(
    records: Mapping[str, Run[VocabularyStatistics]], scale: str, suffix: str = ""
) -> list[Figure]:
    """For each rule: the labels by the similarity of their nearest class (2(b)), and the number of
    captions of the classes that match a label exactly (2(c)).
    """
    figures = []
    for i, (rule, record) in enumerate(records.items()):
        end = f"{suffix}_rule_{i + 1}" if i else suffix
        metrics = record.measured
        curves, exact = {}, {}
        for name in metrics.label_sets:
            size = metrics.labels[name].labels
            points = [(float(least), metrics.found(name, least)) for least in SIMILARITIES]
            if curve := [(least, 100 * n / size) for least, n in points if n is not None]:
                curves[name] = curve
            rows = record.rows(f"matches_{name}", Match)
            counts = [row.samples for row in rows if row.similarity == 1 and row.samples > 0]
            if counts:
                exact[name] = sorted(counts, reverse=True)
        if curves:
            figures.append(_similarity_figure(metrics, curves, rule, scale=scale, suffix=end))
        if exact:
            figures.append(_samples_figure(exact, rule, scale, suffix=end))
    return figures


Curve = list[tuple[float, float]]  # (similarity, labels in % whose nearest class is that similar)


def _similarity_figure(
    metrics: VocabularyStatistics, curves: dict[str, Curve], rule: str, scale: str, suffix: str
) -> Figure:
    summaries = []
    for name in curves:
        exact, size = metrics.found(name, "1.0"), metrics.labels[name].labels
        share = "" if exact is None else f" ({shown(100 * exact / size, 1)} %)"
        summaries.append(f"{LABEL_SETS[name]} {shown(exact, 0)} of {shown(size, 0)}{share}")
    words = ", ".join(summaries)
    caption = (
        "Labels whose nearest class of the vocabulary has at least a given similarity, by rule "
        f"{rule} at {scale} scale. Found exactly: {words}."
    )
    alt = f"Falling curves, one line per label set. Found exactly: {words}."

    def draw(axes: "Axes") -> None:
        ends = []
        for name, curve in curves.items():
            style = _style(name)
            axes.plot(*zip(*curve, strict=True), **style, markersize=5)
            ends.append(
                (*curve[-1], f"{LABEL_SETS[name]}\n{shown(curve[-1][1], 1)} %", style["color"])
            )
        axes.set_xlim(0.07, 1.03)
        axes.set_ylim(0, 104)
        axes.set_xticks([float(least) for least in SIMILARITIES])
        axes.set_xlabel("path similarity, at least")
        axes.set_ylabel("labels found (%)")
        label_points(axes, ends, gap=0.15)

    return Figure(f"label_overlap{suffix}", caption, alt, draw=draw)


def _style(name: str) -> dict[str, Any]:
    return series_style(list(LABEL_SETS).index(name))


def _samples_figure(counts: dict[str, list[int]], rule: str, scale: str, suffix: str) -> Figure:
    words = "; ".join(
        f"{LABEL_SETS[name]}: {len(captions):,} classes, median {shown_median(median(captions))} "
        f"captions, from {shown(captions[-1], 0)} to {shown(captions[0], 0)}"
        for name, captions in counts.items()
    )
    caption = (
        f"Captions of each class that matches a label exactly, by rule {rule} at {scale} scale; "
        f"every mark is one such class, the bar their median. {words}."
    )
    alt = f"Marks on a logarithmic axis. {words}."
    height = 1.1 + 0.58 * len(counts)

    def draw(axes: "Axes") -> None:
        mark: dict[str, Any] = {"markersize": 13, "markeredgewidth": 1, "alpha": 0.55}
        text: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "bottom"}
        for y, (name, captions) in enumerate(counts.items()):
            colour, middle = _style(name)["color"], median(captions)
            axes.plot(captions, [y] * len(captions), "|", color=colour, **mark)
            axes.plot([middle, middle], [y - 0.3, y + 0.3], color=colour, linewidth=3)
            axes.annotate(shown_median(middle), (middle, y - 0.3), (0, 2), color=colour, **text)
        axes.set_xscale("log")
        write_out_powers(axes.xaxis)
        names = [
            f"{LABEL_SETS[name]}\n{len(captions):,} classes" for name, captions in counts.items()
        ]
        axes.set_yticks(range(len(counts)), names)
        axes.set_ylim(len(counts) - 0.4, -0.75)
        axes.set_xlabel("captions per class")
        hide_rows(axes)

    return Figure(f"samples_per_class{suffix}", caption, alt, draw=draw, height=height)


def overlap_table(
    runs: Mapping[str, Run[VocabularyStatistics]], scale: str, suffix: str = ""
) -> list[Table]:
    """How many labels of each set are a class or near one, and how often the exact ones occur, with
    one group of rows per rule.
    """
    rows: list[list[Cell]] = []
    for rule, run in runs.items():
        if run.measured.label_sets:
            rows.append([Cell(f"Rule {rule}")])
        for name in run.measured.label_sets:
            counts, anchor = run.measured.labels[name], run.anchor
            found = (run.measured.found(name, similarity) for similarity in STEPS)
            middle = Cell()
            if counts.median is not None:
                middle = Cell(shown_median(counts.median), anchor=anchor)
            rows.append(
                [
                    Cell(LABEL_SETS[name]),
                    number_cell(counts.labels, 0, anchor),
                    number_cell(counts.without_synset, 0, anchor),
                    *(share_cell(n, counts.labels, anchor) for n in found),
                    middle,
                    number_cell(counts.least, 0, anchor),
                    number_cell(counts.most, 0, anchor),
                ]
            )
    if not rows:
        return []
    columns = [
        "Label set",
        "Labels",
        "Without a synset",
        *STEPS.values(),
        "Captions of an exact class, median",
        "fewest",
        "most",
    ]
    caption = (
        "A label is matched with the class of highest path similarity, 1 / (1 + steps in WordNet's "
        "graph of kinds); within 2 steps is a similarity of 1/3."
    )
    title = f"Labels of other data sets among the classes, {scale} scale"
    return [Table(f"label_overlap{suffix}", title, columns, rows=rows, caption=caption)]


def shown_median(value: float) -> str:
    """A median of counts, which may lie half way between two."""
    return shown(value, 1 if value % 1 == 0.5 else 0)
