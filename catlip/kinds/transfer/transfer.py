"""What is shared by records of an encoder that is used on other tasks; and the linear probe, the
fine-tuning and the reading out without training.
"""

import base64
import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from catlip.kinds.base import Kind

# Of the data sets themselves; a folder given in their place may hold others.
CLASSES = {"imagenet": 1000, "places365": 365, "fashion_mnist": 10}
Start = Literal["random", "transfer"]


@dataclass(frozen=True, kw_only=True)
class Transferred(Kind):
    """An encoder on other tasks.

    Attributes:
        method: what trained the encoder, or the encoder's spelling where it was not trained here.
        encoder_digest: of the encoder's weights.
    """

    method: str
    pretrain_seed: int | None
    encoder_digest: str | None = None

    def accuracies(self) -> dict[str, float | None]:
        """What it reached, as fractions, by task or by the name of the measure."""
        raise NotImplementedError

    def is_published(self, name: str) -> bool:
        """Whether that was reached on the published data set of its name, as a whole."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """A task and what was reached on it; accuracies are fractions of its test images.

    Attributes:
        num_train, num_test: images; readouts do not say how many are trained on.
        top1, top5: with all training data and classifiers that start at random, over their seeds.
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


# The longest first: zero_shot_top1 ends as top1 does.
_OF_TASK = sorted((field.name for field in dataclasses.fields(TaskResult)), key=len, reverse=True)


@dataclass(frozen=True, kw_only=True)
class OnTasks(Transferred):
    """An encoder on several tasks. In a file, the numbers of a task stand among the others, each
    as `<task>_<number>`.
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
        return msgspec.convert({**metrics, "tasks": tasks}, cls)

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
    """[n] bool as text, a bit each: base64 of whole bytes, the first bit the highest of the first,
    and zeros at the end.
    """
    return base64.b64encode(np.packbits(bits).tobytes()).decode()


def unpacked(text: str, count: int) -> NDArray[np.bool_]:
    """The first so many bits of what `packed` wrote. Raises: ValueError if there are fewer."""
    whole = np.unpackbits(np.frombuffer(base64.b64decode(text, validate=True), np.uint8))
    if count > len(whole):
        raise ValueError(f"{len(whole)} bits are not {count}")
    return whole[:count].astype(bool)


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """One classifier of a sweep, trained with or without its encoder: a row of `runs`.

    Attributes:
        fraction: of the training data of each class that was asked for.
        init: at random, or from rows of the pre-training's classifier.
        num_train: images that it was trained on; more than was asked for where a class has few.
        seconds: of training.
        correct: of each test image that could be read, in their order, whether its class came
            first, as `packed` writes it; nothing in older records.
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
    """Where the row of a label comes from: a row of `origins_<task>`.

    Attributes:
        kind: the class itself, one near it, the mean of several, or none: it starts at random.
        similarity: mean over the synsets that have a class; None where none has.
        synsets, similarities, classes: of each of its synsets, its similarity to the nearest
            classes, and these, none where they are too far.
        test_images: the positions of its images in the test set; nothing in older records.
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
    """Classes that were read out of features without training.

    Attributes:
        zero_shot: how they were read out without images of the task, if they were.
    """

    kind = "readout"
    rows: ClassVar[dict[str, type]] = {"origins_": LabelOrigin}

    zero_shot: Literal["prompts", "classifier rows"] | None = None


def check_fractions(**values: float | None) -> None:
    """Raises: ValueError that names one which is neither from 0 to 1 nor NaN."""
    for name, value in values.items():
        if value is not None and (value < 0 or value > 1):
            raise ValueError(f"{name} is {value:g}, and not from 0 to 1")
