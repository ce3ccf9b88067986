"""Makes the batches that every objective trains on, from shards, sampler and augmentation.

The images of a step, their order, crops and flips, and which of several captions an image has in an
epoch, depend on the seed alone. An objective names the other fields that it needs, and only those
are made.
"""

import functools
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from catlip.cli import InputError
from catlip.data.augment import Augmentation, draws_at, random_crop
from catlip.data.decode import PictureError, whole_pixels
from catlip.data.sampler import SampleOrder, StepPlan, devices_of
from catlip.data.shard_set import ShardSet
from catlip.data.shards import Shard
from catlip.data.workers import Items
from catlip.program.broken import MAX_BROKEN, BrokenImage, BrokenImages

MAX_BYTES = 2**30  # of the decoded pictures of all workers of a rank together


@dataclass
class RaggedLabels:
    """The class ids of each image, at most once per image: image i has values[offsets[i] :
    offsets[i + 1]], perhaps none. Both are int64, [sum K] and [B + 1].
    """

    values: Tensor
    offsets: Tensor

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def rows(self) -> Tensor:
        """[sum K] int64: which image each value belongs to."""
        counts = self.offsets.diff()
        images = torch.arange(len(counts), device=counts.device)
        return torch.repeat_interleave(images, counts, output_size=len(self.values))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "RaggedLabels":
        return self.map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "RaggedLabels":
        """What the loader of torch calls on whatever it collates."""
        return self.map(Tensor.pin_memory)

    def map(self, move: Callable[[Tensor], Tensor]) -> "RaggedLabels":
        return RaggedLabels(move(self.values), move(self.offsets))


@dataclass
class Batch:
    """One micro-batch of one device: images [B, 3, H, W] uint8 and, if the objective needs them,
    labels and the tokens of the captions, [B, 77] int64, whose lengths stay on the host. Another
    sample of the batch stands in for each broken one.
    """

    images: Tensor
    keys: list[str]
    labels: RaggedLabels | None = None
    tokens: Tensor | None = None
    lengths: list[int] = field(default_factory=list)  # of captions, without padding
    broken: list[BrokenImage] = field(default_factory=list)
    # Takes torch's random numbers to those of this micro-batch, if a step has several at once.
    go_to_random: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> "Batch":
        # From pinned memory, the copy overlaps with work on the device.
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        return self._map(Tensor.pin_memory)

    def used_by(self, stream: torch.cuda.Stream) -> None:
        """Keep the memory of the tensors until the stream's work so far is done."""

        def use(tensor: Tensor) -> Tensor:
            tensor.record_stream(stream)
            return tensor

        self._map(use)

    def _map(self, move: Callable[[Tensor], Tensor]) -> "Batch":
        labels = self.labels and self.labels.map(move)
        tokens = None if self.tokens is None else move(self.tokens)
        return replace(self, images=move(self.images), labels=labels, tokens=tokens)


def caption_lengths(tokens: Tensor) -> list[int]:
    """How many of the tokens [B, 77] are captions: the one that ends a caption is the greatest."""
    lengths: list[int] = (tokens.argmax(dim=1) + 1).tolist()
    return lengths


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


Shards = Sequence[Shard] | ShardSet
# Captions as (shard, sample number, number of its caption) -> values and offsets of RaggedLabels.
LabelSource = Callable[
    [Sequence[tuple[Shard, int, int]]], tuple[NDArray[np.int64], NDArray[np.int64]]
]


@dataclass(frozen=True)
class DataPath(Dataset[Batch]):
    """Everything that determines the batches of a run. Up to `decoded_bytes` of decoded pictures
    are kept in memory; the batches do not depend on it.
    """

    shards: Shards
    order: SampleOrder
    plan: StepPlan
    augmentation: Augmentation
    seed: int
    accumulation: int = 1
    rank: int = 0
    world_size: int = 1
    labels: LabelSource | None = None
    tokenize: Callable[[list[str]], Tensor] | None = None
    max_broken: float = MAX_BROKEN
    decoded_bytes: int = MAX_BYTES

    @functools.cached_property
    def _decoded(self) -> DecodedPictures:
        is_revisited = self.plan.starts[-1] >= 2 * self.order.total
        return DecodedPictures(self.order.total, self.decoded_bytes if is_revisited else 0)

    def batches(
        self, first_step: int, num_workers: int | None, pin_memory: bool = False
    ) -> Iterator[Batch]:
        """The micro-batches of this rank, from `first_step` on, the same with any workers."""
        seen, broken = 0, BrokenImages()
        numbers = range(first_step * self.accumulation, len(self.plan) * self.accumulation)
        items = Items(
            self,
            numbers,
            num_workers,
            pin_memory=pin_memory,
            item_bytes=max(3 * size.batch * size.resolution**2 for size in self.plan.sizes),
            fetches=isinstance(self.shards, ShardSet) and self.shards.remote,
        )
        for batch in items:
            seen += len(batch)
            if broken.add(batch.broken):
                broken.check(seen, self.max_broken)
            yield batch

    def __getitem__(self, number: int) -> Batch:
        """Micro-batch `number` of this rank."""
        number, micro_step = divmod(number, self.accumulation)
        step, num_devices = self.plan[number], self.accumulation * self.world_size
        devices = devices_of(self.rank, self.accumulation)
        device = devices[micro_step]
        if isinstance(self.shards, ShardSet) and self.shards.remote:
            per_lane = num_devices // self.order.lanes
            lanes = range(devices[0] // per_lane, devices[-1] // per_lane + 1)
            now, next_ = self.order.windows_at(step.start, lanes, per_lane * step.batch)
            self.shards.expect(now, next_)
        positions = step.positions(device, num_devices, self.order.lanes)
        samples = [
            (self.shards[shard], int(number))
            for shard, number in zip(*self.order(positions), strict=True)
        ]
        draws = draws_at(self.seed, step.start + device * step.batch, step.batch)
        images, samples, broken = self._images(samples, step.resolution, draws)
        batch = Batch(images, [shard.keys[number] for shard, number in samples], broken=broken)
        captions = [
            (shard, number, shard.draw_caption(number, self.seed, position // self.order.total))
            for (shard, number), position in zip(samples, positions.tolist(), strict=True)
        ]
        if self.labels is not None:
            values, offsets = self.labels(captions)
            batch.labels = RaggedLabels(torch.from_numpy(values), torch.from_numpy(offsets))
        if self.tokenize is not None:
            batch.tokens = self.tokenize(
                [shard.caption(number, which) or "" for shard, number, which in captions]
            )
            batch.lengths = caption_lengths(batch.tokens)
        return batch

    def _images(
        self, samples: list[tuple[Shard, int]], resolution: int, draws: NDArray[np.float64]
    ) -> tuple[Tensor, list[tuple[Shard, int]], list[BrokenImage]]:
        pixels = np.empty((len(samples), resolution, resolution, 3), dtype=np.uint8)
        broken: dict[int, BrokenImage] = {}
        for i, (shard, number) in enumerate(samples):
            try:
                picture = self._decoded.get(
                    (shard.path, number), functools.partial(shard.image_bytes, number)
                )
                pixels[i] = random_crop(picture, resolution, self.augmentation, draws=draws[i])
            except InputError:  # not the image's fault: a shard has changed, for example
                raise
            except (ValueError, OSError) as error:
                broken[i] = BrokenImage.of(shard.path, shard.keys[number], error)
        whole = [i for i in range(len(samples)) if i not in broken]
        if not whole:
            raise InputError("no image of a batch can be read, first: {} ({})".format(*broken[0]))
        # The batch keeps its size: what other ranks and later steps read depends on no broken image
        for i in broken:
            stand_in = whole[i % len(whole)]
            pixels[i], samples[i] = pixels[stand_in], samples[stand_in]
        return torch.from_numpy(pixels).permute(0, 3, 1, 2), samples, list(broken.values())
