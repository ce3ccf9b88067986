"""What a recipe is: everything but the data, the model's origin and the seed that determines a
training run.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from catlip.cli import InputError
from catlip.data.augment import Augmentation
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
from catlip.training.schedule import Optimization

Source = Literal["own", "paper", "release"]
Initialization = Literal["own", "release"]
Groups = dict[
    str, tuple[str, ...]
]  # of flags in --help: title -> fields; those of no group are the recipe's

SHARED_GROUPS: Groups = {
    "recipe": (
        *("epochs", "micro_batch", "num_devices", "resolution"),
        *("max_lr", "min_lr", "warmup_iterations", "weight_decay", "precision"),
    ),
    "optimizer": ("betas", "eps", "grad_clip", "ema_decay", "ema_rising", "per_epoch"),
}


@dataclass(frozen=True)
class ImageRecipe(Optimization):
    """How long to train, on which sizes of images, and how they are cropped: what pre-training and
    transfer share.
    """

    GROUPS: ClassVar[Groups] = {
        **SHARED_GROUPS,
        "recipe": ("iterations", *SHARED_GROUPS["recipe"]),
        "images": (
            *("min_resolution", "max_resolution", "num_scales", "scale_multiple"),
            *("crop_scale", "flip", "range_augment"),
        ),
    }
    ALTERNATIVES: ClassVar[tuple[str, str]] = ("iterations", "epochs")

    about: str = ""
    """What it costs and what it should reach."""
    source: Source = "own"
    """Whose numbers these are."""
    iterations: Natural = 0
    """Optimizer steps; takes the place of the recipe's epochs."""
    epochs: NotNegative = 0.0
    """Passes over the data; takes the place of the recipe's iterations."""
    micro_batch: Count = 1024
    """Images per device and micro-step at the base resolution."""
    num_devices: Count = 64
    """Devices that the global batch is meant for; on fewer, gradients are accumulated."""
    resolution: Count = 224
    """Base resolution in pixels; also that of the position embeddings."""
    min_resolution: Count = 128
    """Smallest image of the multi-scale sampler."""
    max_resolution: Count = 320
    """Largest image of the multi-scale sampler."""
    num_scales: Count = 25
    """Sizes drawn between them, before rounding."""
    scale_multiple: Count = 16
    """Sizes are rounded to multiples of this many pixels."""
    crop_scale: tuple[PositiveFraction, PositiveFraction] = (0.08, 1.0)
    """Least and greatest share of a picture that a random crop covers."""
    flip: Fraction = 0.5
    """Probability of a horizontal flip."""
    range_augment: tuple[Positive, ...] = (40.0, 20.0)
    """RangeAugment's target PSNR in dB at the start and at the end; nothing for none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.iterations) == bool(self.epochs) or self.iterations < 0 or self.epochs < 0:
            raise InputError(
                f"give either --iterations or --epochs, above 0 (not {self.iterations} and "
                f"{self.epochs:g})"
            )
        if self.crop_scale[0] > self.crop_scale[1]:
            raise InputError(
                f"--crop-scale {self.crop_scale[0]} {self.crop_scale[1]}: the least comes first"
            )
        if len(self.range_augment) not in (0, 2):
            raise InputError(
                "range_augment takes two PSNRs, or none: not "
                f"{' '.join(map(str, self.range_augment))}"
            )

    def sizes(self) -> list[ImageSize]:
        """The image sizes that steps draw from, with the batch per device at each."""
        span = (self.min_resolution, self.max_resolution, self.num_scales, self.scale_multiple)
        return image_sizes(self.resolution, self.micro_batch, *span)

    def augmentation(self) -> Augmentation:
        """How each image is cropped and flipped."""
        return Augmentation(crop_scale=self.crop_scale, flip=self.flip)

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

    def plan(self, num_samples: int, seed: int) -> StepPlan:
        """The image size and the samples of each step, of a data set of so many."""
        sizes = self.sizes()
        return StepPlan(sizes, self.num_devices, self.num_steps(num_samples), seed)

    def num_steps(self, num_samples: int) -> int:
        """Optimizer steps of the run on a data set of so many samples."""
        return self.iterations or steps_for(
            self.epochs * num_samples, self.sizes(), self.num_devices
        )


@dataclass(frozen=True)
class Recipe(ImageRecipe):
    """Everything but the data, the method and the seed that determines a pre-training run."""

    GROUPS: ClassVar[Groups] = {
        **ImageRecipe.GROUPS,
        "recipe": ("encoder", *ImageRecipe.GROUPS["recipe"]),
        "model": ("drop_path", "attention", "checkpointing", "initialization"),
    }

    encoder: str = "vit_b16"
    """Image encoder: hybrid_tiny, vit_tiny16, vit_small16, vit_b16, vit_l16, vit_h16, or with the
    release's stem vit_b16_conv, vit_l16_conv, vit_h16_conv."""
    drop_path: PartialFraction = 0.0
    """Probability that the last block is skipped for an image; it rises linearly from 0 at the
    first.
    """
    attention: Literal["sdpa", "naive"] = "sdpa"
    """PyTorch's fused attention, or one that writes out every attention matrix."""
    checkpointing: bool = False
    """Compute each block's activations again in the backward pass, to save memory."""
    initialization: Initialization = "own"
    """own: the encoder as timm starts it, CatLIP's classifier at the frequency of each noun.
    release: linear layers by Xavier's rule, without bias."""


@dataclass(frozen=True)
class TransferRecipe(ImageRecipe):
    """Everything but the data, the encoder and the seed that determines the training of a
    classifier on an encoder.
    """

    GROUPS: ClassVar[Groups] = {
        **ImageRecipe.GROUPS,
        "classifier": ("label_smoothing", "layer_decay", "initialization"),
    }

    ema_rising: bool = True
    """Let the decay of the average rise as (1 + step) / (10 + step): with little data a run is
    short, and its average would be its start, of which Transfer Init makes a difference."""
    label_smoothing: PartialFraction = 0.0
    """Share of each image's target that is spread over all classes."""
    layer_decay: PositiveFraction = 1.0
    """Each block learns at this share of the rate of the block above it; 1 for one rate."""
    initialization: Initialization = "own"
    """Of a classifier that starts at random, own: as torch starts it. release: by Xavier's rule,
    without bias.
    """
