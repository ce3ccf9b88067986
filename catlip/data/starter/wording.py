"""Captions of the starter data, made of the names and keywords that people gave the drawings.

No template ("a photo of a ...") is added.
"""

import re
from collections.abc import Sequence

from numpy.random import Generator

from catlip.data.starter.emoji import Concept

NOT_COUNTED = re.compile(
    "bread|flatbread|rice|food|meat|bacon|butter|salt|popcorn|spaghetti|sushi|oden|fondue|dango|"
    "custard|garlic|broccoli|ice|sake|mate|coral|yarn|thread|soap|money|dna|cooking|construction|"
    "tennis|bowling|badminton|lacrosse|hockey|pong|fire|fog|voltage|locked|unlocked|skis"
)
SINGULAR_ENDINGS = ("ss", "us", "is", "os")  # glass, cactus, tennis, rhinoceros
VOWEL_SOUND = re.compile(r"(?!uni|one\b|euro|ewe)[aeiou]|x-ray", re.IGNORECASE)
ALL_KEYWORDS = 6  # a caption longer than this reads like a list


def drawing_caption(concept: Concept, rng: Generator) -> str:
    """The name alone (1 in 4), before one to three keywords (2 in 4), or among up to six (1 in 4).

    Keywords that only repeat words of the name are left out; the others come in random order.
    """
    words = set(concept.name.lower().split())
    keywords = [tag for tag in concept.tags if not set(tag.lower().split()) <= words]
    form = rng.integers(4)
    count = 0 if form == 0 else ALL_KEYWORDS if form == 3 else rng.integers(1, 4)
    parts = [str(keyword) for keyword in rng.permutation(keywords)[:count]]
    position = rng.integers(len(parts) + 1) if form == 3 else 0
    return ", ".join([*parts[:position], concept.name, *parts[position:]])


def scene_caption(names: Sequence[str], rng: Generator) -> str:
    """The names in random order, as a phrase (3 in 4) or as plain words (1 in 4).

    For example "a dog, grapes and an umbrella", or "grapes, dog, umbrella".
    """
    names = [names[i] for i in rng.permutation(len(names))]
    if rng.integers(4) == 0:
        return ", ".join(names)
    *first, last = [with_article(name) for name in names]
    return f"{', '.join(first)} and {last}" if first else last


def with_article(name: str) -> str:
    """The name after "a" or "an", unless its head noun is a plural or is not counted."""
    head = re.split(r" (?:with|of|on|in|and|without) ", name)[0].split()[-1]
    plural = head.endswith("s") and not head.endswith(SINGULAR_ENDINGS)
    if plural or NOT_COUNTED.fullmatch(head):
        return name
    return f"{'an' if VOWEL_SOUND.match(name) else 'a'} {name}"
