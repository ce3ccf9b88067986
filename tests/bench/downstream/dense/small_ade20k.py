"""A data set in ADE20k's layout, of coloured squares on nothing: small, and its colours say what
its labels are.
"""

from pathlib import Path

import numpy as np
from PIL import Image

# Of class ids 0, 1, 2.
COLOURS = {"person": (220, 30, 30), "tree": (30, 200, 30), "sea": (30, 30, 220)}
GREY = 128  # where there is no class
HEADER = "Idx\tRatio\tTrain\tVal\tStuff\tName"
FOLDERS = {"train": "training", "val": "validation"}


def write_ade20k(
    root: Path, train: int = 12, val: int = 6, height: int = 48, width: int = 40, seed: int = 0
) -> Path:
    """`train` and `val` images of three squares each, one of each class, apart from each other;
    returns `root`.
    """
    rng = np.random.default_rng(seed)
    for split, count in (("train", train), ("val", val)):
        for number in range(count):
            labels = np.zeros((height, width), dtype=np.uint8)
            for row, annotated in enumerate(rng.permutation([1, 2, 3])):
                top, left = row * height // 3, rng.integers(0, width - 13)
                labels[top + 1 : top + 14, left : left + 13] = annotated
            write_scene(root, split, f"{split}_{number:04d}", labels)
    write_names(root, *(f"{name}, or so" for name in COLOURS))
    return root


def write_names(root: Path, *names: str) -> None:
    """The list of classes."""
    rows = [f"{number}\t0.1\t1\t1\t0\t{name}" for number, name in enumerate(names, start=1)]
    (root / "objectInfo150.txt").write_text("\n".join([HEADER, *rows]) + "\n")


def write_scene(root: Path, split: str, key: str, labels: np.ndarray) -> None:
    """An annotation of these ids, and an image with its colours."""
    palette = np.full((256, 3), GREY, dtype=np.uint8)
    palette[1 : len(COLOURS) + 1] = list(COLOURS.values())
    image, annotation = files(root, split, key)
    for path in (image, annotation):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(palette[labels]).save(image, quality=100, subsampling=0)
    Image.fromarray(labels).save(annotation)


def files(root: Path, split: str, key: str) -> tuple[Path, Path]:
    """The image and the annotation of that name."""
    folder = FOLDERS[split]
    return root / f"images/{folder}/{key}.jpg", root / f"annotations/{folder}/{key}.png"
