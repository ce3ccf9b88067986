"""Preprocessing of a picture for an encoder: resize, crop, and normalisation by a mean and a
standard deviation.

Each encoder comes with the preprocessing of its training. Images stay uint8 until they are on the
encoder's device, where `Normalised` subtracts the mean and divides by the standard deviation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as vision

from catlip.data.augment import centre_crop
from catlip.data.decode import whole_pixels
from catlip.encoder import unit_range

NO_MEAN, NO_STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Preprocess:
    """Turns an encoded image into [3, H, W] uint8, as `words` say, or raises ValueError."""

    resolution: int
    crop: Callable[[bytes], Tensor]
    words: str
    mean: tuple[float, ...] = NO_MEAN
    std: tuple[float, ...] = NO_STD

    def __call__(self, encoded: bytes) -> Tensor:
        return self.crop(encoded)

    def __str__(self) -> str:
        if (self.mean, self.std) == (NO_MEAN, NO_STD):
            return f"{self.words}; pixels in [0, 1]"
        mean, std = (
            ", ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std)
        )
        return f"{self.words}; mean {mean}; std {std}"


class Normalised(nn.Module):
    """A library's encoder, after normalising images [B, 3, H, W], uint8 or float in [0, 1], by the
    mean and standard deviation of its training.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module, preprocess: Preprocess):
        super().__init__()
        self.encoder = encoder
        self.register_buffer("mean", torch.tensor(preprocess.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(preprocess.std)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.encoder((unit_range(images) - self.mean) / self.std)
        return features


def central_square(resolution: int) -> Preprocess:
    """This project's own preprocessing: the central square, resampled at once to `resolution`."""
    words = f"central square to {resolution}"
    return Preprocess(resolution, partial(_central_square, resolution), words)


def resize_and_crop(resize: int, resolution: int) -> Preprocess:
    """The release's: the shorter side to `resize` pixels, bilinear, then the central square."""
    words = f"shorter side to {resize} (bilinear), central {resolution}"
    return Preprocess(resolution, partial(_resize_and_crop, resize, resolution), words)


def rgb_picture(encoded: bytes) -> Image.Image:
    return Image.fromarray(whole_pixels(encoded))


# Functions of the module instead of closures: only these can be sent to spawned worker processes.
def _central_square(resolution: int, encoded: bytes) -> Tensor:
    return torch.from_numpy(centre_crop(encoded, resolution)).permute(2, 0, 1)


def _resize_and_crop(resize: int, resolution: int, encoded: bytes) -> Tensor:
    resized = vision.resize(rgb_picture(encoded), [resize], InterpolationMode.BILINEAR)
    # Torchvision's own crop rounds where the release floors.
    left, top = ((side - resolution) // 2 for side in resized.size)
    cropped = vision.crop(resized, top, left, resolution, resolution)
    return torch.from_numpy(np.array(cropped)).permute(2, 0, 1)
