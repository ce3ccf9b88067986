"""What a vocabulary keeps of the synsets in captions, and how near its classes are to the labels of
other data sets.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from catlip.kinds.run import Run
from catlip.kinds.words.labelling import ByRule
from catlip.table import Cell, Table, number_cell, share_cell, shown

LABEL_SETS = {
    "imagenet": "ImageNet-1k",
    "places365": "Places365",
    "coco": "COCO",
    "ade20k": "ADE20k",
    "fashion_mnist": "Fashion-MNIST",
}
# 1 / (1 + steps).
STEPS = {"1.0": "Exactly", "0.5": "Within 1 step", "0.3": "Within 2 steps", "0.2": "Within 4 steps"}
FEW = 10  # labels named most often, and as many that are farthest from any class


@dataclass(frozen=True, kw_only=True)
class LabelCounts:
    """How many labels a data set has, of these without a synset, and that are exactly a class; and
    of these classes the fewest, median and most captions, None without any such class.
    """

    labels: int
    without_synset: int = 0
    exact: int
    least: int | None = None
    median: float | None = None
    most: int | None = None


@dataclass(frozen=True, kw_only=True)
class VocabularyCounts(ByRule):
    """What captions hold, and how much of it the classes of a vocabulary are; None is unknown.

    Attributes:
        threshold, top_k: how the classes were chosen, one of them None.
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
        """ImageNet-1k's labels among the classes; None where they were not compared."""
        return None


@dataclass(frozen=True)
class Match:
    """The class nearest to a label; of a label without a synset, none with similarity 0.

    `samples` is how many captions name the class.
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
            at least so similar.
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
        """The known label sets that it compares with."""
        return [name for name in LABEL_SETS if name in self.labels and self.labels[name].labels > 0]

    def found(self, label_set: str, similarity: str) -> int | None:
        """How many labels have a class that is so similar."""
        return self.overlap.get(label_set, {}).get(similarity)


def overlap_table(
    runs: Mapping[str, Run[VocabularyStatistics]], scale: str, suffix: str = ""
) -> list[Table]:
    """How many labels of each set are classes or near one, and how often the exact ones occur; a
    group of rows a rule.
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
