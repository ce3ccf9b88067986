"""The averaged-perceptron part-of-speech tagger, for many captions at once.

A word's tag is the class with the largest sum of weights, one weight vector for each of 14
features: the word, its first letter and its suffix, four neighbours, and the two tags before it.
NLTK reads dictionaries word by word. Here the vectors are rows of one matrix. The features that do
not depend on tags are summed for all words of a batch at once; then the first words of all captions
are tagged, then the second words, and so on. The tags are equal to NLTK's: weights are whole
thousandths, so these sums are exact, and where two classes tie the sums are computed again in
NLTK's order and precision.
"""

import functools
import json
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from catlip.cli import InputError
from catlip.system.cache import npz_bytes, read_npz, read_or_make
from catlip.words import TAGGER, source_of, tagger_dir

TABLES_FILE = "tables-3.npz"  # the number changes with the content of the file
TABLES = ("classes", "features", "known")  # stored as lines of text
UNIT = 1000  # weights are stored as thousandths
START, START2, END, END2 = "-START-", "-START2-", "-END-", "-END2-"
PADS = (START, START2, END, END2)  # before and after a caption: words 0 to 3 of a batch
MEMO_WORDS = 1 << 16
NO_TAG = -1
PAIR = "i-1 tag+i word"  # the feature of a word together with the tag before it

# The features of a word that depend on words only: (name, distance of the word, form of the word).
WORD_FEATURES = (
    ("i suffix", 0, "suffix"),
    ("i pref1", 0, "first"),
    ("i word", 0, "normal"),
    ("i-1 word", -1, "normal"),
    ("i-1 suffix", -1, "normal suffix"),
    ("i-2 word", -2, "normal"),
    ("i+1 word", 1, "normal"),
    ("i+1 suffix", 1, "normal suffix"),
    ("i+2 word", 2, "normal"),
)


class Tagger:
    """Penn Treebank tags, equal to `nltk.pos_tag` with the same weights, which `source` names."""

    def __init__(self) -> None:
        arrays = read_or_make(tagger_dir() / TABLES_FILE, _packed_weights, read_npz)
        self.source = source_of(tagger_dir())
        self.classes, features, known = (
            arrays[name].tobytes().decode().split("\n") for name in TABLES
        )
        self._weights = arrays["weights"]
        self._known_tags = dict(zip(known, arrays["known_tags"].tolist(), strict=True))
        # Row 0 is all zeros.
        self._rows = {feature: row for row, feature in enumerate(features, start=1)}
        self._previous = [*self.classes, START, START2]  # what may stand before a word

        def total(before: str, before_that: str) -> NDArray[np.float32]:
            features = ("bias", *_tag_features(before, before_that))
            return self._weights[[self._row(feature) for feature in features]].sum(axis=0)

        # The bias, and the features of tags alone: [tag before, tag before that, class].
        self._by_tags = np.array(
            [[total(one, two) for two in self._previous] for one in self._previous]
        )
        self._pads = [self._look_up(pad, pad) for pad in PADS]
        self._word = functools.lru_cache(MEMO_WORDS)(lambda w: self._look_up(w, _normal(w)))

    def tag(self, captions: Sequence[Sequence[str]]) -> list[list[str]]:
        order = sorted(range(len(captions)), key=lambda number: -len(captions[number]))
        numbers: dict[str, int] = {}  # of the different words
        tokens: list[int] = []
        for number in order:
            known = (numbers.setdefault(w, len(numbers) + len(PADS)) for w in captions[number])
            tokens += (0, 1, *known, 2, 3)
        table = np.stack([*self._pads, *map(self._word, numbers)])
        lengths = np.array([len(captions[number]) for number in order], dtype=np.int64)
        decoded = self._decode(table, np.array(tokens, dtype=np.int32), lengths)
        tags = [self.classes[tag] for tag in decoded.tolist()]
        tagged: list[list[str]] = [[]] * len(captions)
        end = 0
        for number in order:
            tagged[number] = tags[end : (end := end + len(captions[number]))]
        return tagged

    def _look_up(self, word: str, normal: str) -> NDArray[np.int32]:
        """The tag that the tag dictionary fixes, or NO_TAG; and rows of the weights: for the word
        as each of WORD_FEATURES of itself and of its neighbours, and together with each tag before.
        """
        forms = {
            "suffix": word[-3:],
            "first": word[:1],
            "normal": normal,
            "normal suffix": normal[-3:],
        }
        features = [f"{name} {forms[form]}" for name, _, form in WORD_FEATURES]
        pairs = [f"{PAIR} {tag} {normal}" for tag in self._previous]
        rows = [*map(self._row, features), *map(self._row, pairs)]
        return np.array([self._known_tags.get(word, NO_TAG), *rows], dtype=np.int32)

    def _decode(
        self, table: NDArray[np.int32], words: NDArray[np.int32], lengths: NDArray[np.int64]
    ) -> NDArray[np.int32]:
        """Tag concatenated captions, longest first, each with two pads before and two after.
        `words` are numbers of rows of the table, which `_look_up` gave.
        """
        ends = np.cumsum(lengths)
        first = ends - lengths  # of each caption, among all tokens
        # From a token's position among all tokens to its position in `words`.
        shift = 4 * np.arange(len(lengths)) + 2
        positions = np.arange(lengths.sum()) + np.repeat(shift, lengths)
        features = np.stack(
            [
                table[words[positions + distance], column]
                for column, (_, distance, _) in enumerate(WORD_FEATURES, start=1)
            ]
        )
        scores = np.zeros((len(positions), len(self.classes)), dtype=np.float32)
        for rows in features:
            scores += self._weights[rows]
        tokens = words[positions]
        known = table[tokens, 0]
        tags = np.empty(len(positions), dtype=np.int32)
        previous = np.full(len(lengths), len(self.classes), dtype=np.int32)
        before = previous + 1
        for step in range(int(lengths.max(initial=0))):
            active = int(np.searchsorted(-lengths, -step))  # captions longer than `step`
            at, previous, before = first[:active] + step, previous[:active], before[:active]
            pair = table[tokens[at], 1 + len(WORD_FEATURES) + previous]
            total = scores[at] + self._by_tags[previous, before] + self._weights[pair]
            best = total.argmax(axis=1)
            tied = (total == total[np.arange(active), best][:, None]).sum(axis=1) > 1
            for row in np.flatnonzero(tied & (known[at] == NO_TAG)):
                names = _tag_features(self._previous[previous[row]], self._previous[before[row]])
                suffix, start, word, *around = features[:, at[row]]
                # In NLTK's order, as sums of float64 depend on it.
                rows = [self._row("bias"), suffix, start, *map(self._row, names), word, pair[row]]
                best[row] = self._break_tie([*rows, *around], total[row])
            tags[at] = np.where(known[at] == NO_TAG, best, known[at])
            previous, before = tags[at], previous
        return tags

    def _break_tie(self, rows: Iterable[int], total: NDArray[np.float32]) -> int:
        """Among the classes with the largest `total`, the one with the largest sum of the weights
        in float64; if these are equal, the last by name.
        """
        exact = np.zeros(len(self.classes))
        for row in rows:
            exact += self._weights[row].astype(np.float64) / UNIT
        best = np.flatnonzero(total == total.max())
        return int(max(best, key=lambda tag: (exact[tag], self.classes[tag])))

    def _row(self, feature: str) -> int:
        return self._rows.get(feature, 0)


def _normal(word: str) -> str:
    """The form of a word in the features of itself and of its neighbours."""
    if "-" in word and word[0] != "-":
        return "!HYPHEN"
    if word.isdigit() and len(word) == 4:
        return "!YEAR"
    return "!DIGITS" if word[:1].isdigit() else word.lower()


def _tag_features(before: str, before_that: str) -> tuple[str, str, str]:
    return f"i-1 tag {before}", f"i-2 tag {before_that}", f"i tag+i-2 tag {before} {before_that}"


def _packed_weights() -> bytes:
    """The JSON files as npz: weights in thousandths, a row per feature; text as lines."""
    weights, known, classes = (
        json.loads((tagger_dir() / f"{TAGGER}.{part}.json").read_bytes())
        for part in ("weights", "tagdict", "classes")
    )
    classes = sorted(classes)
    columns = {tag: column for column, tag in enumerate(classes)}
    table = np.zeros((len(weights) + 1, len(classes)))
    for row, by_class in enumerate(weights.values(), start=1):
        for tag, weight in by_class.items():
            table[row, columns[tag]] = weight * UNIT
    if np.abs(table - table.round()).max() > 1e-6:
        raise InputError(
            f"the tagger's weights in {tagger_dir()} are not whole thousandths; delete the folder "
            "to fetch them again"
        )
    arrays = {
        "classes": _lines(classes),
        "features": _lines(weights),
        "known": _lines(known),
        "weights": table.round().astype(np.float32),
        "known_tags": np.array([columns[tag] for tag in known.values()], dtype=np.int32),
    }
    return npz_bytes(arrays)


def _lines(texts: Iterable[str]) -> NDArray[np.uint8]:
    return np.frombuffer("\n".join(texts).encode(), dtype=np.uint8)
