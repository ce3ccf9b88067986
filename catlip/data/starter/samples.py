"""The samples of the starter data: which drawings, on which background, with which caption.

Captions are made of the names and keywords that people gave the drawings; no template ("a photo of
a ...") is added.

`plan` lists every sample of every split; `make` turns a plan into the members of a shard. Every
random choice comes from a generator seeded by the data set's seed and the sample's key, so a sample
depends neither on the process that makes it nor on the other samples.
"""

import io
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from PIL import Image

from catlip.data.starter.emoji import Concept, Drawing
from catlip.data.starter.scenes import TRAINING_PHOTOS, Sprite, compose, photo_crop

SPLITS = ("pretrain", "probe-train", "probe-test")
# Images of each drawing, by split. All have a white background: photographs behind a quarter of the
# pre-training images made the probes worse.
VIEWS = {"pretrain": 4, "probe-train": 4, "probe-test": 1}
DRAWING_SIZE = (0.7, 1.0)  # longer side of a lone drawing, relative to the image
SCENE_SIZE = (0.3, 0.6)  # longer side of an object in a scene
SCENE_OBJECTS = 4  # at most
THING_GROUPS = frozenset({"animals-nature", "food-drink", "activities", "objects"})
# Subgroups of the group travel-places.
THING_SUBGROUPS = frozenset({"transport-ground", "transport-water", "transport-air", "sky-weather"})

NOT_COUNTED = re.compile(
    "bread|flatbread|rice|food|meat|bacon|butter|salt|popcorn|spaghetti|sushi|oden|fondue|dango|"
    "custard|garlic|broccoli|ice|sake|mate|coral|yarn|thread|soap|money|dna|cooking|construction|"
    "tennis|bowling|badminton|lacrosse|hockey|pong|fire|fog|voltage|locked|unlocked|skis"
)
SINGULAR_ENDINGS = ("ss", "us", "is", "os")  # glass, cactus, tennis, rhinoceros
VOWEL_SOUND = re.compile(r"(?!uni|one\b|euro|ewe)[aeiou]|x-ray", re.IGNORECASE)
ALL_KEYWORDS = 6  # a caption longer than this reads like a list


@dataclass(frozen=True)
class Plan:
    """A "drawing" (one sprite that nearly fills the image; `view` numbers the images of a drawing)
    or a "scene" (one to four sprites on a photograph) to be made.
    """

    key: str
    split: str
    kind: str
    sprites: tuple[Sprite[Drawing], ...]
    view: int
    size: int
    seed: int


def plan(
    sprites: Sequence[Sprite[Drawing]], scenes: int, size: int, seed: int
) -> dict[str, list[Plan]]:
    """The samples of each split: images of every sprite, and for pre-training also scenes."""
    plans: dict[str, list[Plan]] = {split: [] for split in SPLITS}
    sprites_of = defaultdict(list)
    for sprite in sprites:
        split = sprite.what.source.split
        for view in range(VIEWS[split]):
            key = f"{sprite.what.key}-{view}"
            plans[split].append(Plan(key, split, "drawing", (sprite,), view, size, seed))
        if split == "pretrain" and is_thing(sprite.what.concept):
            sprites_of[sprite.what.concept].append(sprite)
    choices = list(sprites_of.values())
    for number in range(scenes if choices else 0):
        key = f"scene-{number:06d}"
        rng = named_generator(seed, f"plan/{key}")
        count = min(int(rng.integers(1, SCENE_OBJECTS + 1)), len(choices))
        teams = [choices[i] for i in rng.choice(len(choices), count, replace=False)]
        chosen = tuple(team[rng.integers(len(team))] for team in teams)
        plans["pretrain"].append(Plan(key, "pretrain", "scene", chosen, 0, size, seed))
    order = named_generator(seed, "plan/order").permutation(len(plans["pretrain"]))
    plans["pretrain"] = [plans["pretrain"][i] for i in order]
    return plans


def is_thing(concept: Concept) -> bool:
    """Whether a concept can be one object among others in a scene, unlike faces or places."""
    return concept.group in THING_GROUPS or concept.subgroup in THING_SUBGROUPS


def named_generator(seed: int, name: str) -> np.random.Generator:
    """A generator of random numbers that depend only on `seed` and on `name`, their purpose."""
    digest = sha256(f"{seed}/{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16]))


def make(sample: Plan) -> tuple[str, dict[str, bytes]]:
    """A planned sample as `(key, {"png": ..., "txt": ..., "json": ...})` for `write_shard`."""
    rng = named_generator(sample.seed, f"{sample.split}/{sample.key}")
    if sample.kind == "scene":
        background_name, size = str(rng.choice(TRAINING_PHOTOS)), SCENE_SIZE
        background = photo_crop(background_name, sample.size, rng)
    else:
        background_name, size = "white", DRAWING_SIZE
        background = np.full((sample.size, sample.size, 3), 255, dtype=np.uint8)
    image, placements = compose(background, sample.sprites, rng, size=size)
    meta: dict[str, Any] = {"kind": sample.kind, "split": sample.split}
    meta["background"] = background_name
    if sample.kind == "drawing":
        drawing = sample.sprites[0].what
        caption = drawing_caption(drawing.concept, rng)
        # A drawing repeats the entries of its only object at the top level.
        meta |= {"view": sample.view} | _identity(drawing)
    else:
        caption = scene_caption([placement.what.concept.name for placement in placements], rng)
    meta["objects"] = [
        _identity(placement.what) | {"box": placement.box} for placement in placements
    ]
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=6)
    text = json.dumps(meta, ensure_ascii=False)
    return sample.key, {"png": buffer.getvalue(), "txt": caption.encode(), "json": text.encode()}


def _identity(drawing: Drawing) -> dict[str, str]:
    source, concept = drawing.source, drawing.concept
    return {
        "source": source.name,
        "licence": source.licence,
        "concept": concept.hexcode,
        "name": concept.name,
        "group": concept.group,
        "subgroup": concept.subgroup,
    }


def drawing_caption(concept: Concept, rng: np.random.Generator) -> str:
    """The name alone (1 in 4), before one to three keywords (2 in 4), or among up to six (1 in 4),
    in random order, without those that only repeat words of the name.
    """
    words = set(concept.name.lower().split())
    keywords = [tag for tag in concept.tags if not set(tag.lower().split()) <= words]
    form = rng.integers(4)
    count = 0 if form == 0 else ALL_KEYWORDS if form == 3 else rng.integers(1, 4)
    parts = [str(keyword) for keyword in rng.permutation(keywords)[:count]]
    position = rng.integers(len(parts) + 1) if form == 3 else 0
    return ", ".join([*parts[:position], concept.name, *parts[position:]])


def scene_caption(names: Sequence[str], rng: np.random.Generator) -> str:
    """The names in random order: "a dog, grapes and an umbrella" (3 in 4), or "grapes, dog"."""
    names = [names[i] for i in rng.permutation(len(names))]
    if rng.integers(4) == 0:
        return ", ".join(names)
    *first, last = [add_article(name) for name in names]
    return f"{', '.join(first)} and {last}" if first else last


def add_article(name: str) -> str:
    """The name after "a" or "an", unless its head noun is a plural or is not counted."""
    head = re.split(r" (?:with|of|on|in|and|without) ", name)[0].split()[-1]
    plural = head.endswith("s") and not head.endswith(SINGULAR_ENDINGS)
    if plural or NOT_COUNTED.fullmatch(head):
        return name
    return f"{'an' if VOWEL_SOUND.match(name) else 'a'} {name}"
