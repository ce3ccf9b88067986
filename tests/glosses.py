"""Real sentences to label: about 107,000 distinct definitions and examples of WordNet's nouns."""

import functools

from catlip.words import wordnet_dir


@functools.cache
def glosses() -> list[str]:
    lines = (wordnet_dir() / "data.noun").read_text(encoding="ascii").splitlines()
    texts = {
        part.strip()
        for line in lines
        if not line.startswith(" ")
        for part in line.split("|", 1)[1].split(";")
    }
    return sorted(texts - {""})
