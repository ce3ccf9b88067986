"""Which synsets of the captions a vocabulary keeps, and how near its classes are to the labels of
other data sets: the records, and the tables and figures of both. Figures have one line for each
rule, in the forms of the paper's Figures 2 and 3.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from catlip.label.result import Labelling
from catlip.records.kind import ByRule
from catlip.records.run import Run, rule_of
from catlip.records.table import RECORDS, Column, Row, Share, Spec

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


@dataclass(frozen=True, kw_only=True)
class VocabularyStatistics(VocabularyCounts):
    """A vocabulary beside the labels of other data sets.

    Attributes:
        overlap: label set -> similarity "0.1" to "1.0" -> number of labels whose nearest class is
            at least that similar.
        labels: label set -> its counts.
    """

    kind = "vocabulary_statistics"

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


def label_rows(runs: Iterable[Run[Any]]) -> Iterator[Row]:
    """A row for each data set and rule, of a run of labelling and of one of the vocabulary's
    counts.
    """
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for run in runs:
        counts, rule = run.metrics, rule_of(run)
        row = rows.setdefault((run.root, run.scale, rule), {"rule": rule, RECORDS: ()})
        row[RECORDS] += (run.path,)
        if isinstance(counts, Labelling):
            captions, without = counts.captions, sum(counts.unlabelled.values()) or None
        else:
            captions, without = counts.num_captions, counts.captions_without_label
            row |= {"synsets": counts.unique_synsets, "classes": counts.num_classes}
            row |= {"threshold": counts.threshold, "top_k": counts.top_k}
            for name in ("imagenet_classes_occurring", "imagenet_classes"):
                if (number := getattr(counts, name)) is not None:
                    row[name] = Share(number, IMAGENET_CLASSES)
        row |= {"captions": captions, "per_caption": counts.labels_per_caption}
        if without is not None and captions:
            row["without"] = Share(without, captions)
    yield from rows.values()


LABELS = Spec(
    "labels",
    "Captions, labels and classes",
    "Percentages are of the captions, or of ImageNet-1k's 1,000 classes.",
    [
        Column("Rule", "rule", head=True),
        Column("Captions", "captions", 0),
        Column("Labels per caption", "per_caption", 2),
        Column("Without a label", "without", 0),
        Column("Synsets", "synsets", 0),
        Column("Classes", "classes", 0),
        Column("Over a count of", "threshold", 0),
        Column("The most frequent", "top_k", 0),
        Column("ImageNet-1k's among the synsets", "imagenet_classes_occurring", 0),
        Column("Among the classes", "imagenet_classes", 0),
    ],
    label_rows,
    "python -m catlip.label data/starter/pretrain --rule paper --labels-dir runs/starter/labels",
    [Labelling, VocabularyStatistics, VocabularyCounts],
)


def overlap_rows(runs: Iterable[Run[VocabularyStatistics]]) -> Iterator[Row]:
    """How many labels of each set are a class or near one, and the captions of those classes."""
    for run in runs:
        for name in run.metrics.label_sets:
            counts = run.metrics.labels[name]
            within = {
                words: run.metrics.labels_within(name, similarity)
                for similarity, words in STEPS.items()
            }
            yield {
                "rule": rule_of(run),
                "set": LABEL_SETS[name],
                "labels": counts.labels,
                "without": counts.without_synset,
                **{w: Share(n, counts.labels) for w, n in within.items() if n is not None},
                "median": counts.median,
                RECORDS: (run.path,),
            }


OVERLAP = Spec(
    "overlap",
    "Labels of other data sets among the classes",
    "A label may be a class of the vocabulary, or have one near it in WordNet's graph.",
    [
        Column("Rule", "rule", head=True),
        Column("Label set", "set"),
        Column("Labels", "labels", 0),
        Column("Without a synset", "without", 0),
        *(Column(words, words, 0) for words in STEPS.values()),
        Column("Captions of an exact class, median", "median"),
    ],
    overlap_rows,
    "python -m catlip.vocabulary stats runs/starter/vocabulary.json --against imagenet coco ade20k",
    [VocabularyStatistics],
)


def tail(run: Run[VocabularyStatistics]) -> list[tuple[float, float]]:
    """(rank, occurrences) of synsets, by ascending rank (Figure 3(a))."""
    points = zip(run.series("tail_rank"), run.series("tail_count"), strict=False)
    return sorted(point for point in points if all(1 <= value < math.inf for value in point))


def similarities(run: Run[VocabularyStatistics]) -> dict[str, list[tuple[float, float]]]:
    """Label set -> (least path similarity, labels in % whose nearest class has it) (2(b))."""
    curves = {}
    for name in run.metrics.label_sets:
        size = run.metrics.labels[name].labels
        counts = [(float(least), run.metrics.labels_within(name, least)) for least in SIMILARITIES]
        curves[LABEL_SETS[name]] = [(least, 100 * n / size) for least, n in counts if n is not None]
    return curves
