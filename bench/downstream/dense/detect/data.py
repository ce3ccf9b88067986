"""COCO's images in detectron2's form, in an order and with an augmentation that depend only on the
seed and the position.

The training images are an endless stream of epochs, and a position in it is a number. Which image
is at a position, and how it is flipped, resized and cropped, is the same for any number of workers
and ranks, and after a run is resumed.
"""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import (
    DatasetFromList,
    DatasetMapper,
    MapDataset,
    build_detection_test_loader,
    get_detection_dataset_dicts,
)
from detectron2.data import transforms as T
from detectron2.data.build import trivial_batch_collator
from detectron2.data.datasets import register_coco_instances
from detectron2.data.detection_utils import SizeMismatchError, check_image_size, read_image
from torch.utils.data import DataLoader, Dataset, Sampler

from bench.downstream.dense.coco import FEW, MAX_ABSENT_SHARE, CocoSplit, Entries
from bench.downstream.dense.stream import UNREADABLE, look_at_all
from catlip import streams
from catlip.cli import InputError
from catlip.data.decode import open_picture
from catlip.data.sampler import SampleOrder, StepPlan
from catlip.program.broken import MAX_BROKEN, BrokenImage, BrokenImages, cause_of
from catlip.recipes.dense import DetectionRecipe
from catlip.training.distributed import Place, barrier


def usable(split: CocoSplit, max_broken: float = MAX_BROKEN) -> CocoSplit:
    """The images that can be read, with the objects that have a mask; its counts say how many
    others there were.

    Every image is decoded once; each rank decodes a part of them. An image with a fault would
    otherwise stop the run later, or be read wrongly in a test.

    Raises: InputError when more than the fraction `max_broken` of the listed images is broken, more
        than a few annotations have no mask, or an annotation has no area or no id of its own.
    """
    faults = look_at_all(lambda number: _fault(split, number), len(split))
    kept = [number for number, fault in enumerate(faults) if not fault]
    broken = BrokenImages(dict(split.broken.causes))
    broken.add(
        BrokenImage(f"{split.folder}:{image['file_name']}", fault)
        for image, fault in zip(split.images, faults, strict=True)
        if fault
    )
    broken.check(split.counts["images"], max_broken)
    whole = split.of(kept)
    masked = [_with_mask(of_image) for of_image in whole.annotations]
    without_mask = sum(map(len, whole.annotations)) - sum(map(len, masked))
    listed = sum(map(len, split.annotations))
    if without_mask > max(FEW, MAX_ABSENT_SHARE * listed):
        raise InputError(
            f"{without_mask} of the {listed} annotations have no mask in {split.folder.name}"
        )
    _check_annotations(split, masked)
    counts = {"unreadable": len(split) - len(kept), "without_mask": without_mask}
    return replace(whole, annotations=masked, broken=broken, counts=split.counts | counts)


def register(split: CocoSplit, path: Path, is_main: bool) -> str:
    """Write the split as an annotation file and register it with detectron2; returns its name
    there. All ranks call this.
    """
    if is_main:
        split.write(path)
    barrier()
    name = f"coco-{path.stem}-{uuid.uuid4()}"
    register_coco_instances(name, {}, str(path), str(split.folder))
    return name


class Stream(Dataset[dict[str, Any]]):
    """Position -> the image at that position, in detectron2's format.

    Images without an object, or with crowds only, are left out.
    """

    def __init__(self, name: str, seed: int):
        images = get_detection_dataset_dicts(name, filter_empty=True)
        self.images = DatasetFromList(images)  # serialised: workers share it
        self.order = SampleOrder([len(images)], seed)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: int) -> dict[str, Any]:
        _, (number,) = self.order(np.array([position]))
        image: dict[str, Any] = self.images[number]
        return image | {"position": position}


class MicroBatches(Sampler[list[int]]):
    """The positions of the stream that one rank sees, one micro-batch after another.

    A step's micro-batches are numbered over the ranks, and a rank takes every `world_size`-th. So
    each micro-batch has the same images on any number of devices that share the global batch.

    Args:
        micro_steps: micro-batches of each rank in each step.
        first_step: the step to begin with.
    """

    def __init__(self, plan: StepPlan, micro_steps: int, place: Place, first_step: int = 0):
        self.plan, self.place, self.first_step = plan, place, first_step
        self.numbers = range(place.rank, micro_steps * place.world_size, place.world_size)

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first_step, len(self.plan)):
            planned = self.plan[step]
            for number in self.numbers:
                start = planned.start + number * planned.batch
                yield list(range(start, start + planned.batch))

    def __len__(self) -> int:
        return (len(self.plan) - self.first_step) * len(self.numbers)


class TrainingMapper:
    """Turns an image of the stream into what the model trains on: flipped and resized at random,
    with masks as bitmaps.

    All images of a step are for squares of one size. Objects of which a crop leaves nothing are
    dropped, and `dropped` is their number.
    """

    def __init__(self, recipe: DetectionRecipe, plan: StepPlan, seed: int):
        self.mappers = {
            size.resolution: DatasetMapper(
                True,
                augmentations=augmentations(recipe, size.resolution),
                image_format="RGB",
                use_instance_mask=True,
                instance_mask_format="bitmask",
                recompute_boxes=True,
            )
            for size in plan.sizes
        }
        self.plan, self.seed = plan, seed

    def __call__(self, image: dict[str, Any]) -> dict[str, Any]:
        """Adds `image` [3, H, W] uint8, `side`, that of its step's squares, and `instances` with
        boxes, classes and masks [n, H, W].
        """
        position = image["position"]
        step = int(np.searchsorted(self.plan.starts, position, side="right")) - 1
        side = self.plan[step].resolution
        # detectron2's augmentations use NumPy's global generator.
        np.random.seed(streams.seed_at(self.seed, streams.DETECTION_CROPS, position))
        mapped: dict[str, Any] = self.mappers[side](image)
        objects = sum(not annotation.get("iscrowd") for annotation in image["annotations"])
        return mapped | {"dropped": objects - len(mapped["instances"]), "side": side}


def augmentations(recipe: DetectionRecipe, side: int) -> list[T.Augmentation]:
    """The augmentations to squares of `side` pixels: ViTDet's jitter, or the release's resizing."""
    if not recipe.scale_jitter:
        return [T.RandomFlip(), T.Resize((side, side))]
    jitter = T.ResizeScale(*recipe.scale_jitter, target_height=side, target_width=side)
    # The model pads.
    return [T.RandomFlip(), jitter, T.FixedSizeCrop(crop_size=(side, side), pad=False)]


def train_loader(
    stream: Stream, recipe: DetectionRecipe, batches: MicroBatches, seed: int, num_workers: int
) -> DataLoader[dict[str, Any]]:
    """This rank's micro-batches, each a list of mapped images.

    detectron2's own loader allows one batch size only.
    """
    return DataLoader(
        MapDataset(stream, TrainingMapper(recipe, batches.plan, seed)),
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=trivial_batch_collator,
    )


def test_loader(name: str, recipe: DetectionRecipe, num_workers: int) -> Any:
    """This rank's part of the test images, including those without objects, a micro-batch at a
    time.
    """
    side = recipe.resolution
    resize: T.Augmentation = T.Resize((side, side))
    if recipe.scale_jitter:
        resize = T.ResizeShortestEdge(side, max_size=side)
    return build_detection_test_loader(
        get_detection_dataset_dicts(name, filter_empty=False),
        mapper=DatasetMapper(False, augmentations=[resize], image_format="RGB"),
        batch_size=recipe.micro_batch,
        num_workers=num_workers,
    )


def _fault(split: CocoSplit, number: int) -> str:
    """Why an image cannot be used, "" if it can."""
    listed = split.images[number]
    try:
        path = split.folder / listed["file_name"]
        picture = open_picture(path.read_bytes())  # unlike detectron2, checks format and size
        if picture.mode.startswith("I"):
            return "grey of 16 bits, which detectron2 makes white"
        check_image_size({"file_name": "", **listed}, read_image(path, "RGB"))
    except SizeMismatchError:
        return "of another size than listed"
    except UNREADABLE as error:
        return cause_of(error)
    return ""


def _with_mask(annotations: Entries) -> Entries:
    return [annotation for annotation in annotations if annotation.get("segmentation")]


def _check_annotations(split: CocoSplit, annotations: list[Entries]) -> None:
    flat = list(chain.from_iterable(annotations))
    if any("area" not in annotation for annotation in flat):
        raise InputError(
            f"an annotation of {split.folder.name} has no area, which average precision needs"
        )
    if len({annotation.get("id") for annotation in flat}) != len(flat):
        raise InputError(f"annotations of {split.folder.name} have no id, or share one")
