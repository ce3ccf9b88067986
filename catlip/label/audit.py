"""Counts over real captions what a labelling rule drops most, and what it may keep wrongly.

    python -m catlip.label audit captions.parquet --rule corenet

Three tables of words by their base form, each with the number of captions and one caption to look
at:

dropped        words that WordNet or the tagger calls nouns but that gave no label, by the reason
               why.
not_nouns      labels of words that the tagger of rule "paper" does not tag as nouns; rule
               "corenet" gives such labels, since it ignores the part of speech.
many_senses    labels that may have the wrong sense: every rule takes a noun's first sense, and
               these nouns have `MANY_SENSES` senses or more.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import tyro

from catlip.captions import NOUN, Labeller, Word
from catlip.label.audit_result import (
    LABEL,
    AmbiguousNoun,
    AuditedWord,
    DroppedWord,
    LabelAudit,
    NotANoun,
    audit_tables,
    verdict_table,
)
from catlip.label.sidecar import labelling_record
from catlip.label.sources import Source, find, split
from catlip.label.tables import PART_ROWS
from catlip.program.progress import progress
from catlip.record import Record
from catlip.table import as_text
from catlip.words import wordnet_dir

MANY_SENSES = 5
RECORDED_ROWS = 100
MAX_CAPTIONS = 100_000
MAX_SOURCES = 100  # to take captions from; with more, most of the time would go to opening files
EXAMPLE_CHARACTERS = 100


@dataclass(frozen=True)
class Audit:
    """Count what a rule drops most and what it may keep wrongly, with an example caption for each,
    in up to 100,000 captions, taken evenly from the shards and parts.

    python -m catlip.label audit captions.parquet --rule corenet
    """

    sources: tyro.conf.Positional[tuple[str, ...]]
    """Shards or tables, as for labelling."""
    rule: str = "paper"
    """"paper", "corenet" or "paper_multiword"."""
    text_column: str | None = None
    """A table's column of captions, as for labelling."""
    labels_dir: Path | None = None
    """Folder of the labels of these sources. The record goes to labelling/ beside a local folder
    given here, otherwise to runs/labelling/.
    """
    quiet: bool = False
    """No progress bar."""


def audit(config: Audit) -> None:
    """Look at the captions, write the record, print the beginning of each table."""
    paths = find(config.sources)
    sources = [source for path in paths for source in split(path, config.text_column, PART_ROWS)]
    record_path = labelling_record(paths, config.labels_dir, f"audit-{config.rule}")
    with Record(record_path, LabelAudit, config) as record:
        captions = take_captions(sources, MAX_CAPTIONS)
        bar = progress(captions, "auditing", disable=config.quiet, unit=" captions")
        metrics, record.samples = audit_captions(bar, config.rule)
        run = record.measured(metrics)
    audits = {config.rule: run}
    for table in [*verdict_table(audits, scale=""), *audit_tables(audits)]:
        print(f"{table.title}\n{as_text(table)}\n")
    print(f"record: {record_path}")


def take_captions(sources: Sequence[Source], most: int) -> Iterator[str]:
    """At most `most` captions: the first ones of up to `MAX_SOURCES` sources, about as many from
    each.
    """
    chosen = sources[:: -(-len(sources) // MAX_SOURCES)]
    share, rest = divmod(most, len(chosen))
    for number, source in enumerate(chosen):
        texts = (caption for _, caption in source.samples() if isinstance(caption, str))
        yield from islice(texts, share + (number < rest))


def audit_captions(
    captions: Iterable[str], rule: str
) -> tuple[LabelAudit, dict[str, list[dict[str, Any]]]]:
    """What became of the words of the captions, and the first `RECORDED_ROWS` of each table."""
    labeller = Labeller(rule)
    tagger = labeller if labeller.tagger else Labeller("paper")
    senses = _noun_senses()
    num_captions = 0
    verdicts = Counter[str]()
    dropped, not_nouns, many_senses = Tally(), Tally(), Tally()
    for caption in captions:
        num_captions += 1
        words = labeller.explain(caption)
        tags = [word.tag for word in (words if tagger is labeller else tagger.explain(caption))]
        verdicts.update(map(_verdict, words))
        tagged = list(zip(words, tags, strict=True))
        dropped.add({(w.lemma, w.reason) for w, tag in tagged if _is_lost(w, tag)}, caption)
        kept = [(word, tag) for word, tag in tagged if word.kept]
        not_nouns.add(
            {(w.lemma, w.synset, tag) for w, tag in kept if not tag.startswith(NOUN)}, caption
        )
        many_senses.add(
            {(w.lemma, w.synset, n) for w, _ in kept if (n := senses[w.lemma]) >= MANY_SENSES},
            caption,
        )
    metrics = LabelAudit(
        rule=rule,
        captions=num_captions,
        words=verdicts.total(),
        words_by_verdict=dict(verdicts.most_common()),
    )
    return metrics, {
        "dropped": dropped.top(DroppedWord),
        "not_nouns": not_nouns.top(NotANoun),
        "many_senses": many_senses.top(AmbiguousNoun),
    }


@dataclass
class Tally:
    """In how many captions each row of a table occurred, and the first of these captions."""

    captions: Counter[tuple[Any, ...]] = field(default_factory=Counter)
    examples: dict[tuple[Any, ...], str] = field(default_factory=dict)

    def add(self, rows: Set[tuple[Any, ...]], caption: str) -> None:
        """Count a caption for each of its rows."""
        self.captions.update(rows)
        for row in rows:
            self.examples.setdefault(row, caption[:EXAMPLE_CHARACTERS])

    def top(self, make: Callable[..., AuditedWord]) -> list[dict[str, Any]]:
        """The most frequent rows as the fields of `make`; ties are in the order of their values."""
        ranked = sorted(self.captions.items(), key=lambda item: (-item[1], item[0]))[:RECORDED_ROWS]
        return [asdict(make(*row, captions=n, example=self.examples[row])) for row, n in ranked]


def _verdict(word: Word) -> str:
    """What became of a word, in a phrase under which such words are counted."""
    if word.kept:
        return LABEL
    return word.reason.replace(word.synset, "otherwise") if word.synset else word.reason


def _is_lost(word: Word, tag: str) -> bool:
    """Whether a word gave no label although WordNet or the tagger calls it a noun.

    The tagger calls brackets and the like nouns, too: its tag counts only for words with a letter.
    """
    named = tag.startswith(NOUN) and any(map(str.isalpha, word.token))
    return not word.kept and (named or bool(word.synset))


def _noun_senses() -> dict[str, int]:
    """Lemma -> how many noun senses it has. A line of WordNet's index: lemma n count ..."""
    lines = (wordnet_dir() / "index.noun").read_text("ascii").splitlines()
    return {
        fields[0]: int(fields[2])
        for line in lines
        if not line.startswith(" ") and (fields := line.split(maxsplit=3))
    }
