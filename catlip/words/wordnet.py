"""WordNet's nouns in a form that loads in a fraction of a second.

Labelling needs three things of WordNet: the base form of a word, the first sense of a noun, and a synset's name. They are read
once from the data files and kept beside them. A *synset* is its offset in WordNet 3.0's noun
file, so `dog.n.01` is 2084071 and ImageNet's `n02084071`.
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catlip.cli import InputError
from catlip.record import write_atomically
from catlip.words import wordnet_dir

VERSION = "3.0"
INDEX_FILE = "nouns-1.json"  # the number changes when what is kept does
# WordNet's rules of detachment for nouns: (ending, what takes its place).
ENDINGS = (
    *(("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z")),
    *(("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y")),
)


@dataclass(frozen=True)
class Nouns:
    """WordNet's nouns.

    Attributes:
        first_senses: lemma (lower case, words joined by "_") -> synset of its first sense; 117,798 lemmas.
        offsets: [82,115] int64, every noun synset, ascending.
        names: the canonical name of each of `offsets`: its first lemma and that lemma's sense number, such as "dog.n.01".
        exceptions: irregular form -> base forms.
    """

    first_senses: dict[str, int]
    offsets: NDArray[np.int64]
    names: list[str]
    exceptions: dict[str, list[str]]

    def lemmatize(self, word: str) -> str:
        """The shortest base form of `word` that is a noun of WordNet, or `word` itself; what NLTK's lemmatizer gives.

        The shortest wins even where it is silly: "was" becomes "wa", "glasses" "glass", "us" "u".
        """
        forms = [word]
        if word in self.exceptions:
            forms += self.exceptions[word]
        else:
            forms += [word[: -len(ending)] + base for ending, base in ENDINGS if word.endswith(ending)]
        return min((form for form in forms if form in self.first_senses), key=len, default=word)

    def longest_by_first_word(self) -> dict[str, int]:
        """First word -> how many words the longest lemma that begins with it has; only of lemmas of several words."""
        longest: dict[str, int] = {}
        for lemma in self.first_senses:
            first, *more = lemma.split("_")
            if more:
                longest[first] = max(longest.get(first, 0), 1 + len(more))
        return longest

    def name(self, synset: int) -> str:
        """The canonical name of a synset. Raises: InputError when WordNet 3.0 has no such noun synset."""
        if synset not in self._names:
            raise InputError(f"{synset} is not a noun synset of WordNet {VERSION}")
        return self._names[synset]

    @functools.cached_property
    def _names(self) -> dict[int, str]:
        return dict(zip(self.offsets.tolist(), self.names, strict=True))


@functools.cache
def nouns() -> Nouns:
    """WordNet 3.0's nouns, from the cache or from its data files. Raises: InputError when WordNet cannot be had."""
    kept = wordnet_dir() / INDEX_FILE
    if not kept.exists():
        write_atomically(kept, json.dumps(_read_wordnet(kept.parent)).encode())
    tables = json.loads(kept.read_bytes())
    return Nouns(**{**tables, "offsets": np.array(tables["offsets"], dtype=np.int64)})


def _read_wordnet(folder: Path) -> dict[str, Any]:
    """The attributes of `Nouns`, from WordNet's own files."""
    senses = _senses(folder / "index.noun")
    first_lemmas = _first_lemmas(folder / "data.noun")
    exceptions = map(str.split, (folder / "noun.exc").read_text(encoding="ascii").splitlines())
    return {
        "first_senses": {lemma: offsets[0] for lemma, offsets in senses.items()},
        "offsets": list(first_lemmas),
        "names": [f"{lemma}.n.{senses[lemma].index(offset) + 1:02d}" for offset, lemma in first_lemmas.items()],
        "exceptions": {form: bases for form, *bases in exceptions},
    }


def _senses(index: Path) -> dict[str, list[int]]:
    """Lemma -> its synsets, commonest first. A line: lemma n count pointers symbol... count tagged offset..."""
    lines = (line.split() for line in index.read_text(encoding="ascii").splitlines() if not line.startswith(" "))
    return {fields[0]: [int(offset) for offset in fields[-int(fields[2]) :]] for fields in lines}


def _first_lemmas(data: Path) -> dict[int, str]:
    """Synset -> its first lemma in lower case. A line: offset file n count lemma ..."""
    lines = (line.split(maxsplit=5) for line in data.read_text(encoding="ascii").splitlines() if not line.startswith(" "))
    return {int(fields[0]): fields[4].lower() for fields in lines}
