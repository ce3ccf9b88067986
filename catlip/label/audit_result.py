"""The words that labelling rules drop most, or may keep wrongly, each with one caption as an
example. Captions are untrusted text.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from catlip.label.result import ByRule
from catlip.results.run import Run
from catlip.table import MISSING, Cell, Table, clipped, number_cell, share_cell

LABEL = "a label"  # the verdict on a word that became a label
TOP = 15
MOST_VERDICTS = 8


@dataclass(frozen=True)
class DroppedWord:
    """A word, in its base form, that WordNet or the tagger calls a noun but that gave no label: the
    reason, the number of captions, and one of these.
    """

    word: str
    reason: str
    captions: int
    example: str


@dataclass(frozen=True)
class NotANoun:
    """A label whose word the tagger does not tag as a noun, with the tag that it gave."""

    word: str
    synset: str
    tag: str
    captions: int
    example: str


@dataclass(frozen=True)
class AmbiguousNoun:
    """A label whose word has many senses, of which the first is taken."""

    word: str
    synset: str
    senses: int
    captions: int
    example: str


AuditedWord = DroppedWord | NotANoun | AmbiguousNoun


@dataclass(frozen=True, kw_only=True)
class LabelAudit(ByRule):
    """What became of the captions' words: verdict -> number of words."""

    kind = "label_audit"
    rows: ClassVar = {"dropped": DroppedWord, "not_nouns": NotANoun, "many_senses": AmbiguousNoun}

    captions: int
    words: int
    words_by_verdict: dict[str, int]


def verdict_table(
    audits: Mapping[str, Run[LabelAudit]], scale: str, suffix: str = ""
) -> list[Table]:
    """What became of the captions' words, in fractions of all words, one column per rule."""
    totals = Counter[str]()
    for run in audits.values():
        totals.update(run.measured.words_by_verdict)
    if not totals:
        return []
    ranked = sorted(totals, key=lambda verdict: (verdict != LABEL, -totals[verdict], verdict))
    runs = audits.values()
    captions = [number_cell(run.measured.captions, 0, run.anchor) for run in runs]
    words = [number_cell(run.measured.words, 0, run.anchor) for run in runs]
    rows = [
        [Cell("captions looked at"), *captions],
        [Cell("their words"), *words],
        [Cell("Of these words")],
    ]
    for verdict in ranked[:MOST_VERDICTS]:
        rows.append([Cell(clipped(verdict)), *(_verdict(run, verdict) for run in runs)])
    title = f"What became of the captions' words, {scale} scale"
    columns = ["What", *(f"Rule {rule}" for rule in audits)]
    return [Table(f"words_by_verdict{suffix}", title, columns, rows=rows)]


def _verdict(run: Run[LabelAudit], verdict: str) -> Cell:
    words = run.measured.words_by_verdict.get(verdict)
    return share_cell(words, run.measured.words, run.anchor)


def audit_tables(audits: Mapping[str, Run[LabelAudit]]) -> list[Table]:
    """The first rows of each rule's tables of audited words, folded."""
    tables = [
        part(run, rule, f"_{i}")
        for part in (_dropped, _not_nouns, _many_senses)
        for i, (rule, run) in enumerate(audits.items(), start=1)
    ]
    return [table for table in tables if table.rows]


def _dropped(run: Run[LabelAudit], rule: str, suffix: str) -> Table:
    title = f"Nouns, by WordNet or the tagger, that rule {rule} drops most"
    words = run.rows("dropped", DroppedWord)[:TOP]
    rows = [_word(run, word, Cell(clipped(word.reason))) for word in words]
    return _words_table(f"label_audit_dropped{suffix}", title, ["Why it gave no label"], rows=rows)


def _not_nouns(run: Run[LabelAudit], rule: str, suffix: str) -> Table:
    title = f"Words that rule {rule} takes for nouns, but the tagger does not"
    words = run.rows("not_nouns", NotANoun)[:TOP]
    rows = [_word(run, w, Cell(clipped(w.synset)), Cell(clipped(w.tag))) for w in words]
    return _words_table(f"label_audit_not_nouns{suffix}", title, ["Label", "Tag"], rows=rows)


def _many_senses(run: Run[LabelAudit], rule: str, suffix: str) -> Table:
    title = f"Nouns that rule {rule} may mistake: of their many senses it takes the first"
    words = run.rows("many_senses", AmbiguousNoun)[:TOP]
    rows = [_word(run, w, Cell(clipped(w.synset)), number_cell(w.senses, 0)) for w in words]
    return _words_table(f"label_audit_many_senses{suffix}", title, ["Label", "Senses"], rows=rows)


def _words_table(name: str, title: str, between: list[str], rows: list[list[Cell]]) -> Table:
    return Table(name, title, ["Word", *between, "Captions", "Example"], rows=rows, folded=True)


def _word(run: Run[LabelAudit], word: AuditedWord, *between: Cell) -> list[Cell]:
    example = clipped(word.example, 100)
    return [
        Cell(clipped(word.word, 30)),
        *between,
        share_cell(word.captions, run.measured.captions, run.anchor),
        Cell(example if example == MISSING else f"“{example}”"),
    ]
