"""Which synsets of the captions a vocabulary keeps, and how near its classes are to the labels of
other data sets.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from catlip.label.result import ByRule
from catlip.results.run import Run
from catlip.table import Cell, Table, number_cell, share_cell, shown

LABEL_SETS = {
    "imagenet": "ImageNet-1k",
    "places365": "Places365",
    "coco": "COCO",
    "ade20k": "ADE20k",
    "fashion_mnist": "Fashion-MNIST",
}
# Least similarity, 1 / (1 + steps) rounded down -> how a column calls it.
STEPS = {"1.0": "Exactly", "0.5": "Within 1 step", "0.3": "Within 2 steps", "0.2": "Within 4 steps"}


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

    @property
    def imagenet(self) -> LabelCounts | None:
        """ImageNet-1k's labels among the classes; None if they were not compared."""
        return None


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
            rows += [_overlap_row(run, name) for name in run.measured.label_sets]
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


def _overlap_row(run: Run[VocabularyStatistics], name: str) -> list[Cell]:
    counts, anchor = run.measured.labels[name], run.anchor
    median = Cell() if counts.median is None else Cell(shown_median(counts.median), anchor=anchor)
    return [
        Cell(LABEL_SETS[name]),
        number_cell(counts.labels, 0, anchor),
        number_cell(counts.without_synset, 0, anchor),
        *(share_cell(run.measured.found(name, step), counts.labels, anchor) for step in STEPS),
        median,
        number_cell(counts.least, 0, anchor),
        number_cell(counts.most, 0, anchor),
    ]


def shown_median(value: float) -> str:
    """A median of counts, which may lie half way between two."""
    return shown(value, 1 if value % 1 == 0.5 else 0)
