"""What a recipe of dense transfer is: of segmentation by DeepLabv3, and of detection by Mask R-CNN.

Both hold what optimises the weights (`Optimization`), how pictures become training images, and the
shape of the head; the data, the encoder and the seed are the program's.
"""

from dataclasses import dataclass
from typing import ClassVar

from catlip.cli import InputError
from catlip.data.sampler import ImageSize, StepPlan, image_sizes, steps_for
from catlip.ranges import (
    Count,
    Fraction,
    Natural,
    NotNegative,
    PartialFraction,
    Positive,
    PositiveFraction,
)
from catlip.recipe import SHARED_GROUPS, Groups, Source
from catlip.training.schedule import Optimization

OBJECT_IOU = (
    0.7  # an anchor that overlaps an object by so much is one, in the release and in detectron2
)
SIDE_MULTIPLE = 32  # pixels of which the sides of the release's squares are multiples


@dataclass(frozen=True)
class DenseRecipe(Optimization):
    """How long to train on how many images at a time, and how the encoder takes part: what both
    tasks share.
    """

    GROUPS: ClassVar[Groups] = {
        **SHARED_GROUPS,
        "model": ("output_stride", "drop_path", "layer_decay", "range_augment"),
    }

    about: str = ""
    """What it costs and what it should reach."""
    source: Source = "own"
    """Whose numbers these are."""
    epochs: Positive = 50.0
    """Passes over the data."""
    micro_batch: Count = 4
    """Images per device and micro-step."""
    num_devices: Count = 8
    """Devices that the global batch is meant for; on fewer, gradients are accumulated."""
    resolution: Count = 512
    """Side in pixels of the square image that is trained and tested on."""
    range_augment: tuple[Positive, ...] = (40.0, 20.0)
    """RangeAugment's target PSNR in dB at the start and at the end; nothing for none."""
    output_stride: Natural = 0
    """Pixels from one feature to the next: the encoder's own (0), or half of that, by a smaller
    stride of its stem. At 0, segmentation takes half where the dilations are for half."""
    drop_path: PartialFraction = 0.0
    """Probability that the last block is skipped for an image; it rises linearly from 0 at the
    first.
    """
    layer_decay: PositiveFraction = 1.0
    """Each block learns at this share of the rate of the block above it; 1 for one rate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.range_augment) not in (0, 2):
            raise InputError(
                "range_augment takes two PSNRs, or none: not "
                f"{' '.join(map(str, self.range_augment))}"
            )

    def accumulation(self, world_size: int) -> int:
        """Micro-steps per optimizer step that keep the recipe's global batch on `world_size`
        devices.
        Raises: InputError.
        """
        if self.num_devices % world_size:
            raise InputError(
                f"{world_size} processes do not divide the recipe's {self.num_devices} devices; "
                "set --num-devices"
            )
        return self.num_devices // world_size

    def num_steps(self, num_images: int) -> int:
        """Optimizer steps on a data set of so many images, at least 1."""
        return max(1, round(self.epochs * num_images / (self.micro_batch * self.num_devices)))


@dataclass(frozen=True)
class SegmentationRecipe(DenseRecipe):
    """DeepLabv3 on an encoder (Section 5.2, Table 7d)."""

    GROUPS: ClassVar[Groups] = {
        **DenseRecipe.GROUPS,
        "images": ("short_side", "longest_side", "most_of_one_class"),
        "head": ("head_channels", "dilations", "head_dropout"),
    }

    short_side: tuple[Count, Count] = (256, 768)
    """Range in pixels of a training picture's shorter side before the crop."""
    longest_side: Count = 1024
    """Most pixels of its longer side."""
    most_of_one_class: PositiveFraction = 0.75
    """Of a crop, the largest share that one class may cover; ten crops are tried."""
    head_channels: Count = 512
    """Of each branch of the head's atrous spatial pyramid."""
    dilations: tuple[Count, ...] = (12, 24, 36)
    """Of its 3 x 3 convolutions, at stride 8; there is one of 1 x 1 and a mean over the image
    besides.
    """
    head_dropout: PartialFraction = 0.1
    """Share of the head's channels that are dropped in training."""


@dataclass(frozen=True)
class DetectionRecipe(DenseRecipe):
    """Mask R-CNN on an encoder (Section 5.2, Table 7e); the rate falls in steps, not along a
    cosine.
    """

    GROUPS: ClassVar[Groups] = {
        **DenseRecipe.GROUPS,
        "schedule": ("lr_step_epochs", "lr_step_factor", "warmup_from"),
        "images": ("scale_jitter", "square_sides"),
        "head": (
            *("pyramid_scales", "pyramid_channels", "head_convolutions", "fc_channels", "window"),
            *(
                "proposals",
                "test_proposals",
                "background_iou",
                "roi_sampling",
                "roi_aligned",
                "least_score",
            ),
        ),
    }

    lr_step_epochs: tuple[NotNegative, ...] = (22, 24)
    """Epochs at which the rate falls; `min_lr` means nothing here."""
    lr_step_factor: PositiveFraction = 0.1
    """What it falls to, each time."""
    warmup_from: NotNegative = 1e-5
    """Learning rate at which the warm-up begins."""
    scale_jitter: tuple[Positive, ...] = (0.1, 2.0)
    """Large-scale jitter: range of the factor of the resolution that a picture is resized to before
    it is cropped to a square of the resolution. Nothing: each picture is resized to a square, as in
    the release."""
    square_sides: tuple[Count, ...] = ()
    """Without jitter: the least side in pixels, the greatest, and how many between them a step
    draws its squares from. The batch grows as the squares shrink. Nothing: all squares are of the
    resolution."""
    window: Natural = 0
    """Side in tokens of attention windows, with four global blocks as ViTDet; 0 for global
    attention in all.
    """
    pyramid_scales: tuple[Positive, ...] = (4.0, 2.0, 1.0, 0.5)
    """Of the simple feature pyramid's levels, relative to the encoder's feature map; a last level
    of half the size is added.
    """
    pyramid_channels: Count = 256
    """Of each level, and of the convolutions in the heads."""
    head_convolutions: Natural = 4
    """Of 3 x 3 in the box head, and in the mask head before its last."""
    fc_channels: Count = 1024
    """Of the box head's linear layer."""
    proposals: tuple[Count, Count] = (2000, 512)
    """Kept by the region proposal network in training, and sampled of them for the heads, per
    image.
    """
    test_proposals: Count = 1000
    """Kept by it in testing, per image; of each level of the pyramid it looks at so many, in
    training at twice as many.
    """
    background_iou: Fraction = 0.7
    """An anchor is background to the region proposal network when it overlaps no object by more;
    the release's is the overlap that makes it an object, detectron2's is 0.3, and leaves out what
    is between."""
    roi_sampling: Natural = 2
    """Points, in each direction, that a bin of RoIAlign averages; 0 for as many as the object has
    features (detectron2).
    """
    roi_aligned: bool = False
    """Shift RoIAlign's points by half a feature, as detectron2 does; torchvision, and with it the
    release, does not.
    """
    least_score: Fraction = 0.05
    """Of what counts as found in testing; detectron2's and the release's. Where classes are hard to
    tell, lower it.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.square_sides) not in (0, 3) or min(self.square_sides, default=1) < 1:
            raise InputError(
                f"square_sides {self.square_sides} are not the least, the greatest, and how many"
            )
        if not 0 <= self.background_iou <= OBJECT_IOU:
            raise InputError(
                f"background_iou {self.background_iou} must be in [0, {OBJECT_IOU}], of which on "
                "it is an object"
            )

    def sizes(self) -> list[ImageSize]:
        """The squares that steps draw from, with the batch per device at each."""
        if self.scale_jitter or not self.square_sides:
            return [ImageSize(self.resolution, self.micro_batch)]
        low, high, count = self.square_sides
        return image_sizes(self.resolution, self.micro_batch, low, high, count, SIDE_MULTIPLE)

    def num_steps(self, num_images: int) -> int:
        """Optimizer steps on a data set of so many images, at least 1: batches differ where squares
        do.
        """
        return steps_for(self.epochs * num_images, self.sizes(), self.num_devices)

    def plan(self, num_images: int, seed: int) -> StepPlan:
        """The square and the positions of the stream of each step, on a data set of so many
        images.
        """
        return StepPlan(self.sizes(), self.num_devices, self.num_steps(num_images), seed)
