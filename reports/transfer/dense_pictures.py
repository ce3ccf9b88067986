"""What was predicted, drawn on the images beside the truth: labels, label maps, boxes and masks."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

from catlip.method_style import name_of
from catlip.table import clipped
from reports.read.records import Record, as_number, number, text
from reports.render.figures import Figure
from reports.render.panels import Panel, Pixels, Row, decoded, panels_figure
from reports.transfer.transfer_runs import methods_of

MOST_PICTURES = 5
MOST_WORDS = 3  # below a picture
IGNORED = 255
TITLES = {"multilabel": "Labels", "segmentation": "Label maps", "detection": "Boxes and masks"}
SHADE = 0.55  # opacity of a mask on its image


def picture_figures(records: Sequence[Record], suffix: str = "") -> list[Figure]:
    """Of each task one figure: a row for the truth and one for each method's first seed, a column
    an image.
    """
    return [figure for kind in TITLES if (figure := _figure(kind, records, suffix))]


def contact_sheet(record: Record, suffix: str = "") -> list[Figure]:
    """Scenes of both sides with what is annotated on them."""
    classes = _classes(record)
    sides = {"Training": record.rows("train_pictures"), "Test": record.rows("val_pictures")}
    rows = [
        (
            name,
            [
                _panel("detection", picture, "truth", classes)
                for picture in pictures[:MOST_PICTURES]
            ],
        )
        for name, pictures in sides.items()
    ]
    caption = (
        f"Generated layouts of real drawings, {record.scale} scale: scenes evenly spread over the "
        "data, with their boxes, "
        "masks and classes. No drawing, drawing team or photograph is on both sides."
    )
    return (
        [panels_figure(f"scenes{suffix}", caption, rows)]
        if any(panel for _, panels in rows for panel in panels)
        else []
    )


def _figure(kind: str, records: Sequence[Record], suffix: str) -> Figure | None:
    own = [
        r for r in records if r.kind == kind and r.rows("pictures") and r.setup.init != "transfer"
    ]
    first = [next(r for r in own if r.method == method) for method in methods_of(own)]
    if not first:
        return None
    pictures = [{text(picture, "key"): picture for picture in r.rows("pictures")} for r in first]
    keys = [key for key in pictures[0] if all(key in found for found in pictures)][:MOST_PICTURES]
    classes = _classes(first[0])
    rows: list[Row] = [
        ("Truth", [_panel(kind, pictures[0][key], "truth", classes) for key in keys])
    ]
    for record, found in zip(first, pictures, strict=True):
        rows.append(
            (
                name_of(record.method),
                [_panel(kind, found[key], "predicted", classes) for key in keys],
            )
        )
    if not any(panel for _, panels in rows for panel in panels):
        return None
    seeds = {r.seed for r in first}
    most = (
        ""
        if kind == "segmentation"
        else " Of its predictions the likeliest are shown, as many as there are true ones."
    )
    caption = (
        f"{TITLES[kind]}, {own[0].scale} scale: the truth, and what each encoder's model predicts "
        "on the same test images, "
        "evenly spread and not "
        f"selected{f' (seed {seeds.pop()})' if len(seeds) == 1 else ''}.{most}"
    )
    return panels_figure(f"dense_{kind}{suffix}", caption, rows)


def _classes(record: Record) -> list[str]:
    names = record.samples.get("classes")
    return [clipped(name, 16) for name in names] if isinstance(names, list) else []


def _panel(kind: str, picture: dict[str, Any], side: str, classes: Sequence[str]) -> Panel | None:
    image = decoded(picture.get("image"), "RGB")
    if image is None:
        return None
    if kind == "multilabel":
        return Panel(image if side == "truth" else None, words=_label_words(picture, side, classes))
    if kind == "segmentation":
        label_map, truth = decoded(picture.get(side), "L"), decoded(picture.get("truth"), "L")
        if (
            label_map is None
            or truth is None
            or not label_map.shape == truth.shape == image.shape[:2]
        ):
            return None
        return Panel(_shaded(image, label_map, truth != IGNORED))
    return _objects(image, picture, side, classes)


def _label_words(picture: dict[str, Any], side: str, classes: Sequence[str]) -> list[str]:
    """The classes on an image, or as many of the likeliest as there are on it, the right ones
    marked.
    """
    found, truth = picture.get(side), picture.get("truth")
    if not isinstance(found, list) or not isinstance(truth, list):
        return []
    ids = [entry.get("class") if isinstance(entry, dict) else entry for entry in found][
        : max(1, len(truth))
    ]
    known = [
        class_id for class_id in ids if isinstance(class_id, int) and 0 <= class_id < len(classes)
    ]
    right = "\N{CHECK MARK} " if side == "predicted" else ""
    return [
        f"{right if class_id in truth else ''}{classes[class_id]}"
        for class_id in known[:MOST_WORDS]
    ]


def _shaded(image: Pixels, label_map: Pixels, judged: NDArray[np.bool_]) -> Pixels:
    """The classes as colours over the image in grey, where they are judged."""
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    colours = np.array([_rgb(class_id) for class_id in range(256)])
    opacity = np.where(judged, 0.8, 0.0)[..., None]
    return np.asarray(opacity * colours[label_map] + (1 - opacity) * grey, dtype=np.uint8)


def _objects(image: Pixels, picture: dict[str, Any], side: str, classes: Sequence[str]) -> Panel:
    drawn, boxes, words = image.astype(float), [], []
    found = picture.get(side)
    for entry in found[:10] if isinstance(found, list) else []:
        class_id, box = (
            number(entry, "class"),
            entry.get("box") if isinstance(entry, dict) else None,
        )
        corners = (
            [as_number(value) for value in box]
            if isinstance(box, list) and len(box) == 4
            else [None]
        )
        if class_id is None or not 0 <= class_id < 1e4 or None in corners:
            continue
        colour = _rgb(int(class_id))
        mask = decoded(entry.get("mask"), "1")
        if mask is not None and mask.shape == image.shape[:2]:
            drawn[mask > 0] = (1 - SHADE) * drawn[mask > 0] + SHADE * colour
        boxes.append(
            (
                *[float(value or 0) for value in corners],
                matplotlib.colors.to_hex(tuple(colour / 255)),
            )
        )
        words.append(classes[int(class_id)] if int(class_id) < len(classes) else "")
    return Panel(drawn.astype(np.uint8), boxes, words[:MOST_WORDS])  # type: ignore[arg-type]


def _rgb(class_id: int) -> NDArray[np.float64]:
    """A colour a class, neighbours in number far apart in hue."""
    hue = class_id * 0.618034 % 1
    return 255 * np.asarray(
        matplotlib.colors.hsv_to_rgb(
            (hue, 0.75 if class_id % 2 else 0.95, 0.95 if class_id % 3 else 0.75)
        )
    )
