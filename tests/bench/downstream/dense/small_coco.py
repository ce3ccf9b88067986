"""A data set in COCO's layout, of coloured squares on grey: small, and with what real files have
wrong in it.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from catlip.data.annotated_scenes import annotation

COLOURS = {"person": (220, 30, 30), "fire hydrant": (30, 200, 30), "microwave": (30, 30, 220)}
IDS = {"person": 1, "fire hydrant": 11, "microwave": 78}  # COCO's own, with its gaps


def write_coco(root: Path, train: int = 12, val: int = 6, side: int = 48, seed: int = 0) -> Path:
    """`train` and `val` images of one to three squares each, no two of a class; returns `root`."""
    rng = np.random.default_rng(seed)
    for split, count, first in (("train", train, 1), ("val", val, 1001)):
        folder = root / f"{split}2017"
        folder.mkdir(parents=True)
        images, annotations = [], []
        for number in range(first, first + count):
            pixels = np.full((side, side, 3), 128, dtype=np.uint8)
            for name in rng.permutation(list(COLOURS))[: rng.integers(1, 4)]:
                left, top = rng.integers(0, side - 16, 2)
                mask = np.zeros((side, side), dtype=bool)
                mask[top : top + 16, left : left + 16] = True
                pixels[mask] = COLOURS[name]
                entry = annotation(0, mask, is_crowd=False) | {"category_id": IDS[name]}
                ids = {"id": len(annotations) + first * 10, "image_id": number}
                annotations.append(entry | ids)
            name = f"{number:012d}.jpg"
            Image.fromarray(pixels).save(folder / name, quality=95)
            images.append({"id": number, "file_name": name, "height": side, "width": side})
        categories = [{"id": IDS[name], "name": name, "supercategory": "thing"} for name in COLOURS]
        content = {"images": images, "annotations": annotations, "categories": categories}
        path = annotations_file(root, split)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    return root


def annotations_file(root: Path, split: str) -> Path:
    return root / "annotations" / f"instances_{split}2017.json"


def change_annotations(root: Path, split: str, change: Any) -> None:
    """Write what `change` makes of the annotation file's content."""
    path = annotations_file(root, split)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def change_each(root: Path, split: str, change: Any) -> None:
    """Write what `change` makes of each annotation, none where it gives None."""

    def changed(old: dict[str, Any]) -> dict[str, Any]:
        found = [new for a in old["annotations"] if (new := change(a)) is not None]
        return old | {"annotations": found}

    change_annotations(root, split, changed)
