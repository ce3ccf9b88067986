"""Keeps the decoded pictures of a small data set in memory, so that later epochs only crop them: in
each worker that crops, or on the device that trains, which then crops itself.
"""

from collections.abc import Callable, Hashable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

from catlip.data.augment import Augmentation, crop_box
from catlip.data.decode import PictureError, whole_pixels
from catlip.data.shard_set import ShardSet
from catlip.program.progress import progress
from catlip.system.engines import work_ahead

MAX_BYTES = 2**30  # of all workers of a rank together
CACHE_FRACTION = 1 / 16  # of a GPU's memory, at most: trainings side by side each have a cache
AT_ONCE_BYTES = 2**28  # of products while a batch is resampled on the device
# F.interpolate rounds weights of 8-bit pixels to as many bits as leave the largest in 16 bits.
LARGEST_WEIGHT, MAX_BITS = 2**15 - 0.5, 22


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


class DeviceCache:
    """All pictures of a data set, on a device; the crops made of them there equal the results of
    `random_crop` bit for bit. A copy for another process only chooses crops.

    Args:
        pictures: [H, W, 3] RGB, in the order of the samples.
        begins: [S], the number of the first sample of each shard.
    """

    def __init__(
        self, pictures: list[NDArray[np.uint8]], begins: NDArray[np.int64], device: torch.device
    ):
        self.sizes = [(picture.shape[1], picture.shape[0]) for picture in pictures]
        self.begins = begins
        width, height = np.max(self.sizes, axis=0)
        # Smaller pictures are padded, so that one index finds the pixels of a whole batch.
        pixels = torch.zeros((len(pictures), height, width, 3), dtype=torch.uint8)
        for number, picture in enumerate(pictures):
            pixels[number, : len(picture), : picture.shape[1]] = torch.from_numpy(picture)
        self.pixels: Tensor | None = pixels.to(device)

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "pixels": None}

    def choose(
        self,
        shards: NDArray[np.int64],
        numbers: NDArray[np.int64],
        augmentation: Augmentation,
        draws: NDArray[np.float64],
    ) -> Tensor:
        """[B, 6] int64, the crops of B samples: picture, left, top, right, bottom, flipped."""
        rows = []
        for number, draw in zip((self.begins[shards] + numbers).tolist(), draws, strict=True):
            width, height = self.sizes[number]
            box = crop_box(width, height, augmentation, draws=draw)
            rows.append((number, *box, int(draw[-1] < augmentation.flip)))
        return torch.tensor(rows, dtype=torch.int64)

    def crop(self, crops: Tensor, resolution: int) -> Tensor:
        """The images of a batch, [B, 3, resolution, resolution] uint8, from the crops chosen."""
        assert self.pixels is not None, "this process only chooses"
        _, height, width, _ = self.pixels.shape
        # As many pixels as the largest crop needs for a pixel of the result. The host knows the
        # number without waiting for the device.
        taps = int(2 * max(1, height / resolution, width / resolution)) + 2
        picture_bytes = 3 * 4 * height * resolution * taps  # of int32
        crops = crops.to(self.pixels.device, non_blocking=True)
        parts = crops.split(max(1, AT_ONCE_BYTES // picture_bytes))
        return torch.cat([self._resample(part, resolution, taps) for part in parts])

    def _resample(self, crops: Tensor, resolution: int, taps: int) -> Tensor:
        """Bilinear with antialiasing, first along x and then along y, in integers as F.interpolate:
        for each pixel of the result a weighted sum of `taps` pixels.
        """
        assert self.pixels is not None
        begins, ends = crops[:, 1:3].T.reshape(-1, 1, 1), crops[:, 3:5].T.reshape(-1, 1, 1)
        size = ends - begins  # [2 B, 1, 1]: the widths of all, then the heights
        scale = size.double() / resolution
        reach = scale.clamp_min(1)
        centre = scale * (torch.arange(resolution, device=crops.device)[:, None] + 0.5)
        first = (centre - reach + 0.5).long().clamp_min(0)
        pixel = first + torch.arange(taps, device=crops.device)
        weight = (1 - ((pixel - centre + 0.5) / reach).abs()).clamp_min(0) * (pixel < size)
        weight = weight / weight.sum(-1, keepdim=True)
        bits = (LARGEST_WEIGHT / weight.amax((1, 2), keepdim=True)).log2().floor()
        bits = bits.clamp_max(MAX_BITS).int()
        weight = (weight * (1 << bits) + 0.5).int()
        (x, y), (x_weight, y_weight), (x_bits, y_bits) = (
            tensor.chunk(2) for tensor in (begins + pixel.minimum(size - 1), weight, bits)
        )

        def weighted(pixels: Tensor, weight: Tensor, bits: Tensor, dim: int) -> Tensor:
            total = (pixels * weight).sum(dim, dtype=torch.int32)
            return (total + (1 << bits - 1) >> bits).to(torch.uint8)

        row = torch.arange(self.pixels.shape[1], device=crops.device)[:, None, None]
        pixels = self.pixels[crops[:, 0, None, None, None], row, x[:, None]]
        rows = weighted(pixels, x_weight[:, None, ..., None], x_bits[..., None], dim=3)
        image = torch.arange(len(crops), device=crops.device)[:, None, None]
        pixels = weighted(rows[image, y], y_weight[..., None, None], y_bits[..., None], dim=2)
        pixels = torch.where(crops[:, 5, None, None, None] > 0, pixels.flip(2), pixels)
        return pixels.permute(0, 3, 1, 2)


_latest: dict[tuple[str, torch.device, int], DeviceCache | None] = {}


def cache_on_device(
    shards: ShardSet, device: torch.device, max_bytes: int, quiet: bool = True
) -> DeviceCache | None:
    """The pictures of the shards on the device, kept for the next training of this process; None if
    one is broken, or if all, as large as the largest, exceed `max_bytes`.
    """
    key = shards.digest, device, max_bytes
    if key not in _latest:
        _latest.clear()
        total = int(shards.counts.sum())
        encoded = (  # read by this thread: an open file of a shard is not for several
            shard.image_bytes(number)
            for shard in map(shards.__getitem__, range(len(shards)))
            for number in range(len(shard))
        )
        decoded = work_ahead(whole_pixels, encoded)
        pictures = progress(decoded, "decoding", total, disable=quiet, unit=" images", leave=False)
        kept = _collect((picture for _, picture in pictures), max_bytes // total)
        begins = np.cumsum(shards.counts) - shards.counts
        _latest[key] = DeviceCache(kept, begins, device) if kept else None
    return _latest[key]


def _collect(pictures: Iterable[NDArray[np.uint8]], max_bytes: int) -> list[NDArray[np.uint8]]:
    """The pictures; none if a box around all of them has more bytes."""
    kept, height, width = [], 0, 0
    try:
        for picture in pictures:
            height, width = max(height, len(picture)), max(width, picture.shape[1])
            if 3 * height * width > max_bytes:
                return []
            kept.append(picture)
    except (PictureError, OSError):
        return []
    return kept
