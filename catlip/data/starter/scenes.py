"""Generated layouts of real drawings, pasted on a photograph, with exact boxes and masks.

`compose` places sprites so that each stays recognisable, pastes them in order, and returns the
visible pixels of each. A sprite for which there is no room is left out of the image and of the
result, so that captions and annotations name only what can be seen. Backgrounds are the photographs
in backgrounds/ (see its ATTRIBUTION.md); three of them appear in no training image.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

BACKGROUNDS = Path(__file__).with_name("backgrounds")
# Only test scenes use them.
HELD_OUT_PHOTOS = frozenset({"blue-periwinkle", "lake-sherburne", "roman-colosseum"})
PHOTOS = tuple(sorted(path.stem for path in BACKGROUNDS.glob("*.jpg")))
TRAINING_PHOTOS = tuple(name for name in PHOTOS if name not in HELD_OUT_PHOTOS)
CROP_SIZE = (0.3, 1.0)  # side of a photo's crop, relative to its short side
TRIES = 20  # random places for a sprite, before it is left out
MAX_COVERED = 0.25  # overlap of two boxes, as a fraction of the smaller: both stay recognisable
OPAQUE = 128  # a pixel belongs to the last sprite whose alpha there is at least this
T = TypeVar("T")
Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom are exclusive


@dataclass(frozen=True)
class Sprite(Generic[T]):
    """A picture to paste: what it shows, and its straight-alpha RGBA, [h, w, 4] uint8."""

    what: T
    pixels: Pixels


@dataclass(frozen=True)
class Placement(Generic[T]):
    """The visible pixels of a sprite, [H, W]: no two placements share one; and the box around."""

    what: T
    box: Box
    mask: NDArray[np.bool_]


def compose(
    background: Pixels, sprites: Sequence[Sprite[T]], rng: Generator, size: tuple[float, float]
) -> tuple[Pixels, list[Placement[T]]]:
    """Paste sprites on a background [H, W, 3] at random places, later ones over earlier ones.

    Args:
        size: range of a sprite's longer side relative to the shorter side of the image.
    Returns: the image, and a placement for each sprite that could be placed, in the same order.
    """
    image = background.copy()
    owner = np.full(image.shape[:2], -1)
    boxes: list[Box] = []
    placed: list[T] = []
    for sprite in sprites:
        scaled = _scale(sprite.pixels, rng.uniform(*size) * min(image.shape[:2]))
        box = _free_box(scaled, image, boxes, rng=rng)
        if box is None:
            continue
        left, top, right, bottom = box
        # Blended in integers, so that every machine gets the same bytes.
        opacity, target = scaled[..., 3:].astype(np.uint32), image[top:bottom, left:right]
        target[:] = (scaled[..., :3] * opacity + target * (255 - opacity) + 127) // 255
        owner[top:bottom, left:right][scaled[..., 3] >= OPAQUE] = len(placed)
        boxes.append(box)
        placed.append(sprite.what)
    masks = [(what, owner == number) for number, what in enumerate(placed)]
    return image, [Placement(what, extent(mask), mask) for what, mask in masks if mask.any()]


def photo_crop(name: str, size: int, rng: Generator) -> Pixels:
    """A random square of the photograph `name`, mirrored at random, [size, size, 3] uint8."""
    photo = _photo(name)
    side = round(min(photo.size) * rng.uniform(*CROP_SIZE))
    left, top = (int(rng.integers(length - side + 1)) for length in photo.size)
    crop = photo.resize(
        (size, size), Image.Resampling.LANCZOS, (left, top, left + side, top + side)
    )
    return np.array(crop)[:, :: -1 if rng.integers(2) else 1]


def _scale(pixels: Pixels, longer_side: float) -> Pixels:
    """Pixels resized to this longer side; Pillow weights colours by their opacity."""
    factor = longer_side / max(pixels.shape[:2])
    height, width = (max(1, round(length * factor)) for length in pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def _free_box(sprite: Pixels, image: Pixels, taken: Sequence[Box], rng: Generator) -> Box | None:
    """A random box for a sprite in the image; None if it would cover too much of the others."""
    height, width = sprite.shape[:2]
    for _ in range(TRIES):
        left = int(rng.integers(image.shape[1] - width + 1))
        top = int(rng.integers(image.shape[0] - height + 1))
        box = (left, top, left + width, top + height)
        if all(_overlap(box, other) <= MAX_COVERED for other in taken):
            return box
    return None


def _overlap(a: Box, b: Box) -> float:
    """The area that two boxes share, as a fraction of the smaller one."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return max(width, 0) * max(height, 0) / smaller


def extent(mask: NDArray[np.bool_]) -> Box:
    """The smallest box around the pixels of a mask [H, W], which has at least one."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@functools.cache
def _photo(name: str) -> Image.Image:
    with Image.open(BACKGROUNDS / f"{name}.jpg", formats=("JPEG",)) as file:
        return file.convert("RGB")
