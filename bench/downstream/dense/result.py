"""Tasks with several answers for each image: multi-label classification, segmentation and
detection. A record holds one training.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

from bench.downstream.probe.result import LabelOrigin, Transferred, check_fractions
from catlip.records.run import Run, usual_recipe
from catlip.records.styles import name_of, ordered
from catlip.records.table import RECORDS, Column, Row, Spec, quantity_of

SLIDING = "mIoU, sliding window"


@dataclass(frozen=True, kw_only=True)
class Dense(Transferred):
    """One training on such a task."""

    rows: ClassVar[dict[str, type]] = {"loss": tuple[float, float], "classes": str}
    task: ClassVar[str]  # in a sentence
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

    def is_published(self, name: str = "") -> bool:
        return (self.num_classes, max(self.val_images, self.num_val)) == self.published


@dataclass(frozen=True, kw_only=True)
class Multilabel(Dense):
    """Average precision of labels: the mean over classes, and over all answers together."""

    kind = "multilabel"
    task = "multi-label classification"
    measures: ClassVar = {"mAP": "map_macro", "micro mAP": "map_micro"}
    published = (80, 5000)  # COCO-2017
    rows: ClassVar[dict[str, type]] = {**Dense.rows, "origins": LabelOrigin}

    map_macro: float
    map_micro: float


@dataclass(frozen=True, kw_only=True)
class Segmentation(Dense):
    """Mean IoU and pixel accuracies, of images resized to a square, and with a sliding window."""

    kind = "segmentation"
    task = "segmentation"
    measures: ClassVar = {"mIoU": "miou_fixed", SLIDING: "miou_slide"}
    published = (150, 2000)  # ADE20k

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
    task = "detection"
    measures: ClassVar = {"box AP": "box_ap", "mask AP": "mask_ap"}
    published = (80, 5000)  # COCO-2017

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


def dense_rows(runs: Iterable[Run[Any]]) -> Iterator[Row]:
    """A row for each measure and method, and another with Transfer Init."""
    runs = [*runs]
    for task in TASKS:
        of_task = usual_recipe([run for run in runs if run.kind == task.kind])
        methods = ordered(run.method for run in of_task)
        for measure, method, start in product(task.measures, methods, ("", "transfer")):
            same = [run for run in of_task if run.method == method]
            same = [run for run in same if (run.config.init == "transfer") == bool(start)]
            if same:
                yield {
                    "task": task.task,
                    "classes": same[0].metrics.num_classes,
                    "images": same[0].metrics.num_val,
                    "measure": measure,
                    "method": name_of(method) + ", Transfer Init" * bool(start),
                    "value": quantity_of(run.metrics.accuracies()[measure] for run in same),
                    RECORDS: tuple(run.path for run in same),
                }


DENSE = Spec(
    "dense",
    "Labels, masks and boxes",
    "The encoder is trained further with a linear classifier (multi-label), DeepLabv3 of "
    "mmsegmentation or detectron2's Mask R-CNN, within a task all encoders alike.",
    [
        Column("Task", "task", head=True),
        Column("Classes", "classes", 0, head=True),
        Column("Test images", "images", 0, head=True),
        Column("Measure", "measure", head=True),
        Column("Method", "method"),
        Column("%", "value", 1, factor=100),
    ],
    dense_rows,
    "./run_all.sh --full",
    TASKS,
)
