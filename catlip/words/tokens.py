"""Splits captions into sentences and words, as `word_tokenize` of NLTK 3.8.1 does, to which the
paper's code is pinned.

NLTK runs two dozen regular expressions over every caption. None of them looks across the space
between two ordinary words, so an ordinary word is always split in the same way, and the result is
cached. A sentence with any other word is passed to NLTK as a whole. NLTK is loaded when it is first
needed: its import takes longer than everything else here.

The ends of sentences matter for labels, because only there a full stop is split off its word: "a
dog. a cat" contains a dog only if it is two sentences. Most captions have no full stop inside and
do not need NLTK's Punkt model. For the others, its decision depends only on the words on both sides
of the full stop, and is cached.
"""

import functools
import re
from itertools import chain
from typing import TYPE_CHECKING, Any

from catlip.words import punkt_dir

if TYPE_CHECKING:
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

MEMO_WORDS = 1 << 17
# An ordinary word consists of letters and digits joined by single marks, with at most one quote or
# bracket before it and a few marks after it; or it is a single mark or 's, which Flickr8k and CC3M
# write apart. A word is not ordinary if it has marks that NLTK treats together with other words
# (other apostrophes at an edge, runs of dots, dashes or quotes).
ORDINARY = re.compile(
    r"""["(\[#@$]?[^\W_]+(?:[-'.,:/_][^\W_]+)*[.,:;?!%]?[")\]]?[.,:;?!]?|[-|/&=*@#$%~.,:;?!]|'s"""
)
# NLTK 3.8.1 splits an apostrophe off a single letter only, as in "fo'c'sle".
APOSTROPHE = re.compile(r"(?i)(\')(?!re|ve|ll|m|t|s|d|n)(\w)\b")
MEMO_ENTRIES = 1 << 16
# Where Punkt decides whether a sentence ends: a stop before another mark, or before a space and a
# word.
POSSIBLE_END = re.compile(r"""[.?!](?=[)";}\]*:@'({\[!?]|\s+\S)""")


def tokenize(caption: str) -> list[str]:
    """The tokens of a cleaned (lower-case) caption; equal to NLTK 3.8.1's for any text."""
    return [token for sentence in sentences(caption) for token in sentence_tokens(sentence)]


def sentence_tokens(sentence: str) -> list[str]:
    *inner, last = sentence.split(" ")
    try:
        first = chain.from_iterable(map(inner_word, inner))  # type: ignore[arg-type]
        return [*first, *last_word(last)]  # type: ignore[misc]
    except TypeError:  # None, for a word that is not ordinary
        return nltk_tokenizer().tokenize(sentence)


@functools.lru_cache(MEMO_WORDS)
def inner_word(word: str) -> tuple[str, ...] | None:
    """The tokens of an ordinary word that is not the last of its sentence, else None."""
    if not ORDINARY.fullmatch(word):
        return None
    return tuple(nltk_tokenizer().tokenize(f"x {word} x")[1:-1])


@functools.lru_cache(MEMO_WORDS)
def last_word(word: str) -> tuple[str, ...] | None:
    """As `inner_word`, at the end of a sentence, where a full stop is split off."""
    return tuple(nltk_tokenizer().tokenize(f"x {word}")[1:]) if ORDINARY.fullmatch(word) else None


@functools.cache
def nltk_tokenizer() -> Any:
    """NLTK's word tokenizer with the rules of 3.8.1. Later versions also split at en and em dashes,
    split apostrophes off whole words, and merge spaces before they look for clitics.
    """
    from nltk.tokenize.destructive import NLTKWordTokenizer

    def without(rules: list[Any], pattern: str) -> list[Any]:
        return [rule for rule in rules if rule[0].pattern != pattern]

    class Tokenizer(NLTKWordTokenizer):  # type: ignore[misc]
        STARTING_QUOTES = (*NLTKWordTokenizer.STARTING_QUOTES[:-1], (APOSTROPHE, r"\1 \2"))
        PUNCTUATION = without(NLTKWordTokenizer.PUNCTUATION, r"[\u2012-\u2015]")
        ENDING_QUOTES = without(NLTKWordTokenizer.ENDING_QUOTES, r"\s+")

    return Tokenizer()


def sentences(text: str) -> list[str]:
    """The sentences of a text, equal to `sent_tokenize` of NLTK 3.8.1."""
    if POSSIBLE_END.search(text):
        return _punkt().tokenize(text)
    text = text.rstrip()
    return [text] if text else []


@functools.cache
def _punkt() -> "PunktSentenceTokenizer":
    # Late: importing NLTK takes longer than everything else here.
    from nltk.tokenize.punkt import PunktSentenceTokenizer

    model = PunktSentenceTokenizer(lang_vars=language_rules())
    model._params = _parameters()
    memoised = functools.lru_cache(MEMO_ENTRIES)(model.text_contains_sentbreak)
    model.text_contains_sentbreak = memoised  # type: ignore[method-assign]
    return model


def language_rules() -> Any:
    """Punkt's rules in 3.8.1; later versions also end sentences before curly quotes."""
    from nltk.tokenize.punkt import PunktLanguageVars

    class LanguageVars(PunktLanguageVars):
        re_boundary_realignment = re.compile(r"""["')\]}]+?(?:\s+|(?=--)|$)""", re.MULTILINE)
        _re_non_word_chars = r"""(?:[?!)";}\]\*:@'\({\[])"""

    return LanguageVars()


def _parameters() -> "PunktParameters":
    """The model's tables; NLTK's reader accepts files only in one of its data folders."""
    from nltk.tokenize.punkt import PunktParameters

    parameters = PunktParameters()

    def rows(name: str) -> list[list[str]]:
        return [line.split("\t") for line in (punkt_dir() / name).read_text("utf-8").splitlines()]

    parameters.abbrev_types = {word for (word,) in rows("abbrev_types.txt")}
    parameters.sent_starters = {word for (word,) in rows("sent_starters.txt")}
    parameters.collocations = {(first, second) for first, second in rows("collocations.tab")}
    parameters.ortho_context.update({word: int(flags) for word, flags in rows("ortho_context.tab")})
    return parameters
