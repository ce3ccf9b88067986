"""Small images inside a record, so that the report needs neither the data nor the model."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LARGEST = 320  # pixels of the longer side of a picture in a record
QUALITY = 85


def spread_evenly(count: int, wanted: int) -> Sequence[int]:
    """Which of `count` images to draw: at most `wanted`, evenly spread, equal for all encoders."""
    wanted = min(count, wanted)
    return [count * number // wanted for number in range(wanted)]


def scale_of(height: int, width: int) -> float:
    """The factor by which a picture is scaled for the record; 1 if it is small enough."""
    return min(1.0, LARGEST / max(height, width))


def encode_image(pixels: NDArray[np.uint8]) -> str:
    """[H, W, 3] RGB as a JPEG in base64, at `scale_of` its size."""
    return _encoded(pixels, Image.Resampling.LANCZOS, "JPEG", quality=QUALITY)


def encode_map(values: NDArray[np.uint8] | NDArray[np.bool_]) -> str:
    """[H, W] class ids, or bool at one bit per pixel, as a PNG in base64."""
    return _encoded(values, Image.Resampling.NEAREST, "PNG", optimize=True)


def _encoded(pixels: NDArray[Any], filter: Image.Resampling, kind: str, **options: object) -> str:
    picture = Image.fromarray(pixels)
    scale = scale_of(picture.height, picture.width)
    if scale < 1:
        size = (round(picture.width * scale), round(picture.height * scale))
        picture = picture.resize(size, filter)
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return base64.b64encode(buffer.getvalue()).decode()
