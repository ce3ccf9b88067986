"""Scenes in mmsegmentation's form, in an order and with an augmentation that depend only on the
seed and the position.

The training scenes are an endless stream of epochs, and a position in it is a number. Which scene
is at a position, and how it is resized, flipped and cropped, is the same for any number of workers
and ranks, and after a run is resumed.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from mmcv.transforms import LoadImageFromFile, RandomFlip, RandomResize, Resize
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations, PackSegInputs, RandomCrop
from torch.utils.data import DataLoader, Dataset

from bench.downstream.dense.ade20k import IGNORED, AdeSplit
from bench.downstream.dense.stream import Positions
from catlip import streams
from catlip.data.sampler import SampleOrder
from catlip.recipes.dense import SegmentationRecipe

# Images are resized as in the release: by Pillow, which averages over all pixels when it makes an
# image smaller. Labels are resized to the nearest pixel.
RESIZING = {"interpolation": "bicubic", "backend": "pillow"}
ANY_LENGTH = 10**9  # pixels of a side that is not limited
# A rotation that the camera noted is ignored, because annotations do not have it.
AS_STORED = "color_ignore_orientation"
Transforms = list[Callable[[dict[str, Any]], Any]]


class SceneDataset(BaseSegDataset):
    """The scenes of a split, through `pipeline`; pixels of ids that no class has are ignored."""

    def __init__(self, split: AdeSplit, pipeline: Transforms):
        self.split = split
        super().__init__(
            metainfo={"classes": tuple(split.names)}, reduce_zero_label=True, pipeline=pipeline
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        """For each scene its paths, and the map of ids that no class has to IGNORED."""
        return [
            {
                "img_path": str(scene.image),
                "seg_map_path": str(scene.annotation),
                "label_map": {annotated - 1: IGNORED for annotated in scene.unknown} or None,
                "reduce_zero_label": self.reduce_zero_label,
                "seg_fields": [],
            }
            for scene in self.split.scenes
        ]


class Stream(Dataset[dict[str, Any]]):
    """Position -> the scene at that position, augmented."""

    def __init__(self, split: AdeSplit, recipe: SegmentationRecipe, seed: int):
        self.scenes = SceneDataset(split, training_pipeline(recipe))
        self.order, self.seed = SampleOrder([len(self.scenes)], seed), seed

    @property
    def metainfo(self) -> Mapping[str, Any]:
        """What mmengine asks a data set for: among others, its classes."""
        meta: Mapping[str, Any] = self.scenes.metainfo
        return meta

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, position: int) -> dict[str, Any]:
        _, (number,) = self.order(np.array([position]))
        # mmcv's and mmsegmentation's transforms use NumPy's global generator.
        np.random.seed(streams.seed_at(self.seed, streams.SEGMENTATION_CROPS, position))
        scene: dict[str, Any] = self.scenes[int(number)]
        return scene


def training_pipeline(recipe: SegmentationRecipe) -> Transforms:
    """The transforms of a training scene to a crop of at most the recipe's resolution; the model
    pads it.
    """
    side = recipe.resolution
    scales = [(recipe.longest_side, shortest) for shortest in recipe.short_side]
    return [
        LoadImageFromFile(color_type=AS_STORED),
        LoadAnnotations(),
        RandomResize(scale=scales, keep_ratio=True, **RESIZING),
        RandomFlip(prob=0.5),
        RandomCrop(crop_size=(side, side), cat_max_ratio=recipe.most_of_one_class),
        PackSegInputs(),
    ]


def validation_pipeline(side: int, keep_ratio: bool) -> Transforms:
    """The transforms of a test scene to a square of `side` pixels, or with `keep_ratio` to a
    shorter side of `side`.

    Labels keep their own size.
    """
    resize = Resize(
        scale=(ANY_LENGTH if keep_ratio else side, side), keep_ratio=keep_ratio, **RESIZING
    )
    return [LoadImageFromFile(color_type=AS_STORED), resize, LoadAnnotations(), PackSegInputs()]


def training_loader(
    stream: Stream, positions: Positions, num_workers: int
) -> DataLoader[dict[str, Any]]:
    """This rank's micro-batches."""
    return DataLoader(
        stream,
        positions.micro_batch,
        sampler=positions,
        num_workers=num_workers,
        collate_fn=pseudo_collate,
    )


def validation_loader(
    split: AdeSplit, pipeline: Transforms, num_workers: int
) -> DataLoader[dict[str, Any]]:
    """This rank's part of the scenes, one at a time.

    If the parts differ in size, the last ranks see one of the first scenes again.
    """
    scenes = SceneDataset(split, pipeline)
    order = DefaultSampler(scenes, shuffle=False)
    return DataLoader(scenes, sampler=order, num_workers=num_workers, collate_fn=pseudo_collate)
