"""What the records of an encoder on other tasks share; and the kinds of linear probes, of
fine-tuning and of readouts without training.
"""

import base64
import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from catlip.results.kind import Kind
from catlip.results.run import Run

# Classes of the published data sets; a folder that is given instead may have another number.
CLASSES = {"imagenet": 1000, "places365": 365, "fashion_mnist": 10}
Start = Literal["random", "transfer"]


@dataclass(frozen=True, kw_only=True)
class Transferred(Kind):
    """An encoder on other tasks.

    Attributes:
        method: the method that trained the encoder, or the name that the encoder was given by if it
            was not trained here.
        encoder_digest: digest of the encoder's weights.
    """

    method: str
    pretrain_seed: int | None
    encoder_digest: str | None = None

    def accuracies(self) -> dict[str, float | None]:
        """Name of the task or of the measure -> accuracy as a fraction."""
        raise NotImplementedError

    def is_published(self, name: str) -> bool:
        """Whether the accuracy `name` is of the whole published data set of that name."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """The accuracies on one task, as fractions of its test images.

    Attributes:
        num_train, num_test: number of images; readouts have no `num_train`.
        top1, top5: means over the seeds of classifiers with a random start and all training data.
    """

    num_classes: int
    num_train: int | None = None
    num_test: int | None = None
    top1: float | None = None
    top5: float | None = None
    knn_top1: float | None = None
    knn_top5: float | None = None
    zero_shot_top1: float | None = None
    zero_shot_top5: float | None = None

    def __post_init__(self) -> None:
        accuracies = {
            name: value for name, value in vars(self).items() if name.endswith(("top1", "top5"))
        }
        check_fractions(**accuracies)
        if self.num_classes < 1:
            raise ValueError("num_classes is below 1")


# The longest first: the name zero_shot_top1 also ends with top1.
_OF_TASK = sorted((field.name for field in dataclasses.fields(TaskResult)), key=len, reverse=True)


@dataclass(frozen=True, kw_only=True)
class OnTasks(Transferred):
    """An encoder on several tasks. In a file, each field of a task is a metric of its own, named
    `<task>_<field>`.
    """

    tasks: dict[str, TaskResult] = field(default_factory=dict)

    @classmethod
    def read(cls, metrics: dict[str, Any]) -> Self:
        tasks: dict[str, dict[str, Any]] = {}
        for key, value in metrics.items():
            name = next((name for name in _OF_TASK if key.endswith(f"_{name}")), "")
            task = key.removesuffix(f"_{name}")
            if name and task:
                tasks.setdefault(task, {})[name] = value
        return super().read({**metrics, "tasks": tasks})

    def metrics(self) -> dict[str, Any]:
        flat = super().metrics()
        for task, numbers in flat.pop("tasks", {}).items():
            flat |= {f"{task}_{name}": value for name, value in numbers.items()}
        return flat

    def sizes(self, task: str = "") -> dict[str, int | None]:
        if not task:
            return {}
        of = self.tasks.get(task)
        return {
            f"{task}_num_classes": of.num_classes if of else None,
            f"{task}_num_test": of.num_test if of else None,
        }

    def accuracies(self) -> dict[str, float | None]:
        return {task: result.top1 for task, result in self.tasks.items()}

    def is_published(self, name: str) -> bool:
        return name in CLASSES and self.tasks[name].num_classes == CLASSES[name]


def packed(bits: NDArray[np.bool_]) -> str:
    """[n] bool as text: base64 of bytes of eight values, the first value in the highest bit, and
    the last byte filled with zeros.
    """
    return base64.b64encode(np.packbits(bits).tobytes()).decode()


def unpacked(text: str, count: int) -> NDArray[np.bool_]:
    """The first `count` values that `packed` wrote. Raises: ValueError if there are fewer."""
    whole = np.unpackbits(np.frombuffer(base64.b64decode(text, validate=True), np.uint8))
    if count > len(whole):
        raise ValueError(f"{len(whole)} bits are too few for {count} values")
    return whole[:count].astype(bool)


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """One classifier of a sweep, trained with or without its encoder: a row of `runs`.

    Attributes:
        fraction: the fraction of each class's training data that was asked for.
        init: at random, or from rows of the pre-training's classifier.
        num_train: number of training images; more than `fraction` of them if a class has few.
        seconds: of training.
        correct: whether the class of each readable test image, in their order, came first, as
            `packed` writes it; empty in older records.
    """

    task: str
    fraction: float
    init: Start
    seed: int
    top1: float
    top5: float
    num_train: int
    seconds: float
    correct: str = ""

    def __post_init__(self) -> None:
        check_fractions(fraction=self.fraction, top1=self.top1, top5=self.top5)
        if not self.fraction > 0 or self.num_train < 1:
            raise ValueError("a classifier was trained on no images")


@dataclass(frozen=True, kw_only=True)
class LabelOrigin:
    """Where Transfer Init takes a label's row of the classifier from: a row of `origins_<task>`.

    Attributes:
        kind: the class itself, a class near it, the mean of several, or a random start.
        similarity: mean over the synsets that have a class; None if none has.
        synsets, similarities, classes: the label's synsets; for each, its similarity to its nearest
            classes, and these classes (none if they are too far).
        test_images: the positions of its images in the test set; empty in older records.
    """

    label: str
    kind: Literal["exact", "near", "mean", "random"]
    similarity: float | None
    synsets: list[str]
    similarities: list[float]
    classes: list[list[str]]
    test_images: list[int] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class LinearProbe(OnTasks):
    """Linear classifiers on a frozen encoder."""

    kind = "linear_probe"
    rows: ClassVar[dict[str, type]] = {"runs": Classifier, "origins_": LabelOrigin}


@dataclass(frozen=True, kw_only=True)
class Finetune(OnTasks):
    """Linear classifiers that were trained together with their encoder."""

    kind = "finetune"
    rows: ClassVar[dict[str, type]] = {"runs": Classifier, "origins_": LabelOrigin}


@dataclass(frozen=True, kw_only=True)
class Readout(OnTasks):
    """Accuracies of classes that were read out of features without training.

    Attributes:
        zero_shot: how classes were read out without any images of the task, if they were.
    """

    kind = "readout"
    rows: ClassVar[dict[str, type]] = {"origins_": LabelOrigin}

    zero_shot: Literal["prompts", "classifier rows"] | None = None


def check_fractions(**values: float | None) -> None:
    """Raises: ValueError that names a value that is neither from 0 to 1, nor NaN or None."""
    for name, value in values.items():
        if value is not None and (value < 0 or value > 1):
            raise ValueError(f"{name} is {value:g}, but must be from 0 to 1")


def in_percent(record: Run[Transferred], name: str) -> float | None:
    """A record's accuracy on a task, or by a measure, in %; None if it has none."""
    accuracy = record.measured.accuracies().get(name)
    return None if accuracy is None else 100 * accuracy
