"""Annotated scenes of the starter's drawings for dense transfer, laid out as COCO and as ADE20k.

A scene is a photograph with one or two drawings of things, and sometimes a crowd of small drawings
of one class. The classes are Unicode's subgroups ("animal-bird"); the drawings of a scene are of
different classes. Training scenes use the drawings of the two teams that the probes train on,
validation scenes those of the two teams that the probes test on. No drawing, team or photograph is
on both sides, and none of these drawings is in pre-training.

    OUT/coco/annotations/instances_{train,val}2017.json
        boxes and masks (RLE) of what can be seen, areas, crowds
    OUT/coco/{train,val}2017/000000000001.jpg
    OUT/ade20k/images/{training,validation}/ADE_train_00000001.jpg
    OUT/ade20k/annotations/{training,validation}/ADE_train_00000001.png
        class of each pixel, 0 for the photograph
    OUT/ade20k/objectInfo150.txt
        the names of the classes
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catlip.cli import InputError, run
from catlip.data import scenes_result as result
from catlip.data.annotated_plans import (
    MIN_DRAWINGS,
    SIDES,
    Choice,
    Classes,
    Plan,
    choose,
    make,
    read_classes,
)
from catlip.data.decode import FORMATS
from catlip.data.scenes_result import Annotated as AnnotatedSide
from catlip.data.starter.emoji import Map, in_processes, read_sources, render
from catlip.data.starter.scenes import Sprite
from catlip.program.pictures import chosen, encoded_image, encoded_mask
from catlip.program.progress import progress
from catlip.program.ranges import Count, Range, Seed
from catlip.record import Record, write_atomically

EDITION = 1  # raised whenever the same arguments give other scenes than before
RENDER_SCALE = 1.2  # of the image's side: 1.5 times the largest object
MANIFEST = "scenes.json"
SHOWN = 6  # scenes of each side in the record
CARD = """# Annotated scenes

Generated layouts of real drawings; not photographs of things, and no evidence for or against the
paper.

Built by `python -m catlip.data.annotated_scenes` with {arguments}: {classes} classes, each with
at least {least} drawings on each side. The same arguments and versions give the same bytes.

| side | drawn by | photographs |
|---|---|---|
{sides}

What the photographs show has no label: COCO lists no object for it, and ADE20k leaves its pixels
out of the scores.

The drawings are under their teams' licences, the photographs are CC0: see NOTICE and
catlip/data/starter/backgrounds/ATTRIBUTION.md.
"""


@dataclass(frozen=True)
class Scenes:
    """Build the annotated scenes, for multi-label classification, segmentation and detection.

    python -m catlip.data.annotated_scenes --out data/starter-scenes
    """

    out: Path = Path("data/starter-scenes")
    """Where the folders coco and ade20k, DATA_CARD.md and scenes.json go."""
    size: Annotated[int, Range(at_least=32, at_most=512)] = 80
    """Side of the images in pixels, 32 to 512."""
    train: Count = 1200
    """Training scenes."""
    val: Count = 400
    """Validation scenes."""
    seed: Seed = 0
    """Chooses drawings, places and photographs; the same seed gives the same bytes."""
    record: Path | None = None
    """Path of the record for the report.

    It holds the number of objects of each class, and some scenes with their annotations.
    """
    workers: Count = 2
    """Processes that render and compose; the scenes do not depend on it."""
    quiet: bool = False
    """No progress bars."""


def main(config: Scenes) -> None:
    """Build the scenes, unless they are there already."""
    sources = read_sources()
    wanted: dict[str, Any] = {
        "edition": EDITION,
        "arguments": {name: getattr(config, name) for name in ("size", "train", "val", "seed")},
        "packages": {source.package: source.digest for source in sources},
    }
    if _is_complete(config, wanted):
        print(f"{config.out} is up to date")
    else:
        _build(config, wanted, read_classes(sources))
    if config.record:
        _write_record(config, config.record)


def _is_complete(config: Scenes, wanted: dict[str, Any]) -> bool:
    """Whether `out` holds a finished build of what is wanted, with all of its images."""
    try:
        manifest = json.loads((config.out / MANIFEST).read_text())
    except (FileNotFoundError, ValueError):
        return False
    folders = [config.out / "coco" / side.coco for side in SIDES.values()]
    counts = [len(list(folder.glob("*.jpg"))) for folder in folders]
    return bool(manifest == wanted and counts == [config.train, config.val])


def _build(config: Scenes, wanted: dict[str, Any], classes: Classes) -> None:
    partial = config.out / f"{MANIFEST}.partial"
    is_of_this_program = (config.out / MANIFEST).exists() or partial.exists()
    for folder in (config.out / "coco", config.out / "ade20k"):
        if folder.exists() and not is_of_this_program:
            raise InputError(f"{folder} was not written by this program; choose another --out")
        shutil.rmtree(folder, ignore_errors=True)
    config.out.mkdir(parents=True, exist_ok=True)
    write_atomically(partial, json.dumps(wanted, indent=1).encode() + b"\n")
    (config.out / MANIFEST).unlink(missing_ok=True)
    with in_processes(config.workers) as in_parallel:
        plans = _plans(config, classes, in_parallel)
        for side in SIDES:
            of_side = [plan for plan in plans if plan.side == side]
            _write(config, side, classes, plans=of_side, in_parallel=in_parallel)
    # ADE20k's table of classes; fractions of pixels and numbers of images are left at 0.
    rows = [f"{number}\t0\t0\t0\t0\t{name}" for number, name in enumerate(classes.groups, 1)]
    names = "\n".join(["Idx\tRatio\tTrain\tVal\tStuff\tName", *rows, ""])
    write_atomically(config.out / "ade20k" / "objectInfo150.txt", names.encode())
    write_atomically(config.out / "DATA_CARD.md", _card(wanted["arguments"], classes).encode())
    os.replace(partial, config.out / MANIFEST)
    print(
        f"{config.train} and {config.val} scenes of {len(classes.groups)} classes, written to "
        f"{config.out}"
    )


def _plans(config: Scenes, classes: Classes, in_parallel: Map) -> list[Plan[Sprite[int]]]:
    """The plan of every scene, with its drawings rendered."""
    sides = ["train"] * config.train + ["val"] * config.val
    scenes = [choose(classes, side, number, config.seed) for number, side in enumerate(sides, 1)]
    choices = [choice for scene in scenes for choice in (*scene.objects, *scene.crowd)]
    needed = list(dict.fromkeys(drawing for _, drawing in choices))  # each once, in order
    side = round(config.size * RENDER_SCALE)
    rendered = in_parallel(render, map(classes.svg.get, needed), [side] * len(needed))
    bar = progress(rendered, desc="render", total=len(needed), unit="drawing", disable=config.quiet)
    pixels = dict(zip(needed, bar, strict=True))

    def sprites(part: Sequence[Choice]) -> tuple[Sprite[int], ...]:
        return tuple(
            Sprite(class_id, pixels[drawing]) for class_id, drawing in part if pixels[drawing].size
        )

    return [
        Plan(
            scene.side,
            scene.number,
            sprites(scene.objects),
            crowd=sprites(scene.crowd),
            seed=scene.seed,
        )
        for scene in scenes
    ]


def _write(
    config: Scenes,
    name: str,
    classes: Classes,
    plans: Sequence[Plan[Sprite[int]]],
    in_parallel: Map,
) -> None:
    """The images and annotations of one side, in both layouts."""
    side = SIDES[name]
    coco_images = config.out / "coco" / side.coco
    coco_annotations = config.out / "coco" / "annotations"
    ade20k_images = config.out / "ade20k" / "images" / side.ade20k
    ade20k_label_maps = config.out / "ade20k" / "annotations" / side.ade20k
    for folder in (coco_images, coco_annotations, ade20k_images, ade20k_label_maps):
        folder.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    bar = progress(
        in_parallel(make, plans, [config.size] * len(plans)),
        desc=f"compose {name}",
        total=len(plans),
        unit="scene",
        disable=config.quiet,
    )
    for plan, made in zip(plans, bar, strict=True):
        file_name, stem = f"{plan.number:012d}.jpg", f"{side.prefix}_{plan.number:08d}"
        (coco_images / file_name).write_bytes(made.jpeg)
        (ade20k_images / f"{stem}.jpg").write_bytes(made.jpeg)
        Image.fromarray(made.label_map).save(ade20k_label_maps / f"{stem}.png")
        images.append(
            {"id": plan.number, "file_name": file_name, "height": config.size, "width": config.size}
        )
        # Ids are unique over both sides, as COCO's.
        for number, annotation in enumerate(made.annotations, 1000 * plan.number):
            annotations.append({"id": number, "image_id": plan.number} | annotation)
    categories = [
        {"id": number, "name": subgroup, "supercategory": group}
        for number, (subgroup, group) in enumerate(classes.groups.items(), 1)
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    file_name = f"instances_{side.coco}.json"
    write_atomically(coco_annotations / file_name, json.dumps(content).encode())


def _card(arguments: dict[str, int], classes: Classes) -> str:
    words = ", ".join(f"{name} {value}" for name, value in arguments.items())
    rows = []
    for name, side in SIDES.items():
        teams = {d.source.title for drawings in classes.drawings[name].values() for d in drawings}
        rows.append(f"| {name} | {', '.join(sorted(teams))} | {', '.join(side.photos)} |")
    return CARD.format(
        arguments=words, classes=len(classes.groups), least=MIN_DRAWINGS, sides="\n".join(rows)
    )


def _write_record(config: Scenes, path: Path) -> None:
    """The record for the report: how many objects the scenes hold, and some of the scenes."""
    annotated = {}
    with Record(path, result.Scenes, config) as record:
        for name, side in SIDES.items():
            file = config.out / "coco" / "annotations" / f"instances_{side.coco}.json"
            content = json.loads(file.read_text())
            names = [category["name"] for category in content["categories"]]
            images, annotations = content["images"], content["annotations"]
            objects = [item for item in annotations if not item["iscrowd"]]
            counts = Counter(item["category_id"] for item in objects)
            annotated[name] = AnnotatedSide(
                images=len(images),
                objects=len(objects),
                crowds=len(annotations) - len(objects),
                median_area=float(np.median([item["area"] for item in objects])),
            )
            record.samples["classes"] = names
            record.samples[f"{name}_objects_by_class"] = [counts[i + 1] for i in range(len(names))]
            record.samples[f"{name}_pictures"] = [
                _picture(config.out / "coco" / side.coco, images[number], annotations)
                for number in chosen(len(images), SHOWN)
            ]
        record.measured(result.Scenes(train=annotated["train"], val=annotated["val"]))
    print(f"wrote {path}")


def _picture(
    folder: Path, image: dict[str, Any], annotations: list[dict[str, Any]]
) -> dict[str, Any]:
    """A scene with its annotations, in the form that records of detection use."""
    with Image.open(folder / image["file_name"], formats=FORMATS) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    truth = []
    for annotation in annotations:
        if annotation["image_id"] == image["id"]:
            left, top, width, height = annotation["bbox"]
            truth.append(
                {
                    "class": annotation["category_id"] - 1,
                    "box": [left, top, left + width, top + height],
                    "mask": encoded_mask(mask_of(annotation["segmentation"])),
                }
            )
    return {"key": image["file_name"], "image": encoded_image(pixels), "truth": truth}


def mask_of(coded: dict[str, Any]) -> NDArray[np.bool_]:
    """The mask [H, W] of COCO's uncompressed RLE; the inverse of `run_lengths`."""
    values = np.arange(len(coded["counts"])) % 2 == 1
    return np.repeat(values, coded["counts"]).reshape(coded["size"], order="F")


if __name__ == "__main__":
    run(Scenes, main)
