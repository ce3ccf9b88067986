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
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Any

from catlip.captions import NOUN, Labeller
from catlip.label.result import (
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

if TYPE_CHECKING:
    from catlip.label.__main__ import Audit

MANY_SENSES = 5
RECORDED_ROWS = 100
MAX_CAPTIONS = 100_000
MAX_SOURCES = 100  # to take captions from; with more, most of the time would go to opening files
EXAMPLE_CHARACTERS = 100


def audit(config: "Audit") -> None:
    """Look at the captions, write the record, print the beginning of each table."""
    paths = find(config.sources)
    sources = [source for path in paths for source in split(path, config.text_column, PART_ROWS)]
    record_path = labelling_record(paths, config.labels_dir, f"audit-{config.rule}")
    with Record(record_path, LabelAudit, config) as record:
        captions = take_captions(sources, MAX_CAPTIONS)
        bar = progress(captions, "auditing", disable=config.quiet, unit=" captions")
        metrics, record.samples = audit_captions(bar, config.rule)
        run = record.measured(metrics)
    for table in [*verdict_table({config.rule: run}, scale=""), *audit_tables(run, config.rule)]:
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
        lost, untagged, ambiguous = set(), set(), set()
        for word, tag in zip(words, tags, strict=True):
            is_noun = tag.startswith(NOUN)
            if word.kept:
                verdicts[LABEL] += 1
                if not is_noun:
                    untagged.add((word.lemma, word.synset, tag))
                if senses[word.lemma] >= MANY_SENSES:
                    ambiguous.add((word.lemma, word.synset, senses[word.lemma]))
                continue
            # Without the synset, so that such words can be counted together.
            reason = word.reason
            verdicts[reason.replace(word.synset, "otherwise") if word.synset else reason] += 1
            # The tagger calls brackets and the like nouns, too.
            if word.synset or (is_noun and any(map(str.isalpha, word.token))):
                lost.add((word.lemma, reason))
        dropped.add(lost, caption)
        not_nouns.add(untagged, caption)
        many_senses.add(ambiguous, caption)
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


class Tally:
    """In how many captions each row of a table occurred, and the first of these captions."""

    def __init__(self) -> None:
        self.captions = Counter[tuple[Any, ...]]()
        self.examples: dict[tuple[Any, ...], str] = {}

    def add(self, rows: Set[tuple[Any, ...]], caption: str) -> None:
        self.captions.update(rows)
        for row in rows:
            self.examples.setdefault(row, caption[:EXAMPLE_CHARACTERS])

    def top(self, make: Callable[..., AuditedWord]) -> list[dict[str, Any]]:
        """The most frequent rows as the fields of `make`; ties are in the order of their values."""
        ranked = sorted(self.captions.items(), key=lambda item: (-item[1], item[0]))[:RECORDED_ROWS]
        return [asdict(make(*row, captions=n, example=self.examples[row])) for row, n in ranked]


def _noun_senses() -> dict[str, int]:
    """Lemma -> how many noun senses it has. A line of WordNet's index: lemma n count ..."""
    lines = (wordnet_dir() / "index.noun").read_text("ascii").splitlines()
    entries = (line.split(maxsplit=3) for line in lines if not line.startswith(" "))
    return {fields[0]: int(fields[2]) for fields in entries}
