"""Which synsets of the captions a vocabulary keeps, and how near its classes are to the labels of
other data sets: the records, and the tables and figures of both. Figures have one line for each
rule, in the forms of the paper's Figures 2 and 3.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, ClassVar

from catlip.label.result import LabelAudit, Labelling, verdicts_table
from catlip.records.blocks import Block, Section, Text, command_to_fill, side_by_side
from catlip.records.figures import (
    THOUSANDS,
    Axes,
    Figure,
    hide_rows,
    label_points,
    series_style,
    write_out_powers,
)
from catlip.records.run import Records, Run, Setting, select_kind
from catlip.records.select import (
    ByRule,
    first_of_each_rule,
    group_by_scale,
    rule_rank,
    rule_style,
    suffix,
)
from catlip.records.table import MISSING, Cell, Table, format_number, number_cell, share_cell

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
IMAGENET_CLASSES = 1000


@dataclass(frozen=True, kw_only=True)
class LabelCounts:
    """The labels of a data set: how many it has, how many of these have no synset, how many are
    exactly a class, and the median of these classes' captions (None without any such class).
    """

    labels: int
    without_synset: int = 0
    exact: int
    median: float | None = None


@dataclass(frozen=True, kw_only=True)
class VocabularyCounts(ByRule):
    """Counts of the synsets in captions, and of the classes that a vocabulary keeps; None if
    unknown.

    Attributes:
        threshold, top_k: how the classes were chosen; one of the two is None.
        imagenet_classes_occurring, imagenet_classes: how many of ImageNet-1k's classes are among
            all synsets, and among the classes.
    """

    kind = "vocabulary"

    num_classes: int
    num_captions: int | None = None
    captions_without_label: int | None = None
    labels_per_caption: float | None = None
    unique_synsets: int
    imagenet_classes_occurring: int
    imagenet_classes: int | None = None
    threshold: int | None = None
    top_k: int | None = None


@dataclass(frozen=True)
class Match:
    """A label and its nearest class, with its captions; without a synset, none at similarity 0."""

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

    def labels_within(self, label_set: str, similarity: str) -> int | None:
        """How many labels have a class of at least this similarity; None if it is not recorded."""
        return self.overlap.get(label_set, {}).get(similarity)


def vocabulary_section(main: Setting | None, records: Records) -> Section:
    blocks: list[Block] = []
    kinds = (VocabularyStatistics, VocabularyCounts, Labelling, LabelAudit)
    for i, labelled in enumerate(group_by_scale(records, main, *kinds)):
        scale, end = labelled[0].scale, suffix(i)
        statistics = first_of_each_rule(select_kind(labelled, VocabularyStatistics))
        vocabularies: dict[str, Run[VocabularyCounts]]
        vocabularies = {**first_of_each_rule(select_kind(labelled, VocabularyCounts)), **statistics}
        blocks += side_by_side(tail_figure(statistics, scale, end))
        table = labels_table(
            first_of_each_rule(select_kind(labelled, Labelling)), vocabularies, scale, suffix=end
        )
        if table.rows:
            blocks.append(table)
        for rule, audit in first_of_each_rule(select_kind(labelled, LabelAudit)).items():
            blocks.append(verdicts_table(audit.metrics, f"{end}_{rule}", audit.anchor))
    blocks = blocks or command_to_fill("No caption has been labelled.", LABEL)
    return Section("vocabulary", "Captions and vocabulary", blocks)


def overlap_section(main: Setting | None, records: Records) -> Section:
    words = (
        "A label of another data set may be a class of the vocabulary, or have one near it in "
        "WordNet's graph."
    )
    blocks: list[Block] = []
    for i, counted in enumerate(group_by_scale(records, main, VocabularyStatistics)):
        figures, scale = [], counted[0].scale
        for j, (rule, record) in enumerate(first_of_each_rule(counted).items()):
            end = f"{suffix(i)}_rule_{j + 1}" if j else suffix(i)
            figures += similarity_figure(record, rule, scale, suffix=end)
            figures += samples_figure(record, rule, scale, suffix=end)
        blocks += side_by_side(figures)
    blocks = blocks or command_to_fill("Not run.", STATISTICS)
    return Section("overlap", "Labels of other data sets in the vocabulary", [Text(words), *blocks])


def labels_table(
    labelling: Mapping[str, Run[Labelling]],
    vocabularies: Mapping[str, Run[VocabularyCounts]],
    scale: str,
    suffix: str = "",
) -> Table:
    """A column per rule; without a run of labelling, its numbers are the vocabulary's."""
    rows: dict[str, dict[str, Cell]] = {}
    runs: list[tuple[str, Run[Any]]] = [*labelling.items(), *vocabularies.items()]
    for rule, run in runs:
        counts, anchor = run.metrics, run.anchor
        if isinstance(counts, Labelling):
            captions, without = counts.captions, sum(counts.unlabelled.values()) or None
        else:
            captions, without = counts.num_captions, counts.captions_without_label
        cells = {
            "captions": number_cell(captions, 0, anchor),
            "labels per caption": number_cell(counts.labels_per_caption, 2, anchor),
            "captions without a label": share_cell(without, captions, anchor),
        }
        if isinstance(counts, VocabularyCounts):
            how = f"the {format_number(counts.top_k, 0)} most frequent" if counts.top_k else ""
            if counts.threshold is not None:
                how = f"over {format_number(counts.threshold, 0)} times"
            occurring, kept = counts.imagenet_classes_occurring, counts.imagenet_classes
            among = "ImageNet-1k classes among"
            cells |= {
                "different synsets": number_cell(counts.unique_synsets, 0, anchor),
                "classes (synsets kept)": number_cell(counts.num_classes, 0, anchor, small=how),
                f"{among} all synsets": share_cell(occurring, IMAGENET_CLASSES, anchor),
                f"{among} the classes": share_cell(kept, IMAGENET_CLASSES, anchor),
            }
        for name, cell in cells.items():
            if cell.text != MISSING:
                rows.setdefault(name, {}).setdefault(rule, cell)
    rules = sorted({*labelling, *vocabularies}, key=rule_rank)
    columns = ["What", *(f"Rule {rule}" for rule in rules)]
    title = f"Captions, labels and classes, {scale} scale"
    caption = "Percentages below a number are of the captions, or of ImageNet-1k's 1,000 classes."
    body = [
        [Cell(name), *(cells.get(rule, Cell()) for rule in rules)] for name, cells in rows.items()
    ]
    return Table(f"labels{suffix}", title, columns, rows=body, caption=caption)


def tail_figure(
    records: Mapping[str, Run[VocabularyStatistics]], scale: str, suffix: str = ""
) -> list[Figure]:
    """How often each synset occurs (3(a)), a line for each rule."""
    tails: dict[str, list[tuple[float, float]]] = {}  # (rank, occurrences) by ascending rank
    for rule, record in records.items():
        points = zip(record.series("tail_rank"), record.series("tail_count"), strict=False)
        possible = sorted(p for p in points if all(1 <= value < math.inf for value in p))
        if possible:
            tails[rule] = possible
    words = "; ".join(
        f"Rule {rule}: {tail[-1][0]:,.0f} synsets, from {format_number(tail[0][1], 0)} "
        f"occurrences down to {format_number(tail[-1][1], 0)}"
        for rule, tail in tails.items()
    )
    caption = (
        f"How often each synset occurs in the captions, at {scale} scale; a mark shows where the "
        f"vocabulary is cut."
    )
    alt = f"Falling curves on a logarithmic scale. {words}."

    def draw(axes: Axes) -> None:
        names = []
        for rule, tail in tails.items():
            style, last, kept = rule_style(rule), tail[-1][0], records[rule].metrics.num_classes
            axes.plot(*zip(*tail, strict=True), color=style["color"])
            is_cut = 0 < kept <= last
            cut = kept if is_cut else last
            rank, occurrences = min(tail, key=lambda point: abs(point[0] - cut))
            name = f"{rule}: \n{last:,.0f} synsets"
            if is_cut:
                name = f"{rule}: kept\n{kept:,.0f} of {last:,.0f}"
                axes.plot(rank, occurrences, style["marker"], color=style["color"], markersize=8)
            names.append((rank, occurrences, name, style["color"]))
        axes.set_yscale("log")
        write_out_powers(axes.yaxis)
        axes.set_xlim(0, 1.02 * max(tail[-1][0] for tail in tails.values()))
        axes.set_ylim(0.8, 1.6 * max(tail[0][1] for tail in tails.values()))
        axes.xaxis.set_major_formatter(THOUSANDS)
        axes.set_xlabel("synset, by descending count")
        axes.set_ylabel("occurrences")
        label_points(axes, names, gap=0.16)

    return [Figure(f"vocabulary_counts{suffix}", caption, alt, draw=draw)] if tails else []


def similarity_figure(
    record: Run[VocabularyStatistics], rule: str, scale: str, suffix: str = ""
) -> list[Figure]:
    """The labels of each set by the similarity of their nearest class (2(b))."""
    metrics, curves, summaries = record.metrics, {}, []
    for name in metrics.label_sets:
        size = metrics.labels[name].labels
        counts = [(float(least), metrics.labels_within(name, least)) for least in SIMILARITIES]
        if curve := [(least, 100 * n / size) for least, n in counts if n is not None]:
            curves[name] = curve
            exact = metrics.labels_within(name, "1.0")
            share = "" if exact is None else f" ({format_number(100 * exact / size, 1)} %)"
            summaries.append(
                f"{LABEL_SETS[name]} {format_number(exact, 0)} of {format_number(size, 0)}{share}"
            )
    words = ", ".join(summaries)
    caption = (
        "Labels whose nearest class of the vocabulary has at least a given similarity, by rule "
        f"{rule} at {scale} scale."
    )
    alt = f"Falling curves, one line per label set. Found exactly: {words}."

    def draw(axes: Axes) -> None:
        ends = []
        for name, curve in curves.items():
            style = _style(name)
            axes.plot(*zip(*curve, strict=True), **style, markersize=5)
            label = f"{LABEL_SETS[name]}\n{format_number(curve[-1][1], 1)} %"
            ends.append((*curve[-1], label, style["color"]))
        axes.set_xlim(0.07, 1.03)
        axes.set_ylim(0, 104)
        axes.set_xticks([float(least) for least in SIMILARITIES])
        axes.set_xlabel("path similarity, at least")
        axes.set_ylabel("labels found (%)")
        label_points(axes, ends, gap=0.15)

    return [Figure(f"label_overlap{suffix}", caption, alt, draw=draw)] if curves else []


def samples_figure(
    record: Run[VocabularyStatistics], rule: str, scale: str, suffix: str = ""
) -> list[Figure]:
    """The number of captions of the classes that match a label exactly (2(c))."""
    counts: dict[str, list[int]] = {}
    for name in record.metrics.label_sets:
        matches = record.rows(f"matches_{name}", Match)
        if exact := [row.samples for row in matches if row.similarity == 1 and row.samples > 0]:
            counts[name] = sorted(exact, reverse=True)
    words = "; ".join(
        f"{LABEL_SETS[name]}: {len(captions):,} classes, median {_format_median(captions)} "
        f"captions, from {format_number(captions[-1], 0)} to {format_number(captions[0], 0)}"
        for name, captions in counts.items()
    )
    caption = (
        f"Captions of each class that matches a label exactly, by rule {rule} at {scale} scale; "
        f"every mark is one such class, the bar their median."
    )
    alt = f"Marks on a logarithmic axis. {words}."
    height = 1.1 + 0.58 * len(counts)

    def draw(axes: Axes) -> None:
        mark: dict[str, Any] = {"markersize": 13, "markeredgewidth": 1, "alpha": 0.55}
        text: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "bottom"}
        for y, (name, captions) in enumerate(counts.items()):
            colour, middle = _style(name)["color"], median(captions)
            axes.plot(captions, [y] * len(captions), "|", color=colour, **mark)
            axes.plot([middle, middle], [y - 0.3, y + 0.3], color=colour, linewidth=3)
            axes.annotate(_format_median(captions), (middle, y - 0.3), (0, 2), color=colour, **text)
        axes.set_xscale("log")
        write_out_powers(axes.xaxis)
        names = [
            f"{LABEL_SETS[name]}\n{len(captions):,} classes" for name, captions in counts.items()
        ]
        axes.set_yticks(range(len(counts)), names)
        axes.set_ylim(len(counts) - 0.4, -0.75)
        axes.set_xlabel("captions per class")
        hide_rows(axes)

    figure = Figure(f"samples_per_class{suffix}", caption, alt, draw=draw, height=height)
    return [figure] if counts else []


def _style(name: str) -> dict[str, Any]:
    return series_style(list(LABEL_SETS).index(name))


def _format_median(counts: list[int]) -> str:
    """The median, which may lie half way between two counts."""
    middle = median(counts)
    return format_number(middle, 1 if middle % 1 == 0.5 else 0)


def overlap_table(runs: Mapping[str, Run[VocabularyStatistics]]) -> list[Table]:
    """How many labels of each set are a class or near one, with one group of rows per rule."""
    rows: list[list[Cell]] = []
    for rule, run in runs.items():
        if run.metrics.label_sets:
            rows.append([Cell(f"Rule {rule}")])
        for name in run.metrics.label_sets:
            counts, anchor = run.metrics.labels[name], run.anchor
            matching = (run.metrics.labels_within(name, similarity) for similarity in STEPS)
            rows.append(
                [
                    Cell(LABEL_SETS[name]),
                    number_cell(counts.labels, 0, anchor),
                    number_cell(counts.without_synset, 0, anchor),
                    *(share_cell(n, counts.labels, anchor) for n in matching),
                ]
            )
    if not rows:
        return []
    columns = ["Label set", "Labels", "Without a synset", *STEPS.values()]
    return [Table("label_overlap", "Labels among the classes", columns, rows=rows)]
