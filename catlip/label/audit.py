"""Counts over real captions what a labelling rule drops most, and what it may keep wrongly.

Three tables of words by their base form, each with the number of captions and one caption to look
at; see `TABLES`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from catlip.captions import NOUN, Labeller, clean
from catlip.label.result import AUDIT, LABEL, LabelAudit
from catlip.label.sources import Source
from catlip.records.run import Run
from catlip.records.table import Column, Share, Table, clipped
from catlip.words.tokens import tokenize
from catlip.words.wordnet import lines_of, nouns

# Name in the record -> title, and the fields beside the word. The tables list nouns by WordNet or
# the tagger that gave no label; labels of words that the tagger of rule "paper" does not tag as
# nouns; labels that may have the wrong sense, because their words have `MANY_SENSES` or more.
TABLES = {
    "dropped": ("Nouns that rule {rule} drops most", ("reason",)),
    "not_nouns": ("Words that only rule {rule} takes for nouns", ("synset", "tag")),
    "many_senses": ("Nouns of which rule {rule} takes the first sense", ("synset", "senses")),
}
MANY_SENSES = 5
SHOWN_ROWS = 15
MAX_CAPTIONS = 100_000
MAX_SOURCES = 100  # to take captions from; with more, most of the time would go to opening files
EXAMPLE_CHARACTERS = 100


def take_captions(sources: Sequence[Source], most: int = MAX_CAPTIONS) -> Iterator[str]:
    """At most `most` captions, evenly from up to `MAX_SOURCES` sources, the first of each."""
    chosen = sources[:: -(-len(sources) // MAX_SOURCES)]
    share, rest = divmod(most, len(chosen))
    for number, source in enumerate(chosen):
        texts = (caption for _, caption in source.samples() if isinstance(caption, str))
        yield from islice(texts, share + (number < rest))


def unknown_words(captions: Iterable[str]) -> float:
    """The fraction of the words in captions that are no nouns of WordNet."""
    words = [word for text in captions for word in tokenize(clean(text)) if word.isalpha()]
    return sum(nouns().first_sense(word) is None for word in words) / max(len(words), 1)


def audit_captions(
    captions: Iterable[str], labeller: Labeller
) -> tuple[LabelAudit, dict[str, list[dict[str, Any]]]]:
    """What became of the words of the captions, and the first `SHOWN_ROWS` of each table."""
    tagger = labeller if labeller.version.tagger else Labeller("paper")
    # A line of WordNet's index: lemma n count ..., where count is the number of senses.
    entries = (line.split(maxsplit=3) for line in lines_of("index.noun"))
    senses = {fields[0]: int(fields[2]) for fields in entries}
    num_captions, verdicts = 0, Counter[str]()
    counts = Counter[tuple[Any, ...]]()  # (table, word, *fields) -> captions
    examples: dict[tuple[Any, ...], str] = {}
    for caption in captions:
        num_captions += 1
        words = labeller.explain(caption)
        tags = [word.tag for word in (words if tagger is labeller else tagger.explain(caption))]
        rows = set[tuple[Any, ...]]()
        for word, tag in zip(words, tags, strict=True):
            is_noun, reason = tag.startswith(NOUN), word.reason
            if not word.reason:
                verdicts[LABEL] += 1
                if not is_noun:
                    rows.add(("not_nouns", word.lemma, word.synset, tag))
                if (count := senses.get(word.lemma, 0)) >= MANY_SENSES:
                    rows.add(("many_senses", word.lemma, word.synset, count))
                continue
            # Without the synset, so that such words can be counted together.
            verdicts[reason.replace(word.synset, "otherwise") if word.synset else reason] += 1
            # The tagger calls brackets and the like nouns, too.
            if word.synset or (is_noun and any(map(str.isalpha, word.word))):
                rows.add(("dropped", word.lemma, reason))
        counts.update(rows)
        for row in rows:
            examples.setdefault(row, caption[:EXAMPLE_CHARACTERS])
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    for row, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if len(tables[row[0]]) < SHOWN_ROWS:
            fields = dict(zip(("word", *TABLES[row[0]][1]), row[1:], strict=True))
            tables[row[0]].append(fields | {"captions": count, "example": examples[row]})
    metrics = LabelAudit(
        rule=labeller.version.rule,
        captions=num_captions,
        words=verdicts.total(),
        words_by_verdict=dict(verdicts.most_common()),
    )
    return metrics, tables


def audit_tables(run: Run[LabelAudit], words: dict[str, list[dict[str, Any]]]) -> list[Table]:
    """What became of the captions' words, and the first rows of the three tables of words."""
    tables = [AUDIT.fill([run])]
    for name, (title, fields) in TABLES.items():
        rows = [
            {field: clipped(str(word[field])) for field in ("word", *fields)}
            | {"captions": Share(word["captions"], run.metrics.captions)}
            | {"example": clipped(word["example"])}
            for word in words[name]
        ]
        columns = [Column(field, field, 0) for field in ("word", *fields, "captions", "example")]
        title = title.format(rule=run.metrics.rule)
        tables.append(Table("label_audit", title, "", columns, rows))
    return tables
