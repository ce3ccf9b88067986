"""From the bytes of a JPEG to a training image on one core, by this project's code and by other
libraries.

Each decoder takes the same bytes and the same numbers in [0, 1), so each gives the same crop; only
open_clip's own transform draws its own. Decodes of the whole picture are timed beside them, to show
what a decoder costs when nothing is cropped or resized.
"""

import importlib
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2 import functional as F

from catlip.data.augment import Augmentation, crop_box, random_crop
from catlip.data.decode import FORMATS
from catlip.data.jpeg import decode_rows, find_frame

Decoder = Callable[[bytes, NDArray[np.float64]], object]

AUGMENTATION = Augmentation()


def ours(resolution: int) -> Decoder:
    """This project's decoder, as the loader uses it."""
    return lambda encoded, draws: random_crop(encoded, resolution, AUGMENTATION, draws=draws)


def pillow(resolution: int) -> Decoder:
    """Pillow decodes, torchvision crops, resizes and flips Pillow's image: RandomResizedCrop as in
    most training code.
    """

    def decode(encoded: bytes, draws: NDArray[np.float64]) -> NDArray[np.uint8]:
        picture = Image.open(io.BytesIO(encoded), formats=FORMATS).convert("RGB")
        image = _resized_crop(
            picture, picture.height, picture.width, resolution=resolution, draws=draws
        )
        return np.asarray(image)

    return decode


def torchvision(resolution: int) -> Decoder:
    """torchvision decodes to a tensor of bytes, and crops, resizes and flips that."""

    def decode(encoded: bytes, draws: NDArray[np.float64]) -> NDArray[np.uint8]:
        image = decode_jpeg(_bytes(encoded), ImageReadMode.RGB)
        height, width = image.shape[1:]
        return (
            _resized_crop(image, height, width, resolution=resolution, draws=draws)
            .permute(1, 2, 0)
            .numpy()
        )

    return decode


def open_clip(resolution: int) -> Decoder:
    """open_clip's training transform as it is: Pillow, a crop of 0.9 to 1, bicubic, normalised
    floats, no flip.
    """
    transform = importlib.import_module("open_clip").image_transform(resolution, is_train=True)
    return lambda encoded, draws: transform(
        Image.open(io.BytesIO(encoded), formats=FORMATS).convert("RGB")
    )


PEERS: dict[str, Callable[[int], Decoder]] = {
    "pillow": pillow,
    "torchvision": torchvision,
    "open_clip": open_clip,
}


def whole_decodes(names: Sequence[str]) -> dict[str, Decoder]:
    """Decoders of the whole picture and no more: this project's, and those of the peers that have
    one of their own.
    """
    decoders: dict[str, Decoder] = {
        "ours": lambda encoded, draws: _whole(encoded),
        "pillow": lambda encoded, draws: np.asarray(
            Image.open(io.BytesIO(encoded), formats=FORMATS).convert("RGB")
        ),
        "torchvision": lambda encoded, draws: decode_jpeg(_bytes(encoded), ImageReadMode.RGB),
    }
    return {
        f"{name}, whole picture": decoders[name] for name in ("ours", *names) if name in decoders
    }


def _whole(encoded: bytes) -> NDArray[np.uint8] | None:
    frame = find_frame(encoded)
    return decode_rows(encoded, frame, frame.height) if frame else None


def _resized_crop(
    image: Any, height: int, width: int, resolution: int, draws: NDArray[np.float64]
) -> Any:
    left, top, right, bottom = crop_box(width, height, AUGMENTATION, draws=draws)
    image = F.resized_crop(
        image, top, left, bottom - top, right - left, [resolution, resolution], antialias=True
    )
    return F.horizontal_flip(image) if draws[-1] < AUGMENTATION.flip else image


def _bytes(encoded: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(encoded), dtype=torch.uint8)
