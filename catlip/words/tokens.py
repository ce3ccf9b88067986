"""Captions into words, as NLTK's `word_tokenize` does it.

NLTK runs two dozen regular expressions over every caption. None of them looks across the space
between two ordinary words, so an ordinary word is always cut in the same way, which is remembered;
a sentence with any other word goes to NLTK whole. NLTK is loaded when the first word needs it: its
import takes longer than everything else here.
"""

import functools
import re
from collections.abc import Callable
from itertools import chain
from typing import Any, Generic, TypeVar

from catlip.words.sentences import sentences

MEMO_WORDS = 1 << 17
# An ordinary word is letters and digits joined by single marks, perhaps a quote or bracket before
# it and a few marks after, or a lone mark. Left out is what NLTK pairs up over a distance
# (apostrophes at an edge, runs of dots, dashes or quotes).
ORDINARY = re.compile(
    r"""["(\[#@$]?[^\W_]+(?:[-'.,:/_][^\W_]+)*[.,:;?!%]?[")\]]?[.,:;?!]?|[-|/&=*@#$%~]"""
)
# The most frequent kinds are cut here: a plain word, perhaps in quotes or with marks behind.
_START = r"""(["(]?)([a-z0-9]+(?:[-/][a-z0-9]+)*)('s)?([,:;?!]?)"""
PLAIN = re.compile(_START + r"""([")]?)([,:;?!]?)""")
PLAIN_LAST = re.compile(_START + r"""(?:(\.)([")]?)|([")]?)([.,:;?!]?))""")
CONTRACTED = re.compile("cannot|gimme|gonna|gotta|lemme|wanna")

T = TypeVar("T")


class WordMemo(dict[str, T], Generic[T]):
    """word -> `function(word)`, each found once; begins anew after MEMO_WORDS words, so that memory
    stays bounded.
    """

    def __init__(self, function: Callable[[str], T]):
        self._function = function

    def __missing__(self, word: str) -> T:
        if len(self) == MEMO_WORDS:
            self.clear()
        found = self[word] = self._function(word)
        return found


def tokenize(caption: str) -> list[str]:
    """The tokens of a cleaned (lower-case) caption; equal to NLTK's for any text."""
    return [token for sentence in sentences(caption) for token in sentence_tokens(sentence)]


def sentence_tokens(sentence: str) -> list[str]:
    """The tokens of one sentence."""
    *inner, last = sentence.split(" ")
    try:
        return [*chain.from_iterable(map(_inner_words.__getitem__, inner)), *_last_words[last]]  # type: ignore[arg-type, misc]
    except TypeError:  # None among them
        return _nltk().tokenize(sentence)


def inner_word(word: str) -> tuple[str, ...] | None:
    """The tokens of an ordinary word with others behind it, else None."""
    return _plain_word(word, PLAIN) or (
        tuple(_nltk().tokenize(f"x {word} x")[1:-1]) if ORDINARY.fullmatch(word) else None
    )


def last_word(word: str) -> tuple[str, ...] | None:
    """The tokens of an ordinary word at the end of a sentence, where a full stop is cut off, else
    None.
    """
    return _plain_word(word, PLAIN_LAST) or (
        tuple(_nltk().tokenize(f"x {word}")[1:]) if ORDINARY.fullmatch(word) else None
    )


def _plain_word(word: str, pattern: re.Pattern[str]) -> tuple[str, ...] | None:
    found = pattern.fullmatch(word)
    if not found or CONTRACTED.search(word):
        return None
    opening, *others = found.groups()
    tokens = [
        "``" if opening == '"' else opening,
        *("''" if token == '"' else token for token in others),
    ]
    return tuple(filter(None, tokens))


@functools.cache
def _nltk() -> Any:
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return NLTKWordTokenizer()


_inner_words = WordMemo(inner_word)
_last_words = WordMemo(last_word)
