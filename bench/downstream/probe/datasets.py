"""Opens labelled images by one spelling: the starter probes, or a data set of your own.

starter:data/starter            two tasks, concepts and subgroups, on drawings of teams that
                                pre-training never saw
starter-validation:data/starter the same, trained on one of the probe's two training teams and
                                tested on the other: for tuning
imagenet:/data/imagenet         /data/imagenet/{train,val}/CLASS/IMAGE, or tars of KEY.jpg and
                                KEY.cls in train/ and val/; likewise places365:
folder:/data/pets, /data/pets   the same of any data set, whose name is that of its folder. test/
                                may stand for val/, and a tar for either; classnames.txt may name
                                the classes of tars, one a line
fashion_mnist:                  Fashion-MNIST, where Debian's package installs it; or
                                fashion_mnist:/data/fashion-mnist
"""

import gzip
import io
import math
import re
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torchvision.datasets import ImageFolder

from catlip import streams
from catlip.cli import InputError
from catlip.data.layout import FASHION_MNIST, STARTER_KINDS, Layout, find_layout
from catlip.data.shard_set import ShardSet, open_shards
from catlip.data.shards import Shard, expand
from catlip.data.starter.probe_tasks import load_task
from catlip.vocabulary.label_sets import (
    LabelSet,
    imagenet_synsets,
    label_set,
    places_names,
    synsets_of,
)
from catlip.words.wordnet import nouns

CLASS_NAMES = "classnames.txt"  # as clip-benchmark names it; line n is the name of class n
PLACES = 365
STARTER_TASKS = ("concepts", "subgroups")
TAKEN = {"imagenet", "places365", FASHION_MNIST, *STARTER_TASKS}  # names that are not a folder's
WNID = re.compile(r"n\d{8}")
MAX_DIGITS = 5  # of a class number; the largest public data sets have some 20,000 classes
# Fashion-MNIST is four compressed idx files; torchvision downloads the same to `FashionMNIST/raw`.
GET_FASHION_MNIST = "get Fashion-MNIST by `apt-get install dataset-fashion-mnist` (Debian, Ubuntu)"
MAX_IDX = 60_000  # entries, so that a damaged header cannot fill the memory
UNSIGNED_BYTES = 0x0800  # in an idx header, plus the number of dimensions


@dataclass(frozen=True)
class Split:
    """Encoded images and their classes; the data path takes it in place of a shard.

    `labels` are [N] positions in the task's class names; or [N, C] bool, where an image can be of
    several classes. `image_bytes` gives the encoded image of a number.
    """

    path: Path
    keys: Sequence[str]
    labels: NDArray[np.int64] | NDArray[np.bool_]
    image_bytes: Callable[[int], bytes]

    def __len__(self) -> int:
        return len(self.labels)

    def drawn(self, number: int, seed: int, epoch: int) -> int:
        return 0  # which of its captions an image has: there is none to choose

    def take(self, numbers: NDArray[np.int64]) -> "Split":
        keys = [self.keys[number] for number in numbers]
        return Split(
            self.path,
            keys,
            self.labels[numbers],
            image_bytes=partial(_nth, self.image_bytes, numbers.tolist()),
        )

    def subset(self, fraction: float, seed: int) -> "Split":
        """The given fraction of the images of every class, at least one of each. With the same
        seed, the subset of a smaller fraction is part of that of a larger one.
        """
        if fraction == 1:
            return self
        draw = streams.generator(seed, streams.SUBSETS)
        mixed = draw.permutation(len(self))
        # Class by class, in random order within each.
        order = mixed[np.argsort(self.labels[mixed], kind="stable")]
        sizes = np.unique(self.labels, return_counts=True)[1]
        rank = np.arange(len(self)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        kept = np.maximum(1, np.round(fraction * sizes).astype(np.int64))
        return self.take(np.sort(order[rank < np.repeat(kept, sizes)]))


@dataclass(frozen=True)
class Task:
    name: str
    labels: LabelSet
    train: Split
    test: Split

    @property
    def num_classes(self) -> int:
        return len(self.labels.names)


def load_tasks(spelling: str) -> list[Task]:
    """The tasks that `spelling` names, as the module's docstring describes it."""
    layout = find_layout(spelling)
    if layout.kind == FASHION_MNIST:
        train, test = (_fashion_mnist(layout.root, split) for split in ("train", "t10k"))
        return [Task(FASHION_MNIST, label_set(FASHION_MNIST), train, test=test)]
    if layout.kind in STARTER_KINDS:
        return [_starter(layout, name) for name in STARTER_TASKS]
    path = layout.splits[0]
    read = _from_tars if path.is_file() or any(path.glob("*.tar")) else _from_folders
    names, present, (train, test) = read(layout)
    name = name_on_page(layout.kind, layout.root, names, present)
    return [Task(name, name_labels(layout.kind, names), train, test=test)]


def _starter(layout: Layout, name: str) -> Task:
    task = load_task(layout.root, name, validation=layout.kind == "starter-validation")

    def drawings(samples: Sequence[tuple[Shard, int]], labels: NDArray[np.int64]) -> Split:
        keys = [shard.keys[number] for shard, number in samples]
        image_bytes = partial(_of_shard, samples)
        return Split(samples[0][0].path.parent, keys, labels, image_bytes=image_bytes)

    train = drawings(task.train, task.train_labels)
    test = drawings(task.test, task.test_labels)
    return Task(name, name_labels(name, task.class_names), train, test=test)


def _from_folders(layout: Layout) -> tuple[Sequence[str], int, list[Split]]:
    """The names of the classes, how many of them are present, and the splits, from a folder of
    images per class in a folder per split.
    """
    folders = []
    for path in layout.splits:
        try:
            folders.append(ImageFolder(str(path)))
        except FileNotFoundError as error:  # no class, or one without a picture
            reason = str(error).partition(" Supported")[0]
            raise InputError(f"{path} is not a folder of images per class: {reason}") from None
    train, test = folders
    if train.classes != test.classes:
        odd = sorted(set(train.classes) ^ set(test.classes))
        raise InputError(
            f"{layout.kind}:{layout.root}: {len(odd)} classes are in only one of {train.root} and "
            f"{test.root}, such as {odd[0]}"
        )
    splits = []
    for folder in folders:
        paths = [path for path, _ in folder.samples]
        labels = np.array(folder.targets, dtype=np.int64)
        image_bytes = partial(file_bytes, paths)
        splits.append(Split(Path(folder.root), paths, labels, image_bytes=image_bytes))
    return train.classes, len(train.classes), splits


def _from_tars(layout: Layout) -> tuple[Sequence[str], int, list[Split]]:
    """The same from tars of images with their class numbers, in a folder or one tar per split."""
    splits = []
    for path in layout.splits:
        shards = open_shards(expand(str(path)))
        samples = [
            (shard, number)
            for shard, count in enumerate(shards.counts.tolist())
            for number in range(count)
        ]
        labels = np.array([_class_id(shards[shard], number) for shard, number in samples], np.int64)
        keys = [f"{shards.paths[shard].name}:{number}" for shard, number in samples]
        splits.append(Split(path, keys, labels, image_bytes=partial(_of_shards, shards, samples)))
    num_classes = 1 + max(int(split.labels.max()) for split in splits)
    return _class_names(layout, num_classes), num_classes, splits


def _class_id(shard: Shard, number: int) -> int:
    text = (shard.caption(number) or "").strip()  # a .cls is read as a caption is
    if not text.isdecimal():
        with suppress(ValueError):  # not JSON
            text = str(shard.metadata(number).get("label", "")) or text
    if not text.isdecimal() or len(text) > MAX_DIGITS:
        raise InputError(
            f"{shard.path}: {shard.keys[number]} has no class: its .cls should hold a number from "
            f"0 to {10**MAX_DIGITS - 1}, not {text[:40]!r}"
        )
    return int(text)


def _class_names(layout: Layout, num_classes: int) -> Sequence[str]:
    kind, listing = layout.kind, layout.root / CLASS_NAMES
    if kind == "imagenet":
        names = _imagenet_names()
    elif kind == "places365":
        names = [name.replace("/", "-") for name in places_names(layout.root)]
    elif listing.is_file():
        names = listing.read_text(encoding="utf-8", errors="replace").splitlines()
    else:
        names = [str(number) for number in range(num_classes)]
    if num_classes > len(names):
        raise InputError(
            f"{kind}:{layout.root} has class number {num_classes - 1}, but "
            f"{listing if kind == 'folder' else kind} has {len(names)} classes"
        )
    return names


def _imagenet_names() -> list[str]:
    return [f"n{synset:08d}" for synset in imagenet_synsets()]


def name_on_page(kind: str, root: Path, names: Sequence[str], present: int) -> str:
    """imagenet and places365 only if all of their classes are there, else the folder's name."""
    if present == len(imagenet_synsets()) and set(names) == set(_imagenet_names()):
        return "imagenet"
    if kind == "places365" and present == PLACES:
        return kind
    name = re.sub(r"[^\w.+-]+", "-", root.resolve().name)
    return f"{name}-folder" if name in TAKEN else name


def name_labels(task: str, names: Sequence[str]) -> LabelSet:
    """Class names with the synsets they mean.

    A WordNet id (wnid) is a synset itself; the nouns of any other name are looked up in WordNet.
    """
    known = set(nouns().offsets.tolist())

    def synsets(name: str) -> tuple[int, ...]:
        if WNID.fullmatch(name):
            return (offset,) if (offset := int(name[1:])) in known else ()
        if name.isdecimal():  # the number of a class, and not the noun "seven"
            return ()
        # In names of Places365 a variety follows the hyphen.
        return synsets_of(name.replace("-", "/") if task == "places365" else name)

    return LabelSet(task, tuple(names), tuple(map(synsets, names)))


def ragged(
    labels: NDArray[np.int64] | NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The labels of a `Split` as `catlip.data.loader.RaggedLabels` holds them."""
    if labels.dtype != bool:
        return labels.astype(np.int64, copy=False), np.arange(len(labels) + 1)
    return np.nonzero(labels)[1], np.concatenate([[0], np.cumsum(labels.sum(axis=1))])


def _fashion_mnist(folder: Path, name: str) -> Split:
    """A split of Fashion-MNIST, "train" or "t10k": grey photographs of clothes."""
    path = folder / f"{name}-images-idx3-ubyte.gz"
    images = _read_idx(path, (28, 28))
    labels = _read_idx(folder / f"{name}-labels-idx1-ubyte.gz", ())
    if len(images) != len(labels) or labels.max() > 9:
        raise InputError(f"{folder}: the labels of {name} do not fit its {len(images)} images")
    keys = [str(number) for number in range(len(images))]
    return Split(path, keys, labels.astype(np.int64), image_bytes=partial(_png, images))


def _read_idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The values in an idx file, [n, *shape], after a header of big-endian 32-bit integers: the
    type and number of dimensions, the number of entries, the shape of an entry.
    """
    size = 4 * (2 + len(shape))
    try:
        with gzip.open(path) as file:
            content = file.read(size + MAX_IDX * math.prod(shape))
        header = np.frombuffer(content[:size], ">u4").tolist()
        values = np.frombuffer(content, np.uint8, offset=size).reshape(-1, *shape)
        if header != [UNSIGNED_BYTES + values.ndim, len(values), *shape]:
            raise ValueError(f"its header is {header}")
    except FileNotFoundError:
        raise InputError(f"{path} is missing; {GET_FASHION_MNIST}") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}); {GET_FASHION_MNIST}") from None
    return values


# Functions of the module instead of closures: only these can be sent to spawned worker processes.
def _nth(image_bytes: Callable[[int], bytes], numbers: Sequence[int], i: int) -> bytes:
    return image_bytes(numbers[i])


def file_bytes(paths: Sequence[str], i: int) -> bytes:
    return Path(paths[i]).read_bytes()


def _of_shard(samples: Sequence[tuple[Shard, int]], i: int) -> bytes:
    shard, number = samples[i]
    return shard.image_bytes(number)


def _of_shards(shards: ShardSet, samples: Sequence[tuple[int, int]], i: int) -> bytes:
    shard, number = samples[i]
    return shards[shard].image_bytes(number)


def _png(images: NDArray[np.uint8], i: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(images[i]).save(file, "PNG", compress_level=1)
    return file.getvalue()
