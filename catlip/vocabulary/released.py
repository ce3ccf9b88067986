"""The vocabulary file of CatLIP's released code: a pickle of {"n2084071": count}, most frequent
first.
"""

from hashlib import sha256
from pathlib import Path

from catlip.cli import InputError
from catlip.system.foreign import load_plain
from catlip.vocabulary.counts import MOST, PART_DIGITS, Synset
from catlip.words.wordnet import nouns

MAX_BYTES = 1 << 26  # the released pickle has 0.6 MB


def read_release(path: Path) -> tuple[tuple[Synset, ...], str]:
    """The synsets in the order of the file, which is that of its classes, and a digest of the file.

    No code in the pickle is run.

    Raises: InputError when the file is not such a pickle.
    """
    if (size := path.stat().st_size) > MAX_BYTES:
        raise InputError(f"{path} has {size} bytes; the released vocabulary has 0.6 MB")
    content = path.read_bytes()
    counts = load_plain(content, str(path))
    if not isinstance(counts, dict) or not all(_is_entry(*entry) for entry in counts.items()):
        raise InputError(
            f"{path} is not a dictionary of noun synsets and counts, such as n2084071: 12345"
        )
    offsets = [(int(key[1:]), times) for key, times in counts.items()]
    synsets = tuple(Synset(offset, nouns().name(offset), times) for offset, times in offsets)
    return synsets, sha256(content).hexdigest()[:PART_DIGITS]


def _is_entry(key: object, times: object) -> bool:
    is_synset = isinstance(key, str) and key[:1] == "n" and key[1:].isdecimal() and len(key) < 10
    return is_synset and type(times) is int and 0 < times < MOST
