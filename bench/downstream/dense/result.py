"""Tasks with several answers for each image: multi-label classification, segmentation and
detection. A record holds one training.
"""

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, ClassVar, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from bench.downstream.probe.result import (
    LabelOrigin,
    Transferred,
    accuracy_in_percent,
    accuracy_of,
    agreed,
    check_fractions,
    method_cell,
    methods_of,
)
from catlip.records.blocks import Block, Section, Text, command_to_fill, side_by_side
from catlip.records.figures import Figure
from catlip.records.panels import Panel, Pixels, Row, decoded, panels_figure
from catlip.records.run import Records, Run, Setting, select_kind
from catlip.records.select import group_by_scale, keep_common_recipe, scale_in_words, suffix
from catlip.records.styles import name_of
from catlip.records.table import Cell, Table, clipped, format_number

SPLITS = ("train", "val")
SLIDING = "mIoU, sliding window"
SAMPLES: dict[str, type] = {"loss": tuple[float, float], "classes": str}  # of each task's records
# Not class statements, because a field cannot be named `class` in one. A box is left, top, right
# and bottom in pixels; a mask is a PNG in base64.
Guess = TypedDict("Guess", {"class": int, "score": float})
Object = TypedDict("Object", {"class": int, "box": tuple[float, float, float, float], "mask": str})


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A test image in base64, like all images here."""

    key: str
    image: str


@dataclass(frozen=True, kw_only=True)
class LabelsPicture(Picture):
    truth: list[int]
    predicted: list[Guess]  # the most likely classes


@dataclass(frozen=True, kw_only=True)
class MapPicture(Picture):
    truth: str
    predicted: str


@dataclass(frozen=True, kw_only=True)
class ObjectsPicture(Picture):
    truth: list[Object]
    predicted: list[Object]


@dataclass(frozen=True, kw_only=True)
class Dense(Transferred):
    """One training on such a task."""

    task: ClassVar[str]  # in a sentence
    title: ClassVar[str]  # of its predictions in a figure
    measures: ClassVar[dict[str, str]]  # measure -> the field that holds it
    published: ClassVar[tuple[int, int]]  # classes and test images of the paper's data set

    num_parameters: int
    num_train: int
    num_val: int
    num_classes: int
    seconds: float
    final_loss: float
    train_images: int = 0  # listed, with those that cannot be used
    val_images: int = 0

    def __post_init__(self) -> None:
        check_fractions(**self.accuracies())

    def accuracies(self) -> dict[str, float | None]:
        return {measure: getattr(self, name) for measure, name in self.measures.items()}

    def sizes(self, task: str = "") -> dict[str, int | None]:
        return {name: getattr(self, name) for name in ("num_train", "num_val", "num_classes")}

    def is_published(self, name: str = "") -> bool:
        return (self.num_classes, max(self.val_images, self.num_val)) == self.published


@dataclass(frozen=True, kw_only=True)
class Multilabel(Dense):
    """Average precision of labels: the mean over classes, and over all answers together."""

    kind = "multilabel"
    task, title = "multi-label classification", "Labels"
    measures: ClassVar = {"mAP": "map_macro", "micro mAP": "map_micro"}
    published = (80, 5000)  # COCO-2017
    rows: ClassVar[dict[str, type]] = {**SAMPLES, "origins": LabelOrigin, "pictures": LabelsPicture}

    map_macro: float
    map_micro: float


@dataclass(frozen=True, kw_only=True)
class Segmentation(Dense):
    """Mean IoU and pixel accuracies, of images resized to a square, and with a sliding window."""

    kind = "segmentation"
    task, title = "segmentation", "Label maps"
    measures: ClassVar = {"mIoU": "miou_fixed", SLIDING: "miou_slide"}
    published = (150, 2000)  # ADE20k
    rows: ClassVar[dict[str, type]] = {**SAMPLES, "pictures": MapPicture}

    miou_fixed: float
    accuracy_fixed: float
    class_accuracy_fixed: float
    miou_slide: float | None = None
    accuracy_slide: float | None = None
    class_accuracy_slide: float | None = None


@dataclass(frozen=True, kw_only=True)
class Detection(Dense):
    """COCO's average precision of boxes and of masks; None if there is nothing of that size."""

    kind = "detection"
    task, title = "detection", "Boxes, masks"
    measures: ClassVar = {"box AP": "box_ap", "mask AP": "mask_ap"}
    published = (80, 5000)  # COCO-2017
    rows: ClassVar[dict[str, type]] = {**SAMPLES, "pictures": ObjectsPicture}

    box_ap: float | None
    box_ap50: float | None
    box_ap75: float | None
    box_ap_small: float | None
    box_ap_medium: float | None
    box_ap_large: float | None
    mask_ap: float | None
    mask_ap50: float | None
    mask_ap75: float | None
    mask_ap_small: float | None
    mask_ap_medium: float | None
    mask_ap_large: float | None


TASKS: tuple[type[Dense], ...] = (Multilabel, Segmentation, Detection)
Runs = Sequence[Run[Dense]]

# The section


def section(main: Setting | None, records: Records) -> Section:
    words = (
        "The encoder is trained further with a linear classifier (multi-label), DeepLabv3 of "
        "mmsegmentation, or detectron2's Mask R-CNN; within a task all encoders alike."
    )
    blocks: list[Block] = [Text(words)]
    for i, runs in enumerate(group_by_scale(records, main, Multilabel, Segmentation, Detection)):
        blocks += dense_table(runs, suffix(i))
        blocks += side_by_side(picture_figures(runs, suffix(i)))
    if not any(records.of(task) for task in TASKS):
        blocks += command_to_fill("No dense transfer has been recorded.", "./run_all.sh --full")
    return Section("dense", "Labels, masks and boxes", blocks)


def dense_table(records: Runs, suffix: str = "") -> list[Table]:
    """A row for each method, and another with Transfer Init; a column for each measure."""
    columns: list[tuple[str, list[Run[Dense]]]] = []
    for task in TASKS:
        runs = select_kind(records, task)
        columns += [(measure, runs) for measure in task.measures if runs and measure != SLIDING]
    rows = []
    for method, is_transfer in product(methods_of(records), (False, True)):
        cells = []
        for measure, runs in columns:
            same = [
                run
                for run in runs
                if run.method == method
                and (run.config.init == "transfer") == is_transfer
                and accuracy_in_percent(run, measure) is not None
            ]
            comparable = keep_common_recipe(same, runs)
            cell = accuracy_of(comparable.records, measure)
            cells.append(replace(cell, remarks=comparable.remarks))
        if any(cell.quantity for cell in cells):
            rows.append([Cell(method_cell(method).text + ", Transfer Init" * is_transfer), *cells])
    if not rows:
        return []
    title = f"Tables 3 to 5's form {scale_in_words(records[0].scale)}"
    titles = ["Method", *(f"{measure} (%)" for measure, _ in columns)]
    return [Table(f"dense{suffix}", title, titles, rows=rows, caption=_caption(records))]


def _caption(records: Runs) -> str:
    sentences = [
        "Mean ± sample standard deviation over n seeds of pre-training. mAP is the mean over "
        "classes of the average precision."
    ]
    for task in TASKS:
        runs = select_kind(records, task)
        if sizes := agreed(tuple(record.metrics.sizes().values()) for record in runs):
            train, val, classes = (format_number(size, 0) for size in sizes)
            sentences.append(
                f"{task.task.capitalize()}: {classes} classes, {train} training and {val} test "
                "images."
            )
    return " ".join(sentences)


# The figures: predictions beside the truth

MAX_PICTURES = 4
MAX_WORDS = 3  # below a picture
MAX_OBJECTS = 10  # on a picture
IGNORED = 255
SHADE = 0.55  # opacity of a mask on its image
Side = Literal["truth", "predicted"]


def picture_figures(records: Runs, suffix: str = "") -> list[Figure]:
    """One figure: for each task a row of the truth and one of the first seed of each method."""
    rows: list[Row] = []
    seeds = set()
    for task in TASKS:
        runs = [
            record
            for record in select_kind(records, task)
            if record.samples.get("pictures") and record.config.init != "transfer"
        ]
        if not runs:
            continue
        first = [next(r for r in runs if r.method == method) for method in methods_of(runs)]
        seeds |= {record.seed for record in first}
        kind: type[Any] = task.rows["pictures"]
        pictures = [{one.key: one for one in record.rows("pictures", kind)} for record in first]
        keys = [key for key in pictures[0] if all(key in by_key for by_key in pictures)]
        keys = keys[:MAX_PICTURES]
        classes = [clipped(name, 16) for name in first[0].rows("classes", str)]
        truth = [_panel(pictures[0][key], "truth", classes) for key in keys]
        rows.append((f"{task.title}:\ntruth", truth))
        for record, by_key in zip(first, pictures, strict=True):
            predicted = [_panel(by_key[key], "predicted", classes) for key in keys]
            rows.append((name_of(record.method), predicted))
    if not any(panel for _, panels in rows for panel in panels):
        return []
    same = f" (seed {seeds.pop()})" if len(seeds) == 1 else ""
    caption = (
        "The truth, and what each encoder's model predicts on the same test images, not hand-picked"
        f"{same}. In a label map a colour is a class. Of labels and boxes the likeliest are shown, "
        "as many as are true."
    )
    return [panels_figure(f"dense{suffix}", caption, rows)]


def _panel(picture: Any, side: Side, classes: Sequence[str]) -> Panel | None:
    image = decoded(picture.image, "RGB")
    return None if image is None else PANELS[type(picture)](image, picture, side, classes)


def _labels(image: Pixels, picture: LabelsPicture, side: Side, classes: Sequence[str]) -> Panel:
    """The true classes, or as many of the likeliest ones, with the right ones marked."""
    if side == "truth":
        return Panel(image, words=_words(picture.truth, classes)[:MAX_WORDS])
    likeliest = [guess["class"] for guess in picture.predicted[: max(1, len(picture.truth))]]
    marks = ["\N{CHECK MARK} " if label in picture.truth else "" for label in likeliest]
    words = zip(marks, _words(likeliest, classes), strict=True)
    return Panel(None, words=[mark + word for mark, word in words if word][:MAX_WORDS])


def _label_map(
    image: Pixels, picture: MapPicture, side: Side, classes: Sequence[str]
) -> Panel | None:
    """The classes as colours over the image in grey, only where the truth is not ignored."""
    truth, label_map = decoded(picture.truth, "L"), decoded(getattr(picture, side), "L")
    if truth is None or label_map is None or {truth.shape, label_map.shape} != {image.shape[:2]}:
        return None
    colours = np.array([_rgb(class_id) for class_id in range(256)])
    opacity = np.where(truth != IGNORED, 0.8, 0.0)[..., None]
    shaded = opacity * colours[label_map] + (1 - opacity) * _grey(image)
    return Panel(np.asarray(shaded, dtype=np.uint8))


def _objects(image: Pixels, picture: ObjectsPicture, side: Side, classes: Sequence[str]) -> Panel:
    drawn, boxes = _grey(image), []
    objects = (picture.truth if side == "truth" else picture.predicted)[:MAX_OBJECTS]
    for one in objects:
        colour = _rgb(one["class"])
        mask = decoded(one["mask"], "1")
        if mask is not None and mask.shape == image.shape[:2]:
            drawn[mask > 0] = (1 - SHADE) * drawn[mask > 0] + SHADE * colour
        boxes.append((*one["box"], "#" + "".join(f"{round(value):02x}" for value in colour)))
    words = _words([one["class"] for one in objects], classes)
    return Panel(drawn.astype(np.uint8), boxes, words[:MAX_WORDS])


# Type of a task's pictures -> the function that draws one.
PANELS: dict[type, Callable[[Pixels, Any, Side, Sequence[str]], Panel | None]] = {
    LabelsPicture: _labels,
    MapPicture: _label_map,
    ObjectsPicture: _objects,
}


def _words(labels: Sequence[int], classes: Sequence[str]) -> list[str]:
    return [classes[label] if 0 <= label < len(classes) else "" for label in labels]


def _grey(image: Pixels) -> NDArray[np.float64]:
    """The image in 32 levels of grey, which make a smaller file."""
    return np.repeat(image.mean(axis=2, keepdims=True) // 8 * 8, 3, axis=2)


def _rgb(class_id: int) -> NDArray[np.float64]:
    """The colour of a class; classes with neighbouring ids are far apart in hue."""
    hue = class_id * 0.618034 % 1
    saturation = 0.75 if class_id % 2 else 0.95
    brightness = 0.95 if class_id % 3 else 0.75
    return 255 * np.array(colorsys.hsv_to_rgb(hue, saturation, brightness))
