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
    """A labelled data set on disk; `splits` are train and test, each a folder or a tar, or empty
    for kinds with files of their own.
    """

    kind: str
    root: Path
    splits: tuple[Path, ...] = ()


def find_layout(spelling: str) -> Layout:
    """The data set that `imagenet:DIR`, `places365:DIR`, `starter:DIR`, `DIR` ... spells."""
    kind, colon, folder = spelling.partition(":")
    if not colon or "/" in kind:  # a folder's path may hold a colon
        kind, colon, folder = "folder", "", spelling
    root = Path(folder)
    if kind == FASHION_MNIST and colon:
        return Layout(kind, root if folder else INSTALLED)
    if kind in STARTER_KINDS and folder:
        return Layout(kind, root)
    if kind not in KINDS or not folder or not root.is_dir():
        kinds = ", ".join(f"{kind}:DIR" for kind in (*STARTER_KINDS, *KINDS))
        raise InputError(
            f"{spelling!r} is neither a folder that is there nor one of {kinds}, {FASHION_MNIST}:"
        )
    splits = []
    for names in SPLITS:
        paths = [path for name in names for path in (root / name, root / f"{name}.tar")]
        splits += [path for path in paths if path.exists()][:1]
        if not splits or splits[-1] not in paths:
            wanted = " or ".join(names)
            raise InputError(f"{root} has no folder {wanted} of images per class, nor such a .tar")
    return Layout(kind, root, tuple(splits))
