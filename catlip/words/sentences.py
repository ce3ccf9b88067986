"""Splits captions into sentences, as the Punkt model for English of NLTK 3.8.1 does.

The ends of sentences matter for labels, because only there a full stop is split off its word: "a
dog. a cat" contains a dog only if it is two sentences. Most captions have no full stop inside and
do not need the model. For the others, its decision depends only on the words on both sides of the
full stop, and is cached.
"""

import functools
import re
from typing import TYPE_CHECKING, Any

from catlip.words import punkt_dir

if TYPE_CHECKING:
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

MEMO_ENTRIES = 1 << 16
# Where Punkt decides whether a sentence ends: a stop before another mark, or before a space and a
# word.
POSSIBLE_END = re.compile(r"""[.?!](?=[)";}\]*:@'({\[!?]|\s+\S)""")


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
