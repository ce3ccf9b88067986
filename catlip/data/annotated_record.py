"""What annotated scenes look like and how many objects they hold, as a record for the report."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catlip.data.annotated_plans import SIDES
from catlip.data.decode import FORMATS
from catlip.data.scenes_result import Annotated, Scenes
from catlip.program.pictures import chosen, encoded_image, encoded_mask
from catlip.record import Record

SHOWN = 6  # scenes of each side


def describe(data: Path, path: Path, config: Any) -> None:
    """Write the record of the scenes under `data` to `path`."""
    annotated = {}
    with Record(path, Scenes, config) as record:
        for name, side in SIDES.items():
            content = json.loads(
                (data / "coco" / "annotations" / f"instances_{side.coco}.json").read_text()
            )
            names = [category["name"] for category in content["categories"]]
            annotations = content["annotations"]
            objects = [item for item in annotations if not item["iscrowd"]]
            counts = Counter(item["category_id"] for item in objects)
            annotated[name] = Annotated(
                images=len(content["images"]),
                objects=len(objects),
                crowds=len(annotations) - len(objects),
                median_area=float(np.median([item["area"] for item in objects])),
            )
            record.samples["classes"] = names
            record.samples[f"{name}_objects_by_class"] = [counts[i + 1] for i in range(len(names))]
            folder = data / "coco" / side.coco
            record.samples[f"{name}_pictures"] = [
                _picture(folder, content["images"][number], annotations)
                for number in chosen(len(content["images"]), SHOWN)
            ]
        record.measured(Scenes(train=annotated["train"], val=annotated["val"]))
    print(f"wrote {path}")


def _picture(
    folder: Path, image: dict[str, Any], annotations: list[dict[str, Any]]
) -> dict[str, Any]:
    """A scene with its annotations, in the form that records of detection use."""
    with Image.open(folder / image["file_name"], formats=FORMATS) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    of_image = [item for item in annotations if item["image_id"] == image["id"]]
    return {
        "key": image["file_name"],
        "image": encoded_image(pixels),
        "truth": [_object(item) for item in of_image],
    }


def _object(annotation: dict[str, Any]) -> dict[str, Any]:
    left, top, width, height = annotation["bbox"]
    return {
        "class": annotation["category_id"] - 1,
        "box": [left, top, left + width, top + height],
        "mask": encoded_mask(mask_of(annotation["segmentation"])),
    }


def mask_of(coded: dict[str, Any]) -> NDArray[np.bool_]:
    """The mask [H, W] of COCO's uncompressed RLE; the inverse of `run_lengths`."""
    values = np.arange(len(coded["counts"])) % 2 == 1
    return np.repeat(values, coded["counts"]).reshape(coded["size"], order="F")
