"""What labelling leaves in records: the labels of a data set's captions, an audit of the words that
a rule drops, and samples as training sees them. Captions are untrusted text.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from catlip.records.kind import ByRule
from catlip.records.run import Run, rule_of
from catlip.records.table import RECORDS, Column, Row, Share, Spec, clipped

LABEL = "a label"  # the verdict on a word that became a label
MAX_VERDICTS = 8


@dataclass(frozen=True, kw_only=True)
class Labelling(ByRule):
    """Labels of captions. The oldest records lack `sources` and `captions_labelled_now`.

    Attributes:
        sources: number of shards and of tables.
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


def audit_rows(runs: Iterable[Run[LabelAudit]]) -> Iterator[Row]:
    for run in runs:
        audit = run.metrics
        ranked = sorted(audit.words_by_verdict.items(), key=lambda item: item[0] != LABEL)
        for verdict, count in ranked[:MAX_VERDICTS]:
            yield {
                "rule": rule_of(run),
                "verdict": clipped(verdict),
                "words": Share(count, audit.words),
                RECORDS: (run.path,),
            }


AUDIT = Spec(
    "audit",
    "What became of the captions' words",
    "Percentages are of all words.",
    [
        Column("Rule", "rule", head=True),
        Column("Verdict", "verdict"),
        Column("Words", "words", 0),
    ],
    audit_rows,
    "python -m catlip.label audit data/starter/pretrain --labels-dir runs/starter/labels",
    [LabelAudit],
)
