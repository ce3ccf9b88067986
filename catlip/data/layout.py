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
HUGGING_FACE = ("metadata.jsonl", "metadata.csv", "metadata.parquet")  # of its `imagefolder`
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
# Images, too, which count as broken: they are not read.
UNREAD_SUFFIXES = (".bmp", ".heic", ".pgm", ".ppm", ".tif", ".tiff")
PICTURES = IMAGE_SUFFIXES + UNREAD_SUFFIXES
# What columns of images and of captions are usually called, in lower case.
IMAGE_COLUMNS = ("image", "file_name", "filename", "image_path", "filepath", "file", "path", "id")
CAPTION_COLUMNS = (
    *("caption", "captions", "text", "texts", "title", "description"),
    *("productdisplayname", "sentence", "comment"),
)
# A name, or a part of a path, that a system or a program has left: `.ipynb_checkpoints`, `._1.jpg`.
HIDDEN = re.compile(r"(^|/)(\.|__MACOSX)")
SPLITS = TRAIN, VAL, TEST = "train", "val", "test"
SPLIT_WORD = re.compile(  # in lower case; a group for each of `SPLITS`
    r"(?<![a-z])(?:(train(?:ing)?)|(val(?:id(?:ation)?)?|dev)|(test(?:ing)?))"
    r"(?:[ _-]?set)?(?![a-z])"
)


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
    names = {path.name for path in visible(root) if path.is_dir() != (path.suffix == TAR)}
    names -= {name for name in names if split_of(name) == TEST and _is_unlabelled(root / name)}
    splits = [name for name in names if name.endswith(TAR) or split_of(name)]
    if kind == "folder" and len(names) > 1 and not splits:
        return Layout(kind, root, (root,), validation)
    return Layout(kind, root, find_splits(kind, root, names), validation)


def is_hidden(path: str) -> bool:
    """Whether a name, or a part of a path below a folder of data, is none of the data."""
    return HIDDEN.search(path) is not None


def visible(folder: Path) -> list[Path]:
    """What is in a folder, if it is there, and may be data, sorted."""
    paths = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in paths if not is_hidden(path.name))


def has_tars(path: Path) -> bool:
    """Whether a path is a tar, or a folder with some."""
    return any(each.suffix == TAR for each in (path, *visible(path)))


def split_of(name: str, is_part: bool = False) -> str:
    """The split that a folder or file of this name is, "" if it is none: Training, test_set,
    valid.tar; `is_part`: the name may have other words, as captions_train2017.json has.
    """
    lower = name.removesuffix(TAR).lower()
    match = SPLIT_WORD.search(lower) if is_part else SPLIT_WORD.fullmatch(lower)
    return SPLITS[match.lastindex - 1] if match and match.lastindex else ""


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
    are_flat = [not (path.is_dir() or path.name.endswith(TAR)) for path in visible(folder)]
    return bool(are_flat) and all(are_flat)


def find_splits(kind: str, root: Path, names: Iterable[str]) -> tuple[Path, ...]:
    """What to train on, what to test on and, if there are all three, val, of these names."""
    # If there are both a folder and a tar, the folder is used.
    paths = {split_of(name): root / name for name in sorted(names, reverse=True)}
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


def class_images(root: Path, splits: Iterable[Path]) -> list[dict[str, list[str]]]:
    """Class -> the paths of its images, in torchvision's order, of each split, a folder that has a
    folder of images for each class. Raises: InputError unless all have the same classes.
    """
    found = [{path.name: _images_in(path) for path in visible(s) if path.is_dir()} for s in splits]
    for split, classes in zip(splits, found, strict=True):
        if not classes or (empty := [name for name, images in classes.items() if not images]):
            what = f"no images of class {empty[0]}" if classes else "no folders of classes"
            raise InputError(f"{split} is not a folder of images per class: it has {what}")
        if odd := sorted(classes.keys() ^ found[0].keys()):
            raise InputError(f"{root}: classes of only some splits: {', '.join(odd)[:300]}")
        refuse_one_class(split, len(classes))
    return found


def refuse_one_class(path: Path, num_classes: int) -> None:
    if num_classes < 2:
        raise InputError(f"{path} has images of one class only: give a folder for each class")


def _images_in(folder: Path) -> list[str]:
    images = []
    for place, _, names in sorted(os.walk(folder, followlinks=True)):
        inside = place[len(str(folder)) + 1 :]
        names = [name for name in names if name.lower().endswith(PICTURES)]
        if not is_hidden(inside):
            images += [f"{place}/{name}" for name in sorted(names) if not is_hidden(name)]
    return images
