"""From the bytes of a JPEG to a training image on one core, by this project's code and by other
libraries.

Each decoder takes the same bytes and the same numbers in [0, 1), so each gives the same crop; only
open_clip's own transform draws its own. Decodes of the whole picture are timed beside them, to show
what a decoder costs when nothing is cropped or resized.
"""

import io
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms.v2 import functional as F

from catlip.data.augment import Augmentation, crop_box, random_crop
from catlip.data.decode import FORMATS
from catlip.data.jpeg import decode_rows, find_frame

Decoder = Callable[[bytes, NDArray[np.float64]], object]
Whole = Callable[[bytes], Any]  # encoded -> a PIL image, or a tensor [3, H, W] of bytes

AUGMENTATION = Augmentation()


def ours(resolution: int) -> Decoder:
    """This project's decoder, as the loader uses it."""
    return lambda encoded, draws: random_crop(encoded, resolution, AUGMENTATION, draws=draws)


def open_clip(resolution: int) -> Decoder:
    """open_clip's training transform as it is: Pillow, a crop of 0.9 to 1, bicubic, normalised
    floats, no flip.
    """
    transform = import_module("open_clip").image_transform(resolution, is_train=True)
    return lambda encoded, draws: transform(_pillow()(encoded))


def _pillow() -> Whole:
    return lambda encoded: Image.open(io.BytesIO(encoded), formats=FORMATS).convert("RGB")


def _torchvision() -> Whole:
    module = import_module("torchvision.io")
    # Deprecated from 0.29 on, in favour of torchcodec.
    warnings.filterwarnings("ignore", ".*(deprecated|TorchCodec)", module="torchvision")
    return lambda encoded: module.decode_jpeg(
        torch.frombuffer(bytearray(encoded), dtype=torch.uint8), module.ImageReadMode.RGB
    )


def _torchcodec() -> Whole:
    decode: Whole = import_module("torchcodec.decoders").decode_jpeg
    return decode


def _spdl() -> Whole:
    module = import_module("spdl.io")
    return lambda encoded: torch.from_numpy(module.to_numpy(module.load_image(encoded))).movedim(
        2, 0
    )


WHOLE: dict[str, Callable[[], Whole]] = {
    "pillow": _pillow,
    "torchvision": _torchvision,
    "torchcodec": _torchcodec,
    "spdl": _spdl,
}


def cropping(load: Callable[[], Whole], resolution: int) -> Decoder:
    """A library decodes the whole picture; torchvision crops, resizes and flips that, as
    RandomResizedCrop in most training code.

    Args:
        load: imports the library, and returns its decoder.
    """
    whole = load()

    def decode(encoded: bytes, draws: NDArray[np.float64]) -> NDArray[np.uint8]:
        image = whole(encoded)
        height, width = F.get_size(image)
        left, top, right, bottom = crop_box(width, height, AUGMENTATION, draws=draws)
        size = [resolution, resolution]
        image = F.resized_crop(image, top, left, bottom - top, right - left, size, antialias=True)
        if draws[-1] < AUGMENTATION.flip:
            image = F.horizontal_flip(image)
        return np.asarray(image if isinstance(image, Image.Image) else image.movedim(0, 2))

    return decode


PEERS: dict[str, Callable[[int], Decoder]] = {
    **{name: partial(cropping, load) for name, load in WHOLE.items()},
    "open_clip": open_clip,
}


def whole_decodes(names: Sequence[str]) -> dict[str, Decoder]:
    """Decoders of the whole picture and no more: this project's, and those of the peers that have
    one of their own.
    """
    decoders = {"ours": _ours_whole} | {name: WHOLE[name]() for name in names if name in WHOLE}
    return {f"{name}, whole picture": _uncropped(whole) for name, whole in decoders.items()}


def _uncropped(whole: Whole) -> Decoder:
    return lambda encoded, draws: np.asarray(whole(encoded))


def _ours_whole(encoded: bytes) -> NDArray[np.uint8] | None:
    frame = find_frame(encoded)
    return decode_rows(encoded, frame, frame.height) if frame else None
