"""COCO in its own layout: ROOT/annotations/instances_{train,val}2017.json, and the images in
ROOT/{train,val}2017/.

Names and ids of the categories come from the annotation file. Images that are missing or empty are
left out and counted; what would change the meaning of a result is refused.
"""

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from catlip.cli import InputError
from catlip.program.broken import MAX_BROKEN, BrokenImage, BrokenImages

MAX_ABSENT_SHARE = 0.01  # largest part of annotations without a mask, and of unknown pixels
FEW = 10  # annotations without a mask that are always allowed

Entries = list[dict[str, Any]]  # images, categories or annotations, as in an annotation file


@dataclass(frozen=True)
class CocoSplit:
    """The images of a split whose files are there, and their annotations.

    Attributes:
        folder: of the images.
        images: as in the file: id, file_name, height, width.
        categories: as in the file, by ascending id; a class id is a position in it.
        annotations: those of each image, in the order of `images`.
        counts: the number of images that are listed, absent, and without objects; of objects,
            crowds, and objects whose box has a side below one pixel; of categories without an
            object.
        broken: the listed images that are left out.
    """

    folder: Path
    images: Entries
    categories: Entries
    annotations: list[Entries]
    counts: dict[str, int]
    broken: BrokenImages = field(default_factory=BrokenImages)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def names(self) -> list[str]:
        """The names of the classes, by class id."""
        return [category["name"] for category in self.categories]

    @property
    def class_ids(self) -> dict[int, int]:
        """A category's id in the file -> its class id."""
        return {category["id"]: number for number, category in enumerate(self.categories)}

    def first(self, count: int) -> "CocoSplit":
        """The split with only the first `count` images that have an object."""
        numbers = [n for n, of_image in enumerate(self.annotations) if has_object(of_image)]
        return self.of(numbers[:count])

    def of(self, numbers: Sequence[int]) -> "CocoSplit":
        """The split with only the images of these numbers."""
        return replace(
            self,
            images=[self.images[number] for number in numbers],
            annotations=[self.annotations[number] for number in numbers],
        )

    def write(self, path: Path) -> None:
        """Write an annotation file as COCO's, with these images only."""
        annotations = list(chain.from_iterable(self.annotations))
        content = {"images": self.images, "annotations": annotations, "categories": self.categories}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))


def has_object(annotations: Entries) -> bool:
    """Whether an image has an object that is not a crowd."""
    return any(not annotation.get("iscrowd") for annotation in annotations)


def coco_root(spelling: str) -> Path:
    """The folder that `coco:DIR` names. Raises: InputError."""
    kind, _, place = spelling.partition(":")
    if kind != "coco" or not place:
        raise InputError(
            f"data {spelling!r} is not coco:DIR, with DIR/annotations/instances_train2017.json and "
            "DIR/train2017/"
        )
    return Path(place)


def read_coco(
    root: Path, split: Literal["train", "val"], max_broken: float = MAX_BROKEN
) -> CocoSplit:
    """A split of COCO-2017, or of anything laid out like it, without images that are missing or
    empty.

    Raises: InputError when the annotation file or the folder is missing, the file is not in COCO's
        format, an annotation refers to an image or a category that is not in the file, or more than
        the fraction `max_broken` of the images is missing or empty.
    """
    path = root / "annotations" / f"instances_{split}2017.json"
    folder = root / f"{split}2017"
    for needed in (path, folder):
        if not needed.exists():
            raise InputError(
                f"coco:{root} has no {needed.relative_to(root)}; unpack COCO-2017's images and "
                "annotations there"
            )
    images, annotations, categories = _read(path)
    by_image = _by_image(path, images, annotations, categories=categories)
    sizes = {entry.name: entry.stat().st_size for entry in os.scandir(folder)}
    broken = BrokenImages()
    for image in images:
        if not sizes.get(image["file_name"]):
            cause = "empty" if image["file_name"] in sizes else "missing"
            broken.add([BrokenImage(f"{folder}:{image['file_name']}", cause)])
    broken.check(len(images), max_broken)
    present = [image for image in images if sizes.get(image["file_name"])]
    if not present:
        raise InputError(
            f"none of the {len(images)} images that {path.name} lists is there: {broken.summary()}"
        )
    of_present = [by_image[image["id"]] for image in present]
    absent = sum(image["file_name"] not in sizes for image in images)
    counts = _counts(of_present, len(categories)) | {"images": len(images), "absent": absent}
    return CocoSplit(
        folder, present, categories, annotations=of_present, counts=counts, broken=broken
    )


def _read(path: Path) -> tuple[Entries, Entries, Entries]:
    try:
        content = json.loads(path.read_bytes())
        images = sorted(content["images"], key=lambda image: image["id"])
        categories = sorted(content["categories"], key=lambda category: category["id"])
        annotations = content["annotations"]
        wanted = {"file_name": images, "height": images, "width": images, "name": categories}
        wanted |= {"image_id": annotations, "category_id": annotations, "bbox": annotations}
        for name, entries in wanted.items():
            for entry in entries:
                entry[name]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not an annotation file of COCO: {type(error).__name__} {error}"
        ) from None
    if not images or not categories:
        raise InputError(f"{path} lists {len(images)} images and {len(categories)} categories")
    return images, annotations, categories


def _by_image(
    path: Path, images: Entries, annotations: Entries, categories: Entries
) -> dict[int, Entries]:
    ids = {image["id"] for image in images}
    category_ids = {category["id"] for category in categories}
    if len(ids) != len(images):
        raise InputError(f"{path} lists {len(images) - len(ids)} images twice")
    by_image: dict[int, Entries] = defaultdict(list)
    for annotation in annotations:
        if annotation["image_id"] not in ids or annotation["category_id"] not in category_ids:
            what = f"image {annotation['image_id']} and category {annotation['category_id']}"
            raise InputError(
                f"{path}: an annotation refers to {what}; at least one of them is not in the file"
            )
        by_image[annotation["image_id"]].append(annotation)
    return by_image


def _counts(annotations: list[Entries], num_categories: int) -> dict[str, int]:
    flat = list(chain.from_iterable(annotations))
    objects = [annotation for annotation in flat if not annotation.get("iscrowd")]
    used = {annotation["category_id"] for annotation in objects}
    return {
        "without_objects": sum(not has_object(of_image) for of_image in annotations),
        "objects": len(objects),
        "crowds": len(flat) - len(objects),
        "below_a_pixel": sum(min(annotation["bbox"][2:]) < 1 for annotation in objects),
        "empty_categories": num_categories - len(used),
    }
