"""Fashion-MNIST: 70,000 grey photographs of clothes, 28 x 28 pixels, of ten classes.

The files are those of Debian's package `dataset-fashion-mnist`: four compressed idx files.
torchvision downloads the same files to `FashionMNIST/raw`. An idx file has a header of big-endian
32-bit integers (the type and number of dimensions, the number of entries, the shape of an entry),
followed by the values.
"""

import gzip
import io
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catlip.cli import InputError

GET = "get Fashion-MNIST by `apt-get install dataset-fashion-mnist` (Debian, Ubuntu)"
NUM_CLASSES = 10
SIDE = 28
MOST_IMAGES = 60_000  # of a split, so that a damaged header cannot fill the memory
UNSIGNED_BYTES = 0x0800  # in an idx header, plus the number of dimensions


def images_file(folder: Path, split: str) -> Path:
    """The file with the images of a split, "train" or "t10k"."""
    return folder / f"{split}-images-idx3-ubyte.gz"


def read_split(folder: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The images [n, 28, 28] of a split, "train" or "t10k", and their classes [n].

    Raises: InputError when files are missing or damaged, or do not fit each other.
    """
    images = _read_idx(images_file(folder, split), (SIDE, SIDE))
    labels = _read_idx(folder / f"{split}-labels-idx1-ubyte.gz", ())
    if len(images) != len(labels):
        raise InputError(f"{folder} has {len(images)} images of {split} and {len(labels)} labels")
    if labels.max() >= NUM_CLASSES:
        raise InputError(f"{folder} has a label {labels.max()} of {split}; classes are 0 to 9")
    return images, labels.astype(np.int64)


def encoded_image(images: NDArray[np.uint8], number: int) -> bytes:
    """One of the images [n, 28, 28] as a PNG."""
    file = io.BytesIO()
    Image.fromarray(images[number]).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _read_idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The values in an idx file, [n, *shape], with n from 1 to MOST_IMAGES. Raises: InputError."""
    ndim = 1 + len(shape)
    try:
        with gzip.open(path) as file:
            header = np.frombuffer(file.read(4 * (1 + ndim)), ">u4").tolist()
            if header[:1] + header[2:] != [UNSIGNED_BYTES + ndim, *shape]:
                raise ValueError(f"its header is {header}")
            size = header[1] * math.prod(shape)
            if not 0 < header[1] <= MOST_IMAGES:
                raise ValueError(f"its header says {header[1]} entries")
            content = file.read(size + 1)
    except FileNotFoundError:
        raise InputError(f"{path} is missing; {GET}") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}); {GET}") from None
    if len(content) != size:
        raise InputError(f"{path} does not hold the {size} values that its header says; {GET}")
    return np.frombuffer(content, np.uint8).reshape(-1, *shape)
