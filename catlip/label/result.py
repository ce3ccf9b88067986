"""What labelling leaves in records: the labels of a data set's captions, an audit of the words that
a rule drops, and samples as training sees them. Captions are untrusted text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from catlip.records.select import ByRule
from catlip.records.table import Cell, Table, clipped, number_cell, share_cell

LABEL = "a label"  # the verdict on a word that became a label
MAX_VERDICTS = 8


@dataclass(frozen=True, kw_only=True)
class Labelling(ByRule):
    """Labels of captions. The oldest records lack `sources` and `captions_labelled_now`.

    Attributes:
        sources: number of shards and of parts of tables.
        unlabelled, first_unlabelled: cause -> number of captions without a label, and the first.
        skipped, first_skipped: cause -> number of samples without a readable caption, and the
            first.
        captions_labelled_now, captions_per_s: number of captions that no earlier run had labelled,
            and the rate; None without any.
    """

    kind = "labelling"

    sources: int | None = None
    captions: int
    labels_per_caption: float
    unlabelled: dict[str, int]
    first_unlabelled: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    first_skipped: dict[str, str] = field(default_factory=dict)
    captions_labelled_now: int | None = None
    captions_per_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Example:
    """A sample: caption, the classes that it names, and image in base64 (None if broken). Each word
    has its part of speech and synset ("" for none); older records have no words.
    """

    key: str
    caption: str
    classes: list[str]
    words: list[tuple[str, str, str]] = field(default_factory=list)
    image: str | None = None


@dataclass(frozen=True, kw_only=True)
class Examples(ByRule):
    """Samples with their labels by a vocabulary of `num_classes` classes."""

    kind = "examples"
    rows: ClassVar = {"pictures": Example}

    num_classes: int


@dataclass(frozen=True, kw_only=True)
class LabelAudit(ByRule):
    """What became of the captions' words: verdict -> number of words."""

    kind = "label_audit"

    captions: int
    words: int
    words_by_verdict: dict[str, int]


def verdicts_table(audit: LabelAudit, end: str = "", anchor: str = "") -> Table:
    """What became of the captions' words."""
    rows: list[Sequence[Cell]] = [
        [Cell("captions looked at"), number_cell(audit.captions, 0, anchor)],
        [Cell("their words"), number_cell(audit.words, 0, anchor)],
        [Cell("Of these words")],
    ]
    ranked = sorted(audit.words_by_verdict.items(), key=lambda item: item[0] != LABEL)
    for verdict, count in ranked[:MAX_VERDICTS]:
        rows.append([Cell(clipped(verdict)), share_cell(count, audit.words)])
    title = "What became of the captions' words"
    columns = ["What", f"Rule {clipped(audit.rule, 24)}"]
    return Table(f"words_by_verdict{end}", title, columns, rows=rows, folded=True)
