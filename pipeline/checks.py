"""What can be known before the first step: whether the data are there and of the right kind, the
methods and the encoder known, and the disk large enough.

Needs nothing but Python: run_all.sh calls it before it installs anything.
"""

import os
import re
import shutil
import tarfile
from difflib import get_close_matches
from glob import glob, has_magic
from pathlib import Path

from catlip.architectures import ENCODERS
from catlip.data.layout import find_layout
from catlip.program.errors import InputError
from pipeline.inputs import baselines

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
BRACES = re.compile(r"\{(?P<first>[^{},.]*)(?:\.\.|,(?:[^{}]*,)?)(?P<last>[^{},.]*)\}")
CAPTIONS = (".txt", ".json")
MAX_LOOKED_AT = 20  # members of a tar, in which a sample must be complete
# Of a training: checkpoints, of which two are kept, snapshots, averaged weights and logs. A
# checkpoint of ViT-B/16 by CLIP is 2.4 GB.
SMALL_TRAINING_GB, TRAINING_GB = 0.2, 8.0
COCO_FILES = ("annotations/instances_train2017.json", "annotations/instances_val2017.json")
ADE20K_FOLDERS = ("images/training", "images/validation", "annotations/training")


def check_method(name: str) -> None:
    """Raises: InputError if no file defines the method."""
    known = ["catlip", *baselines()]
    if name not in known:
        raise InputError(f"no method is called '{name}'{_meant(name, known)}")


def check_device(name: str) -> None:
    """Raises: InputError if torch has no device of this name."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise InputError(f"--device '{name}' is not one of auto, cpu, cuda, cuda:0 ...")


def check_encoder(name: str) -> None:
    """Raises: InputError if there is no such encoder."""
    if name not in ENCODERS:
        raise InputError(f"no encoder is called '{name}'{_meant(name, list(ENCODERS))}")


def check_shards(pattern: str) -> None:
    """Raises: InputError if no file matches, or the first is not a tar of images with captions.

    Remote shards are looked at by the first step, which lists them.
    """
    if "://" in pattern:
        return
    first = _first_shard(pattern)
    try:
        with tarfile.open(first) as tar:
            names = [member.name for member, _ in zip(tar, range(MAX_LOOKED_AT), strict=False)]
    except (tarfile.TarError, OSError):
        raise InputError(f"--shards: {first} is not a tar that can be read") from None
    suffixes = {Path(name).suffix.lower() for name in names}
    if not (suffixes.intersection(IMAGES) and suffixes.intersection(CAPTIONS)):
        held = ", ".join(names[:3]) or "nothing"
        raise InputError(
            f"--shards: {first} holds {held}: a sample is KEY.jpg with its caption in KEY.txt or "
            "KEY.json"
        )


def check_probe(spelling: str) -> None:
    """Raises: InputError if it is no labelled data set that is there."""
    try:
        layout = find_layout(spelling)
    except InputError as error:
        raise InputError(f"--probe: {error}") from None
    if not layout.root.is_dir():
        raise InputError(f"--probe {spelling}: there is no folder {layout.root}")


def check_folder(option: str, folder: str, needed: tuple[str, ...]) -> None:
    """Raises: InputError if the folder or a part of it is missing."""
    for part in ("", *needed):
        if not (Path(folder) / part).exists():
            raise InputError(f"{option}: there is no {Path(folder) / part}")


def check_disk(folder: Path, needed_gb: float) -> None:
    """Raises: InputError if less is free where `folder` is or will be."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    if free < needed_gb:
        raise InputError(
            f"--out: {free:.1f} GB are free on the disk of {folder.resolve()}, and the trainings "
            f"need some {needed_gb:.1f}"
        )


def _first_shard(pattern: str) -> Path:
    """The first of the shards. Of those in braces, the first and the last are looked for: the rest
    is expanded by the first step.
    """
    ends = [BRACES.sub(rf"\g<{end}>", pattern) for end in ("first", "last")]
    first = ""
    for name in dict.fromkeys(ends):
        path = os.path.join(name, "*.tar") if os.path.isdir(name) else name
        matches = sorted(glob(path)) if has_magic(path) else [path] * os.path.exists(path)
        if not matches:
            raise InputError(
                f"--shards: nothing matches {path}; give paths, globs or braces such as "
                "'cc3m/{00000..00331}.tar'"
            )
        first = first or matches[0]
    return Path(first)


def _meant(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; choose from: {', '.join(known)}"
