"""Features of a split, and how often a classifier on them is right."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from bench.downstream.datasets import Split
from bench.downstream.preprocess import Preprocess
from catlip.cli import InputError
from catlip.data.loader import MAX_BROKEN_SHARE
from catlip.progress import progress
from catlip.record import Record

BATCH = {"cpu": 32, "cuda": 256}  # images at a time; a CPU is no faster with more
FEW = 10  # broken images that no data set is refused for


@dataclass(frozen=True)
class Features:
    """What an encoder makes of the images of a split that can be read.

    Attributes:
        values: [n, D] float32.
        labels: [n] int64, on the same device.
        numbers: [n] int64, ascending, which images of the split they are.
        broken: the names of the images that are left out, with what is wrong with them.
    """

    values: Tensor
    labels: Tensor
    numbers: NDArray[np.int64]
    broken: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, numbers: NDArray[np.int64]) -> "Features":
        """Those of these images of the split."""
        rows = np.flatnonzero(np.isin(self.numbers, numbers))
        places = torch.from_numpy(rows).to(self.labels.device)
        return Features(self.values[places], self.labels[places], self.numbers[rows])


class _Images(Dataset[tuple[Tensor, str]]):
    """Images as an encoder wants them, [3, H, W] uint8, and what is wrong with those that cannot be read."""

    def __init__(self, split: Split, preprocess: Preprocess):
        self.split, self.preprocess = split, preprocess

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, number: int) -> tuple[Tensor, str]:
        try:
            return self.preprocess(self.split.image_bytes(number)), ""
        except ValueError as error:
            side = self.preprocess.resolution
            return torch.zeros(3, side, side, dtype=torch.uint8), f"{self.split.keys[number]}: {error}"


@torch.inference_mode()
def extract(module: nn.Module, preprocess: Preprocess, split: Split, num_workers: int, quiet: bool) -> Features:
    """The features of a split, in its order, by an encoder that is in evaluation mode.

    Raises: InputError when more than MAX_BROKEN_SHARE of the images cannot be read.
    """
    device = next(module.parameters()).device
    loader = DataLoader(
        _Images(split, preprocess), BATCH[device.type], num_workers=num_workers, pin_memory=device.type == "cuda"
    )
    found, faults = [], []
    for images, said in progress(loader, desc="features", unit="batch", disable=quiet, leave=False):
        found.append(module(images.to(device, non_blocking=True)).float())
        faults += said
    whole = np.array([not fault for fault in faults])
    broken = [fault for fault in faults if fault]
    if not whole.any() or len(broken) > max(FEW, MAX_BROKEN_SHARE * len(split)):
        raise InputError(f"{len(broken)} of {len(split)} images in {split.path} cannot be read, such as {broken[0]}")
    labels = torch.from_numpy(split.labels[whole]).to(device)
    return Features(torch.cat(found)[torch.from_numpy(whole).to(device)], labels, np.flatnonzero(whole), broken)


def note_broken(record: Record, task: str, broken: Sequence[str]) -> None:
    """Count and name in a record the images of a task that were left out, if there are any."""
    if broken:
        record.metrics[f"{task}_num_broken"] = len(broken)
        record.samples[f"{task}_broken"] = list(broken)


def hits(scores: Tensor, labels: Tensor) -> Tensor:
    """[2] int64: of how many images the label has the highest score, and one of the five highest.

    Args:
        scores: [n, classes], minus infinity for one that cannot be right; labels: [n] int64.
    """
    best = scores.topk(min(5, scores.shape[1]))
    right = (best.indices == labels[:, None]) & (best.values > -torch.inf)
    return torch.stack([right[:, 0].sum(), right.any(1).sum()])


def rows_of(part: Split, whole: Split) -> NDArray[np.int64]:
    """Where the images of `part` stand in `whole`."""
    place = {key: number for number, key in enumerate(whole.keys)}
    return np.array([place[key] for key in part.keys], dtype=np.int64)
