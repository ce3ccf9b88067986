"""Captions into words, as NLTK's `word_tokenize(caption, preserve_line=True)` does it.

NLTK runs two dozen regular expressions over every caption. None of them looks across the space between two ordinary words,
so an ordinary word is always cut in the same way, which is remembered; a caption with any other word goes to NLTK whole.
"""

import functools
import re

from nltk.tokenize.destructive import NLTKWordTokenizer

MEMO_ENTRIES = 1 << 16
# An ordinary word is letters and digits joined by single marks, perhaps a quote or bracket before it and a few marks after, or
# a lone mark. Left out is what NLTK pairs up over a distance (apostrophes at an edge, runs of dots, dashes or quotes).
ORDINARY = re.compile(r"""["(\[#@$]?[^\W_]+(?:[-'.,:/_][^\W_]+)*[.,:;?!%]?[")\]]?[.,:;?!]?|[-|/&=*@#$%~]""")
PLAIN = re.compile(r"([a-z0-9]+(?:[-/][a-z0-9]+)*)([,:;?!]?)")  # the most frequent kind; cut here, unless a contraction

_nltk = NLTKWordTokenizer()


def tokenize(caption: str) -> list[str]:
    """The tokens of a cleaned (lower-case) caption; equal to NLTK's for any text."""
    *inner, last = caption.split(" ")
    words = [_inner_word(word) for word in inner]
    words.append(_last_word(last))
    tokens: list[str] = []
    for word in words:
        if word is None:
            return _nltk.tokenize(caption)
        tokens += word
    return tokens


@functools.lru_cache(MEMO_ENTRIES)
def _inner_word(word: str) -> tuple[str, ...] | None:
    """The tokens of an ordinary word with others behind it, else None."""
    if plain := _plain_word(word):
        return plain
    return tuple(_nltk.tokenize(f"x {word} x")[1:-1]) if ORDINARY.fullmatch(word) else None


@functools.lru_cache(MEMO_ENTRIES)
def _last_word(word: str) -> tuple[str, ...] | None:
    """The tokens of an ordinary word at the end, where a full stop is cut off, else None."""
    if plain := _plain_word(word):
        return plain
    return tuple(_nltk.tokenize(f"x {word}")[1:]) if ORDINARY.fullmatch(word) else None


def _plain_word(word: str) -> tuple[str, ...] | None:
    """Letters and digits joined by - or /, with a mark behind that is always cut off; None for anything else."""
    found = PLAIN.fullmatch(word)
    if not found or any(contraction.search(f" {found[1]} ") for contraction in _nltk.CONTRACTIONS2):
        return None
    return (found[1], found[2]) if found[2] else (found[1],)
