"""Tasks with several answers for each image: multi-label classification, segmentation and
detection. A record holds one training.
"""

import colorsys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, ClassVar, Literal, Self, TypedDict

import numpy as np
from numpy.typing import NDArray

from bench.downstream.probe.result import (
    Finetune,
    LabelOrigin,
    LinearProbe,
    Transferred,
    accuracy_of,
    agreed,
    check_fractions,
    in_percent,
    method_cell,
    methods_of,
)
from catlip.method_style import name_of
from catlip.results.blocks import Block, Section, Text, side_by_side, to_fill
from catlip.results.figures import Figure
from catlip.results.kind import Kind
from catlip.results.panels import Panel, Pixels, Row, decoded, panels_figure
from catlip.results.run import Records, Run, Setting
from catlip.results.select import alike, by_scale, seed_differences, suffix, unlike
from catlip.table import Cell, Table, clipped, listed, shown, sign_of

SHAPES = ("box", "mask")
FIXED, SLIDING = "mIoU", "mIoU, sliding window"
SPLITS = ("train", "val")
# Not class statements, because a field cannot be named `class` in one. A box is left, top, right
# and bottom in pixels; a mask is a PNG in base64.
Guess = TypedDict("Guess", {"class": int, "score": float})
Object = TypedDict("Object", {"class": int, "box": tuple[float, float, float, float], "mask": str})


@dataclass(frozen=True, kw_only=True)
class LabelsPicture:
    """A test image (in base64, like all images here), its classes, and the most likely ones."""

    key: str
    image: str
    truth: list[int]
    predicted: list[Guess]


@dataclass(frozen=True, kw_only=True)
class MapPicture:
    """A test image with its label map and the predicted one."""

    key: str
    image: str
    truth: str
    predicted: str


@dataclass(frozen=True, kw_only=True)
class ObjectsPicture:
    """A test image with its objects, and the predicted objects."""

    key: str
    image: str
    truth: list[Object]
    predicted: list[Object] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Dense(Transferred):
    """One training on such a task."""

    task: ClassVar[str]  # in a sentence
    title: ClassVar[str]  # of its predictions in a figure
    data: ClassVar[str]  # the layout of its data set
    measures: ClassVar[dict[str, str]]  # measure -> the field that holds it
    columns: ClassVar[dict[str, str]]  # measure -> its column; sentences compare the first measure
    published: ClassVar[tuple[int, int]]  # classes and test images of the paper's data set
    # Fields whose entries are metrics of their own in a file, named `<field>_<entry>`.
    groups: ClassVar[tuple[str, ...]] = SPLITS

    overfit: int | None = None  # in older records, the images that were trained and tested on
    num_parameters: int
    num_train: int
    num_val: int
    num_classes: int
    seconds: float
    final_loss: float
    train: dict[str, int] = field(default_factory=dict)
    val: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fractions(**self.accuracies())

    @classmethod
    def read(cls, metrics: dict[str, Any]) -> Self:
        by_group: dict[str, dict[str, Any]] = {}
        others = {}
        for key, value in metrics.items():
            group, _, name = key.partition("_")
            if group in cls.groups and name:
                by_group.setdefault(group, {})[name] = value
            else:
                others[key] = value
        return super().read(by_group | others)  # so that a foreign `train` is refused

    def metrics(self) -> dict[str, Any]:
        metrics = super().metrics()
        for group in self.groups:
            entries = metrics.pop(group, {})
            metrics |= {f"{group}_{name}": value for name, value in entries.items()}
        return metrics

    def accuracies(self) -> dict[str, float | None]:
        return {measure: attrgetter(name)(self) for measure, name in self.measures.items()}

    def sizes(self, task: str = "") -> dict[str, int | None]:
        return {name: getattr(self, name) for name in ("num_train", "num_val", "num_classes")}

    def is_published(self, name: str = "") -> bool:
        images = max(self.val.get("images", 0), self.num_val)
        return (self.num_classes, images) == self.published


@dataclass(frozen=True, kw_only=True)
class Multilabel(Dense):
    """Average precision of labels: the mean over classes, over all answers together, and over
    classes weighted by their number of images.
    """

    kind = "multilabel"
    task, title, data = "multi-label classification", "Labels", "coco"
    measures: ClassVar = {"mAP": "map_macro", "micro mAP": "map_micro"}
    columns: ClassVar = {"mAP": "Labels, mAP", "micro mAP": "Labels, micro mAP"}
    published = (80, 5000)  # COCO-2017
    rows: ClassVar[dict[str, type]] = {
        "loss": tuple[float, float],
        "origins": LabelOrigin,
        "pictures": LabelsPicture,
    }

    map_macro: float
    map_micro: float
    map_weighted: float
    classes_without_images: int = 0


@dataclass(frozen=True, kw_only=True)
class Segmentation(Dense):
    """Mean intersection over union and pixel accuracies, of images resized to a square and, if
    asked for, with a sliding window.
    """

    kind = "segmentation"
    task, title, data = "segmentation", "Label maps", "ade20k"
    measures: ClassVar = {FIXED: "miou_fixed", SLIDING: "miou_slide"}
    columns: ClassVar = {FIXED: "Segmentation, mIoU", SLIDING: "The same, sliding window"}
    published = (150, 2000)  # ADE20k
    rows: ClassVar[dict[str, type]] = {"loss": tuple[float, float], "pictures": MapPicture}

    miou_fixed: float
    accuracy_fixed: float
    class_accuracy_fixed: float
    miou_slide: float | None = None
    accuracy_slide: float | None = None
    class_accuracy_slide: float | None = None
    weights_digest: str = ""


@dataclass(frozen=True, kw_only=True)
class Precision:
    """COCO's average precision and recall of boxes or of masks; None if there is nothing of that
    size.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ar1: float | None
    ar10: float | None
    ar100: float | None
    ar_small: float | None
    ar_medium: float | None
    ar_large: float | None
    ap_class_agnostic: float | None


@dataclass(frozen=True, kw_only=True)
class Detection(Dense):
    """How well boxes and masks are found."""

    kind = "detection"
    task, title, data = "detection", "Boxes, masks", "coco"
    measures: ClassVar = {
        "box AP": "box.ap",
        "mask AP": "mask.ap",
        "box AP of any class": "box.ap_class_agnostic",
    }
    columns: ClassVar = {
        "box AP": "Boxes, AP",
        "mask AP": "Masks, AP",
        "box AP of any class": "Boxes of any class, AP",
    }
    published = (80, 5000)  # COCO-2017
    groups = (*SPLITS, *SHAPES)
    rows: ClassVar[dict[str, type]] = {"loss": tuple[float, float], "pictures": ObjectsPicture}

    box: Precision
    mask: Precision
    classes_without_objects: int = 0
    objects_cropped_away: int = 0


TASKS: tuple[type[Dense], ...] = (Multilabel, Segmentation, Detection)
Runs = Sequence[Run[Dense]]

# The section


def section(main: Setting | None, records: Records) -> Section:
    words = (
        "Tasks with several answers for each image: the encoder is trained further with a "
        "linear classifier (multi-label), with DeepLabv3 of mmsegmentation, and as the backbone of "
        "detectron2's Mask R-CNN. Within a task every encoder gets the same images in the same "
        "order, the same recipe and the same number of steps."
    )
    blocks: list[Block] = [Text(words)]
    for i, runs in enumerate(by_scale(records, main, Multilabel, Segmentation, Detection)):
        of_encoders = [run for run in runs if not run.measured.overfit]
        blocks += map(Text, [*gain_sentences(of_encoders), *other_encoders(of_encoders, records)])
        blocks += dense_table(of_encoders, suffix(i))
        blocks += side_by_side(picture_figures(of_encoders, suffix(i)))
        if count := len(runs) - len(of_encoders):
            blocks.append(Text(f"Left out: {count} trained and tested on the same few images."))
    recorded = {record.kind for record in records.every}
    missing = [task for task in TASKS if task.kind not in recorded]
    if len(missing) == len(TASKS):
        blocks += to_fill("No dense transfer has been recorded.", "./run_all.sh --full")
    else:
        for task in missing:
            command = (
                f"python -m bench.downstream.{task.kind} --encoder "
                "runs/starter/pretrain/catlip-seed0 "
                f"--data {task.data}:data/starter-scenes/{task.data}"
            )
            blocks += to_fill(f"There is no record of {task.task}.", command)
    return Section("dense", "Labels, masks and boxes", blocks)


def dense_table(records: Runs, suffix: str = "") -> list[Table]:
    """A row for each method, and another with Transfer Init; a column for each measure."""
    columns = []
    for task in TASKS:
        runs = [record for record in records if record.kind == task.kind]
        for measure, title in task.columns.items():
            values = [in_percent(record, measure) for record in runs]
            # On square images a sliding window gives the same numbers as the fixed size.
            again = measure == SLIDING and values == [in_percent(record, FIXED) for record in runs]
            if not again and any(value is not None for value in values):
                columns.append((task.kind, measure, title))
    rows = []
    for method in methods_of(records):
        name = method_cell(method).text
        for row_name, is_transfer in ((name, False), (f"{name}, Transfer Init", True)):
            runs = [
                record
                for record in records
                if record.method == method and (record.setup.init == "transfer") == is_transfer
            ]
            cells = [_cell(runs, kind, measure, records) for kind, measure, _ in columns]
            if any(cell.quantity for cell in cells):
                rows.append([Cell(row_name), *cells])
    if not rows:
        return []
    titles = ["Method", *(f"{title} (%)" for _, _, title in columns)]
    title = f"Tables 3 to 5's form at {records[0].scale} scale"
    return [Table(f"dense{suffix}", title, titles, rows=rows, caption=_caption(records))]


def _cell(runs: Runs, kind: str, measure: str, records: Runs) -> Cell:
    with_value = [run for run in runs if run.kind == kind and in_percent(run, measure) is not None]
    kept = alike(with_value, [record for record in records if record.kind == kind])
    return replace(accuracy_of(kept.records, measure), remarks=kept.remarks)


def _caption(records: Runs) -> str:
    sentences = [
        "Mean ± sample standard deviation over n seeds of pre-training. mAP is the mean over "
        "classes of the average precision."
    ]
    for task in TASKS:
        runs = [record for record in records if record.kind == task.kind]
        if sizes := agreed(tuple(record.measured.sizes().values()) for record in runs):
            train, val, classes = (shown(size, 0) for size in sizes)
            sentences.append(
                f"{task.task.capitalize()}: {classes} classes, {train} training and {val} test "
                "images."
            )
        if fields := unlike(runs):
            sentences.append(
                f"Beware: the runs of {task.task} do not all have the same recipe: they differ in "
                f"{listed(fields)}."
            )
    return " ".join(sentences)


def gain_sentences(records: Runs) -> list[str]:
    """Whether pre-training helps: each method against an untrained encoder of the same seed."""
    sentences = []
    for task in TASKS:
        measure, title = next(iter(task.columns.items()))
        runs = [r for r in records if r.kind == task.kind and r.setup.init != "transfer"]
        untrained = [run for run in runs if run.method == "random"]
        parts = []
        for method in methods_of(runs):
            gains = gains_over([run for run in runs if run.method == method], untrained, measure)
            if gains and method != "random":
                parts.append(_gain(name_of(method), gains))
        if parts:
            sentences.append(f"{title}: {'; '.join(parts)}.")
    return sentences


def gains_over(records: Runs, base: Runs, measure: str) -> list[float]:
    """The difference of a measure, in points, for each seed that both have, by the recipe with the
    most seeds.
    """
    base_keys = {record.told_key for record in base}
    gains: list[list[float]] = []
    for key in dict.fromkeys(r.told_key for r in records if r.told_key in base_keys):
        one, other = ([run for run in runs if run.told_key == key] for runs in (records, base))
        gains.append(seed_differences(one, other, lambda run: in_percent(run, measure)))
    return max(gains, key=len, default=[])


def _gain(name: str, gains: Sequence[float]) -> str:
    better = sum(sign_of(gain) > 0 for gain in gains)
    mean = f"{shown(sum(gains) / len(gains), 1)} points on average"
    seeds = f"{len(gains)} seed{'s' * (len(gains) != 1)}"
    if better == len(gains):
        return f"{name} is above random init in each of {seeds}, by {mean}"
    if better == 0:
        return f"{name} is not above random init in any of {seeds} ({mean})"
    return f"{name} is above random init in {better} of {seeds} only ({mean})"


def other_encoders(records: Runs, every: Records) -> list[str]:
    """A warning if encoders have the method and seed of probed ones, but other weights."""
    where = {(record.root, record.scale) for record in records}
    transferred: list[Run[Transferred]] = [*every.of(LinearProbe), *every.of(Finetune)]
    probed = _digests(r for r in transferred if (r.root, r.scale) in where)
    trained = _digests(records)
    shared = [encoder for encoder in trained if encoder in probed]
    other = [encoder for encoder in shared if trained[encoder] != probed[encoder]]
    if not other:
        return []
    return [
        f"Beware: {len(other)} of {len(shared)} encoders here are not those that were probed and "
        "fine-tuned above: same method and seed, but other weights. Compare within this section."
    ]


def _digests(records: Iterable[Run[Transferred]]) -> dict[tuple[str, int | None], set[str]]:
    """Method and seed of an encoder trained here -> the digests of its weights."""
    digests: dict[tuple[str, int | None], set[str]] = {}
    for record in records:
        if record.method != "random" and (digest := record.measured.encoder_digest):
            digests.setdefault((record.method, record.seed), set()).add(digest)
    return digests


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
            for record in records
            if record.kind == task.kind
            and record.samples.get("pictures")
            and record.setup.init != "transfer"
        ]
        if runs:
            first = [next(r for r in runs if r.method == method) for method in methods_of(runs)]
            rows += _rows_of_task(task, first)
            seeds |= {record.seed for record in first}
    if not any(panel for _, panels in rows for panel in panels):
        return []
    same = f" (seed {seeds.pop()})" if len(seeds) == 1 else ""
    caption = (
        f"Predictions, {records[0].scale} scale: the truth, and what each encoder's model predicts "
        f"on the same test images, evenly spread and not selected{same}. Of labels and boxes the "
        "likeliest are shown, as many as there are true ones."
    )
    return [panels_figure(f"dense{suffix}", caption, rows)]


def _rows_of_task(task: type[Dense], records: Runs) -> list[Row]:
    kind: type[Any] = task.rows["pictures"]
    panel = PANELS[kind]
    pictures = [{picture.key: picture for picture in r.rows("pictures", kind)} for r in records]
    keys = [key for key in pictures[0] if all(key in by_key for by_key in pictures)][:MAX_PICTURES]
    classes = _classes(records[0])
    truth = [panel(pictures[0][key], "truth", classes) for key in keys]
    rows: list[Row] = [(f"{task.title}:\ntruth", truth)]
    for record, by_key in zip(records, pictures, strict=True):
        predictions = [panel(by_key[key], "predicted", classes) for key in keys]
        rows.append((name_of(record.method), predictions))
    return rows


def _classes(record: Run[Kind]) -> list[str]:
    names = record.samples.get("classes")
    return [clipped(name, 16) for name in names] if isinstance(names, list) else []


def _words(labels: Sequence[int], classes: Sequence[str]) -> list[str]:
    return [classes[label] if 0 <= label < len(classes) else "" for label in labels]


def _labels(picture: LabelsPicture, side: Side, classes: Sequence[str]) -> Panel | None:
    """The true classes, or as many of the likeliest ones, with the right ones marked."""
    image = decoded(picture.image, "RGB")
    if image is None:
        return None
    if side == "truth":
        return Panel(image, words=_words(picture.truth, classes)[:MAX_WORDS])
    likeliest = [guess["class"] for guess in picture.predicted[: max(1, len(picture.truth))]]
    marks = ["\N{CHECK MARK} " if label in picture.truth else "" for label in likeliest]
    words = zip(marks, _words(likeliest, classes), strict=True)
    return Panel(None, words=[mark + word for mark, word in words if word][:MAX_WORDS])


def _label_map(picture: MapPicture, side: Side, classes: Sequence[str]) -> Panel | None:
    """The classes as colours over the image in grey, only where the truth is not ignored."""
    image, truth = decoded(picture.image, "RGB"), decoded(picture.truth, "L")
    label_map = truth if side == "truth" else decoded(picture.predicted, "L")
    if image is None or truth is None or label_map is None:
        return None
    if not label_map.shape == truth.shape == image.shape[:2]:
        return None
    colours = np.array([_rgb(class_id) for class_id in range(256)])
    opacity = np.where(truth != IGNORED, 0.8, 0.0)[..., None]
    shaded = opacity * colours[label_map] + (1 - opacity) * _grey(image)
    return Panel(np.asarray(shaded, dtype=np.uint8))


def _objects(picture: ObjectsPicture, side: Side, classes: Sequence[str]) -> Panel | None:
    image = decoded(picture.image, "RGB")
    if image is None:
        return None
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
PANELS: dict[type, Callable[[Any, Side, Sequence[str]], Panel | None]] = {
    LabelsPicture: _labels,
    MapPicture: _label_map,
    ObjectsPicture: _objects,
}


def _grey(image: Pixels) -> NDArray[np.float64]:
    """The image in 32 levels of grey, which make a smaller file."""
    return np.repeat(image.mean(axis=2, keepdims=True) // 8 * 8, 3, axis=2)


def _rgb(class_id: int) -> NDArray[np.float64]:
    """The colour of a class; classes with neighbouring ids are far apart in hue."""
    hue = class_id * 0.618034 % 1
    saturation = 0.75 if class_id % 2 else 0.95
    brightness = 0.95 if class_id % 3 else 0.75
    return 255 * np.array(colorsys.hsv_to_rgb(hue, saturation, brightness))
