"""The vocabulary of every class that the released rule can reach."""

import pytest
from small_data import vocabulary_of

from catlip.vocabulary import Vocabulary
from catlip.words.wordnet import nouns


@pytest.fixture(scope="session")
def full() -> Vocabulary:
    """The 38,343 words whose first sense bears their name; DataComp's vocabulary is a part."""
    senses = nouns().first_senses.items()
    named = (name for word, synset in senses if (name := nouns().name(synset)) == f"{word}.n.01")
    return vocabulary_of(*(name for name in named if "_" not in name))
