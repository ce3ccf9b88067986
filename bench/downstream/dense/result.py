"""Tasks with several answers per image: multi-label classification, segmentation and detection."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from bench.downstream.probe.result import LabelOrigin, Transferred, check_fractions
from catlip.data.scenes_result import SPLITS, Guess, ObjectsPicture, gathered, scattered

SHAPES = ("box", "mask")


@dataclass(frozen=True, kw_only=True)
class LabelsPicture:
    """A test image (in base64, like all images here), its classes, and the most likely classes."""

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
class Dense(Transferred):
    """One training on such a task.

    Attributes:
        overfit: number of images that it was both trained and tested on; None for a real training.
        num_train, num_val: number of images.
        train, val: name -> count, from the annotations of the split.
        seconds: of training.
    """

    published: ClassVar[tuple[int, int]]
    """Number of classes and of test images of the data set that the paper reports on."""
    groups: ClassVar[tuple[str, ...]] = SPLITS
    """Fields whose entries are metrics of their own in a file, named `<field>_<entry>`."""

    overfit: int | None = None
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
        return super().read(gathered(metrics, cls.groups))

    def metrics(self) -> dict[str, Any]:
        return scattered(super().metrics(), self.groups)

    def sizes(self, task: str = "") -> dict[str, int | None]:
        return {
            "num_train": self.num_train,
            "num_val": self.num_val,
            "num_classes": self.num_classes,
        }

    def is_published(self, name: str = "") -> bool:
        images = max(self.val.get("images", 0), self.num_val)
        return (self.num_classes, images) == self.published


@dataclass(frozen=True, kw_only=True)
class Multilabel(Dense):
    """Mean average precision of labels: over classes, over all answers together, and over classes
    weighted by their number of images.
    """

    kind = "multilabel"
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

    def accuracies(self) -> dict[str, float | None]:
        return {"mAP": self.map_macro, "micro mAP": self.map_micro}


@dataclass(frozen=True, kw_only=True)
class Segmentation(Dense):
    """Mean intersection over union and pixel accuracies, of images resized to a square and, if
    asked for, with a sliding window.
    """

    kind = "segmentation"
    rows: ClassVar[dict[str, type]] = {"loss": tuple[float, float], "pictures": MapPicture}
    published = (150, 2000)  # ADE20k

    miou_fixed: float
    accuracy_fixed: float
    class_accuracy_fixed: float
    miou_slide: float | None = None
    accuracy_slide: float | None = None
    class_accuracy_slide: float | None = None
    weights_digest: str = ""

    def accuracies(self) -> dict[str, float | None]:
        return {"mIoU": self.miou_fixed, "mIoU, sliding window": self.miou_slide}


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
    groups = (*SPLITS, *SHAPES)
    rows: ClassVar[dict[str, type]] = {"loss": tuple[float, float], "pictures": ObjectsPicture}
    published = (80, 5000)  # COCO-2017

    box: Precision
    mask: Precision
    classes_without_objects: int = 0
    objects_cropped_away: int = 0

    def accuracies(self) -> dict[str, float | None]:
        return {
            "box AP": self.box.ap,
            "mask AP": self.mask.ap,
            "box AP of any class": self.box.ap_class_agnostic,
        }
