"""Opens labelled images by one spelling: the starter probes, or a data set of your own.

starter:data/starter            two tasks, concepts and subgroups, on drawings of teams that
                                pre-training never saw
imagenet:/data/imagenet         /data/imagenet/{train,val}/CLASS/IMAGE, or tars of KEY.jpg and
                                KEY.cls in train/ and val/; likewise places365:
folder:/data/pets, /data/pets   the same of any data set, whose name is that of its folder. test/
                                may stand for val/, and a tar for either; valid/, Training/ and the
                                like are known; classnames.txt may name the classes of tars, one a
                                line. Of train/, val/ and test/, val/ is for choosing. Of a folder
                                without them, of images per class, a fifth is tested on
wds:/data/wds_pets, wds:URL     the same as clip-benchmark has them, called pets; remote ones have
                                tars, as wds:hf://datasets/clip-benchmark/wds_vtab-caltech101
fashion_mnist:                  Fashion-MNIST, where Debian's package installs it; or
                                fashion_mnist:/data/fashion-mnist
KIND-validation:...             for tuning, of any kind: what it is tested on is not read. Trained
                                on a part of train/ and tested on val/, where there are val/ and
                                test/, else on a fifth of train/; the starter is trained on one of
                                its probe's two training teams and tested on the other
"""

import gzip
import io
import os
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catlip import streams
from catlip.cli import InputError
from catlip.data.layout import (
    FASHION_MNIST,
    KINDS,
    PUBLISHED,
    STARTER,
    STARTER_TASKS,
    TAR,
    Layout,
    class_images,
    find_layout,
    find_splits,
    has_tars,
    name_of_folder,
    refuse_one_class,
)
from catlip.data.remote import names_in, read_file
from catlip.data.shard_set import ShardSet, open_shards
from catlip.data.shards import Shard, expand
from catlip.data.starter import edition_of
from catlip.data.starter.probe_tasks import load_task
from catlip.records.record import Record, note_data
from catlip.system.urls import is_remote
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
WNID = re.compile(r"n\d{8}")
IMAGENET = [f"n{synset:08d}" for synset in imagenet_synsets()]
HELD_OUT = 0.2  # of the images of each class, where the data have no such folder
DRAWN = "tested on a fifth of each class, drawn here, since it has no test/"
DIGESTED = 64  # images of a split, evenly spaced, whose bytes are in its digest
MAX_DIGITS = 5  # of a class number; the largest public data sets have some 20,000 classes


@dataclass(frozen=True)
class Split:
    """Encoded images and their classes, in place of a shard. `labels` are [N] positions in the
    class names, or [N, C] bool; `image_bytes` is sent to workers.
    """

    path: Path
    keys: Sequence[str]
    labels: NDArray[np.int64] | NDArray[np.bool_]
    image_bytes: Callable[[int], bytes]

    def __len__(self) -> int:
        return len(self.labels)

    def draw_caption(self, number: int, seed: int, epoch: int) -> int:
        return 0  # which of its captions an image has: there is none to choose

    def ragged_labels(
        self, captions: Sequence[tuple[Any, int, int]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The labels of images, (shard, number, caption), as `RaggedLabels` holds them."""
        labels = self.labels[[number for _, number, _ in captions]]
        if labels.dtype != bool:
            return labels.astype(np.int64, copy=False), np.arange(len(labels) + 1)
        return np.nonzero(labels)[1], np.concatenate([[0], np.cumsum(labels.sum(axis=1))])

    def identity(self) -> dict[str, Any]:
        """What a record says of the images: a digest of names, labels, and some of the bytes."""
        names = [key.removeprefix(f"{self.path}/") for key in self.keys]
        digest = sha256("\n".join(names).encode())
        digest.update(self.labels.tobytes())
        for number in np.linspace(0, len(self) - 1, min(len(self), DIGESTED)).astype(int).tolist():
            digest.update(self.image_bytes(number))
        identity = {"digest": digest.hexdigest()[:16], "samples": len(self)}
        return identity | edition_of(self.path)

    def take(self, numbers: NDArray[np.int64]) -> "Split":
        keys = [self.keys[number] for number in numbers]
        image_bytes = partial(_nth, self.image_bytes, numbers.tolist())
        return Split(self.path, keys, self.labels[numbers], image_bytes)

    def subset(self, fraction: float, seed: int) -> "Split":
        """That fraction of every class; with the same seed, it is part of any larger fraction."""
        if fraction == 1:
            return self
        mixed = streams.generator(seed, streams.SUBSETS).permutation(len(self))
        # Class by class, in random order within each.
        order = mixed[np.argsort(self.labels[mixed], kind="stable")]
        sizes = np.unique(self.labels, return_counts=True)[1]
        rank = np.arange(len(self)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        counts = np.maximum(1, np.round(fraction * sizes).astype(np.int64))
        return self.take(np.sort(order[rank < np.repeat(counts, sizes)]))


@dataclass(frozen=True)
class Task:
    """Where the data have `val` beside the test images, it is for choosing; `note` says so. Test
    images with the same number in `clusters` were sampled together; None if each stands alone.
    """

    name: str
    labels: LabelSet
    train: Split
    test: Split
    val: Split | None = None
    note: str = ""
    clusters: NDArray[np.int64] | None = None

    @property
    def num_classes(self) -> int:
        return len(self.labels.names)

    def note_in(self, record: Record, say: bool = True) -> None:
        """Enter the note and the identity of the images in the record, and print the note."""
        note_data({self.name: {"train": self.train.identity(), "test": self.test.identity()}})
        if self.note:
            record.notes.append(self.note)
            if say:
                print(self.note)


def load_tasks(spelling: str) -> list[Task]:
    """The tasks that `spelling` names, as the module's docstring describes it."""
    layout = find_layout(spelling)
    return SOURCES[layout.kind](layout)


def hold_out(train: Split, seed: int = 0) -> tuple[Split, Split]:
    """Most training images of each class, and the remaining ones. Raises: InputError."""
    most = train.subset(1 - HELD_OUT, seed)
    others = np.flatnonzero(~np.isin(train.keys, most.keys))
    if not len(others):
        raise InputError(f"{train.path} has too few images of each class to hold some out")
    return most, train.take(others)


def starter(layout: Layout) -> list[Task]:
    tasks = []
    for name in STARTER_TASKS:
        task = load_task(layout.root, name, validation=layout.validation)
        train, test = (
            Split(
                samples[0][0].path.parent,
                [shard.keys[number] for shard, number in samples],
                labels,
                image_bytes=partial(_of_shard, samples),
            )
            for samples, labels in ((task.train, task.train_labels), (task.test, task.test_labels))
        )
        labels = name_labels(name, task.class_names)
        tasks.append(Task(name, labels, train, test, clusters=task.test_concepts))
    return tasks


def fashion_mnist(layout: Layout) -> list[Task]:
    """Grey photographs of clothes, in four compressed idx files."""
    splits: list[Split] = []
    for name in ("train",) if layout.validation else ("train", "t10k"):
        path = layout.root / f"{name}-images-idx3-ubyte.gz"
        images = _read_idx(path, (28, 28))
        labels = _read_idx(layout.root / f"{name}-labels-idx1-ubyte.gz", ()).astype(np.int64)
        if len(images) != len(labels):
            raise InputError(f"{path} has {len(images)} images, but there are {len(labels)} labels")
        keys = [str(number) for number in range(len(images))]
        splits.append(Split(path, keys, labels, image_bytes=partial(_png, images)))
    train, test = hold_out(splits[0]) if layout.validation else splits
    return [Task(FASHION_MNIST, label_set(FASHION_MNIST), train, test)]


def _read_idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """[n, *shape] from an idx file, which begins with 32-bit integers: its type, n and `shape`."""
    try:
        with gzip.open(path) as file:
            values = np.frombuffer(file.read(), np.uint8, offset=4 * (2 + len(shape)))
        return values.reshape(-1, *shape)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        hint = "`apt-get install dataset-fashion-mnist` (Debian, Ubuntu) gets it"
        raise InputError(f"{path} cannot be read ({error}); {hint}") from None


def folders_or_tars(layout: Layout) -> list[Task]:
    """A split is a folder with one of images for each class, or a tar, or a folder of tars."""
    root = layout.root
    files = names_in(root) if is_remote(root) else {*os.listdir(root)}
    paths = layout.splits or find_splits(layout.kind, root, files)
    if layout.validation:
        paths = (paths[0], *paths[2:])  # without a separate test set
    if is_remote(root) or has_tars(paths[0]):
        splits = [tar_split(path) for path in paths]
        num_classes = 1 + max(int(split.labels.max()) for split in splits)
        names = _names_of_numbers(layout, num_classes, CLASS_NAMES in files)
    else:
        folders = class_images(root, paths)
        names = [*folders[0]]
        splits = [_folder_split(*pair) for pair in zip(paths, folders, strict=True)]
    refuse_one_class(paths[0], len(np.unique(splits[0].labels)))
    name = name_on_page(layout.kind, root, names)
    labels = name_labels(layout.kind, names)
    if paths[0] == root:
        train, test = hold_out(splits[0])
        if not layout.validation:
            return [Task(name, labels, train, test, note=f"{name}: {DRAWN}")]
        splits = [train]
    if layout.validation:
        train, test = splits if len(splits) > 1 else hold_out(splits[0])
        return [Task(name, labels, train, test)]
    tested = paths[1].name if paths[1].suffix == TAR else f"{paths[1].name}/"
    note = "" if paths[1].stem == "val" else f"{name}: tested on {tested}"
    val = splits[2] if len(splits) > 2 else None
    return [Task(name, labels, splits[0], splits[1], val, note)]


def _folder_split(path: Path, images: dict[str, list[str]]) -> Split:
    files = [file for paths in images.values() for file in paths]
    labels = np.repeat(np.arange(len(images)), [*map(len, images.values())])
    return Split(path, files, labels, image_bytes=partial(file_bytes, files))


def tar_split(path: Path) -> Split:
    """The images of a tar, or of a folder of tars, of KEY.jpg and KEY.cls."""
    shards = open_shards(expand(str(path)))
    samples = [(i, number) for i, count in enumerate(shards.counts) for number in range(count)]
    labels = np.array([_class_number(shards[i], number) for i, number in samples], np.int64)
    keys = [f"{shards.paths[i].name}:{number}" for i, number in samples]
    return Split(path, keys, labels, image_bytes=partial(_of_shards, shards, samples))


def _class_number(shard: Shard, number: int) -> int:
    text = (shard.caption(number) or "").strip()  # a .cls is read as a caption is
    if not text.isdecimal() or len(text) > MAX_DIGITS:
        name = f"{shard.path}: {shard.keys[number]}.cls"
        raise InputError(f"{name} should hold the number of a class, not {text[:40]!r}")
    return int(text)


def _names_of_numbers(layout: Layout, num_classes: int, are_listed: bool) -> list[str]:
    listing = layout.root / CLASS_NAMES
    if layout.kind == "imagenet":
        names = IMAGENET
    elif layout.kind == "places365":
        names = [name.replace("/", "-") for name in places_names(layout.root)]
    elif are_listed:
        names = read_file(listing).decode(errors="replace").splitlines()
    else:
        names = [str(number) for number in range(num_classes)]
    if num_classes > len(names):
        raise InputError(
            f"{layout.root} has class number {num_classes - 1}, but only {len(names)} classes have "
            f"a name in {layout.kind if layout.kind in PUBLISHED else listing}"
        )
    return names[:num_classes]


# Kind of a layout -> its reader
SOURCES: dict[str, Callable[[Layout], list[Task]]] = {
    STARTER: starter,
    **dict.fromkeys(KINDS, folders_or_tars),
    FASHION_MNIST: fashion_mnist,
}


def name_on_page(kind: str, root: Path, names: Sequence[str]) -> str:
    """imagenet and places365 only if all of their classes are there, else the folder's name."""
    if set(names) == set(IMAGENET):
        return "imagenet"
    if kind == "places365" and len(names) == PLACES:
        return kind
    return name_of_folder(kind, root)


def name_labels(task: str, names: Sequence[str]) -> LabelSet:
    """Class names with the synsets they mean: a WordNet id is one itself."""
    offsets = set(nouns().offsets.tolist())
    synsets: list[tuple[int, ...]] = []
    for name in names:
        if WNID.fullmatch(name):
            synsets.append((int(name[1:]),) if int(name[1:]) in offsets else ())
        elif name.isdecimal():  # the number of a class, and not the noun "seven"
            synsets.append(())
        else:  # in names of Places365 a variety follows the hyphen
            synsets.append(synsets_of(name.replace("-", "/") if task == "places365" else name))
    return LabelSet(task, tuple(names), tuple(synsets))


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
