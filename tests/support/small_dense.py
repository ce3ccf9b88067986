"""Data sets like ADE20k and COCO, of squares in the colours of their labels; smallest runs."""

import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from small_data import ON_A_CPU

from bench.downstream import detection, multilabel, segmentation
from bench.downstream.dense import harness
from catlip.data.annotated_scenes import annotation
from catlip.recipes.dense import STARTER_DETECTION, STARTER_SEGMENTATION
from catlip.recipes.transfer import STARTER_MULTILABEL

COLOURS = {"person": (220, 30, 30), "tree": (30, 200, 30), "sea": (30, 30, 220)}
IDS = {"person": 1, "tree": 11, "sea": 78}  # with gaps, as COCO's own
GREY = 128  # where there is no class
HEADER = "Idx\tRatio\tTrain\tVal\tStuff\tName"
FOLDERS = {"train": "training", "val": "validation"}


def write_ade20k(
    root: Path, train: int = 12, val: int = 6, height: int = 48, width: int = 40
) -> Path:
    """`train` and `val` images of three squares each, one of each class, apart from each other."""
    rng = np.random.default_rng(0)
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
    """ADE20k's list of classes."""
    rows = [f"{number}\t0.1\t1\t1\t0\t{name}" for number, name in enumerate(names, start=1)]
    (root / "objectInfo150.txt").write_text("\n".join([HEADER, *rows]) + "\n")


def write_scene(root: Path, split: str, key: str, labels: np.ndarray) -> None:
    """An annotation of these ids, and an image with its colours."""
    palette = np.full((256, 3), GREY, dtype=np.uint8)
    palette[1 : len(COLOURS) + 1] = list(COLOURS.values())
    image, ids = files(root, split, key)
    for path in (image, ids):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(palette[labels]).save(image, quality=100, subsampling=0)
    Image.fromarray(labels).save(ids)


def files(root: Path, split: str, key: str) -> tuple[Path, Path]:
    """The image and the annotation of that name in ADE20k's layout."""
    folder = FOLDERS[split]
    return root / f"images/{folder}/{key}.jpg", root / f"annotations/{folder}/{key}.png"


def write_coco(root: Path, train: int = 12, val: int = 6, side: int = 48) -> Path:
    """`train` and `val` images of one to three squares each, no two of a class."""
    rng = np.random.default_rng(0)
    for split, count, first in (("train", train, 1), ("val", val, 1001)):
        folder = root / f"{split}2017"
        folder.mkdir(parents=True)
        images, annotations = [], []
        for number in range(first, first + count):
            pixels = np.full((side, side, 3), GREY, dtype=np.uint8)
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


def change_file(root: Path, split: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """Write what `change` makes of the content of COCO's annotation file."""
    path = annotations_file(root, split)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def change_each(root: Path, split: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """Write what `change` makes of each annotation of COCO's file."""
    change_file(root, split, lambda old: old | {"annotations": [*map(change, old["annotations"])]})


@dataclass(frozen=True)
class Task:
    """A dense task at its smallest: its config's type, with a recipe and an encoder."""

    config: type[Any]
    main: Callable[[Any], None]
    layout: str
    recipe: Any
    encoder: str = "random:vit_two@32"

    def write_data(self, root: Path) -> str:
        """Write a data set; its spelling."""
        write = write_ade20k if self.layout == "ade20k" else write_coco
        return f"{self.layout}:{write(root)}"

    def run(self, data: str, out: Path, **changes: Any) -> tuple[dict[str, Any], str]:
        """Run the program on a CPU, in this process; its record, and what it printed."""
        with redirect_stdout(io.StringIO()) as printed:
            self.start(data, out, **changes)
        return json.loads(out.read_text()), printed.getvalue()

    def start(self, data: str, out: Path, **changes: Any) -> None:
        options = {"encoder": self.encoder, "recipe": self.recipe, **ON_A_CPU}
        self.main(self.config(data=data, out=out, **options | changes))


LENGTH: dict[str, Any] = {"epochs": 2, "micro_batch": 4, "warmup_iterations": 1}
MULTILABEL = replace(
    STARTER_MULTILABEL,
    **LENGTH,
    **{"resolution": 48, "min_resolution": 48, "max_resolution": 48},
    **{"crop_scale": (1.0, 1.0), "precision": "fp32"},
)
SEGMENTATION = replace(
    STARTER_SEGMENTATION,
    **LENGTH,
    **{"resolution": 32, "short_side": (32, 48), "longest_side": 100},
    **{"head_channels": 16, "output_stride": 8, "ema_decay": 0.5},
)
DETECTION = replace(
    STARTER_DETECTION,
    **LENGTH,
    **{"resolution": 48, "max_lr": 2e-3, "lr_step_epochs": (1,)},
    **{"pyramid_channels": 16, "fc_channels": 16, "proposals": (20, 8)},
)
HYBRID = "random:hybrid_mini@48"
TASKS = {
    "multilabel": Task(multilabel.MultiLabel, harness.main, "coco", MULTILABEL, HYBRID),
    "segmentation": Task(segmentation.Segmentation, harness.main, "ade20k", SEGMENTATION),
    "detection": Task(detection.Detection, harness.main, "coco", DETECTION, HYBRID),
}
