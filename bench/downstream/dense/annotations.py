"""Annotated images from outside: COCO and ADE20k in their own layouts, checked here, once.

coco:DIR    DIR/annotations/instances_{train,val}2017.json, and the images in DIR/{train,val}2017/
ade20k:DIR  DIR/images/{training,validation}/NAME.jpg, DIR/annotations/.../NAME.png with 8-bit ids
            (0 means no class, class i has id i + 1), and DIR/objectInfo150.txt with the names

Single images with a fault are left out and counted; what would change the meaning of a result is
refused.
"""

import json
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from catlip.cli import InputError
from catlip.data.decode import open_picture, rgb
from catlip.program.broken import MAX_BROKEN, BrokenImage, BrokenImages, cause_of
from catlip.training.distributed import all_gather_objects, rank_and_world_size

SplitName = Literal["train", "val"]
Entry = dict[str, Any]  # an image, category or annotation, as in COCO's file
T = TypeVar("T")
MAX_UNKNOWN = 0.01  # largest fraction of pixels whose ids no class has
UNREADABLE = (OSError, ValueError, SyntaxError)  # what Pillow raises for a file it cannot read
ADE_FOLDERS = {"train": "training", "val": "validation"}
ADE_NAMES = "objectInfo150.txt"
IGNORED = 255  # the class id of an ignored pixel; annotations hold 0 or 255 there


@dataclass(frozen=True, kw_only=True)
class Split:
    """The images of a split that can be used: Scenes of ADE20k, or entries of COCO's file."""

    names: list[str]  # of the classes, by class id
    images: list[Any]
    listed: int  # images, with those that cannot be used
    broken: BrokenImages  # the images that are left out

    def __len__(self) -> int:
        return len(self.images)


def folder_of(spelling: str, kind: Literal["coco", "ade20k"]) -> Path:
    """The folder that `KIND:DIR` names."""
    prefix, _, folder = spelling.partition(":")
    if prefix != kind or not folder:
        raise InputError(f"data {spelling!r} is not {kind}:DIR, with a folder in {kind}'s layout")
    return Path(folder)


def _require(spelling: str, root: Path, needed: list[Path], unpack: str) -> None:
    for path in needed:
        if not path.exists():
            raise InputError(
                f"{spelling}:{root} has no {path.relative_to(root)}; unpack {unpack} there"
            )


def _look_at_all(look: Callable[[Any], T], images: list[Any]) -> list[T]:
    """What `look` finds for each image: each rank looks at a part, and all ranks get all."""
    rank, ranks = rank_and_world_size()
    with ThreadPoolExecutor() as pool:
        part = list(pool.map(look, images[rank::ranks]))
    parts = all_gather_objects(part)
    return [parts[number % ranks][number // ranks] for number in range(len(images))]


@dataclass(frozen=True, kw_only=True)
class CocoSplit(Split):
    folder: Path
    categories: list[Entry]  # by ascending id; a class id is a position in it
    annotations: list[list[Entry]]  # of each image

    @property
    def class_ids(self) -> dict[int, int]:
        """A category's id in the file -> its class id."""
        return {category["id"]: number for number, category in enumerate(self.categories)}


def read_coco(
    root: Path,
    split: SplitName,
    max_broken: float = MAX_BROKEN,
    fault_of: Callable[[Path, Entry], str] | None = None,
) -> CocoSplit:
    """A split of COCO-2017, or of anything laid out like it, without images that are missing,
    empty, or of which `fault_of` says what is wrong.
    """
    path, folder = root / "annotations" / f"instances_{split}2017.json", root / f"{split}2017"
    _require("coco", root, [path, folder], "COCO-2017's images and annotations")
    images, categories, by_image = _read_instances(path)
    sizes = {entry.name: entry.stat().st_size for entry in os.scandir(folder)}

    def look(image: Entry) -> str:
        name = image["file_name"]
        if not sizes.get(name):
            return "empty" if name in sizes else "missing"
        return fault_of(folder / name, image) if fault_of else ""

    faults = _look_at_all(look, images)
    broken = BrokenImages()
    broken.add(
        BrokenImage(f"{folder}:{image['file_name']}", fault)
        for image, fault in zip(images, faults, strict=True)
        if fault
    )
    broken.check(len(images), max_broken)
    usable = [image for image, fault in zip(images, faults, strict=True) if not fault]
    annotations = [by_image[image["id"]] for image in usable]
    if all(one.get("iscrowd") for one in chain.from_iterable(annotations)):
        raise InputError(f"{path} annotates no object of an image that can be used")
    return CocoSplit(
        names=[category["name"] for category in categories],
        images=usable,
        listed=len(images),
        broken=broken,
        folder=folder,
        categories=categories,
        annotations=annotations,
    )


def _read_instances(path: Path) -> tuple[list[Entry], list[Entry], dict[int, list[Entry]]]:
    """Images and categories by ascending id, and image id -> its annotations."""
    try:
        content = json.loads(path.read_bytes())
        images = sorted(content["images"], key=itemgetter("id"))
        categories = sorted(content["categories"], key=itemgetter("id"))
        for entries, fields in (
            (images, ("file_name", "height", "width")),
            (categories, ("name",)),
            (content["annotations"], ("image_id", "category_id", "bbox")),
        ):
            for entry in entries:
                itemgetter(*fields)(entry)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not an annotation file of COCO: {type(error).__name__} {error}"
        ) from None
    by_image: dict[int, list[Entry]] = {image["id"]: [] for image in images}
    category_ids = {category["id"] for category in categories}
    if not categories or len(by_image) != len(images):
        raise InputError(f"{path} lists no category, or an image twice")
    for annotation in content["annotations"]:
        image_id, category_id = annotation["image_id"], annotation["category_id"]
        if image_id not in by_image or category_id not in category_ids:
            raise InputError(
                f"{path}: an annotation refers to image {image_id} and category {category_id}; at "
                "least one of them is not in the file"
            )
        by_image[image_id].append(annotation)
    return images, categories, by_image


@dataclass(frozen=True)
class Scene:
    image: Path
    annotation: Path
    unknown: tuple[int, ...] = ()  # ids that no class has; their pixels are ignored


def read_ade20k(root: Path, split: SplitName, max_broken: float = MAX_BROKEN) -> Split:
    """The scenes of a split of ADE20k, or of anything laid out like it, sorted by file name."""
    images, annotations = (root / kind / ADE_FOLDERS[split] for kind in ("images", "annotations"))
    _require("ade20k", root, [images, annotations, root / ADE_NAMES], "ADEChallengeData2016")
    names = ade20k_names(root / ADE_NAMES)
    keys = {path.stem for path in images.iterdir() if path.suffix == ".jpg"}
    keys |= {path.stem for path in annotations.iterdir() if path.suffix == ".png"}
    scenes = [Scene(images / f"{key}.jpg", annotations / f"{key}.png") for key in sorted(keys)]
    broken, usable = BrokenImages(), []
    pixels = np.zeros(256, dtype=np.int64)
    for scene, content in zip(scenes, _look_at_all(_look_at, scenes), strict=True):
        if isinstance(content, str):
            broken.add([BrokenImage(f"{images}:{scene.image.name}", content)])
        else:
            pixels += content
            unknown = np.flatnonzero(content[len(names) + 1 : IGNORED]) + len(names) + 1
            usable.append(replace(scene, unknown=tuple(unknown.tolist())))
    broken.check(len(scenes), max_broken)
    if not usable:
        raise InputError(f"none of the {len(scenes)} scenes of {images} can be used")
    unknown_pixels, annotated = pixels[len(names) + 1 : IGNORED].sum(), pixels[1:IGNORED].sum()
    if unknown_pixels > MAX_UNKNOWN * annotated:
        raise InputError(
            f"{unknown_pixels / annotated:.0%} of the pixels annotated for {images} have an id "
            f"above {len(names)}, the number of classes that {ADE_NAMES} names"
        )
    return Split(names=names, images=usable, listed=len(scenes), broken=broken)


def ade20k_names(path: Path) -> list[str]:
    lines = [line.split("\t") for line in path.read_text().splitlines() if line.strip()]
    titles = [title.strip() for title in lines[0]] if lines else []
    rows = [dict(zip(titles, values, strict=False)) for values in lines[1:]]
    ids = [row.get("Idx", "").strip() for row in rows]
    is_numbered = ids == [str(number) for number in range(1, len(rows) + 1)]
    if not is_numbered or not 2 <= len(ids) < IGNORED or not all(row.get("Name") for row in rows):
        raise InputError(
            f"{path} does not give 2 to {IGNORED - 1} classes, numbered from 1, in columns Idx and "
            "Name"
        )
    return [re.split("[;,]", row["Name"])[0].strip() for row in rows]


def _look_at(scene: Scene) -> NDArray[np.int64] | str:
    """How many pixels of a scene have each of 256 ids; or why it cannot be used."""
    file = ""
    try:
        image = open_picture(scene.image.read_bytes())
        size = image.size
        image.draft(None, (1, 1))  # an eighth of its size also shows whether the file is complete
        rgb(image)
        file = "annotation "
        annotation = open_picture(scene.annotation.read_bytes())
        if annotation.mode not in ("L", "P"):
            return "annotation not of 8-bit ids"
        if annotation.size != size:
            return "annotation of another size"
        return np.bincount(np.asarray(annotation).reshape(-1), minlength=256)
    except UNREADABLE as error:
        return file + cause_of(error)
