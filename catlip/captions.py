"""A caption becomes the set of WordNet synsets that its words name.  (Section 3.1, Equation 1)

Two rules, because the paper and its released code differ. "paper": the words that a part-of-speech tagger calls nouns, each by
its first noun sense. "corenet", the released code's: every word, whatever its part of speech, whose first noun sense is also
*named* after it; so "black" counts and "couch", which WordNet files under "sofa", does not.

Both take one word at a time: the paper tags and maps "each word", and the released code has no pass for "golden retriever".
One thing is simpler than in the released code: a caption is one sentence, so a full stop inside it stays on its word.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import ftfy

from catlip.cli import choose
from catlip.tagger import Tagger
from catlip.tokens import tokenize
from catlip.wordnet import VERSION, nouns

MAX_CHARACTERS = 4096  # of a caption; the rest of a longer one is not read
MEMO_ENTRIES = 1 << 16

# Printable ASCII without % + < &: cleaning has nothing to do but spaces and case.
PLAIN = re.compile(r"[ -$'-*,-;=-~]*")
MARKUP = re.compile(r"<.*?>")
SPACES = re.compile(r" {2,}")


def clean(caption: object) -> str:
    """The text of a caption as labels and text encoders read it; lower case, at most `MAX_CHARACTERS` of the original.

    In this order: percent-decoding, "+" to space, HTML tags out, line ends off, runs of spaces to one, ftfy's repairs, lower
    case. None is an empty caption, bytes are read as UTF-8, and anything else by its `str()`.
    """
    if isinstance(caption, bytes):
        caption = caption[: 4 * MAX_CHARACTERS].decode("utf-8", "replace")
    text = ("" if caption is None else str(caption))[:MAX_CHARACTERS]
    if not PLAIN.fullmatch(text):
        text = MARKUP.sub("", unquote(text).replace("+", " ")).strip("\n")
        text = ftfy.fix_text(SPACES.sub(" ", text))
    elif "  " in text:
        text = SPACES.sub(" ", text)
    return text.strip().lower()


@dataclass(frozen=True)
class Word:
    """What became of one word of a caption.

    Attributes:
        token: the word.
        tag: its part of speech, "" where the rule does not ask.
        lemma: its base form.
        synset: the canonical name of its first noun sense, "" when it has none.
        kept: whether that synset is a label of the caption.
        reason: why not, "" when it is.
    """

    token: str
    tag: str
    lemma: str
    synset: str
    kept: bool
    reason: str


class Labeller:
    """Captions to WordNet synsets, by the rule "paper" or "corenet".

    Attributes:
        rule: its name.
        wordnet: the version whose noun offsets are given, "3.0".
        tagger: whose weights tag the words, None for "corenet", which asks for no tags.
        synset: a word -> the synset it stands for under the rule, its part of speech aside, or None.
    """

    def __init__(self, rule: str = "paper"):
        """Raises: InputError on an unknown rule, or when WordNet or the tagger's weights cannot be had."""
        self.rule = rule
        self.wordnet = VERSION
        self._nouns = nouns()
        rules = {"paper": self._first_sense, "corenet": self._namesake}
        self.synset = functools.lru_cache(MEMO_ENTRIES)(choose("rule", rule, rules))
        self._tagger = Tagger() if rule == "paper" else None
        self.tagger = self._tagger.source if self._tagger else None

    def __call__(self, caption: object) -> list[int]:
        """The synsets of one caption: offsets in WordNet 3.0's noun file, ascending, each once."""
        return self.batch([caption])[0]

    def batch(self, captions: Sequence[object]) -> list[list[int]]:
        """The synsets of each caption; much faster than one at a time under the rule "paper"."""
        tokens = [tokenize(clean(caption)) for caption in captions]
        if self._tagger:
            tags = self._tagger.tag(tokens)
            tokens = [
                [word for word, tag in zip(words, kinds, strict=True) if _is_noun(tag)]
                for words, kinds in zip(tokens, tags, strict=True)
            ]
        return [sorted({synset for word in words if (synset := self.synset(word)) is not None}) for words in tokens]

    def why_none(self, caption: object) -> str:
        """Why a caption without a label has none, in a few words that count many such captions."""
        words = self.explain(caption)
        if not words:
            return "no caption" if caption is None else "an empty caption"
        if self._tagger and not any(_is_noun(word.tag) for word in words):
            return "no noun"
        return "no noun of WordNet" if self._tagger else "no word that names its first noun sense"

    def explain(self, caption: object) -> list[Word]:
        """What became of each word of a caption, in order."""
        tokens = tokenize(clean(caption))
        tags = self._tagger.tag([tokens])[0] if self._tagger else [""] * len(tokens)
        return [self._explain(token, tag) for token, tag in zip(tokens, tags, strict=True)]

    def _explain(self, token: str, tag: str) -> Word:
        lemma = self._nouns.lemmatize(token)
        sense = self._first_sense(token)
        synset = "" if sense is None else self._nouns.name(sense)
        if sense is None:
            reason = "no noun of WordNet"
        elif self._tagger and not _is_noun(tag):
            reason = f"tagged {tag}, not a noun"
        elif self.synset(token) is None:
            reason = f"its first sense is named {synset}"
        else:
            reason = ""
        return Word(token, tag, lemma, synset, kept=not reason, reason=reason)

    def _first_sense(self, word: str) -> int | None:
        return self._nouns.first_senses.get(self._nouns.lemmatize(word))

    def _namesake(self, word: str) -> int | None:
        """The first noun sense, if its canonical name is the word's own."""
        lemma = self._nouns.lemmatize(word)
        sense = self._nouns.first_senses.get(lemma)
        return sense if sense is not None and self._nouns.name(sense) == f"{lemma}.n.01" else None


def _is_noun(tag: str) -> bool:
    return tag.startswith("NN")
