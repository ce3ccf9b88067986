"""The samples of the starter data: which drawings, on which background, with which caption.

`plan` lists every sample of every split as a `Plan`, which is small enough to send to another
process; `make` turns a plan into the members of a shard. Every random choice comes from a generator
seeded by the data set's seed and the sample's key. A sample therefore depends neither on the
process that makes it nor on the other samples.
"""

import io
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
from PIL import Image

from catlip.data.starter.emoji import Concept, Drawing
from catlip.data.starter.scenes import (
    TRAINING_PHOTOS,
    Pixels,
    Placement,
    Sprite,
    compose,
    photo_crop,
    white,
)
from catlip.data.starter.wording import drawing_caption, scene_caption

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


@dataclass(frozen=True)
class Plan:
    """One sample to be made.

    Attributes:
        key: the sample's name in the shard.
        kind: "drawing" (one sprite that nearly fills the image) or "scene" (one to four sprites on
            a photograph).
        sprites: what the image shows; later ones lie over earlier ones.
        view: number of this image among the images of the same drawing; 0 for a scene.
        size: side of the image in pixels.
        seed: the data set's seed.
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
    """The samples of each split: VIEWS[split] images of every sprite.

    `scenes` scenes, made of pre-training sprites, are mixed into the split for pre-training.
    """
    made = partial(Plan, size=size, seed=seed)
    plans: dict[str, list[Plan]] = {split: [] for split in SPLITS}
    for sprite in sprites:
        split = sprite.what.source.split
        for view in range(VIEWS[split]):
            key = f"{sprite.what.key}-{view}"
            plans[split].append(made(key, split, "drawing", sprites=(sprite,), view=view))
    by_concept = defaultdict(list)
    for sprite in sprites:
        if sprite.what.source.split == "pretrain" and is_thing(sprite.what.concept):
            by_concept[sprite.what.concept].append(sprite)
    choices = list(by_concept.values())
    for number in range(scenes if choices else 0):
        key = f"scene-{number:06d}"
        rng = generator(seed, f"plan/{key}")
        count = min(int(rng.integers(1, SCENE_OBJECTS + 1)), len(choices))
        teams = [choices[i] for i in rng.choice(len(choices), count, replace=False)]
        chosen = tuple(team[rng.integers(len(team))] for team in teams)
        plans["pretrain"].append(made(key, "pretrain", "scene", sprites=chosen, view=0))
    order = generator(seed, "plan/order").permutation(len(plans["pretrain"]))
    plans["pretrain"] = [plans["pretrain"][i] for i in order]
    return plans


def is_thing(concept: Concept) -> bool:
    """Whether a concept can be one object among others in a scene.

    Faces, persons, places and times of day cannot.
    """
    return concept.group in THING_GROUPS or concept.subgroup in THING_SUBGROUPS


def generator(seed: int, name: str) -> np.random.Generator:
    """A generator of random numbers that depend only on `seed` and on `name`, their purpose."""
    digest = sha256(f"{seed}/{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16]))


def make(sample: Plan) -> tuple[str, dict[str, bytes]]:
    """A planned sample as `(key, {"png": ..., "txt": ..., "json": ...})` for `write_shard`."""
    rng = generator(sample.seed, f"{sample.split}/{sample.key}")
    background_name, background = _background(sample, rng)
    size = DRAWING_SIZE if sample.kind == "drawing" else SCENE_SIZE
    image, placements = compose(background, sample.sprites, rng, share=size)
    if sample.kind == "drawing":
        caption = drawing_caption(sample.sprites[0].what.concept, rng)
    else:
        caption = scene_caption([placement.what.concept.name for placement in placements], rng)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=6)
    meta = json.dumps(_metadata(sample, background_name, placements), ensure_ascii=False)
    return sample.key, {"png": buffer.getvalue(), "txt": caption.encode(), "json": meta.encode()}


def _background(sample: Plan, rng: np.random.Generator) -> tuple[str, Pixels]:
    if sample.kind == "scene":
        name = str(rng.choice(TRAINING_PHOTOS))
        return name, photo_crop(name, sample.size, rng)
    return "white", white(sample.size)


def _metadata(
    sample: Plan, background: str, placements: Sequence[Placement[Drawing]]
) -> dict[str, Any]:
    """The `.json` member; a drawing repeats the entries of its only object at the top level."""
    objects = [_identity(placement.what) | {"box": placement.box} for placement in placements]
    head: dict[str, Any] = {"kind": sample.kind, "split": sample.split, "background": background}
    if sample.kind == "drawing":
        head |= {"view": sample.view} | _identity(sample.sprites[0].what)
    return head | {"objects": objects}


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
