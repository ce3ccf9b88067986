"""Why a rule did not give a sentence the class that it is about.

A word *names* the class when WordNet lists it in the class's synset. Of the causes that fit such
words, the first one in CAUSES is reported, so that each miss is counted once, under the cause that
was nearest to a hit.

    crane = frozenset({2012849})  # crane.n.05, the bird
    miss = why_missed(Labeller("paper").explain(text), False, crane, "crane bird", text)
    miss.cause, miss.word, miss.chosen  # OTHER_SENSE, "crane", "crane.n.01": the writer
"""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from catlip.captions import Word
from catlip.words import wordnet_dir
from catlip.words.wordnet import nouns

TAGGED_ADJECTIVE = "its word is tagged an adjective"
TAGGED_VERB = "its word is tagged a verb"
TAGGED_OTHERWISE = "its word is tagged neither noun, adjective nor verb"
NAMED_OTHERWISE = "its word is not the one that its synset is named after"
OTHER_SENSE = "its word's first sense is another synset"
OTHER_BASE = "its word is cut to another base form"
JOINED = "its words are part of a longer or overlapping noun"
SEVERAL_WORDS = "its name has several words"
OTHER_NAME = "the name in the sentence is not in WordNet's synset"
NO_NAME = "no name of it in the sentence"
TAG_CAUSES = {"JJ": TAGGED_ADJECTIVE, "VB": TAGGED_VERB}
CAUSES = (
    *(TAGGED_ADJECTIVE, TAGGED_VERB, TAGGED_OTHERWISE, NAMED_OTHERWISE, SEVERAL_WORDS),
    *(OTHER_SENSE, OTHER_BASE, JOINED, OTHER_NAME, NO_NAME),
)


@dataclass(frozen=True)
class Miss:
    """A miss: its cause, the word that names the class ("" if none), and the name of that word's
    first sense.
    """

    cause: str
    word: str = ""
    chosen: str = ""


def why_missed(
    words: Sequence[Word], joins: bool, synsets: frozenset[int], name: str, text: str
) -> Miss:
    """Why none of `synsets` is among the labels of a sentence: the cause nearest to a hit.

    Args:
        words: what `Labeller.explain` says of the sentence.
        joins: whether the rule looks for names of several words.
        synsets: any of which would have been right.
        name: the published name of the class, which WordNet may not have.
        text: the sentence.
    """
    names = frozenset().union(*map(lemmas, synsets))
    right = {nouns().name(synset) for synset in synsets}
    misses = [
        _of_word(word, names, right) for word in words if word.token in names or word.lemma in names
    ]
    misses += _of_runs(words, names, joins)
    otherwise = Miss(OTHER_NAME if name.lower() in text.lower() else NO_NAME)
    return min(misses, key=lambda miss: CAUSES.index(miss.cause), default=otherwise)


@functools.cache
def lemmas(synset: int) -> frozenset[str]:
    """The words that WordNet lists in a noun synset, in lower case; the words of a longer name are
    joined by "_".
    """
    with open(wordnet_dir() / "data.noun", "rb") as file:
        file.seek(synset)  # a synset is the byte offset of its line
        fields = file.readline().decode("ascii").split()
    return frozenset(word.lower() for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2])


def _of_word(word: Word, names: frozenset[str], right: set[str]) -> Miss:
    """Why a word (or a run of words, under the rule that joins them) did not give the class that it
    names.
    """
    if word.lemma not in names:
        cause = OTHER_BASE
    elif word.synset not in right:
        cause = OTHER_SENSE
    else:
        cause = _of_tag(word.tag) if word.tag else NAMED_OTHERWISE
    return Miss(cause, word.lemma, word.synset)


def _of_tag(tag: str) -> str:
    return TAG_CAUSES.get(tag[:2], TAGGED_OTHERWISE)


def _of_runs(words: Sequence[Word], names: frozenset[str], joins: bool) -> Iterator[Miss]:
    """A miss for each run of tokens that names the class but is not one of `words`."""
    tokens = [(token, word) for word in words for token in word.token.split("_")]
    lengths = {name.count("_") + 1 for name in names}
    for length, place in itertools.product(lengths, range(len(tokens))):
        run, within = zip(*tokens[place : place + length], strict=True)
        joined = "_".join(run)
        if (lemma := nouns().lemmatize(joined)) in names and within[0].token != joined:
            if not joins:
                cause = SEVERAL_WORDS
            elif any("_" in word.token for word in within):
                cause = JOINED
            else:
                cause = _of_tag(within[-1].tag)
            yield Miss(cause, lemma)
