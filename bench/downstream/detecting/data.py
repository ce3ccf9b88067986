"""COCO's images as detectron2 takes them, in an order and with an augmentation that depend on the seed and the position alone.

The training images are an endless stream, epoch after epoch, in which a position is a number: which image stands there, and how
it is flipped, resized and cropped, is the same for any number of workers and ranks, and after a run was stopped.
"""

import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import (
    DatasetFromList,
    DatasetMapper,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.data import transforms as T
from detectron2.data.datasets import register_coco_instances
from detectron2.data.detection_utils import SizeMismatchError, check_image_size, read_image
from detectron2.utils import comm
from PIL import Image
from torch.utils.data import Dataset

from bench.downstream.coco import FEW, MAX_ABSENT_SHARE, CocoSplit
from bench.downstream.stream import Positions, seed_at
from catlip.cli import InputError
from catlip.data.sampler import SampleOrder
from catlip.dense_recipe import DetectionRecipe
from catlip.training.distributed import barrier

SIDES, AUGMENTATION = 6, 7  # separate these random streams from others of the same seed
UNREADABLE = (OSError, ValueError, SyntaxError, SizeMismatchError, Image.DecompressionBombError)


def usable(split: CocoSplit) -> tuple[CocoSplit, dict[str, int]]:
    """The images that can be read, with the objects that have a mask, and how many others there were.

    Every image is decoded once, each rank its share: what fails now would stop a run later, or be another image in a test.

    Raises: InputError when it is more than a few of them, or an annotation has no area or number of its own.
    """
    numbers = range(comm.get_rank(), len(split.images), comm.get_world_size())
    with ThreadPoolExecutor() as pool:
        mine = dict(zip(numbers, pool.map(lambda number: _readable(split, number), numbers), strict=True))
    readable = {number: well for part in comm.all_gather(mine) for number, well in part.items()}
    kept = [number for number in range(len(split.images)) if readable[number]]
    masked = [[found for found in split.annotations[number] if found.get("segmentation")] for number in kept]
    counts = {
        "unreadable": len(split.images) - len(kept),
        "without_mask": sum(len(split.annotations[number]) for number in kept) - sum(map(len, masked)),
    }
    _check_share(split, "images cannot be read, or are not of the size listed", counts["unreadable"], len(split.images))
    _check_share(split, "annotations have no mask", counts["without_mask"], sum(map(len, split.annotations)))
    _check_annotations(split, masked)
    return replace(split, images=[split.images[number] for number in kept], annotations=masked), counts


def register(split: CocoSplit, path: Path, is_main: bool) -> str:
    """Write the split as an annotation file and make it known to detectron2; the name that it has there. All ranks call it."""
    if is_main:
        split.write(path)
    barrier()
    name = f"coco-{path.stem}-{uuid.uuid4()}"
    register_coco_instances(name, {}, str(path), str(split.folder))
    return name


class Stream(Dataset[dict[str, Any]]):
    """Position -> the image that stands there, without images that show no object but crowds, in detectron2's format."""

    def __init__(self, name: str, seed: int):
        found = get_detection_dataset_dicts(name, filter_empty=True)
        self.images = DatasetFromList(found)  # serialised: workers share it
        self.order = SampleOrder([len(found)], seed)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: int) -> dict[str, Any]:
        _, (number,) = self.order(np.array([position]))
        image: dict[str, Any] = self.images[number]
        return image | {"position": position}


class TrainingMapper:
    """An image of the stream to what the model trains on: flipped and resized at random, its masks as bitmaps.

    Without jitter, all images of a micro-batch have the same size. Objects that a crop leaves nothing of are dropped; `dropped`
    says how many.
    """

    def __init__(self, recipe: DetectionRecipe, seed: int):
        masks = {"use_instance_mask": True, "instance_mask_format": "bitmask", "recompute_boxes": True}
        self.mappers = [
            DatasetMapper(True, augmentations=found, image_format="RGB", **masks) for found in augmentations(recipe)
        ]
        self.seed, self.micro_batch = seed, recipe.micro_batch

    def __call__(self, image: dict[str, Any]) -> dict[str, Any]:
        """Adds `image` [3, H, W] uint8, and `instances` with boxes, classes and masks [n, H, W]."""
        position = image["position"]
        mapper = self.mappers[seed_at(self.seed, SIDES, position // self.micro_batch) % len(self.mappers)]
        np.random.seed(seed_at(self.seed, AUGMENTATION, position))  # what detectron2's augmentations draw from
        mapped: dict[str, Any] = mapper(image)
        objects = sum(not annotation.get("iscrowd") for annotation in image["annotations"])
        return mapped | {"dropped": objects - len(mapped["instances"])}


def augmentations(recipe: DetectionRecipe) -> list[list[T.Augmentation]]:
    """Those to choose from for a micro-batch: of ViTDet, or one per square of the release."""
    flip, side = T.RandomFlip(), recipe.resolution
    if recipe.scale_jitter:
        jitter = T.ResizeScale(*recipe.scale_jitter, target_height=side, target_width=side)
        return [[flip, jitter, T.FixedSizeCrop(crop_size=(side, side), pad=False)]]  # the model pads
    return [[flip, T.Resize((side, side))] for side in recipe.square_sides or (recipe.resolution,)]


def train_loader(stream: Stream, recipe: DetectionRecipe, positions: Positions, seed: int, num_workers: int) -> Any:
    """This rank's micro-batches, each a list of what the mapper gives."""
    return build_detection_train_loader(
        stream,
        mapper=TrainingMapper(recipe, seed),
        sampler=positions,
        total_batch_size=recipe.micro_batch * comm.get_world_size(),
        aspect_ratio_grouping=False,
        num_workers=num_workers,
    )


def test_loader(name: str, recipe: DetectionRecipe, num_workers: int) -> Any:
    """This rank's share of the test images, those without objects among them, a micro-batch at a time."""
    side = recipe.resolution
    resize = T.ResizeShortestEdge(side, max_size=side) if recipe.scale_jitter else T.Resize((side, side))
    return build_detection_test_loader(
        get_detection_dataset_dicts(name, filter_empty=False),
        mapper=DatasetMapper(False, augmentations=[resize], image_format="RGB"),
        batch_size=recipe.micro_batch,
        num_workers=num_workers,
    )


def _readable(split: CocoSplit, number: int) -> bool:
    listed = split.images[number]
    try:
        check_image_size({"file_name": "", **listed}, read_image(split.folder / listed["file_name"], "RGB"))
    except UNREADABLE:
        return False
    return True


def _check_share(split: CocoSplit, what: str, count: int, total: int) -> None:
    if count > max(FEW, MAX_ABSENT_SHARE * total):
        raise InputError(f"{count} of the {total} {what} in {split.folder.name}")


def _check_annotations(split: CocoSplit, annotations: Sequence[Sequence[dict[str, Any]]]) -> None:
    flat = [annotation for found in annotations for annotation in found]
    if any("area" not in annotation for annotation in flat):
        raise InputError(f"an annotation of {split.folder.name} has no area, which average precision needs")
    if len({annotation.get("id") for annotation in flat}) != len(flat):
        raise InputError(f"annotations of {split.folder.name} do not have an id each")
