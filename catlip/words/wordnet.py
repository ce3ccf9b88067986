"""WordNet's nouns in a form that loads in a fraction of a second.

Labelling needs three things from WordNet: the base form of a word, the first sense of a noun, and a
synset's name. They are read once from the data files and stored beside them. A *synset* is given as
its offset in WordNet 3.0's noun file: `dog.n.01` is 2084071 and ImageNet's `n02084071`.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catlip.cli import InputError
from catlip.system.cache import read_or_make
from catlip.system.foreign import read_json
from catlip.words import wordnet_dir

VERSION = "3.0"
INDEX_FILE = "nouns-3.json"  # the number changes with the content of the file
# WordNet's rules of detachment for nouns, each an ending and its replacement.
RULES = "s: ses:s ves:f xes:x zes:z ches:ch shes:sh men:man ies:y"
ENDINGS = [rule.split(":") for rule in RULES.split()]


@dataclass(frozen=True)
class Nouns:
    """WordNet's nouns.

    Attributes:
        first_senses: lemma (lower case, words joined by "_") -> synset of its first sense; 117,798
            lemmas.
        offsets: [82,115] int64, every noun synset, ascending.
        names: the canonical name of each of `offsets`: its first lemma and that lemma's sense
            number, such as "dog.n.01".
        exceptions: irregular form -> base forms.
    """

    first_senses: dict[str, int]
    offsets: NDArray[np.int64]
    names: list[str]
    exceptions: dict[str, list[str]]

    def lemmatize(self, word: str) -> str:
        """The shortest base form of `word` that is a noun of WordNet, or `word` itself.

        The result equals that of NLTK 3.8.1's lemmatizer, to which the paper's code is pinned. The
        shortest form is taken even where it is wrong: "was" becomes "wa", "glasses" "glass", "us"
        "u". As long as no form is a noun, one more ending is removed: "womens" becomes "woman",
        "possess" "posse". NLTK 3.9 and later stop after the first ending.
        """
        if word in self.exceptions:
            return self._shortest_noun([word, *self.exceptions[word]]) or word
        forms = _without_ending([word])
        lemma = self._shortest_noun([word, *forms])
        while forms and lemma is None:
            forms = _without_ending(forms)
            lemma = self._shortest_noun(forms)
        return lemma or word

    def first_sense(self, word: str) -> int | None:
        """The synset of the first sense of a word's base form; None if it is no noun of WordNet."""
        return self.first_senses.get(self.lemmatize(word))

    def _shortest_noun(self, forms: Sequence[str]) -> str | None:
        return min((form for form in forms if form in self.first_senses), key=len, default=None)

    def longest_by_first_word(self) -> dict[str, int]:
        """First word -> the number of words of the longest lemma of several that begins with it."""
        longest: dict[str, int] = {}
        for lemma in self.first_senses:
            first, *more = lemma.split("_")
            if more:
                longest[first] = max(longest.get(first, 0), 1 + len(more))
        return longest

    def rows(self, synsets: Sequence[int] | NDArray[np.integer]) -> NDArray[np.int64]:
        """The positions of synsets in `offsets`. Raises: InputError for a number that is none."""
        wanted = np.asarray(synsets, dtype=np.int64)
        rows = np.minimum(np.searchsorted(self.offsets, wanted), len(self.offsets) - 1)
        if len(unknown := wanted[self.offsets[rows] != wanted]):
            raise InputError(f"{unknown[0]} is not a noun synset of WordNet {VERSION}")
        return rows

    def name(self, synset: int) -> str:
        if synset not in self._name_of_offset:
            raise InputError(f"{synset} is not a noun synset of WordNet {VERSION}")
        return self._name_of_offset[synset]

    def find(self, noun: str) -> int | None:
        """The synset of this name ("dog.n.01"), or the first sense of this noun."""
        return self._offset_of_name.get(noun, self.first_sense(noun))

    @functools.cached_property
    def _offset_of_name(self) -> dict[str, int]:
        return dict(zip(self.names, self.offsets.tolist(), strict=True))

    def gloss(self, synset: int) -> str:
        """Its definition and examples. A synset's offset is where its line begins in the file."""
        self.name(synset)
        with open(wordnet_dir() / "data.noun", "rb") as file:
            file.seek(synset)
            return file.readline().decode("ascii").partition(" | ")[2].strip()

    @functools.cached_property
    def _name_of_offset(self) -> dict[int, str]:
        return dict(zip(self.offsets.tolist(), self.names, strict=True))


def _without_ending(forms: Sequence[str]) -> list[str]:
    """Each form, once for each of the ENDINGS that it has, with that ending replaced."""
    return [
        form[: -len(ending)] + base
        for form in forms
        for ending, base in ENDINGS
        if form.endswith(ending)
    ]


@functools.cache
def nouns() -> Nouns:
    """WordNet 3.0's nouns, from the cache or from its data files."""
    tables = read_or_make(
        wordnet_dir() / INDEX_FILE,
        _packed_nouns,
        lambda path: read_json(path, first_senses=dict, offsets=list, names=list),
    )
    return Nouns(**{**tables, "offsets": np.array(tables["offsets"], dtype=np.int64)})


def _packed_nouns() -> bytes:
    """The attributes of `Nouns` as JSON, from WordNet's files."""
    senses, first_lemmas = {}, {}
    for line in lines_of("index.noun"):  # lemma n count pointers symbol... count tagged offset...
        fields = line.split()
        senses[fields[0]] = [int(offset) for offset in fields[-int(fields[2]) :]]
    for line in lines_of("data.noun"):  # offset file n count lemma ...
        fields = line.split(maxsplit=5)
        first_lemmas[int(fields[0])] = fields[4].lower()
    tables = {
        "first_senses": {lemma: offsets[0] for lemma, offsets in senses.items()},
        "offsets": list(first_lemmas),
        "names": [
            f"{lemma}.n.{senses[lemma].index(offset) + 1:02d}"
            for offset, lemma in first_lemmas.items()
        ],
        "exceptions": {form: bases for form, *bases in map(str.split, lines_of("noun.exc"))},
    }
    return json.dumps(tables).encode()


def lines_of(name: str) -> list[str]:
    """The lines of a file of WordNet without its licence."""
    lines = (wordnet_dir() / name).read_text("ascii").splitlines()
    return [line for line in lines if not line.startswith(" ")]
