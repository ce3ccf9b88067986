"""What annotated scenes contain: which drawings, where, and their COCO and ADE20k annotations.

`choose` picks the drawings of a scene, `make` composes it. Every random choice comes from a
generator seeded by the data set's seed and the scene's number. A scene therefore depends neither on
the process that makes it nor on the other scenes.
"""

import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catlip.data.starter.emoji import Drawing, Source, read_concepts, read_drawings
from catlip.data.starter.samples import generator, is_thing
from catlip.data.starter.scenes import (
    HELD_OUT_PHOTOS,
    TRAINING_PHOTOS,
    Placement,
    Sprite,
    compose,
    extent,
    photo_crop,
)

MIN_DRAWINGS = 12  # of a class, on each side
MAX_OBJECTS = 2  # in a scene, beside the crowd
OBJECT_SIZE = (0.45, 0.8)  # longer side of an object, relative to the image
CROWD_FRACTION = 0.05  # fraction of the scenes that have a crowd
CROWD_COUNT = (4, 7)  # drawings in a crowd, at least and at most
CROWD_SIZE = (0.12, 0.2)
QUALITY = 95  # of the JPEGs

Choice = tuple[int, Drawing]  # a class id and one drawing of it
P = TypeVar("P", Choice, Sprite[int])


@dataclass(frozen=True)
class Side:
    """One side of the data, training or validation: what COCO, ADE20k and ADE20k's file names call
    it, the split of the starter data whose drawings it uses, and its background photographs.
    """

    coco: str
    ade20k: str
    prefix: str
    drawings: str
    photos: tuple[str, ...]


SIDES = {
    "train": Side(
        "train2017", "training", "ADE_train", drawings="probe-train", photos=TRAINING_PHOTOS
    ),
    "val": Side(
        "val2017",
        "validation",
        "ADE_val",
        drawings="probe-test",
        photos=tuple(sorted(HELD_OUT_PHOTOS)),
    ),
}


@dataclass(frozen=True)
class Classes:
    """The classes, and the drawings that scenes of them are made of.

    Attributes:
        groups: a class's name -> its group; a class id is a position in it.
        drawings: side -> class name -> its drawings.
        svg: drawing -> its SVG text.
    """

    groups: dict[str, str]
    drawings: dict[str, dict[str, list[Drawing]]]
    svg: dict[Drawing, str]


@dataclass(frozen=True)
class Plan(Generic[P]):
    """The pictures of a scene, as choices or as pixels: its objects, and a crowd behind them.

    Later objects lie over earlier ones. The pictures of a crowd are of one class; most scenes have
    an empty crowd.

    Attributes:
        number: the scene's id, from 1, unique over both sides.
        seed: the data set's.
    """

    side: str
    number: int
    objects: tuple[P, ...]
    crowd: tuple[P, ...]
    seed: int


@dataclass(frozen=True)
class Made:
    """A composed scene.

    Attributes:
        jpeg: the encoded image.
        label_map: [H, W], 1 + class id of each pixel, and 0 for the photograph.
        annotations: its COCO annotations, without ids.
    """

    jpeg: bytes
    label_map: NDArray[np.uint8]
    annotations: list[dict[str, Any]]


def read_classes(sources: Sequence[Source]) -> Classes:
    """The classes: Unicode's subgroups with at least MIN_DRAWINGS drawings on each side."""
    things = [concept for concept in read_concepts() if is_thing(concept)]
    drawings: dict[str, dict[str, list[Drawing]]] = {side: defaultdict(list) for side in SIDES}
    svg: dict[Drawing, str] = {}
    for name, side in SIDES.items():
        for source in [source for source in sources if source.split == side.drawings]:
            of_source = read_drawings(source, things)
            svg |= of_source
            for drawing in of_source:
                drawings[name][drawing.concept.subgroup].append(drawing)
    groups = {concept.subgroup: concept.group for concept in things}
    names = [
        name
        for name in sorted(groups)
        if all(len(drawings[side][name]) >= MIN_DRAWINGS for side in SIDES)
    ]
    return Classes({name: groups[name] for name in names}, drawings, svg)


def choose(classes: Classes, side: str, number: int, seed: int) -> Plan[Choice]:
    """The drawings of one scene; all classes are equally likely, and all drawings of a class."""
    rng = generator(seed, f"annotated/{number}/drawings")
    names = list(classes.groups)

    def one_of(class_id: int) -> Choice:
        drawings = classes.drawings[side][names[class_id]]
        return class_id, drawings[int(rng.integers(len(drawings)))]

    num_objects = int(rng.integers(1, MAX_OBJECTS + 1))
    of_crowd, *of_objects = rng.choice(len(names), num_objects + 1, replace=False).tolist()
    size_of_crowd = 0
    if rng.random() < CROWD_FRACTION:
        size_of_crowd = int(rng.integers(CROWD_COUNT[0], CROWD_COUNT[1] + 1))
    crowd = tuple(one_of(of_crowd) for _ in range(size_of_crowd))
    return Plan(side, number, tuple(map(one_of, of_objects)), crowd=crowd, seed=seed)


def make(plan: Plan[Sprite[int]], size: int) -> Made:
    """Compose a planned scene, `size` pixels wide and high."""
    rng = generator(plan.seed, f"annotated/{plan.number}/layout")
    background = photo_crop(str(rng.choice(SIDES[plan.side].photos)), size, rng)
    with_crowd, crowd = compose(background, plan.crowd, rng, size=CROWD_SIZE)
    image, objects = compose(with_crowd, plan.objects, rng, size=OBJECT_SIZE)
    visible = [(placement.what, placement.mask, False) for placement in objects]
    visible_crowd = _union(crowd, size) & ~_union(objects, size)
    if visible_crowd.any():
        visible.insert(0, (crowd[0].what, visible_crowd, True))
    label_map = np.zeros((size, size), dtype=np.uint8)
    for class_id, mask, _ in visible:
        label_map[mask] = 1 + class_id
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=QUALITY)
    return Made(buffer.getvalue(), label_map, [annotation(*placed) for placed in visible])


def annotation(class_id: int, mask: NDArray[np.bool_], is_crowd: bool) -> dict[str, Any]:
    """The COCO annotation, without ids, of an object whose visible pixels are `mask` [H, W]."""
    left, top, right, bottom = extent(mask)
    return {
        "category_id": class_id + 1,
        "bbox": [float(value) for value in (left, top, right - left, bottom - top)],
        "area": float(mask.sum()),
        "iscrowd": int(is_crowd),
        "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask)},
    }


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """A mask [H, W] as COCO's uncompressed RLE: the lengths of runs of 0 and 1, alternating.

    Pixels are taken column by column, and the first run is of 0.
    """
    flat = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    lengths: list[int] = np.diff(np.concatenate([[0], changes, [mask.size]])).tolist()
    return lengths


def _union(placements: Sequence[Placement[int]], size: int) -> NDArray[np.bool_]:
    return np.any(
        [np.zeros((size, size), dtype=bool), *(placement.mask for placement in placements)], axis=0
    )
