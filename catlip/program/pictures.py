"""Small images inside a record, so that the report needs neither the data nor the model."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LARGEST = 320  # pixels of the longer side of a picture in a record
QUALITY = 85


def spread_evenly(count: int, wanted: int) -> Sequence[int]:
    """Which of `count` images to draw: at most `wanted`, evenly spread, equal for all encoders."""
    wanted = min(count, wanted)
    return [count * number // wanted for number in range(wanted)]


def encode_image(pixels: NDArray[np.uint8]) -> str:
    """[H, W, 3] RGB as a JPEG in base64, its longer side at most LARGEST."""
    picture, buffer = Image.fromarray(pixels), io.BytesIO()
    scale = LARGEST / max(picture.size)
    if scale < 1:
        size = (round(picture.width * scale), round(picture.height * scale))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    picture.save(buffer, "JPEG", quality=QUALITY)
    return base64.b64encode(buffer.getvalue()).decode()
