"""How to train DeepLabv3 and Mask R-CNN on an encoder: Table 7(d) and (e), and presets."""

from dataclasses import dataclass, field, replace

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
from catlip.recipes.base import ImageRecipe, Initialization
from catlip.records.record import OMIT_DEFAULT

SIDE_MULTIPLE = 32  # pixels; the sides of the release's squares are multiples of it


@dataclass(frozen=True)
class DenseRecipe(ImageRecipe):
    """What segmentation and detection share: how the encoder is used and trained."""

    epochs: Positive = 50.0
    """Passes over the data."""
    micro_batch: Count = 4
    num_devices: Count = 8
    resolution: Count = 512
    """Side in pixels of the square image that is trained and tested on."""
    output_stride: Natural = 0
    """Pixels from one feature to the next: the encoder's own stride (0), or half of it, by a
    smaller stride of the stem. At 0, segmentation takes half if the dilations would otherwise be
    too small."""
    drop_path: PartialFraction = 0.0
    """Probability that the last block is skipped for an image; it rises linearly from 0."""
    layer_decay: PositiveFraction = 1.0
    """Learning rate of each block, as a fraction of that of the block above it; 1 for one rate."""


@dataclass(frozen=True)
class SegmentationRecipe(DenseRecipe):
    """DeepLabv3 on an encoder (Section 5.2, Table 7d)."""

    short_side: tuple[Count, Count] = (256, 768)
    """Range in pixels of a training image's shorter side before the crop."""
    longest_side: Count = 1024
    """Most pixels of a training image's longer side."""
    most_of_one_class: PositiveFraction = 0.75
    """Largest fraction of a crop that one class may cover; at most ten crops are tried."""
    head_channels: Count = 512
    """Channels of each branch of the head's atrous spatial pyramid."""
    dilations: tuple[Count, ...] = (12, 24, 36)
    """Dilations, at stride 8, of the pyramid's 3 x 3 convolutions."""
    head_dropout: PartialFraction = 0.1
    """Fraction of the head's channels that are dropped in training."""
    initialization: Initialization = field(default="own", metadata=OMIT_DEFAULT)
    """How the head's convolutions start: own, as mmsegmentation's, or release, as torch's."""


@dataclass(frozen=True)
class DetectionRecipe(DenseRecipe):
    """Mask R-CNN on an encoder (Section 5.2, Table 7e). The learning rate falls in steps."""

    lr_step_epochs: tuple[NotNegative, ...] = (22, 24)
    """Epochs at which the learning rate falls; `min_lr` is not used."""
    lr_step_factor: PositiveFraction = 0.1
    """Factor that the learning rate is multiplied by each time."""
    warmup_from: NotNegative = 1e-5
    """Learning rate at which the warm-up begins."""
    scale_jitter: tuple[Positive, ...] = (0.1, 2.0)
    """Large-scale jitter: each image is resized to the side of the square times a factor in this
    range, and then cropped or padded to the square. Empty: each image is resized to the square, as
    in the release."""
    square_sides: tuple[Count, ...] = ()
    """Smallest side in pixels, largest side, and number of sides. Each step draws the side of its
    squares from these; smaller squares make a larger batch. Empty: all squares have the
    resolution."""
    window: Natural = 0
    """Side in tokens of attention windows, with four global blocks as in ViTDet; 0 for none."""
    pyramid_scales: tuple[Positive, ...] = (4.0, 2.0, 1.0, 0.5)
    """Scales of the simple feature pyramid's levels, relative to the encoder's feature map; one
    more level, of half the last one's size, is added."""
    pyramid_channels: Count = 256
    """Channels of each level, and of the convolutions in the heads."""
    head_convolutions: Natural = 4
    """3 x 3 convolutions in the box head, and in the mask head before its transposed one."""
    fc_channels: Count = 1024
    """Channels of the box head's linear layer."""
    proposals: tuple[Count, Count] = (2000, 512)
    """Proposals per image in training: kept by the proposal network, and sampled from these."""
    test_proposals: Count = 1000
    """Proposals per image that the region proposal network keeps in testing. It looks at this many
    of each level of the pyramid, and at twice as many in training."""
    background_iou: Fraction = 0.7
    """The region proposal network takes an anchor as background if its IoU with every object is
    below this. The release uses 0.7, from which on an anchor is an object; detectron2 uses 0.3, and
    ignores anchors between the two."""
    smooth_l1_beta: NotNegative = field(default=0.0, metadata=OMIT_DEFAULT)
    """Error of a box up to which its loss is quadratic; 0 for linear, as in detectron2."""
    roi_sampling: Natural = 2
    """Points, each way, that a bin of RoIAlign averages; 0 for the object's size (detectron2)."""
    roi_aligned: bool = False
    """Shift RoIAlign's points by half a feature, as detectron2; the release does not."""
    least_score: Fraction = 0.05
    """Lowest score of an object that counts as found in testing; 0.05 in detectron2 and the
    release. Lower it if classes are hard to tell apart."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.square_sides) not in (0, 3):
            raise InputError("square_sides are smallest side, largest side, and number of sides")

    def learning_rate(self, step: int, num_steps: int) -> float:
        """Linear warm-up, then steps."""
        if step < self.warmup_iterations:
            risen = step / self.warmup_iterations
            return self.warmup_from + (self.max_lr - self.warmup_from) * risen
        falls = {round(num_steps * epoch / self.epochs) for epoch in self.lr_step_epochs}
        return float(self.max_lr * self.lr_step_factor ** sum(0 < fall <= step for fall in falls))

    def sizes(self) -> list[ImageSize]:
        """The squares that steps draw from, with the batch per device at each."""
        if not self.square_sides:
            return [ImageSize(self.resolution, self.micro_batch)]
        low, high, count = self.square_sides
        return image_sizes(
            self.resolution, self.micro_batch, low, high=high, count=count, multiple=SIDE_MULTIPLE
        )


# As in the release's configuration, images are resized at random to 256 to 768 pixels, and training
# is in fp32 without clipping.
TABLE_7D = SegmentationRecipe(
    about="Table 7(d), DeepLabv3 on ADE20k. Published: 50.1 mIoU for ViT-B/16.",
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
    about="DeepLabv3 on ADE20k as the released configurations train it.",
    source="release",
    per_epoch=True,
    initialization="release",
)
STARTER_SEGMENTATION = SegmentationRecipe(
    about="The starter's scenes in three minutes on a CPU core; each of the 21 classes is rare.",
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

# Table 7(e), one recipe per encoder, with ViTDet's augmentation and the multi-scale sampler, which
# Appendix A names. The paper does not say which sizes are drawn, how the region proposal network is
# trained and how objects are pooled; these are as in the release.
TABLE_7E_B16 = DetectionRecipe(
    about="Table 7(e), Mask R-CNN on COCO. Published: 49.9 box and 43.6 mask AP.",
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
    square_sides=(512, 1280, 25),
)
TABLE_7E_L16 = replace(
    TABLE_7E_B16,
    about="Table 7(e) for ViT-L/16. Published: 52.7 box and 46.0 mask AP.",
    layer_decay=0.8,
    drop_path=0.4,
)
TABLE_7E_H16 = replace(
    TABLE_7E_B16,
    about="Table 7(e) for ViT-H/16, 20 passes. Published: 53.4 box and 46.4 mask AP.",
    epochs=20,
    lr_step_epochs=(17, 19),
    layer_decay=0.9,
    drop_path=0.5,
)
# Passes over the data in each epoch of the release.
RELEASED_PASSES = 4


def _as_released(recipe: DetectionRecipe, reported: str) -> DetectionRecipe:
    """A recipe as the release trains it: images resized to squares, and torchvision's loss of
    boxes. 100 passes over COCO take 64,517 steps, in batches of 2.84 images per device on average.
    """
    epochs = RELEASED_PASSES * recipe.epochs
    return replace(
        recipe,
        about=f"As the released configuration: {epochs:g} passes. Reported there: {reported}.",
        source="release",
        scale_jitter=(),
        smooth_l1_beta=1 / 9,
        epochs=epochs,
        lr_step_epochs=tuple(RELEASED_PASSES * epoch for epoch in recipe.lr_step_epochs),
    )


# The region proposal network and the pooling are as in detectron2.
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

SEGMENTATIONS = {
    "starter": STARTER_SEGMENTATION,
    "table_7d": TABLE_7D,
    "table_7d_release": TABLE_7D_RELEASE,
}
DETECTIONS = {
    "starter": STARTER_DETECTION,
    "table_7e_b16": TABLE_7E_B16,
    "table_7e_l16": TABLE_7E_L16,
    "table_7e_h16": TABLE_7E_H16,
    "table_7e_b16_release": _as_released(TABLE_7E_B16, "49.9 box and 43.6 mask AP"),
    "table_7e_l16_release": _as_released(TABLE_7E_L16, "52.8 box and 46.0 mask AP"),
    "table_7e_h16_release": _as_released(TABLE_7E_H16, "53.3 box and 46.4 mask AP"),
}
