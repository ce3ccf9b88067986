"""How to train DeepLabv3 and Mask R-CNN on an encoder: the paper's Table 7(d) and (e), the
configurations of the release, and presets.

Such a recipe holds what optimises the weights, how pictures become training images, and the shape
of the head; the data, the encoder and the seed are the program's.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from catlip.cli import InputError
from catlip.data.sampler import ImageSize, image_sizes
from catlip.program.ranges import (
    Count,
    Fraction,
    Natural,
    NotNegative,
    PartialFraction,
    Positive,
    PositiveFraction,
)
from catlip.recipes.base import Groups, ImageRecipe
from catlip.recipes.transfer import BY_HEART

# An anchor that overlaps an object by so much is one, in the release and in detectron2.
OBJECT_IOU = 0.7
SIDE_MULTIPLE = 32  # pixels of which the sides of the release's squares are multiples


@dataclass(frozen=True)
class DenseRecipe(ImageRecipe):
    """How the encoder takes part: what both tasks share."""

    GROUPS: ClassVar[Groups] = {
        **ImageRecipe.GROUPS,
        "model": ("output_stride", "drop_path", "layer_decay", "range_augment"),
    }

    epochs: Positive = 50.0
    """Passes over the data."""
    micro_batch: Count = 4
    num_devices: Count = 8
    resolution: Count = 512
    """Side in pixels of the square image that is trained and tested on."""
    output_stride: Natural = 0
    """Pixels from one feature to the next: the encoder's own (0), or half of that, by a smaller
    stride of its stem. At 0, segmentation takes half where the dilations are for half."""
    drop_path: PartialFraction = 0.0
    """Probability that the last block is skipped for an image; it rises linearly from 0 at the
    first.
    """
    layer_decay: PositiveFraction = 1.0
    """Each block learns at this share of the rate of the block above it; 1 for one rate."""


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
        return image_sizes(
            self.resolution, self.micro_batch, low, high=high, count=count, multiple=SIDE_MULTIPLE
        )


# The release's configuration resizes at random to 256 to 768 pixels, and trains in fp32 without
# clipping.
TABLE_7D = SegmentationRecipe(
    about=(
        "Table 7(d), DeepLabv3 on ADE20k at 512 pixels. Published: 50.1 mIoU for ViT-B/16 from "
        "DataComp-1.3B."
    ),
    source="paper",
    epochs=50,
    max_lr=3e-5,
    min_lr=3e-6,
    warmup_iterations=500,
    weight_decay=0.1,
    grad_clip=0.0,
    ema_decay=0.9999,
    precision="fp32",
    output_stride=8,
)
TABLE_7D_RELEASE = replace(
    TABLE_7D,
    about=(
        "DeepLabv3 on ADE20k as the released configurations train it: schedules that change once "
        "an epoch."
    ),
    source="release",
    per_epoch=True,
)
STARTER_SEGMENTATION = SegmentationRecipe(
    about=(
        "The starter's scenes in three minutes on a CPU core. Many small steps: of 21 classes each "
        "is rare."
    ),
    epochs=8,
    max_lr=1e-3,
    min_lr=1e-5,
    warmup_iterations=20,
    weight_decay=0.05,
    ema_decay=0.99,
    precision="fp32",
    micro_batch=8,
    num_devices=1,
    resolution=80,
    range_augment=(),
    layer_decay=0.5,
    short_side=(72, 112),
    longest_side=256,
    most_of_one_class=1.0,
    head_channels=64,
    dilations=(2, 4, 6),
)

# Table 7(e), one recipe an encoder, with the augmentation of ViTDet, which the paper names. How the
# region proposal network is trained, and how objects are pooled, the paper does not say: that is
# the release's.
TABLE_7E_B16 = DetectionRecipe(
    about="Table 7(e), Mask R-CNN on COCO, ViT-B/16. Published: 49.9 box and 43.6 mask AP.",
    source="paper",
    epochs=25,
    lr_step_epochs=(22, 24),
    max_lr=3e-4,
    min_lr=0.0,
    warmup_iterations=250,
    weight_decay=0.1,
    grad_clip=0.0,
    ema_decay=0.9999,
    precision="fp32",
    micro_batch=2,
    num_devices=64,
    resolution=1024,
    range_augment=(40.0, 10.0),
    layer_decay=0.7,
    drop_path=0.1,
)
TABLE_7E_L16 = replace(
    TABLE_7E_B16,
    about="Table 7(e), Mask R-CNN on COCO, ViT-L/16. Published: 52.7 box and 46.0 mask AP.",
    layer_decay=0.8,
    drop_path=0.4,
)
TABLE_7E_H16 = replace(
    TABLE_7E_B16,
    about="Table 7(e), Mask R-CNN on COCO, ViT-H/16. Published: 53.4 box and 46.4 mask AP.",
    epochs=20,
    lr_step_epochs=(17, 19),
    layer_decay=0.9,
    drop_path=0.5,
)
# The release passes over the data so many times in each of its epochs.
RELEASED_PASSES = 4


def _as_released(recipe: DetectionRecipe) -> DetectionRecipe:
    """The release resizes to squares, in batches of 8 to 1 a device, of 2.84 on average: on COCO
    65,000 steps, which batches of two images would make 92,000.
    """
    paper, release = "Table 7(e), Mask R-CNN on COCO", "Mask R-CNN on COCO as the released"
    return replace(
        recipe,
        about=recipe.about.replace(paper, f"{release} configuration trains it"),
        source="release",
        scale_jitter=(),
        square_sides=(512, 1280, 25),
        epochs=RELEASED_PASSES * recipe.epochs,
        lr_step_epochs=tuple(RELEASED_PASSES * epoch for epoch in recipe.lr_step_epochs),
    )


# Its region proposal network and its pooling are detectron2's.
STARTER_DETECTION = DetectionRecipe(
    about="The starter's scenes in some minutes on a CPU core, with narrow and shallow heads.",
    epochs=5,
    lr_step_epochs=(3.5, 4.5),
    max_lr=5e-4,
    min_lr=0.0,
    warmup_iterations=20,
    weight_decay=0.05,
    grad_clip=1.0,
    ema_decay=0.99,
    precision="fp32",
    micro_batch=8,
    num_devices=1,
    resolution=80,
    range_augment=(),
    layer_decay=0.5,
    scale_jitter=(0.9, 1.2),
    pyramid_scales=(4.0, 2.0, 1.0),
    pyramid_channels=32,
    head_convolutions=1,
    fc_channels=128,
    proposals=(50, 32),
    test_proposals=50,
    background_iou=0.3,
    roi_sampling=0,
    roi_aligned=True,
    least_score=1e-3,
)

# For `--overfit 10`: enough steps to learn ten scenes by heart, and an average that so short a run
# can follow.
OVERFIT_SEGMENTATION = replace(
    STARTER_SEGMENTATION,
    about=BY_HEART,
    epochs=150,
    micro_batch=10,
    output_stride=4,
    short_side=(80, 80),
    max_lr=3e-3,
    layer_decay=1.0,
    ema_rising=True,
)
OVERFIT_DETECTION = replace(
    STARTER_DETECTION,
    about=BY_HEART,
    epochs=250,
    lr_step_epochs=(200, 240),
    micro_batch=5,
    max_lr=1e-3,
    scale_jitter=(),
    pyramid_channels=64,
    head_convolutions=4,
    ema_decay=0.9,
)

SEGMENTATIONS = {
    "starter": STARTER_SEGMENTATION,
    "starter_overfit": OVERFIT_SEGMENTATION,
    "table_7d": TABLE_7D,
    "table_7d_release": TABLE_7D_RELEASE,
}
DETECTIONS = {
    "starter": STARTER_DETECTION,
    "starter_overfit": OVERFIT_DETECTION,
    "table_7e_b16": TABLE_7E_B16,
    "table_7e_l16": TABLE_7E_L16,
    "table_7e_h16": TABLE_7E_H16,
    "table_7e_b16_release": _as_released(TABLE_7E_B16),
    "table_7e_l16_release": _as_released(TABLE_7E_L16),
    "table_7e_h16_release": _as_released(TABLE_7E_H16),
}
