"""Where the images of a labelled data set lie.

Needs nothing but Python, so that `run_all.sh` refuses a wrong `--probe` before it installs
anything.
"""

from dataclasses import dataclass
from pathlib import Path

from catlip.program.errors import InputError

STARTER_KINDS = ("starter", "starter-validation")
KINDS = ("imagenet", "places365", "folder")
FASHION_MNIST = "fashion_mnist"
INSTALLED = Path("/usr/share/datasets/fashion-mnist")  # by Debian's package
SPLITS = ("train",), ("val", "test")  # of the second, the first that is there


@dataclass(frozen=True)
class Layout:
    """A labelled data set on disk.

    Attributes:
        kind: the part of its spelling before the colon.
        root: its folder.
        splits: train and test, each a folder or a tar; empty for kinds with files of their own.
    """

    kind: str
    root: Path
    splits: tuple[Path, ...] = ()


def find_layout(spelling: str) -> Layout:
    """The data set that `imagenet:DIR`, `places365:DIR`, `folder:DIR` or `DIR` spells, or one of
    the starter or Fashion-MNIST.

    Raises: InputError for another kind, or a folder without both splits.
    """
    kind, colon, place = spelling.partition(":")
    if not colon or "/" in kind:  # a folder's path may hold a colon
        kind, colon, place = "folder", "", spelling
    root = Path(place)
    if kind == FASHION_MNIST and colon:
        return Layout(kind, root if place else INSTALLED)
    if kind in STARTER_KINDS and place:
        return Layout(kind, root)
    if kind not in KINDS or not place or not (colon or root.exists()):
        kinds = ", ".join(f"{kind}:DIR" for kind in (*STARTER_KINDS, *KINDS))
        raise InputError(
            f"{spelling!r} is neither a folder that is there nor one of {kinds}, {FASHION_MNIST}:"
        )
    if not root.is_dir():
        raise InputError(f"{spelling}: there is no folder {root}")
    return Layout(kind, root, tuple(_find_split(root, names) for names in SPLITS))


def _find_split(root: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        for path in (root / name, root / f"{name}.tar"):
            if path.is_dir() or path.is_file():
                return path
    raise InputError(
        f"{root} has no {'/ or '.join(names)}/ with a folder of images per class or with tars, and "
        f"no {'.tar or '.join(names)}.tar"
    )
