"""The user's words: words that WordNet does not know or knows in another sense, or that are to give
no label.

    tshirts,shirt
    tee,jersey.n.03
    color,
"""

from pathlib import Path

from catlip.cli import InputError
from catlip.label.sources import text_rows
from catlip.words.wordnet import nouns


def read_words(path: Path) -> dict[str, str]:
    """The words in a CSV or TSV file without a header: a word, and the WordNet synset
    ("shirt.n.01") or the noun ("shirt") that it stands for, or nothing if it is to give no label.

    Raises: InputError, with the line.
    """
    words: dict[str, str] = {}
    for number, (word, *others) in enumerate(text_rows(path), 1):
        noun = others[0].strip().lower().replace(" ", "_") if others else ""
        synset = nouns().find(noun) if noun else None
        if noun and synset is None:
            raise InputError(f"{path}, line {number}: {noun!r} is neither a noun nor a synset")
        words[word.strip().lower()] = "" if synset is None else nouns().name(synset)
    return words
