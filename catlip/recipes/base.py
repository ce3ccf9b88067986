"""What all recipes share. A recipe determines a training, but for data, model and seed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import tyro

from catlip.cli import InputError
from catlip.data.sampler import ImageSize, StepPlan, image_sizes, steps_for
from catlip.program.ranges import Count, Fraction, Natural, NotNegative, Positive, PositiveFraction
from catlip.records.record import plain
from catlip.training.schedule import Optimization

if TYPE_CHECKING:  # it needs torch
    from catlip.data.augment import Augmentation

Source = Literal["own", "paper", "release"]
Initialization = Literal["own", "release"]
DESCRIPTIONS = ("about", "source")  # fields that do not determine a run


@dataclass(frozen=True)
class ImageRecipe(Optimization):
    """How long to train, on how many images at a time, and on images of which size."""

    about: tyro.conf.Suppress[str] = ""
    """What it costs and what it should reach."""
    source: tyro.conf.Suppress[Source] = "own"
    """Where the numbers are from: this project (own), the paper or the release."""
    micro_batch: Count = 1024
    """Images per device and micro-step."""
    num_devices: Count = 64
    """Devices that the global batch is meant for; on fewer, gradients are accumulated."""
    resolution: Count = 224
    """Side in pixels of the square images."""
    range_augment: tuple[Positive, ...] = (40.0, 20.0)
    """RangeAugment's target PSNR in dB at the start and at the end; empty for no RangeAugment."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.range_augment) not in (0, 2):
            raise InputError(f"range_augment takes two PSNRs, or none: not {self.range_augment}")

    def identity(self) -> dict[str, Any]:
        """The fields that determine a run, as JSON values."""
        return {name: value for name, value in plain(self).items() if name not in DESCRIPTIONS}

    def sizes(self) -> list[ImageSize]:
        """The image sizes that steps draw from, with the batch per device at each."""
        return [ImageSize(self.resolution, self.micro_batch)]

    def accumulation(self, world_size: int) -> int:
        """Micro-steps per optimizer step that keep the recipe's global batch."""
        if self.num_devices % world_size:
            raise InputError(
                f"{world_size} processes do not divide the recipe's {self.num_devices} devices; "
                "set --num-devices"
            )
        return self.num_devices // world_size

    def length(self) -> str:
        return f"{self.epochs:g} epochs"

    def num_steps(self, num_samples: int) -> int:
        return steps_for(self.epochs * num_samples, self.sizes(), self.num_devices)

    def plan(self, num_samples: int, seed: int) -> StepPlan:
        return StepPlan(self.sizes(), self.num_devices, self.num_steps(num_samples), seed=seed)


@dataclass(frozen=True)
class MultiScaleRecipe(ImageRecipe):
    """What pre-training and classification share: random crops of images at several sizes."""

    ALTERNATIVES: ClassVar[tuple[str, str]] = ("iterations", "epochs")

    iterations: Natural = 0
    """Optimizer steps; takes the place of the recipe's epochs."""
    epochs: NotNegative = 0.0
    """Passes over the data; takes the place of the recipe's iterations."""
    micro_batch: Count = 1024
    """Images per device and micro-step at the base resolution."""
    resolution: Count = 224
    """Base resolution in pixels; also for the position embeddings."""
    min_resolution: Count = 128
    """Smallest image of the multi-scale sampler."""
    max_resolution: Count = 320
    """Largest image of the multi-scale sampler."""
    num_scales: Count = 25
    """Number of sizes from the smallest to the largest, before rounding."""
    scale_multiple: Count = 16
    """Sizes are rounded to multiples of this many pixels."""
    crop_scale: tuple[PositiveFraction, PositiveFraction] = (0.08, 1.0)
    """Smallest and largest fraction of an image that a random crop covers."""
    flip: Fraction = 0.5
    """Probability of a horizontal flip."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.iterations) == bool(self.epochs):
            raise InputError(
                f"give either --iterations or --epochs, above 0 (not {self.iterations} and "
                f"{self.epochs:g})"
            )
        if self.crop_scale[0] > self.crop_scale[1]:
            raise InputError(
                f"--crop-scale {self.crop_scale[0]} {self.crop_scale[1]}: give the smaller first"
            )

    def sizes(self) -> list[ImageSize]:
        return image_sizes(
            self.resolution,
            self.micro_batch,
            self.min_resolution,
            high=self.max_resolution,
            count=self.num_scales,
            multiple=self.scale_multiple,
        )

    def augmentation(self) -> "Augmentation":
        from catlip.data.augment import Augmentation

        return Augmentation(crop_scale=self.crop_scale, flip=self.flip)

    def length(self) -> str:
        return f"{self.iterations:,}" if self.iterations else super().length()

    def num_steps(self, num_samples: int) -> int:
        return self.iterations or super().num_steps(num_samples)
