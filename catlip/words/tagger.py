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
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from catlip.cli import InputError
from catlip.system.cache import npz_bytes, read_npz, read_or_make
from catlip.words import TAGGER, source_of, tagger_dir

TABLES_FILE = "tables-2.npz"  # the number changes with the content of the file
TABLES = ("classes", "features", "known", "paired")  # stored as lines of text
UNIT = 1000  # weights are stored as thousandths
START, START2, END, END2 = "-START-", "-START2-", "-END-", "-END2-"
PADS = (START, START2, END, END2)  # words 0 to 3 of the memo
MEMO_WORDS = 1 << 16  # words in the memo, after which a new one is begun
MEMO_START = 1 << 12  # words for which a new memo has room
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
        self.classes, features, known, paired = (
            arrays[name].tobytes().decode().split("\n") for name in TABLES
        )
        self._weights = arrays["weights"]
        known_tags = dict(zip(known, arrays["known_tags"].tolist(), strict=True))
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
        self._new_memo = functools.partial(
            _Memo, self._rows, self._previous, known_tags, frozenset(paired)
        )
        self._memo = self._new_memo()

    def tag(self, captions: Sequence[Sequence[str]]) -> list[list[str]]:
        if len(self._memo) > MEMO_WORDS:  # so that memory stays bounded
            self._memo = self._new_memo()
        order = sorted(range(len(captions)), key=lambda number: -len(captions[number]))
        longest_first = [captions[number] for number in order]
        words = self._memo.numbers(longest_first)
        lengths = np.array([len(caption) for caption in longest_first], dtype=np.int64)
        tags = [self.classes[tag] for tag in self._decode(words, lengths).tolist()]
        tagged: list[list[str]] = [[]] * len(captions)
        end = 0
        for number, caption in zip(order, longest_first, strict=True):
            tagged[number] = tags[end : (end := end + len(caption))]
        return tagged

    def _decode(self, words: NDArray[np.int32], lengths: NDArray[np.int64]) -> NDArray[np.int32]:
        """Tag concatenated captions, longest first, each with two pads before and two after."""
        ends = np.cumsum(lengths)
        first = ends - lengths  # of each caption, among all tokens
        # From a token's position among all tokens to its position in `words`.
        shift = 4 * np.arange(len(lengths)) + 2
        positions = np.arange(lengths.sum()) + np.repeat(shift, lengths)
        scores = np.zeros((len(positions), len(self.classes)), dtype=np.float32)
        for column, (_, distance, _) in enumerate(WORD_FEATURES):
            scores += self._weights[self._memo.word_rows[words[positions + distance], column]]
        tokens = words[positions]
        known = self._memo.known[tokens]
        tags = np.empty(len(positions), dtype=np.int32)
        previous = np.full(len(lengths), len(self.classes), dtype=np.int32)
        before = previous + 1
        for step in range(int(lengths.max(initial=0))):
            active = int(np.searchsorted(-lengths, -step))  # captions longer than `step`
            at, previous, before = first[:active] + step, previous[:active], before[:active]
            total = (
                scores[at]
                + self._by_tags[previous, before]
                + self._weights[self._memo.with_previous[tokens[at], previous]]
            )
            best = total.argmax(axis=1)
            tied = (total == total[np.arange(active), best][:, None]).sum(axis=1) > 1
            for row in np.flatnonzero(tied & (known[at] == NO_TAG)):
                position = int(positions[at[row]])
                around = words[position - 2 : position + 3]
                one, two = int(previous[row]), int(before[row])
                best[row] = self._break_tie(around, one, two, total=total[row])
            tags[at] = np.where(known[at] == NO_TAG, best, known[at])
            previous, before = tags[at], previous
        return tags

    def _break_tie(
        self, around: NDArray[np.int32], previous: int, before: int, total: NDArray[np.float32]
    ) -> int:
        """Among the classes with the largest `total`, the one with the largest sum in float64 and
        NLTK's order; if these are equal, the last by name.
        """
        middle = int(around[2])
        word_rows = [
            int(self._memo.word_rows[around[2 + distance], column])
            for column, (_, distance, _) in enumerate(WORD_FEATURES)
        ]
        names = _tag_features(self._previous[previous], self._previous[before])
        tag_rows = [self._row(name) for name in names]
        pair_row = int(self._memo.with_previous[middle, previous])
        rows = [self._row("bias"), *word_rows[:2], *tag_rows, word_rows[2], pair_row]
        exact = np.zeros(len(self.classes))
        for row in [*rows, *word_rows[3:]]:
            exact += self._weights[row].astype(np.float64) / UNIT
        best = np.flatnonzero(total == total.max())
        return int(max(best, key=lambda tag: (exact[tag], self.classes[tag])))

    def _row(self, feature: str) -> int:
        return self._rows.get(feature, 0)


class _Memo:
    """What has been looked up for each word so far, by the word's number.

    Attributes:
        known: [words] the tag that the tag dictionary fixes, or NO_TAG.
        word_rows: [words, WORD_FEATURES] rows of the weights for the word as a feature of itself
            and of its neighbours.
        with_previous: [words, tags] rows of the weights for the word together with the tag before
            it.
    """

    def __init__(
        self,
        rows: Mapping[str, int],
        previous: Sequence[str],
        known_tags: Mapping[str, int],
        paired: Collection[str],
    ):
        """Only the words of `paired` have weights together with a tag of `previous`."""
        self._rows = rows
        self._previous = previous
        self._known_tags = known_tags
        self._paired = paired
        self._numbers: dict[str, int] = {}
        self.known = np.full(MEMO_START, NO_TAG, dtype=np.int32)
        self.word_rows = np.zeros((MEMO_START, len(WORD_FEATURES)), dtype=np.int32)
        self.with_previous = np.zeros((MEMO_START, len(previous)), dtype=np.int32)
        for number, pad in enumerate(PADS):
            self._fill(number, pad, pad)

    def __len__(self) -> int:
        return len(self._numbers)

    def numbers(self, captions: Sequence[Sequence[str]]) -> NDArray[np.int32]:
        """The numbers of all captions' tokens in order, each caption between its pads."""
        flat: list[int] = []
        for caption in captions:
            flat += (0, 1)
            for word in caption:
                if word not in self._numbers:
                    self._learn(word)
                flat.append(self._numbers[word])
            flat += (2, 3)
        return np.array(flat, dtype=np.int32)

    def _learn(self, word: str) -> None:
        number = len(self._numbers) + len(PADS)
        if number == len(self.known):
            self.known = _double(self.known)
            self.word_rows = _double(self.word_rows)
            self.with_previous = _double(self.with_previous)
        self._fill(number, word, _normal(word))
        self.known[number] = self._known_tags.get(word, NO_TAG)
        self._numbers[word] = number

    def _fill(self, number: int, word: str, normal: str) -> None:
        forms = {
            "suffix": word[-3:],
            "first": word[:1],
            "normal": normal,
            "normal suffix": normal[-3:],
        }
        self.word_rows[number] = [
            self._rows.get(f"{name} {forms[form]}", 0) for name, _, form in WORD_FEATURES
        ]
        if normal in self._paired:
            self.with_previous[number] = [
                self._rows.get(f"{PAIR} {tag} {normal}", 0) for tag in self._previous
            ]


def _double(table: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.concatenate([table, np.zeros_like(table)])


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
    paired = sorted({feature.split(" ")[-1] for feature in weights if feature.startswith(PAIR)})
    arrays = {
        "classes": _lines(classes),
        "features": _lines(weights),
        "known": _lines(known),
        "paired": _lines(paired),
        "weights": table.round().astype(np.float32),
        "known_tags": np.array([columns[tag] for tag in known.values()], dtype=np.int32),
    }
    return npz_bytes(arrays)


def _lines(texts: Iterable[str]) -> NDArray[np.uint8]:
    return np.frombuffer("\n".join(texts).encode(), dtype=np.uint8)
