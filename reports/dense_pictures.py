"""What was predicted, drawn on the images beside the truth: labels, label maps, boxes and masks.

The pictures are in the records, small, as base64. They may come from elsewhere, so each is opened with its size checked, and
what is no picture is left out.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from reports.cells import clipped
from reports.figures import INK, MUTED, PAPER, Figure
from reports.measured import name_of
from reports.records import Record, as_number, number, text
from reports.transfer_runs import methods_of

MOST_PICTURES = 6
MOST_WORDS = 3  # below a picture
LINE, GAP = 0.135, 0.07  # heights of a line of words and between rows, in pictures
LARGEST = 512  # pixels of a side, and characters of base64 a thousand times that
IGNORED = 255
TITLES = {"multilabel": "Labels", "segmentation": "Label maps", "detection": "Boxes and masks"}
SHADE = 0.55  # opacity of a mask on its image
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Panel:
    """One cell of a figure: an image or none, boxes on it (left, top, right, bottom, colour), and lines of words below."""

    pixels: Pixels | None
    boxes: Sequence[tuple[float, float, float, float, str]] = ()
    words: Sequence[str] = ()


Row = tuple[str, Sequence[Panel | None]]  # its name, and a panel an image


def picture_figures(records: Sequence[Record], suffix: str = "") -> list[Figure]:
    """Of each task one figure: a row for the truth and one for each method's first seed, a column an image."""
    return [figure for kind in TITLES if (figure := _figure(kind, records, suffix))]


def contact_sheet(record: Record, suffix: str = "") -> list[Figure]:
    """Scenes of both sides with what is annotated on them."""
    classes = _classes(record)
    sides = {"Training": record.rows("train_pictures"), "Test": record.rows("val_pictures")}
    rows = [
        (name, [_panel("detection", picture, "truth", classes) for picture in pictures[:MOST_PICTURES]])
        for name, pictures in sides.items()
    ]
    caption = (
        f"Generated layouts of real drawings, {record.scale} scale: scenes evenly spread over the data, with their boxes, "
        "masks and classes. No drawing, drawing team or photograph is on both sides."
    )
    return [_drawn(f"scenes{suffix}", caption, rows)] if any(panel for _, panels in rows for panel in panels) else []


def _figure(kind: str, records: Sequence[Record], suffix: str) -> Figure | None:
    own = [r for r in records if r.kind == kind and r.rows("pictures") and text(r.config, "init") != "transfer"]
    first = [next(r for r in own if r.method == method) for method in methods_of(own)]
    if not first:
        return None
    pictures = [{text(picture, "key"): picture for picture in r.rows("pictures")} for r in first]
    keys = [key for key in pictures[0] if all(key in found for found in pictures)][:MOST_PICTURES]
    classes = _classes(first[0])
    rows: list[Row] = [("Truth", [_panel(kind, pictures[0][key], "truth", classes) for key in keys])]
    for record, found in zip(first, pictures, strict=True):
        rows.append((name_of(record.method), [_panel(kind, found[key], "predicted", classes) for key in keys]))
    if not any(panel for _, panels in rows for panel in panels):
        return None
    seeds = {r.seed for r in first}
    caption = (
        f"{TITLES[kind]}, {own[0].scale} scale: the truth, and what each encoder's model predicts on the same test images, "
        f"evenly spread and not selected{f' (seed {seeds.pop()})' if len(seeds) == 1 else ''}."
    )
    return _drawn(f"dense_{kind}{suffix}", caption, rows)


def _classes(record: Record) -> list[str]:
    names = record.samples.get("classes")
    return [clipped(name, 16) for name in names] if isinstance(names, list) else []


def _drawn(name: str, caption: str, rows: Sequence[Row]) -> Figure:
    columns = max(len(panels) for _, panels in rows)
    alt = f"{columns} images in columns; rows: {', '.join(name for name, _ in rows)}."
    height = 0.25 + 0.68 * sum(_height(panels) for _, panels in rows)
    return Figure(name, caption, alt, partial(_draw, rows=rows), height)


def _panel(kind: str, picture: dict[str, Any], side: str, classes: Sequence[str]) -> Panel | None:
    image = decoded(picture.get("image"), "RGB")
    if image is None:
        return None
    if kind == "multilabel":
        return Panel(image if side == "truth" else None, words=_label_words(picture, side, classes))
    if kind == "segmentation":
        label_map, truth = decoded(picture.get(side), "L"), decoded(picture.get("truth"), "L")
        if label_map is None or truth is None or not label_map.shape == truth.shape == image.shape[:2]:
            return None
        return Panel(_shaded(image, label_map, truth != IGNORED))
    return _objects(image, picture, side, classes)


def _label_words(picture: dict[str, Any], side: str, classes: Sequence[str]) -> list[str]:
    """The classes on an image, or as many of the likeliest as there are on it, the right ones marked."""
    found, truth = picture.get(side), picture.get("truth")
    if not isinstance(found, list) or not isinstance(truth, list):
        return []
    ids = [entry.get("class") if isinstance(entry, dict) else entry for entry in found][: max(1, len(truth))]
    known = [class_id for class_id in ids if isinstance(class_id, int) and 0 <= class_id < len(classes)]
    right = "\N{CHECK MARK} " if side == "predicted" else ""
    return [f"{right if class_id in truth else ''}{classes[class_id]}" for class_id in known[:MOST_WORDS]]


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
        class_id, box = number(entry, "class"), entry.get("box") if isinstance(entry, dict) else None
        corners = [as_number(value) for value in box] if isinstance(box, list) and len(box) == 4 else [None]
        if class_id is None or not 0 <= class_id < 1e4 or None in corners:
            continue
        colour = _rgb(int(class_id))
        mask = decoded(entry.get("mask"), "1")
        if mask is not None and mask.shape == image.shape[:2]:
            drawn[mask > 0] = (1 - SHADE) * drawn[mask > 0] + SHADE * colour
        boxes.append((*[float(value or 0) for value in corners], matplotlib.colors.to_hex(tuple(colour / 255))))
        words.append(classes[int(class_id)] if int(class_id) < len(classes) else "")
    return Panel(drawn.astype(np.uint8), boxes, words[:MOST_WORDS])  # type: ignore[arg-type]


def _rgb(class_id: int) -> NDArray[np.float64]:
    """A colour a class, neighbours in number far apart in hue."""
    hue = class_id * 0.618034 % 1
    return 255 * np.asarray(matplotlib.colors.hsv_to_rgb((hue, 0.75 if class_id % 2 else 0.95, 0.95 if class_id % 3 else 0.75)))


def decoded(words: Any, mode: str) -> Pixels | None:
    """A picture in base64 as [H, W, 3] (RGB) or [H, W] (L, and 1 as 0 and 1) uint8; None for anything else."""
    if not isinstance(words, str) or len(words) > 1000 * LARGEST:
        return None
    try:
        with Image.open(io.BytesIO(base64.b64decode(words, validate=True)), formats=("JPEG", "PNG")) as picture:
            if max(picture.size) > LARGEST:
                return None
            return np.asarray(picture.convert(mode)).astype(np.uint8)
    except (ValueError, OSError, SyntaxError, Image.DecompressionBombError):  # base64, Pillow, and its PNG reader
        return None


def _height(panels: Sequence[Panel | None]) -> float:
    """Of a row, in pictures."""
    there = [panel for panel in panels if panel]
    lines = max((len(panel.words) for panel in there), default=0)
    return float(any(panel.pixels is not None for panel in there)) + LINE * lines + GAP


def _draw(axes: Axes, rows: Sequence[Row]) -> None:
    """Rows of panels, each with its name at the left."""
    columns, top = max(len(panels) for _, panels in rows), 0.0
    for name, panels in rows:
        height = _height(panels)
        middle = 0.5 if height > 1 else (height - GAP) / 2
        axes.text(-0.06, top - middle, name, ha="right", va="center", color=INK, fontsize=9)
        for column, panel in enumerate(panels):
            if panel:
                _draw_panel(axes, panel, column * (1 + GAP), top)
        top -= height
    axes.set_xlim(-0.1, (1 + GAP) * columns)
    axes.set_ylim(top, 0.02)
    axes.set_aspect("equal")
    axes.axis("off")


def _draw_panel(axes: Axes, panel: Panel, left: float, top: float) -> None:
    if panel.pixels is not None:
        height, width = panel.pixels.shape[:2]
        unit = 1 / max(height, width)
        extent = (left, left + width * unit, top - height * unit, top)
        axes.imshow(panel.pixels, extent=extent, interpolation="nearest", aspect="equal")
        for x0, y0, x1, y1, colour in panel.boxes:
            corner, size = (left + x0 * unit, top - y1 * unit), ((x1 - x0) * unit, (y1 - y0) * unit)
            axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=PAPER, linewidth=2.4))
            axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=1.2))
        top -= 1
    for line_number, words in enumerate(panel.words):
        axes.text(left, top - LINE * (line_number + 0.55), words, ha="left", va="center", color=MUTED, fontsize=6)
