"""Decode, random resized crop, flip: the paper's augmentation of one encoded image (Appendix A).
The random numbers of an image depend only on the seed and on its position in the stream.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catlip import streams
from catlip.cli import InputError
from catlip.data.decode import Box, cropped_pixels, open_picture, rgb

CROP_ATTEMPTS = 10  # then the largest centred crop whose aspect ratio is allowed
# Random numbers that an image uses: area and aspect ratio of each attempt, left, top, flip.
DRAWS = 2 * CROP_ATTEMPTS + 3
NARROW, WIDE = 3 / 4, 4 / 3  # a crop's width over its height


@dataclass(frozen=True)
class Augmentation:
    """The range of a crop's area as a fraction of the picture, and how often it is mirrored."""

    crop_scale: tuple[float, float] = (0.08, 1.0)
    flip: float = 0.5

    def __post_init__(self) -> None:
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise InputError(f"crop scale {low} {high} must be two fractions, 0 < low <= high <= 1")


def draws_at(seed: int, position: int, count: int) -> NDArray[np.float64]:
    """[count, DRAWS] random numbers in [0, 1) for `count` consecutive stream positions."""
    generator = np.random.PCG64([seed, streams.CROPS])
    generator.advance(position * DRAWS)
    return np.random.Generator(generator).random((count, DRAWS))


def random_crop(
    picture: bytes | NDArray[np.uint8],
    resolution: int,
    augmentation: Augmentation,
    draws: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """A random crop of a picture, encoded or [H, W, 3] RGB, within two grey levels of torchvision's
    resized_crop; `draws` are [DRAWS] in [0, 1). Raises: PictureError.
    """
    # Imported here, because recipes hold an Augmentation and are read before torch is imported.
    import torch
    import torch.nn.functional as F

    def choose_box(width: int, height: int) -> Box:
        return crop_box(width, height, augmentation, draws=draws)

    if isinstance(picture, bytes):
        crop = cropped_pixels(picture, choose_box)
    else:
        left, top, right, bottom = choose_box(picture.shape[1], picture.shape[0])
        crop = picture[top:bottom, left:right]
    # A view: its strides say "channels last", and nothing is copied.
    image = torch.from_numpy(crop)[None].permute(0, 3, 1, 2)
    image = F.interpolate(image, (resolution, resolution), mode="bilinear", antialias=True)
    if draws[-1] < augmentation.flip:
        image = image.flip(-1)  # a copy: NumPy's reversed view is ten times slower to read
    return image[0].permute(1, 2, 0).numpy()


def centre_crop(encoded: bytes, resolution: int) -> NDArray[np.uint8]:
    """The central square of a picture for evaluation, [resolution, resolution, 3] RGB."""
    picture = open_picture(encoded)
    side = min(picture.size)
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.array(
        rgb(picture).resize((resolution, resolution), Image.Resampling.BILINEAR, box=box)
    )


def crop_box(
    width: int, height: int, augmentation: Augmentation, draws: NDArray[np.float64]
) -> Box:
    """A random crop in pixels, distributed as torchvision's RandomResizedCrop."""
    small, large = augmentation.crop_scale
    for area, ratio in draws[: 2 * CROP_ATTEMPTS].reshape(CROP_ATTEMPTS, 2).tolist():
        pixels = width * height * (small + area * (large - small))
        aspect = math.exp(math.log(NARROW) + ratio * (math.log(WIDE) - math.log(NARROW)))
        w, h = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(draws[-3] * (width - w + 1)), int(draws[-2] * (height - h + 1))
            return left, top, left + w, top + h
    w, h = min(width, max(1, round(height * WIDE))), min(height, max(1, round(width / NARROW)))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h
