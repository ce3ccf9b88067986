"""Where the images of a labelled data set lie.

Needs no package, so that `run_all.sh` refuses a wrong `--probe` before it installs anything.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from catlip.program.errors import InputError
from catlip.system.urls import is_remote

STARTER = "starter"
PUBLISHED = ("imagenet", "places365")  # the labels of their test images are not public
WDS = "wds"
KINDS = (*PUBLISHED, "folder", WDS)
FASHION_MNIST = "fashion_mnist"
FASHION_MNIST_DIR = Path("/usr/share/datasets/fashion-mnist")  # by Debian's package
VALIDATION = "-validation"  # after a kind: the training data, split in two
TAR = ".tar"
STARTER_TASKS = ("concepts", "subgroups")
# Names that no folder of images gets in records.
RESERVED = {*PUBLISHED, FASHION_MNIST, STARTER, *STARTER_TASKS}
# Tables of images, or of their files, with captions; Flickr8k's is a .txt.
TABLES = (".parquet", ".csv", ".tsv", ".jsonl", ".json", ".txt")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
# What columns of images and of captions are usually called, in lower case.
IMAGE_COLUMNS = ("image", "file_name", "filename", "image_path", "filepath", "file", "path", "id")
CAPTION_COLUMNS = (
    "caption",
    "captions",
    "text",
    "texts",
    "title",
    "description",
    "productdisplayname",
    "sentence",
    "comment",
)
TRAIN = "train"
SPLITS = {  # their usual names, in any case
    TRAIN: (TRAIN, "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True)
class Layout:
    """A labelled data set; `splits` are the result of `find_splits`, or the folder alone if it is
    to be split, or empty for kinds with files of their own and for remote data. `validation`: the
    test data are not to be read.
    """

    kind: str
    root: Path
    splits: tuple[Path, ...] = ()
    validation: bool = False

    @property
    def name(self) -> str:
        """Its name in records, which may be more exact once the images are read."""
        if self.kind in RESERVED:
            return self.kind
        wordnet_ids = [*self.splits[0].glob("n" + 8 * "[0-9]")] if self.splits else []
        if len(wordnet_ids) == 1000:  # ImageNet's classes, whatever the folder is called
            return "imagenet"
        return name_of_folder(self.kind, self.root)


def name_of_folder(kind: str, root: Path) -> str:
    name = re.sub(r"[^\w.+-]+", "-", root.resolve().name)
    if kind == WDS:
        name = name.removeprefix(f"{WDS}_")
    return f"{name}-folder" if name in RESERVED else name


def find_layout(spelling: str) -> Layout:
    """The data set that `KIND:DIR`, `wds:URL` or `DIR` spells; after a kind, as in
    `folder-validation:DIR`, its validation data. Nothing remote is asked for.
    """
    kind, colon, folder = _split_spelling(spelling)
    validation = kind.endswith(VALIDATION)
    kind = kind.removesuffix(VALIDATION)
    root = Path(folder)
    if kind == FASHION_MNIST and colon:
        return Layout(kind, root if folder else FASHION_MNIST_DIR, validation=validation)
    if kind == STARTER and folder:
        return Layout(kind, root, validation=validation)
    if kind not in KINDS or not folder or not (colon or root.exists()):
        kinds = ", ".join(f"{kind}:DIR" for kind in (STARTER, *KINDS))
        raise InputError(
            f"{spelling!r} is neither a folder that is there nor one of {kinds}, {FASHION_MNIST}:"
        )
    if kind == WDS and is_remote(root):
        return Layout(kind, root, validation=validation)
    if not root.is_dir():
        raise InputError(f"{spelling}: there is no folder {root}")
    names = {path.name for path in root.iterdir() if path.is_dir() != (path.suffix == TAR)}
    names -= {name for name in names if _split(name) == "test" and _is_unlabelled(root / name)}
    if kind == "folder" and len(names) > 1 and not any(n.endswith(TAR) or _split(n) for n in names):
        return Layout(kind, root, (root,), validation)
    return Layout(kind, root, find_splits(kind, root, names), validation)


def _split(name: str) -> str:
    """The split that a folder or a tar of this name is, "" if it is none."""
    lower = name.removesuffix(TAR).lower()
    return next((split for split, usual in SPLITS.items() if lower in usual), "")


def _split_spelling(spelling: str) -> tuple[str, str, str]:
    kind, colon, folder = spelling.partition(":")
    if not colon or "/" in kind:  # a folder's path may hold a colon
        return "folder", "", spelling
    return kind, colon, folder


def validation_of(spelling: str) -> str:
    kind, _, folder = _split_spelling(spelling)
    return f"{kind}{VALIDATION}:{folder}"


def _is_unlabelled(folder: Path) -> bool:
    """Whether it has images, as ImageNet's test/, but neither folders of classes nor tars."""
    if not folder.is_dir():
        return False
    with os.scandir(folder) as entries:
        are_flat = [not (entry.is_dir() or entry.name.endswith(TAR)) for entry in entries]
    return bool(are_flat) and all(are_flat)


def find_splits(kind: str, root: Path, names: Iterable[str]) -> tuple[Path, ...]:
    """What to train on, what to test on and, if there are all three, val, of these names."""
    # If there are both a folder and a tar, the folder is used.
    paths = {_split(name): root / name for name in sorted(names, reverse=True)}
    train, val, test = map(paths.get, SPLITS)
    if kind in PUBLISHED and val:
        test = None
    if not train or not (val or test):
        wanted = "val or test" if train else "train"
        raise InputError(
            f"{root} has no folder {wanted} of images per class, nor such a {TAR}, and is not a "
            "folder of images per class itself"
        )
    return tuple(path for path in (train, test, val) if path)
