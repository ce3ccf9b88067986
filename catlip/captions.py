"""Maps a caption to the set of WordNet synsets that its words name (Section 3.1, Equation 1).

There are three rules: the paper's, its released code's, which differs, and one that also labels
nouns of several words, such as "golden retriever":

"paper"           the words that a part-of-speech tagger calls nouns, each by its first noun sense.
"corenet"         the released code's: every word, of any part of speech, whose first noun sense is
                  also *named* after the word; so "black" counts, but "couch", whose synset is named
                  "sofa", does not.
"paper_multiword" as "paper", but the longest run of words that WordNet lists as one noun counts as
                  one. Not the default: the paper tags and maps "each word", and runs mislead too
                  ("at home" is a party, "hot dog" is not a dog).
"""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from math import isnan
from numbers import Real
from typing import Any, TypeVar
from urllib.parse import unquote

import ftfy

from catlip.cli import InputError, choose
from catlip.words.tagger import Tagger
from catlip.words.tokens import tokenize
from catlip.words.wordnet import VERSION, nouns

MAX_CHARACTERS = 4096  # of a caption; the rest of a longer one is not read
# Increase it when a rule gives other labels than before: labels of an older edition are made again.
EDITION = 4
MEMO_ENTRIES = 1 << 16
T = TypeVar("T")
NOUN = "NN"  # the prefix of every Penn Treebank tag of a noun

# Printable ASCII without % + < &: only spaces and case have to be cleaned.
PLAIN = re.compile(r"[ -$'-*,-;=-~]*")
MARKUP = re.compile(r"<.*?>")
SPACES = re.compile(r" {2,}")


def clean(caption: object) -> str:
    """A caption as labels and text encoders read it, of at most `MAX_CHARACTERS`: percent signs
    decoded, "+" as a space, without tags and runs of spaces, repaired, in lower case.
    """
    if isinstance(caption, bytes):
        caption = caption[: 4 * MAX_CHARACTERS].decode("utf-8", "replace")
    is_missing = caption is None or (isinstance(caption, Real) and isnan(caption))  # as in pandas
    text = ("" if is_missing else str(caption))[:MAX_CHARACTERS]
    if not PLAIN.fullmatch(text):
        text = MARKUP.sub("", unquote(text).replace("+", " ")).strip("\n")
        text = ftfy.fix_text(SPACES.sub(" ", text))
    elif "  " in text:
        text = SPACES.sub(" ", text)
    return text.strip().lower()


def texts_of(texts: Iterable[T]) -> Iterable[T]:
    """The texts themselves. Raises: InputError for a string, which is a list of its letters too."""
    if isinstance(texts, (str, bytes)):
        raise InputError(f"{texts[:40]!r} is one text, not a list of texts")
    return texts


@dataclass(frozen=True)
class Word:
    """One word of a caption, as it stands there.

    Attributes:
        tag: its part of speech, "" if the rule uses none.
        lemma: its base form.
        synset, offset: the name of its first noun sense, such as "dog.n.01", and the offset in
            WordNet 3.0's noun file (ImageNet's n02084071 is 2084071); "" and None without one.
        reason: why that is no label; "" if it is.
    """

    word: str
    tag: str
    lemma: str
    synset: str
    offset: int | None
    reason: str

    @property
    def gloss(self) -> str:
        return "" if self.offset is None else nouns().gloss(self.offset)


@dataclass(frozen=True)
class LabelVersion:
    """How captions were labelled; labels and vocabularies go together only when this is equal."""

    rule: str
    wordnet: str
    tagger: str | None
    edition: int
    words: tuple[tuple[str, str], ...] = ()  # the user's, and their synsets

    @classmethod
    def from_meta(cls, meta: dict[str, Any]) -> "LabelVersion":
        words = tuple((word, synset) for word, synset in meta.get("words", ()))
        return cls(meta["rule"], meta["wordnet"], meta["tagger"], meta["edition"], words)

    def as_meta(self) -> dict[str, Any]:
        """Its fields; without words if there are none: older labels have no such field."""
        meta = asdict(self)
        if not self.words:
            del meta["words"]
        return meta

    def __str__(self) -> str:
        tagger = f"tagger {self.tagger}" if self.tagger else "no tagger"
        words = f", {len(self.words)} own words" if self.words else ""
        return f"rule {self.rule} (edition {self.edition}), WordNet {self.wordnet}, {tagger}{words}"


class Labeller:
    """Maps captions to WordNet synsets, by the rule "paper", "corenet" or "paper_multiword".

    Args:
        words: the user's words, in lower case -> the name of a synset, or "" to give no label; they
            come before WordNet's, and count whatever part of speech they are tagged as. See
            catlip.label.read_words.

    Attributes:
        version: how it labels; labels of another version are made again.
        synset: a word -> its synset under the rule, regardless of its part of speech, or None.
    """

    def __init__(self, rule: str = "paper", words: Mapping[str, str] | None = None):
        self._nouns = nouns()
        user_words = sorted((words or {}).items())
        self._user_synsets = {
            word: self._nouns.find(name) if name else None for word, name in user_words
        }
        for word, name in user_words:
            if name and self._user_synsets[word] is None:
                raise InputError(f"words: {word!r} is to be {name!r}, which is no synset")
        rules = {
            "paper": self._nouns.first_sense,
            "corenet": self._namesake,
            "paper_multiword": self._nouns.first_sense,
        }
        self._rule_sense = choose("rule", rule, rules)
        self.synset = functools.lru_cache(MEMO_ENTRIES)(self._synset if words else self._rule_sense)
        self._tagger = Tagger() if rule != "corenet" else None
        tagger = self._tagger.source if self._tagger else None
        self.version = LabelVersion(rule, VERSION, tagger, EDITION, words=tuple(user_words))
        self._longest = self._nouns.longest_by_first_word() if rule == "paper_multiword" else {}

    def __call__(self, caption: object) -> list[Word]:
        """The words of a caption that give a label, in its order, each synset once."""
        distinct: dict[str, Word] = {}
        for word in self.explain(caption):
            if not word.reason:
                distinct.setdefault(word.synset, word)
        return [*distinct.values()]

    def batch(self, captions: Sequence[object]) -> list[list[int]]:
        """The synsets of each caption, as offsets, ascending, each once; with a tagger, much faster
        than one caption at a time.
        """
        words = [tokenize(clean(caption)) for caption in texts_of(captions)]
        if self._tagger:
            tagged = zip(words, self._tagger.tag(words), strict=True)
            words = [self._labelled(tokens, tags) for tokens, tags in tagged]
        synsets = ({*map(self.synset, tokens)} for tokens in words)
        return [sorted(offset for offset in named if offset is not None) for named in synsets]

    def why_none(self, caption: object) -> str:
        """Why a caption without a label has none, in a fixed phrase that can be counted."""
        words = self.explain(caption)
        if not words:
            return "no caption" if caption is None else "an empty caption"
        if self._tagger and not any(word.tag.startswith(NOUN) for word in words):
            return "no noun"
        return "no noun of WordNet" if self._tagger else "no word that names its first noun sense"

    def explain(self, caption: object) -> list[Word]:
        """Each word (or run of words) of a caption, in order, with its label or a reason."""
        tokens = tokenize(clean(caption))
        tags = self._tagger.tag([tokens])[0] if self._tagger else [""] * len(tokens)
        return [self._explain(token, tag) for token, tag in self._join_runs(tokens, tags)]

    def words_of(self, caption: object, synsets: Iterable[int]) -> dict[int, str]:
        """Each of a caption's synsets -> the first word, or run of words joined by "_", that stands
        for it; in the order of the words. The tagger is not asked again.
        """
        missing, found = set(synsets), dict[int, str]()
        tokens = tokenize(clean(caption)) if missing else []
        for run in self._runs(tokens):
            for word in run:
                if (synset := self.synset(word)) is not None and synset in missing:
                    missing.remove(synset)
                    found[synset] = word
                    break
        return found | dict.fromkeys(sorted(missing), "")

    def user_words_in(self, caption: object) -> set[str]:
        """The user's words that occur in a caption, themselves or by another form of theirs."""
        words = {*chain.from_iterable(self._runs(tokenize(clean(caption))))}
        return (words | {*map(self._nouns.lemmatize, words)}) & self._user_synsets.keys()

    def _runs(self, tokens: list[str]) -> Iterator[list[str]]:
        """For each token the runs that begin with it and may be one noun, the longest first."""
        for start, token in enumerate(tokens):
            ends = range(start + self._longest.get(token, 1), start, -1)
            yield ["_".join(tokens[start:end]) for end in ends]

    def _labelled(self, words: list[str], tags: list[str]) -> list[str]:
        """The words, or runs of words, that are labels if WordNet knows them."""
        pairs = self._join_runs(words, tags) if self._longest else zip(words, tags, strict=True)
        is_user_word = self._is_user_word if self._user_synsets else lambda word: False
        return [word for word, tag in pairs if tag.startswith(NOUN) or is_user_word(word)]

    def _join_runs(self, words: list[str], tags: list[str]) -> list[tuple[str, str]]:
        """(word, tag) pairs; the longest run of words that is one noun of WordNet is one word."""
        joined, start = [], 0
        while start < len(words):
            end = min(start + self._longest.get(words[start], 1), len(words))
            while end > start + 1 and not (
                tags[end - 1].startswith(NOUN)
                and self._nouns.first_sense("_".join(words[start:end])) is not None
            ):
                end -= 1
            joined.append(("_".join(words[start:end]), tags[end - 1]))
            start = end
        return joined

    def _explain(self, token: str, tag: str) -> Word:
        lemma = self._nouns.lemmatize(token)
        is_user_word = self._is_user_word(token)
        sense = self.synset(token) if is_user_word else self._nouns.first_sense(token)
        synset = "" if sense is None else self._nouns.name(sense)
        if is_user_word:
            reason = "" if synset else "no label, by your words"
        elif sense is None:
            reason = "no noun of WordNet"
        elif self._tagger and not tag.startswith(NOUN):
            reason = f"tagged {tag}, not a noun"
        elif self.synset(token) is None:
            reason = f"its first sense is named {synset}"
        else:
            reason = ""
        return Word(token, tag, lemma, synset=synset, offset=sense, reason=reason)

    def _is_user_word(self, word: str) -> bool:
        return word in self._user_synsets or self._nouns.lemmatize(word) in self._user_synsets

    def _synset(self, word: str) -> int | None:
        """The synset that the user gave the word or its base form, else the rule's."""
        for form in (word, self._nouns.lemmatize(word)):
            if form in self._user_synsets:
                return self._user_synsets[form]
        return self._rule_sense(word)

    def _namesake(self, word: str) -> int | None:
        """The first noun sense, if its canonical name is the word itself."""
        lemma = self._nouns.lemmatize(word)
        sense = self._nouns.first_senses.get(lemma)
        return sense if sense is not None and self._nouns.name(sense) == f"{lemma}.n.01" else None


@functools.cache
def labeller_of(rule: str, words: tuple[tuple[str, str], ...] = ()) -> Labeller:
    """The labeller of a rule and the user's words; each process makes it once."""
    return Labeller(rule, dict(words))
