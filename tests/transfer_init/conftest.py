"""Vocabularies: every class that the released rule can reach, and any few."""

import random
from collections.abc import Callable, Iterable

import pytest

from catlip.vocabulary import Vocabulary
from catlip.vocabulary.counts import CountedCaptions, Synset
from catlip.words.wordnet import nouns


def vocabulary_of(offsets: Iterable[int]) -> Vocabulary:
    """Classes with counts that differ, drawn by their offset, in descending order of them."""
    counts = {each: random.Random(each * 1000).randrange(1, 1 << 40) for each in offsets}
    synsets = [Synset(offset, nouns().name(offset), count) for offset, count in counts.items()]
    synsets.sort(key=lambda synset: -synset.count)
    return Vocabulary(
        "corenet", "3.0", None, CountedCaptions(None, ()), None, len(synsets), tuple(synsets)
    )


@pytest.fixture(scope="session")
def full() -> Vocabulary:
    """The 38,343 words whose first sense bears their name; DataComp's vocabulary is a part."""
    first = nouns().first_senses
    return vocabulary_of(
        synset
        for word, synset in first.items()
        if "_" not in word and nouns().name(synset) == f"{word}.n.01"
    )


@pytest.fixture(scope="session")
def small() -> Callable[..., Vocabulary]:
    """A vocabulary of the named synsets."""
    return lambda *names: vocabulary_of(map(nouns().find, names))
