"""Words of one's own domain: those that WordNet does not know, knows in another sense, or that are
to give no label.

    tshirts,shirt
    tee,jersey.n.03
    color,
"""

from pathlib import Path

from catlip.cli import InputError
from catlip.label.sources import text_rows
from catlip.words.wordnet import nouns


def read_words(path: Path) -> dict[str, str]:
    """Words of one's own from a CSV or TSV file without a header: a word, and the WordNet synset
    ("shirt.n.01") or the noun ("shirt") that it stands for, or nothing if it is to give no label.

    Raises: InputError, with the line.
    """
    words: dict[str, str] = {}
    for number, (word, *others) in enumerate(text_rows(path), 1):
        noun = others[0].strip().lower().replace(" ", "_") if others else ""
        if noun and (found := nouns().find(noun)) is None:
            raise InputError(f"{path}, line {number}: {noun!r} is neither a noun nor a synset")
        words[word.strip().lower()] = nouns().name(found) if noun and found is not None else ""
    return words
