"""Annotated scenes of the starter's drawings for dense transfer, laid out as COCO and as ADE20k.

A scene is a photograph with one or two drawings of things, and sometimes a crowd of small drawings
of one class. The classes are Unicode's subgroups ("animal-bird"); the drawings of a scene are of
different classes. Training scenes use the drawings of the two teams that the probes train on,
validation scenes use the drawings of the two teams that the probes test on. No drawing, team or
photograph is on both sides, and none of these drawings is in pre-training. What the photographs
show has no label.

    coco/annotations/instances_{train,val}2017.json   what can be seen: boxes, areas, masks (RLE)
    coco/{train,val}2017/000000000001.jpg
    ade20k/images/{training,validation}/ADE_train_00000001.jpg
    ade20k/annotations/{training,validation}/ADE_train_00000001.png   classes; 0 is the photograph
    ade20k/objectInfo150.txt                          names of the classes
"""

import io
import json
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catlip.cli import InputError, run
from catlip.data.starter import emoji
from catlip.data.starter.emoji import Drawing, Source
from catlip.data.starter.samples import is_thing, named_generator
from catlip.data.starter.scenes import (
    HELD_OUT_PHOTOS,
    TRAINING_PHOTOS,
    Sprite,
    compose,
    extent,
    photo_crop,
)
from catlip.program.progress import progress
from catlip.program.ranges import Count, Range, Seed
from catlip.system.files import write_atomically
from catlip.system.foreign import read_json

EDITION = 1  # raised whenever the same arguments give other scenes than before
MIN_DRAWINGS = 12  # of a class, on each side
MAX_OBJECTS = 2  # in a scene, beside the crowd
OBJECT_SIZE = (0.45, 0.8)  # longer side of an object, relative to the image
CROWD_FRACTION = 0.05  # fraction of the scenes that have a crowd
CROWD_COUNT = (4, 7)  # drawings in a crowd, at least and at most
CROWD_SIZE = (0.12, 0.2)
QUALITY = 95  # of the JPEGs
RENDER_SCALE = 1.2  # of the image's side: 1.5 times the largest object
MANIFEST = "scenes.json"


@dataclass(frozen=True)
class Scenes:
    """Build the annotated scenes, for multi-label classification, segmentation and detection.

    python -m catlip.data.annotated_scenes --out data/starter-scenes
    """

    out: Path = Path("data/starter-scenes")
    """Where the folders coco and ade20k go, and scenes.json, which says how they were made."""
    size: Annotated[int, Range(at_least=32, at_most=512)] = 80
    """Side of the images in pixels, 32 to 512."""
    train: Count = 1200
    """Training scenes."""
    val: Count = 400
    """Validation scenes."""
    seed: Seed = 0
    """Chooses drawings, places and photographs; the same seed gives the same bytes."""
    workers: Count = 2
    """Processes that render and compose; the scenes do not depend on it."""
    quiet: bool = False
    """No progress bars."""


def main(config: Scenes) -> None:
    sources = emoji.read_sources()
    wanted: dict[str, Any] = {
        "edition": EDITION,
        "arguments": {name: getattr(config, name) for name in ("size", "train", "val", "seed")},
        "packages": {source.package: source.digest for source in sources},
    }
    manifest = config.out / MANIFEST
    existing = read_json(manifest, f"remove all of {config.out}") if manifest.exists() else None
    images = [len(list((config.out / "coco" / f"{s}2017").glob("*.jpg"))) for s in SIDES]
    if existing == wanted and images == [config.train, config.val]:
        print(f"{config.out} is up to date")
        return
    for folder in (config.out / "coco", config.out / "ade20k"):
        if folder.exists() and existing is None:
            raise InputError(f"{folder} was not written by this program; choose another --out")
        shutil.rmtree(folder, ignore_errors=True)
    write_atomically(manifest, b"{}\n")  # until the build is whole
    classes = read_classes(sources)
    with emoji.process_map(config.workers) as parallel_map:
        for name in SIDES:
            _write(config, name, classes, parallel_map)
    # ADE20k's table of classes; fractions of pixels and numbers of images are left at 0.
    rows = [f"{number}\t0\t0\t0\t0\t{name}" for number, name in enumerate(classes.groups, 1)]
    names = "\n".join(["Idx\tRatio\tTrain\tVal\tStuff\tName", *rows, ""])
    write_atomically(config.out / "ade20k" / "objectInfo150.txt", names.encode())
    write_atomically(manifest, json.dumps(wanted, indent=1).encode() + b"\n")
    print(f"{config.train} and {config.val} scenes, written to {config.out}")


@dataclass(frozen=True)
class Side:
    """What ADE20k calls one side of the data, the split of the starter data whose drawings it uses,
    and its background photographs.
    """

    ade20k: str
    drawings: str
    photos: tuple[str, ...]


SIDES = {
    "train": Side("training", "probe-train", TRAINING_PHOTOS),
    "val": Side("validation", "probe-test", tuple(sorted(HELD_OUT_PHOTOS))),
}
Choice = tuple[int, Drawing]  # a class id and one drawing of it


@dataclass(frozen=True)
class Classes:
    """The classes (name -> group; a class id is a position), and the drawings of which scenes are
    made: side -> class name -> drawings, and drawing -> its SVG text.
    """

    groups: dict[str, str]
    drawings: dict[str, dict[str, list[Drawing]]]
    svg: dict[Drawing, str]


@dataclass(frozen=True)
class Plan:
    """A scene: its objects, and a crowd of one class behind them, which most scenes lack. `number`
    is its id, from 1, unique over both sides; `seed` is the data set's.
    """

    side: str
    number: int
    objects: tuple[Sprite[int], ...]
    crowd: tuple[Sprite[int], ...]
    seed: int


def read_classes(sources: Sequence[Source]) -> Classes:
    """The classes: Unicode's subgroups with at least MIN_DRAWINGS drawings on each side."""
    things = [concept for concept in emoji.read_concepts() if is_thing(concept)]
    drawings: dict[str, dict[str, list[Drawing]]] = {side: defaultdict(list) for side in SIDES}
    svg: dict[Drawing, str] = {}
    side_of = {side.drawings: name for name, side in SIDES.items()}
    for source in sources:
        if source.split in side_of:
            texts = emoji.read_drawings(source, things)
            svg |= texts
            for drawing in texts:
                drawings[side_of[source.split]][drawing.concept.subgroup].append(drawing)
    groups = {
        name: group
        for name, group in sorted({(concept.subgroup, concept.group) for concept in things})
        if all(len(drawings[side][name]) >= MIN_DRAWINGS for side in SIDES)
    }
    return Classes(groups, drawings, svg)


def choose_drawings(
    classes: Classes, side: str, number: int, seed: int
) -> tuple[list[Choice], list[Choice]]:
    """The drawings of one scene, of its objects and of its crowd; all classes are equally likely,
    and all drawings of a class. The random numbers depend on the seed and the scene alone.
    """
    rng = named_generator(seed, f"annotated/{number}/drawings")
    names = list(classes.groups)

    def draw(class_id: int) -> Choice:
        drawings = classes.drawings[side][names[class_id]]
        return class_id, drawings[int(rng.integers(len(drawings)))]

    num_objects = int(rng.integers(1, MAX_OBJECTS + 1))
    crowd_class, *object_classes = rng.choice(len(names), num_objects + 1, replace=False).tolist()
    crowd_size = 0
    if rng.random() < CROWD_FRACTION:
        crowd_size = int(rng.integers(CROWD_COUNT[0], CROWD_COUNT[1] + 1))
    crowd = [draw(crowd_class) for _ in range(crowd_size)]
    return [draw(class_id) for class_id in object_classes], crowd


def make(plan: Plan, size: int) -> tuple[bytes, NDArray[np.uint8], list[dict[str, Any]]]:
    """Compose a planned scene, `size` pixels wide and high: its JPEG, its label map [H, W] (1 +
    class id of each pixel, and 0 for the photograph), and its COCO annotations without ids.
    """
    rng = named_generator(plan.seed, f"annotated/{plan.number}/layout")
    background = photo_crop(str(rng.choice(SIDES[plan.side].photos)), size, rng)
    image, crowd = compose(background, plan.crowd, rng, size=CROWD_SIZE)
    image, objects = compose(image, plan.objects, rng, size=OBJECT_SIZE)
    label_map = np.zeros((size, size), dtype=np.uint8)
    for placement in (*crowd, *objects):
        label_map[placement.mask] = 1 + placement.what
    annotations = [annotation(placement.what, placement.mask, False) for placement in objects]
    # No object is of the crowd's class.
    if crowd and (visible := label_map == 1 + crowd[0].what).any():
        annotations.insert(0, annotation(crowd[0].what, visible, True))
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue(), label_map, annotations


def annotation(class_id: int, mask: NDArray[np.bool_], is_crowd: bool) -> dict[str, Any]:
    """The COCO annotation, without ids, of an object whose visible pixels are `mask` [H, W]."""
    left, top, right, bottom = extent(mask)
    # COCO's uncompressed RLE: the lengths of runs of 0 and 1, column by column.
    flat = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return {
        "category_id": class_id + 1,
        "bbox": [float(value) for value in (left, top, right - left, bottom - top)],
        "area": float(mask.sum()),
        "iscrowd": int(is_crowd),
        "segmentation": {
            "size": list(mask.shape),
            "counts": np.diff(np.concatenate([[0], changes, [mask.size]])).tolist(),
        },
    }


def _write(config: Scenes, name: str, classes: Classes, parallel_map: emoji.Map) -> None:
    """The images and annotations of one side, in both layouts."""
    side, last = SIDES[name], config.train + config.val
    numbers = range(1, config.train + 1) if name == "train" else range(config.train + 1, last + 1)
    scenes = [choose_drawings(classes, name, number, config.seed) for number in numbers]
    needed = list(dict.fromkeys(d for scene in scenes for part in scene for _, d in part))
    svg, pixels_wide = map(classes.svg.get, needed), round(config.size * RENDER_SCALE)
    rendered = parallel_map(emoji.render, svg, [pixels_wide] * len(needed))
    pixels = dict(zip(needed, rendered, strict=True))
    plans = []
    for number, scene in zip(numbers, scenes, strict=True):
        objects, crowd = (
            tuple(Sprite(class_id, pixels[d]) for class_id, d in part if pixels[d].size)
            for part in scene
        )
        plans.append(Plan(name, number, objects, crowd, config.seed))

    folders = coco_images, coco_annotations, ade20k_images, ade20k_label_maps = (
        config.out / "coco" / f"{name}2017",
        config.out / "coco" / "annotations",
        config.out / "ade20k" / "images" / side.ade20k,
        config.out / "ade20k" / "annotations" / side.ade20k,
    )
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    composed = parallel_map(make, plans, [config.size] * len(plans))
    bar = progress(composed, "compose", len(plans), unit="scene", disable=config.quiet)
    for plan, (jpeg, label_map, objects) in zip(plans, bar, strict=True):
        file_name, stem = f"{plan.number:012d}.jpg", f"ADE_{name}_{plan.number:08d}"
        (coco_images / file_name).write_bytes(jpeg)
        (ade20k_images / f"{stem}.jpg").write_bytes(jpeg)
        Image.fromarray(label_map).save(ade20k_label_maps / f"{stem}.png")
        images.append(
            {"id": plan.number, "file_name": file_name, "height": config.size, "width": config.size}
        )
        # Ids are unique over both sides, as COCO's.
        for number, annotation in enumerate(objects, 1000 * plan.number):
            annotations.append({"id": number, "image_id": plan.number} | annotation)
    categories = [
        {"id": number, "name": subgroup, "supercategory": group}
        for number, (subgroup, group) in enumerate(classes.groups.items(), 1)
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_atomically(coco_annotations / f"instances_{name}2017.json", json.dumps(content).encode())


if __name__ == "__main__":
    run(Scenes, main)
