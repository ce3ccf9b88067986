"""`python -m catlip.words`."""

from dataclasses import dataclass

from catlip.cli import run
from catlip.words import punkt_dir, source_of, tagger_dir, wordnet_dir


@dataclass(frozen=True)
class Words:
    """Fetch WordNet 3.0, the part-of-speech tagger and the sentence model.

    Prints where they are and which source they came from.

    python -m catlip.words
    """


def main(config: Words) -> None:
    for folder in (wordnet_dir(), tagger_dir(), punkt_dir()):
        print(f"{folder}  (from {source_of(folder)})")


if __name__ == "__main__":
    run(Words, main)
