"""Figures of predictions beside the truth, on the images: labels, label maps, boxes and masks."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import matplotlib
import numpy as np
from numpy.typing import NDArray

from bench.downstream.dense.result import Dense, LabelsPicture, MapPicture, ObjectsPicture
from bench.downstream.probe.result import methods_of
from catlip.method_style import name_of
from catlip.results.figures import Figure
from catlip.results.kind import Kind
from catlip.results.panels import Panel, Pixels, Row, decoded, panels_figure
from catlip.results.run import Run
from catlip.table import clipped

MOST_PICTURES = 4
MOST_WORDS = 3  # below a picture
MOST_OBJECTS = 10  # on a picture
Side = Literal["truth", "predicted"]
IGNORED = 255
TITLES = {"multilabel": "Labels", "segmentation": "Label maps", "detection": "Boxes, masks"}
SHADE = 0.55  # opacity of a mask on its image


def picture_figures(records: Sequence[Run[Dense]], suffix: str = "") -> list[Figure]:
    """One figure of all tasks: for each, a row for the truth and for the first seed of each method,
    a column for each image.
    """
    first = {kind: own for kind in TITLES if (own := _first_of_methods(kind, records))}
    if not first:
        return []
    rows = [row for kind, own in first.items() for row in _of_task(kind, own)]
    seeds = {record.seed for own in first.values() for record in own}
    same = f" (seed {seeds.pop()})" if len(seeds) == 1 else ""
    caption = (
        f"Predictions, {records[0].scale} scale: the truth, and what each encoder's model predicts "
        f"on the same test images, evenly spread and not selected{same}. Of labels and boxes the "
        "likeliest are shown, as many as there are true ones."
    )
    return _figures(f"dense{suffix}", caption, rows)


def contact_sheet(record: Run[Kind], suffix: str = "") -> list[Figure]:
    """A figure of training and test scenes with their annotations."""
    classes = _classes(record)
    rows: list[Row] = []
    for title, name in (("Training", "train_pictures"), ("Test", "val_pictures")):
        pictures = record.rows(name, ObjectsPicture)[:MOST_PICTURES]
        rows.append((title, [_objects(picture, "truth", classes) for picture in pictures]))
    caption = (
        f"Generated layouts of real drawings, {record.scale} scale: scenes evenly spread over the "
        "data, with their boxes, masks and classes. No drawing, drawing team or photograph is in "
        "both training and test."
    )
    return _figures(f"scenes{suffix}", caption, rows)


def _figures(name: str, caption: str, rows: Sequence[Row]) -> list[Figure]:
    """A figure of the rows; none if no picture could be read."""
    if not any(panel for _, panels in rows for panel in panels):
        return []
    return [panels_figure(name, caption, rows)]


def _first_of_methods(kind: str, records: Sequence[Run[Dense]]) -> list[Run[Dense]]:
    """The first run of each method that keeps pictures, among those that tell of an encoder."""
    own = [r for r in records if r.kind == kind and r.samples.get("pictures")]
    own = [r for r in own if r.setup.init != "transfer" and not r.measured.overfit]
    return [next(r for r in own if r.method == method) for method in methods_of(own)]


def _of_task(kind: str, records: Sequence[Run[Dense]]) -> list[Row]:
    of, panel_of = PANELS[kind]
    pictures = [{picture.key: picture for picture in r.rows("pictures", of)} for r in records]
    keys = [key for key in pictures[0] if all(key in by_key for by_key in pictures)][:MOST_PICTURES]
    classes = _classes(records[0])
    truth = [panel_of(pictures[0][key], "truth", classes) for key in keys]
    rows: list[Row] = [(f"{TITLES[kind]}:\ntruth", truth)]
    for record, by_key in zip(records, pictures, strict=True):
        predicted = [panel_of(by_key[key], "predicted", classes) for key in keys]
        rows.append((name_of(record.method), predicted))
    return rows


def _classes(record: Run[Kind]) -> list[str]:
    names = record.samples.get("classes")
    return [clipped(name, 16) for name in names] if isinstance(names, list) else []


def _labels(picture: LabelsPicture, side: Side, classes: Sequence[str]) -> Panel | None:
    """The true classes of an image, or the same number of its likeliest predicted classes, with the
    right ones marked.
    """
    image = decoded(picture.image, "RGB")
    if image is None:
        return None
    if side == "truth":
        return Panel(image, words=_words(picture.truth, classes)[:MOST_WORDS])
    likeliest = [guess["class"] for guess in picture.predicted[: max(1, len(picture.truth))]]
    right = ["\N{CHECK MARK} " if label in picture.truth else "" for label in likeliest]
    words = _words(likeliest, classes)
    marked = [mark + word for mark, word in zip(right, words, strict=True) if word]
    return Panel(None, words=marked[:MOST_WORDS])


def _words(labels: Sequence[int], classes: Sequence[str]) -> list[str]:
    """The names of classes; an empty string for a class without a name."""
    return [classes[label] if 0 <= label < len(classes) else "" for label in labels]


def _label_map(picture: MapPicture, side: Side, classes: Sequence[str]) -> Panel | None:
    image, truth = decoded(picture.image, "RGB"), decoded(picture.truth, "L")
    label_map = truth if side == "truth" else decoded(picture.predicted, "L")
    if image is None or truth is None or label_map is None:
        return None
    if not label_map.shape == truth.shape == image.shape[:2]:
        return None
    return Panel(_shaded(image, label_map, truth != IGNORED))


def _shaded(image: Pixels, label_map: Pixels, judged: NDArray[np.bool_]) -> Pixels:
    """The classes as colours over the image in grey, only where `judged`."""
    grey = _grey(image)
    colours = np.array([_rgb(class_id) for class_id in range(256)])
    opacity = np.where(judged, 0.8, 0.0)[..., None]
    return np.asarray(opacity * colours[label_map] + (1 - opacity) * grey, dtype=np.uint8)


def _objects(picture: ObjectsPicture, side: Side, classes: Sequence[str]) -> Panel | None:
    image = decoded(picture.image, "RGB")
    if image is None:
        return None
    drawn, boxes = _grey(image), []
    objects = (picture.truth if side == "truth" else picture.predicted)[:MOST_OBJECTS]
    for one in objects:
        colour = _rgb(one["class"])
        mask = decoded(one["mask"], "1")
        if mask is not None and mask.shape == image.shape[:2]:
            drawn[mask > 0] = (1 - SHADE) * drawn[mask > 0] + SHADE * colour
        boxes.append((*one["box"], matplotlib.colors.to_hex(tuple(colour / 255))))
    words = _words([one["class"] for one in objects], classes)
    return Panel(drawn.astype(np.uint8), boxes, words[:MOST_WORDS])


def _grey(image: Pixels) -> NDArray[np.float64]:
    """The image in 32 levels of grey, which make a smaller file."""
    return np.repeat(image.mean(axis=2, keepdims=True) // 8 * 8, 3, axis=2)


def _rgb(class_id: int) -> NDArray[np.float64]:
    """The colour of a class; classes with neighbouring ids are far apart in hue."""
    hue = class_id * 0.618034 % 1
    saturation = 0.75 if class_id % 2 else 0.95
    brightness = 0.95 if class_id % 3 else 0.75
    return 255 * np.asarray(matplotlib.colors.hsv_to_rgb((hue, saturation, brightness)))


# Task -> the type of its pictures, and the function that draws one.
PANELS: dict[str, tuple[type[Any], Callable[[Any, Side, Sequence[str]], Panel | None]]] = {
    "multilabel": (LabelsPicture, _labels),
    "segmentation": (MapPicture, _label_map),
    "detection": (ObjectsPicture, _objects),
}
