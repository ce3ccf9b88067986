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
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from catlip.cli import InputError
from catlip.data.decode import open_picture, rgb
from catlip.program.broken import MAX_BROKEN, BrokenImage, BrokenImages, cause_of
from catlip.training.distributed import of_all_ranks, rank_of_ranks

SplitName = Literal["train", "val"]
Entries = list[dict[str, Any]]  # images, categories or annotations, as in COCO's file
T = TypeVar("T")

MAX_ABSENT = 0.01  # largest fraction of annotations without a mask, and of pixels of unknown ids
FEW = 10  # annotations without a mask that are always allowed
UNREADABLE = (OSError, ValueError, SyntaxError)  # what Pillow raises for a file it cannot read
ADE_FOLDERS = {"train": "training", "val": "validation"}
ADE_NAMES = "objectInfo150.txt"
IGNORED = 255  # the class id of an ignored pixel; annotations hold 0 or 255 there


@dataclass(frozen=True, kw_only=True)
class Split:
    """The images of a split that can be used."""

    names: list[str]  # of the classes, by class id
    counts: dict[str, int]  # what the files hold and lack, for the record
    broken: BrokenImages  # the images that are left out

    def __len__(self) -> int:
        raise NotImplementedError


def folder_of(spelling: str, kind: Literal["coco", "ade20k"]) -> Path:
    """The folder that `KIND:DIR` names."""
    found, _, folder = spelling.partition(":")
    if found != kind or not folder:
        raise InputError(f"data {spelling!r} is not {kind}:DIR, with a folder in {kind}'s layout")
    return Path(folder)


def look_at_all(look: Callable[[int], T], count: int) -> list[T]:
    """The results of `look` for the numbers below `count`: each rank computes a part of them, in
    threads, and all ranks get all.
    """
    rank, ranks = rank_of_ranks()
    with ThreadPoolExecutor() as pool:
        of_rank = list(pool.map(look, range(rank, count, ranks)))
    parts = of_all_ranks(of_rank)
    return [parts[number % ranks][number // ranks] for number in range(count)]


@dataclass(frozen=True, kw_only=True)
class CocoSplit(Split):
    """Images and annotations as in COCO's file."""

    folder: Path
    images: Entries
    categories: Entries  # by ascending id; a class id is a position in it
    annotations: list[Entries]  # of each image

    def __len__(self) -> int:
        return len(self.images)

    @property
    def class_ids(self) -> dict[int, int]:
        """A category's id in the file -> its class id."""
        return {category["id"]: number for number, category in enumerate(self.categories)}

    def of(self, numbers: Sequence[int]) -> "CocoSplit":
        return replace(
            self,
            images=[self.images[number] for number in numbers],
            annotations=[self.annotations[number] for number in numbers],
        )


def has_object(annotations: Entries) -> bool:
    return any(not annotation.get("iscrowd") for annotation in annotations)


def read_coco(root: Path, split: SplitName, max_broken: float = MAX_BROKEN) -> CocoSplit:
    """A split of COCO-2017, or of anything laid out like it, without images that are missing or
    empty. Names and ids of the categories come from the annotation file.
    """
    path, folder = root / "annotations" / f"instances_{split}2017.json", root / f"{split}2017"
    for needed in (path, folder):
        if not needed.exists():
            raise InputError(
                f"coco:{root} has no {needed.relative_to(root)}; unpack COCO-2017's images and "
                "annotations there"
            )
    images, categories, by_image = _read_instances(path)
    sizes = {entry.name: entry.stat().st_size for entry in os.scandir(folder)}
    present = [image for image in images if sizes.get(image["file_name"])]
    broken = BrokenImages()
    for name in (image["file_name"] for image in images):
        if not sizes.get(name):
            cause = "empty" if name in sizes else "missing"
            broken.add([BrokenImage(f"{folder}:{name}", cause)])
    broken.check(len(images), max_broken)
    if not present:
        raise InputError(
            f"none of the {len(images)} images that {path.name} lists is there: {broken.summary()}"
        )
    annotations = [by_image[image["id"]] for image in present]
    flat = list(chain.from_iterable(annotations))
    objects = [annotation for annotation in flat if not annotation.get("iscrowd")]
    counts = {
        "without_objects": sum(not has_object(of_image) for of_image in annotations),
        "objects": len(objects),
        "crowds": len(flat) - len(objects),
        "images": len(images),
        "absent": sum(image["file_name"] not in sizes for image in images),
    }
    return CocoSplit(
        names=[category["name"] for category in categories],
        counts=counts,
        broken=broken,
        folder=folder,
        images=present,
        categories=categories,
        annotations=annotations,
    )


def _read_instances(path: Path) -> tuple[Entries, Entries, dict[int, Entries]]:
    """Images and categories by ascending id, and image id -> its annotations."""
    try:
        content = json.loads(path.read_bytes())
        images = sorted(content["images"], key=lambda image: image["id"])
        categories = sorted(content["categories"], key=lambda category: category["id"])
        for image in images:
            image["file_name"], image["height"], image["width"]
        for category in categories:
            category["name"]
        by_image: dict[int, Entries] = defaultdict(list)
        for annotation in content["annotations"]:
            annotation["category_id"], annotation["bbox"]
            by_image[annotation["image_id"]].append(annotation)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not an annotation file of COCO: {type(error).__name__} {error}"
        ) from None
    if not images or not categories:
        raise InputError(f"{path} lists {len(images)} images and {len(categories)} categories")
    ids = {image["id"] for image in images}
    category_ids = {category["id"] for category in categories}
    if len(ids) != len(images):
        raise InputError(f"{path} lists {len(images) - len(ids)} images twice")
    for image_id, annotations in by_image.items():
        for annotation in annotations:
            if image_id not in ids or annotation["category_id"] not in category_ids:
                raise InputError(
                    f"{path}: an annotation refers to image {image_id} and category "
                    f"{annotation['category_id']}; at least one of them is not in the file"
                )
    return images, categories, by_image


def check_masks(split: CocoSplit) -> CocoSplit:
    """The split without the few annotations that have no mask; refuses annotations without what
    COCO's scores need: an area, or an id of its own.
    """
    annotations = [[item for item in of if item.get("segmentation")] for of in split.annotations]
    flat = list(chain.from_iterable(annotations))
    listed = sum(map(len, split.annotations))
    without = listed - len(flat)
    name = split.folder.name
    if without > max(FEW, MAX_ABSENT * listed):
        raise InputError(f"{without} of the {listed} annotations have no mask in {name}")
    if any("area" not in annotation for annotation in flat):
        raise InputError(f"an annotation of {name} has no area, which average precision needs")
    if len({annotation.get("id") for annotation in flat}) != len(flat):
        raise InputError(f"annotations of {name} have no id, or share one")
    return replace(split, annotations=annotations, counts=split.counts | {"without_mask": without})


@dataclass(frozen=True)
class Scene:
    image: Path
    annotation: Path
    unknown: tuple[int, ...] = ()  # ids that no class has; their pixels are ignored


@dataclass(frozen=True, kw_only=True)
class AdeSplit(Split):
    """The scenes of a split of ADE20k, sorted by file name."""

    scenes: list[Scene]

    def __len__(self) -> int:
        return len(self.scenes)


def read_ade20k(root: Path, split: SplitName, max_broken: float = MAX_BROKEN) -> AdeSplit:
    """A split of ADE20k, or of anything laid out like it; each rank checks a part of the files."""
    images, annotations = (root / kind / ADE_FOLDERS[split] for kind in ("images", "annotations"))
    for needed in (images, annotations):
        if not needed.is_dir():
            raise InputError(
                f"ade20k:{root} has no {needed.relative_to(root)}/; unpack ADEChallengeData2016 "
                "there"
            )
    names = ade20k_names(root)
    keys = {path.stem for path in images.iterdir() if path.suffix == ".jpg"}
    keys |= {path.stem for path in annotations.iterdir() if path.suffix == ".png"}
    scenes = [Scene(images / f"{key}.jpg", annotations / f"{key}.png") for key in sorted(keys)]
    contents = look_at_all(lambda number: _look_at(scenes[number]), len(scenes))
    broken, usable = BrokenImages(), []
    pixels = np.zeros(256, dtype=np.int64)
    for scene, content in zip(scenes, contents, strict=True):
        if isinstance(content, str):
            broken.add([BrokenImage(f"{images}:{scene.image.name}", content)])
        else:
            pixels += content
            unknown = np.flatnonzero(content[len(names) + 1 : IGNORED]) + len(names) + 1
            usable.append(replace(scene, unknown=tuple(unknown.tolist())))
    broken.check(len(scenes), max_broken)
    if not usable:
        why = f": {broken.summary()}" if scenes else ""
        raise InputError(f"none of the {len(scenes)} scenes in {images} can be used{why}")

    unknown_pixels, annotated = int(pixels[len(names) + 1 : IGNORED].sum()), pixels[1:IGNORED].sum()
    if unknown_pixels > MAX_ABSENT * annotated:
        raise InputError(
            f"{unknown_pixels / annotated:.0%} of the pixels annotated for {images} have an id "
            f"above {len(names)}, the number of classes that {ADE_NAMES} names (ADE20k's 150 "
            "without it)"
        )
    counts = {"unknown_pixels": unknown_pixels, "images": len(scenes)}
    return AdeSplit(names=names, counts=counts, broken=broken, scenes=usable)


def ade20k_names(root: Path) -> list[str]:
    """The names of the classes: from objectInfo150.txt if it is there, else ADE20k's 150."""
    path = root / ADE_NAMES
    if not path.is_file():
        from mmseg.datasets import ADE20KDataset  # only segmentation needs mmsegmentation

        return list(ADE20KDataset.METAINFO["classes"])
    lines = [line.split("\t") for line in path.read_text().splitlines() if line.strip()]
    titles = [title.strip() for title in lines[0]] if lines else []
    rows = [dict(zip(titles, values, strict=False)) for values in lines[1:]]
    ids = [row.get("Idx", "").strip() for row in rows]
    from_one = [str(number) for number in range(1, len(rows) + 1)]
    if not all(row.get("Name") for row in rows) or ids != from_one:
        raise InputError(
            f"{path} has no columns Idx and Name, or its classes are not numbered from 1"
        )
    if not 2 <= len(ids) < IGNORED:
        raise InputError(
            f"{path} names {len(ids)} classes; the number must be from 2 to {IGNORED - 1}"
        )
    return [re.split("[;,]", row["Name"])[0].strip() for row in rows]


def _look_at(scene: Scene) -> NDArray[np.int64] | str:
    """How many pixels of a scene have each of 256 ids; or why it cannot be used."""
    if not scene.annotation.is_file():
        return "no annotation"
    if not scene.image.is_file():
        return "annotation without an image"
    try:
        image = open_picture(scene.image.read_bytes())
        size = image.size
        image.draft(None, (1, 1))  # an eighth of its size also shows whether the file is complete
        rgb(image)
    except UNREADABLE as error:
        return cause_of(error)
    try:
        annotation = open_picture(scene.annotation.read_bytes())
        if annotation.mode not in ("L", "P"):
            return "annotation not of 8-bit ids"
        if annotation.size != size:
            return "annotation of another size"
        return np.bincount(np.asarray(annotation).reshape(-1), minlength=256)
    except UNREADABLE as error:
        return f"annotation {cause_of(error)}"
