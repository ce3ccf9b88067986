"""Real sentences to label: about 107,000 distinct definitions and examples of WordNet's nouns."""

import functools
from pathlib import Path

from catlip.data.shards import write_shard
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


def make_shard(path: Path, captions: list[str]) -> Path:
    write_shard(path, ((f"{n:05d}", {"txt": text.encode()}) for n, text in enumerate(captions)))
    return path
