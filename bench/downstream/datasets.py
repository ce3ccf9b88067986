"""Labelled images by one spelling: the starter probes, or a folder of class folders.

starter:data/starter            two tasks on drawing teams never seen in pre-training: concepts and subgroups
imagenet:/data/imagenet         /data/imagenet/{train,val}/CLASS/IMAGE; likewise places365: and folder:
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets import ImageFolder

from catlip.cli import InputError
from catlip.data.probe_tasks import load_task
from catlip.data.shards import Shard

FOLDER_KINDS = ("imagenet", "places365", "folder")


@dataclass(frozen=True)
class Split:
    """Encoded images and their classes: `read(i)` gives the bytes of image i, `labels` is [N] int64."""

    read: Callable[[int], bytes]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """A single-label classification task."""

    name: str
    class_names: Sequence[str]
    train: Split
    test: Split


class Images(Dataset[Tensor]):
    """A split's images as an encoder wants them: [3, H, W] uint8 each, by what turns encoded images into them."""

    def __init__(self, split: Split, preprocess: Callable[[bytes], Tensor]):
        self.split = split
        self.preprocess = preprocess

    def __len__(self) -> int:
        return len(self.split.labels)

    def __getitem__(self, number: int) -> Tensor:
        return self.preprocess(self.split.read(number))


def load_tasks(spelling: str) -> list[Task]:
    """The tasks that `spelling` names. Raises: InputError for an unknown kind or a folder without the splits."""
    kind, _, place = spelling.partition(":")
    if kind == "starter" and place:
        return [_starter(Path(place), name) for name in ("concepts", "subgroups")]
    if kind in FOLDER_KINDS and place:
        return [_folders(kind, Path(place))]
    raise InputError(
        f"data {spelling!r} is not starter:DIR, {', '.join(f'{kind}:DIR' for kind in FOLDER_KINDS[:-1])} or folder:DIR"
    )


def _starter(root: Path, name: str) -> Task:
    task = load_task(root, name)
    train, test = _from_shards(task.train, task.train_labels), _from_shards(task.test, task.test_labels)
    return Task(name, task.class_names, train, test)


def _from_shards(samples: Sequence[tuple[Shard, int]], labels: NDArray[np.int64]) -> Split:
    return Split(lambda i: samples[i][0].image_bytes(samples[i][1]), labels)


def _folders(kind: str, root: Path) -> Task:
    for split in ("train", "val"):
        if not (root / split).is_dir():
            raise InputError(f"{kind}:{root} has no folder {split}/ with a folder of images per class")
    train, test = ImageFolder(str(root / "train")), ImageFolder(str(root / "val"))
    if train.classes != test.classes:
        odd = sorted(set(train.classes) ^ set(test.classes))
        raise InputError(f"{kind}:{root}: {len(odd)} classes are in only one of train/ and val/, such as {odd[0]}")
    return Task(kind, train.classes, _from_folder(train), _from_folder(test))


def _from_folder(folder: ImageFolder) -> Split:
    return Split(lambda i: Path(folder.samples[i][0]).read_bytes(), np.array(folder.targets, dtype=np.int64))
