"""Features of a split, and how often a classifier on them is right."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from bench.downstream.probe.datasets import Split
from catlip.cli import InputError
from catlip.data.workers import Items
from catlip.encoders.load import LoadedEncoder
from catlip.encoders.preprocess import Preprocess
from catlip.program.broken import BrokenImage, BrokenImages
from catlip.program.options import ReadingOptions
from catlip.program.progress import progress
from catlip.training.attention import note_kernels
from catlip.training.distributed import Rank

BATCH = {"cpu": 32, "cuda": 256}  # images at a time; a CPU is no faster with more


@dataclass(frozen=True)
class Features:
    """The features [n, D] of the images of a split that can be read, their labels [n] on the same
    device, and their numbers in the split, ascending.
    """

    values: Tensor
    labels: Tensor
    numbers: NDArray[np.int64]
    broken: BrokenImages = field(default_factory=BrokenImages)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, numbers: NDArray[np.int64]) -> "Features":
        rows = np.flatnonzero(np.isin(self.numbers, numbers))
        index = torch.from_numpy(rows).to(self.labels.device)
        return Features(self.values[index], self.labels[index], self.numbers[rows])


@torch.inference_mode()
def extract(
    encoder: LoadedEncoder,
    split: Split,
    reading: ReadingOptions,
    known: Mapping[str, Tensor] = MappingProxyType({}),
) -> Features:
    """The features of the images of a split that can be read, in its order. An image whose key is
    `known` with its features [D] is not encoded again.
    """
    hidden = reading.quiet or (dist.is_initialized() and dist.get_rank() > 0)
    device = encoder.device
    rows = {number: known[key] for number, key in enumerate(split.keys) if key in known}
    new = [number for number in range(len(split)) if number not in rows]
    batches = _Batches(split, new, encoder.preprocess, BATCH[device.type])
    pinned = device.type == "cuda"
    loader = Items(batches, range(len(batches)), reading.num_workers, pin_memory=pinned)
    broken = BrokenImages()
    for images, left_out, whole in progress(
        loader, desc="features", unit="batch", disable=hidden, leave=False
    ):
        if broken.add(left_out):
            broken.check(len(split), reading.max_broken)
        if whole:
            with note_kernels(encoder.module, not rows):
                values = encoder.module(images.to(device, non_blocking=True)).float()
            rows |= zip(whole, values, strict=True)
    if not rows:
        raise InputError(f"no image of {split.path} can be read: {broken.summary()}")
    numbers = np.array(sorted(rows), dtype=np.int64)
    features = torch.stack([rows[number] for number in numbers.tolist()])
    if not features.isfinite().all():
        raise InputError(f"some features of {split.path} are not finite: the encoder is broken")
    labels = torch.from_numpy(split.labels[numbers]).to(device)
    return Features(features, labels, numbers, broken=broken)


class _Batches(Dataset[tuple[Tensor, list[BrokenImage], list[int]]]):
    """Batch number -> images [b, 3, H, W] uint8, the broken ones, and the numbers of the others."""

    def __init__(self, split: Split, numbers: list[int], preprocess: Preprocess, size: int):
        self.split, self.preprocess = split, preprocess
        self.numbers = [numbers[start : start + size] for start in range(0, len(numbers), size)]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, batch: int) -> tuple[Tensor, list[BrokenImage], list[int]]:
        whole: dict[int, Tensor] = {}
        broken = []
        for number in self.numbers[batch]:
            try:
                whole[number] = self.preprocess(self.split.image_bytes(number))
            except InputError:  # for example, a shard that changed
                raise
            except (ValueError, OSError) as error:
                broken.append(BrokenImage.of(self.split.path, self.split.keys[number], error))
        images = torch.stack([*whole.values()]) if whole else torch.empty(0, dtype=torch.uint8)
        return images, broken, list(whole)


def extract_part(
    encoder: LoadedEncoder, split: Split, reading: ReadingOptions, rank: Rank
) -> Features:
    """`extract` for this rank's part of the images, with their numbers in the whole `split`."""
    part = split.take(np.arange(rank.number, len(split), rank.world_size))
    features = extract(encoder, part, reading)
    return replace(features, numbers=features.numbers * rank.world_size + rank.number)


class Extractor:
    """Features of splits by one encoder. Each image is encoded once, even if it is in several."""

    def __init__(self, encoder: LoadedEncoder, reading: ReadingOptions):
        self.encoder, self.reading = encoder, reading
        self.done: list[tuple[Split, Features]] = []

    def __call__(self, split: Split) -> Features:
        known: dict[str, Tensor] = {}
        for other, features in self.done:
            if other is split:
                return features
            if other.path == split.path:
                keys = (other.keys[number] for number in features.numbers.tolist())
                known |= zip(keys, features.values, strict=True)
        features = extract(self.encoder, split, self.reading, known)
        self.done.append((split, features))
        return features


def hits(scores: Tensor, labels: Tensor) -> Tensor:
    """[n, 2] bool: whether the label has the highest of an image's scores [n, classes], and one of
    the five highest; minus infinity is for a class that cannot be right.
    """
    best = scores.topk(min(5, scores.shape[1]))
    right = (best.indices == labels[:, None]) & (best.values > -torch.inf)
    return torch.stack([right[:, 0], right.any(1)], dim=1)
