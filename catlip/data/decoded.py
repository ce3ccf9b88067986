"""Keeps the decoded pictures of a small data set in memory, so that later epochs only crop them."""

from collections.abc import Callable, Hashable

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import get_worker_info

from catlip.data.decode import PictureError, whole_pixels

MAX_BYTES = 2**30  # of all workers of a rank together


class DecodedPictures:
    """The pictures of `count` samples, or none if they would take more than `max_bytes`, judged by
    their mean size: a part of a large data set would cost memory and save little. Each worker may
    read any sample, and so has its own, and only a part of `max_bytes`.
    """

    def __init__(self, count: int, max_bytes: int = MAX_BYTES):
        self.count, self.max_bytes = count, max_bytes
        self._pixels: dict[Hashable, NDArray[np.uint8]] = {}
        self._bytes = 0

    def get(self, name: Hashable, read: Callable[[], bytes]) -> bytes | NDArray[np.uint8]:
        """The pixels of a picture, [H, W, 3] RGB; if they are not kept, what `read` gives."""
        if name in self._pixels:
            return self._pixels[name]
        encoded = read()
        if not self.max_bytes:
            return encoded
        try:
            pixels = whole_pixels(encoded)
        except PictureError:  # a crop that needs the damaged rows raises it again
            return encoded
        self._pixels[name] = pixels
        self._bytes += pixels.nbytes
        worker = get_worker_info()
        expected_bytes = self._bytes / len(self._pixels) * self.count
        if expected_bytes * (worker.num_workers if worker else 1) > self.max_bytes:
            self._pixels, self.max_bytes = {}, 0
        return pixels
