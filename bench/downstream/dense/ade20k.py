"""ADE20k in its own layout: ROOT/images/{training,validation}/NAME.jpg and
ROOT/annotations/{training,validation}/NAME.png.

An annotation holds 8-bit ids: 0 means no class and is ignored, class i has id i + 1. Every file is
checked before anything is trained. Scenes with one of FAULTS are left out and counted; what would
change the meaning of a result is refused.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from mmseg.datasets import ADE20KDataset
from numpy.typing import NDArray

from bench.downstream.dense.coco import MAX_ABSENT_SHARE
from bench.downstream.dense.stream import UNREADABLE, look_at_all
from catlip.cli import InputError
from catlip.data.decode import open_picture, rgb
from catlip.program.broken import MAX_BROKEN, BrokenImage, BrokenImages, cause_of

FOLDERS = {"train": "training", "val": "validation"}
NAMES = "objectInfo150.txt"
IGNORED = 255  # the class id of an ignored pixel; annotations hold 0 or 255 there
FAULTS = ("without_annotation", "without_image", "unreadable", "other_size")


@dataclass(frozen=True)
class Scene:
    """One image and its annotation.

    Attributes:
        unknown: ids in the annotation that no class has; their pixels are ignored.
    """

    image: Path
    annotation: Path
    unknown: tuple[int, ...] = ()


@dataclass(frozen=True)
class AdeSplit:
    """The scenes of a split that can be used, sorted by file name.

    Attributes:
        names: of the classes, by class id.
        counts: the number of scenes in the folders, and of scenes with each of FAULTS; among the
            scenes that are used, the number of those that are grey and of those that show no class,
            of pixels of unknown ids, and of classes that no scene shows.
        broken: the scenes that are left out.
    """

    scenes: list[Scene]
    names: list[str]
    counts: dict[str, int]
    broken: BrokenImages = field(default_factory=BrokenImages)

    def __len__(self) -> int:
        return len(self.scenes)

    def first(self, count: int) -> "AdeSplit":
        """The split with its first `count` scenes only."""
        return replace(self, scenes=self.scenes[:count])


@dataclass(frozen=True)
class _Looked:
    """What is in a scene's files.

    Attributes:
        fault, cause: one of FAULTS and its cause; both "" for a scene without a fault.
        grey: whether the image is grey; only of a scene without a fault.
        pixels: [256], how many pixels have each id; only of a scene without a fault.
    """

    fault: str = ""
    cause: str = ""
    grey: bool = False
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, dtype=np.int64))


def ade20k_root(spelling: str) -> Path:
    """The folder that `ade20k:DIR` names. Raises: InputError."""
    kind, _, place = spelling.partition(":")
    if kind != "ade20k" or not place:
        raise InputError(
            f"data {spelling!r} is not ade20k:DIR, with DIR/images/training/ and "
            "DIR/annotations/training/"
        )
    return Path(place)


def class_names(root: Path) -> list[str]:
    """The names of the classes: from objectInfo150.txt if it is there, else ADE20k's 150.

    Raises: InputError.
    """
    path = root / NAMES
    if not path.is_file():
        return list(ADE20KDataset.METAINFO["classes"])
    lines = [line.split("\t") for line in path.read_text().splitlines() if line.strip()]
    titles = [title.strip() for title in lines[0]] if lines else []
    rows = [dict(zip(titles, values, strict=False)) for values in lines[1:]]
    ids = [row.get("Idx", "").strip() for row in rows]
    from_one = [str(number) for number in range(1, len(rows) + 1)]
    if not all(row.get("Name") for row in rows) or ids != from_one:
        raise InputError(
            f"{path} has no columns Idx and Name, or its classes are not numbered from 1"
        )
    if not 2 <= len(ids) < IGNORED:
        raise InputError(
            f"{path} names {len(ids)} classes; the number must be from 2 to {IGNORED - 1}"
        )
    return [re.split("[;,]", row["Name"])[0].strip() for row in rows]


def read_ade20k(
    root: Path, split: Literal["train", "val"], max_broken: float = MAX_BROKEN
) -> AdeSplit:
    """A split of ADE20k, or of anything laid out like it; each rank checks a part of the files.

    Raises: InputError when a folder is missing, more than the fraction `max_broken` of the scenes
        has a fault, or more than the fraction MAX_ABSENT_SHARE of the annotated pixels has an id
        that no class has.
    """
    images, annotations = (root / kind / FOLDERS[split] for kind in ("images", "annotations"))
    for needed in (images, annotations):
        if not needed.is_dir():
            raise InputError(
                f"ade20k:{root} has no {needed.relative_to(root)}/; unpack ADEChallengeData2016 "
                "there"
            )
    names = class_names(root)
    keys = _keys(images, ".jpg") | _keys(annotations, ".png")
    scenes = [Scene(images / f"{key}.jpg", annotations / f"{key}.png") for key in sorted(keys)]
    looked = look_at_all(lambda number: _look_at(scenes[number]), len(scenes))
    broken = BrokenImages()
    usable: list[Scene] = []
    for scene, scan in zip(scenes, looked, strict=True):
        if scan.fault:
            broken.add([BrokenImage(f"{images}:{scene.image.name}", scan.cause)])
        else:
            usable.append(replace(scene, unknown=_unknown(scan.pixels, len(names))))
    broken.check(len(scenes), max_broken)
    if not usable:
        why = f": {broken.summary()}" if scenes else ""
        raise InputError(f"none of the {len(scenes)} scenes in {images} can be used{why}")
    counts = _counts(images, len(names), [scan for scan in looked if not scan.fault])
    faults = Counter(scan.fault for scan in looked)
    counts |= {"images": len(scenes), **{fault: faults[fault] for fault in FAULTS}}
    return AdeSplit(usable, names, counts, broken=broken)


def _keys(folder: Path, suffix: str) -> set[str]:
    return {path.stem for path in folder.iterdir() if path.suffix == suffix}


def _look_at(scene: Scene) -> _Looked:
    """Check a scene. The annotation is decoded whole, the image at an eighth of its size, which
    also shows whether its file is complete.
    """
    if not scene.annotation.is_file():
        return _Looked("without_annotation", "no annotation")
    if not scene.image.is_file():
        return _Looked("without_image", "annotation without an image")
    try:
        image = open_picture(scene.image.read_bytes())
        size, grey = image.size, image.mode == "L"
        image.draft(None, (1, 1))
        rgb(image)
    except UNREADABLE as error:
        return _Looked("unreadable", cause_of(error))
    try:
        annotation = open_picture(scene.annotation.read_bytes())
        if annotation.mode not in ("L", "P"):
            return _Looked("unreadable", "annotation not of 8-bit ids")
        if annotation.size != size:
            return _Looked("other_size", "annotation of another size")
        pixels = np.bincount(np.asarray(annotation).reshape(-1), minlength=256)
    except UNREADABLE as error:
        return _Looked("unreadable", f"annotation {cause_of(error)}")
    return _Looked(grey=grey, pixels=pixels)


def _unknown(pixels: NDArray[np.int64], num_classes: int) -> tuple[int, ...]:
    return tuple((np.flatnonzero(pixels[num_classes + 1 : IGNORED]) + num_classes + 1).tolist())


def _counts(folder: Path, num_classes: int, looked: Sequence[_Looked]) -> dict[str, int]:
    pixels = sum((scan.pixels for scan in looked), np.zeros(256, dtype=np.int64))
    known = pixels[1 : num_classes + 1]
    unknown = int(pixels[num_classes + 1 : IGNORED].sum())
    if unknown > MAX_ABSENT_SHARE * (known.sum() + unknown):
        share = unknown / (known.sum() + unknown)
        raise InputError(
            f"{share:.0%} of the pixels annotated for {folder} have an id above {num_classes}, the "
            f"number of classes that {NAMES} names (ADE20k's 150 without it)"
        )
    return {
        "grey": sum(scan.grey for scan in looked),
        "without_classes": sum(not scan.pixels[1 : num_classes + 1].any() for scan in looked),
        "unknown_pixels": unknown,
        "empty_classes": int((known == 0).sum()),
    }
