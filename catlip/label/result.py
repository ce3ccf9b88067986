"""What labelling leaves in records: the labels of a data set's captions, an audit of the words that
a rule drops, and samples as training sees them. Captions are untrusted text.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from catlip.results.run import Run
from catlip.results.select import RULES as RULES
from catlip.results.select import ByRule
from catlip.results.select import rule_rank as rule_rank
from catlip.table import Cell, Table, clipped, number_cell, share_cell

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
    """A sample: its caption, the classes that the caption names, the synsets in it that are too
    rare to be classes, and its image in base64 (None if it cannot be read). Of each word (not in
    older records) the part of speech and the synset, which are "" if there is none.
    """

    key: str
    caption: str
    classes: list[str]
    too_rare: list[str]
    words: list[tuple[str, str, str]] = field(default_factory=list)
    image: str | None = None


@dataclass(frozen=True, kw_only=True)
class Examples(ByRule):
    """Samples with their labels by a vocabulary of `num_classes` classes."""

    kind = "examples"
    rows: ClassVar = {"pictures": Example}

    num_classes: int


@dataclass(frozen=True)
class AuditedWord:
    """A word, in its base form, in a table of an audit, with the number of captions and one of
    these. A dropped noun has the reason why; a label has its synset, and the tag that is no noun's
    or the number of senses.
    """

    word: str
    captions: int
    example: str
    reason: str = ""
    synset: str = ""
    tag: str = ""
    senses: int | None = None


@dataclass(frozen=True, kw_only=True)
class LabelAudit(ByRule):
    """What became of the captions' words: verdict -> number of words."""

    kind = "label_audit"
    rows: ClassVar = dict.fromkeys(("dropped", "not_nouns", "many_senses"), AuditedWord)

    captions: int
    words: int
    words_by_verdict: dict[str, int]


def verdict_table(
    audits: Mapping[str, Run[LabelAudit]], scale: str, suffix: str = ""
) -> list[Table]:
    """What became of the captions' words, in fractions of all words, one column per rule."""
    runs = audits.values()
    totals = Counter[str]()
    for run in runs:
        totals.update(run.measured.words_by_verdict)
    if not totals:
        return []
    captions = [number_cell(run.measured.captions, 0, run.anchor) for run in runs]
    words = [number_cell(run.measured.words, 0, run.anchor) for run in runs]
    rows = [[Cell("captions looked at"), *captions], [Cell("their words"), *words]]
    rows.append([Cell("Of these words")])
    ranked = sorted(totals, key=lambda verdict: (verdict != LABEL, -totals[verdict], verdict))
    for verdict in ranked[:MAX_VERDICTS]:
        cells = [
            share_cell(run.measured.words_by_verdict.get(verdict), run.measured.words, run.anchor)
            for run in runs
        ]
        rows.append([Cell(clipped(verdict)), *cells])
    title = f"What became of the captions' words, {scale} scale"
    columns = ["What", *(f"Rule {rule}" for rule in audits)]
    return [Table(f"words_by_verdict{suffix}", title, columns, rows=rows)]
