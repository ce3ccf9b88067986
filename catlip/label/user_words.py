"""The user's words: words that WordNet does not know or knows in another sense, or that are to give
no label.

    tshirts,shirt
    tee,jersey.n.03
    color,
"""

from pathlib import Path

from catlip.cli import InputError
from catlip.data.tables import open_text
from catlip.words.wordnet import nouns


def read_words(path: Path) -> dict[str, str]:
    """The words in a CSV or TSV file without a header: a word, and the WordNet synset
    ("shirt.n.01") or the noun ("shirt") that it stands for, or nothing if it is to give no label.

    Raises: InputError, with the line.
    """
    words: dict[str, str] = {}
    table = open_text(path, "0")
    for row in table.rows():
        assert isinstance(row.cells, dict)
        fields = table.delimiter.join(row.cells.values()).strip(table.delimiter)
        word, noun = (field.strip().lower() for field in fields.partition(table.delimiter)[::2])
        synset = nouns().find(noun.replace(" ", "_")) if noun else None
        if noun and synset is None:
            raise InputError(f"{path}, line {row.line}: {noun!r} is neither a noun nor a synset")
        if word in words:
            raise InputError(f"{path}, line {row.line}: {word!r} has a line before")
        words[word] = "" if synset is None else nouns().name(synset)
    return words
