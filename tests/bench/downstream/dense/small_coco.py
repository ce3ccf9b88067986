"""A data set in COCO's layout, of coloured squares on grey: small, and with what real files have
wrong in it.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from catlip.data.annotated_plans import annotation

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
                entry = annotation(0, mask, is_crowd=False) | {
                    "id": len(annotations) + first * 10,
                    "image_id": number,
                }
                annotations.append(entry | {"category_id": IDS[name]})
            Image.fromarray(pixels).save(folder / f"{number:012d}.jpg", quality=95)
            images.append(
                {"id": number, "file_name": f"{number:012d}.jpg", "height": side, "width": side}
            )
        categories = [{"id": IDS[name], "name": name, "supercategory": "thing"} for name in COLOURS]
        change_annotations(
            root,
            split,
            lambda old, new=(images, annotations, categories): dict(zip(PARTS, new, strict=True)),
        )
    return root


PARTS = ("images", "annotations", "categories")


def change_annotations(root: Path, split: str, change: Any) -> None:
    """Write what `change` makes of the annotation file's content."""
    path = root / "annotations" / f"instances_{split}2017.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(change(json.loads(path.read_text()) if path.exists() else {})))
