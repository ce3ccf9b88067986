"""The records of an encoder on other tasks, and how the page reads and names what they hold."""

import base64
import dataclasses
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from catlip.records.estimate import Score
from catlip.records.kind import Kind, other_than
from catlip.records.run import Run

Init = Literal["random", "transfer", "names"]
ZeroShotMethod = Literal["prompts", "classifier rows"]  # of classifying zero-shot

# Classes of the published data sets; a folder that is given instead may have another number.
CLASSES = {
    **{"imagenet": 1000, "places365": 365, "fashion_mnist": 10},
    **{"cifar10": 10, "cifar10-10k": 10, "fashion-types": 25},
}
MOST_IMAGES = 10**7  # in a test, so that a few bytes cannot fill the memory
DRAWN = ("concepts", "subgroups")  # the starter's tasks, on the same test images
IMAGES = "test_images"  # in samples: rows of TestImages
ORIGINS = "origins_"  # in samples, before a task: rows of LabelOrigin
CACHED_NOTE = "features without augmentation, computed once: not the protocol of Table 7(a)"
CACHED_NOTE += "; sizes, crops, warm-up, betas, clipping, averages and precision are not read"
L2_NOTE = "logistic regression, as CLIP's probes: the L2 strength was chosen on {}"


@dataclass(frozen=True, kw_only=True)
class Transferred(Kind):
    """An encoder on other tasks."""

    method: str  # it trained the encoder; or the encoder's spelling, if it was not trained here
    pretrain_seed: int | None
    encoder_digest: str | None = None

    def accuracies(self) -> dict[str, float | None]:
        """Name of the task or of the measure -> accuracy as a fraction."""
        raise NotImplementedError

    def is_published(self, name: str) -> bool:
        """Whether `name` is a whole published data set."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """The accuracies on one task, as fractions of its test images; `top1` and `top5` are means over
    classifiers with a random start and all training data.
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
        values = vars(self).items()
        check_fractions(**{name: value for name, value in values if name[-4:-1] == "top"})


def packed(bits: NDArray[np.bool_]) -> str:
    """[n] bool as base64 of `np.packbits`."""
    return base64.b64encode(np.packbits(bits).tobytes()).decode()


def unpacked(text: str, count: int) -> NDArray[np.bool_]:
    """The first `count` values that `packed` wrote. Raises: ValueError for fewer."""
    whole = np.unpackbits(np.frombuffer(base64.b64decode(text, validate=True), np.uint8))
    if count > len(whole):
        raise ValueError(f"{len(whole)} bits are too few for {count} values")
    return whole[:count].astype(bool)


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """One classifier of a sweep: a row of `runs`."""

    task: str
    fraction: float  # of each class's training data, as asked for; `num_train` may be more
    init: Init
    seed: int
    top1: float
    top5: float
    num_train: int
    seconds: float
    # Whether the class of each readable test image came first, `packed`; empty in older records.
    correct: str = ""
    l2: float | None = None  # the strength that an L2 sweep chose
    num_test: int | None = None  # test images; None in older records

    def __post_init__(self) -> None:
        check_fractions(fraction=self.fraction, top1=self.top1, top5=self.top5)
        if not self.fraction > 0 or self.num_train < 1:
            raise ValueError("a classifier was trained on no images")


@dataclass(frozen=True)
class TestImages:
    """A task's test images: `clusters` has the same number for those sampled together.
    `unreadable` are the positions of those that have no bit in `Classifier.correct`; None in older
    records.
    """

    task: str
    clusters: str = ""  # `packed_ids`
    unreadable: list[int] | None = None


def packed_ids(ids: NDArray[np.int64]) -> str:
    """Which of [n] images have the same number, as base64. Groups are counted in the order in which
    they appear, and stored as differences: compressed, these take an eighth of the numbers' bytes.
    """
    first, group = np.unique(ids, return_index=True, return_inverse=True)[1:]
    counted = np.argsort(np.argsort(first))[group]
    differences = np.diff(counted, prepend=0).astype("<i4")
    return base64.b64encode(zlib.compress(differences.tobytes(), 9)).decode()


def unpacked_ids(text: str) -> NDArray[np.int64]:
    """Raises: ValueError."""
    data = base64.b64decode(text, validate=True)
    try:
        differences = zlib.decompressobj().decompress(data, 4 * MOST_IMAGES)
    except zlib.error as error:
        raise ValueError(f"groups of test images: {error}") from None
    return np.cumsum(np.frombuffer(differences, "<i4"), dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class LabelOrigin:
    """A row of `origins_<task>`: where Transfer Init takes a label's row from. `similarity` is a
    mean; `test_images` are the positions of its images, in older records.
    """

    label: str
    kind: Literal["exact", "near", "mean", "random"]
    similarity: float | None
    synsets: list[str]
    similarities: list[float]
    classes: list[list[str]]
    test_images: list[int] = field(default_factory=list)


# The longest first: the name zero_shot_top1 also ends with top1.
TASK_FIELDS = sorted(
    (field.name for field in dataclasses.fields(TaskResult)), key=len, reverse=True
)


@dataclass(frozen=True, kw_only=True)
class OnTasks(Transferred):
    """An encoder on several tasks. In a file, a task's fields are metrics `<task>_<field>`."""

    rows: ClassVar[dict[str, type]] = {
        "runs": Classifier,
        ORIGINS: LabelOrigin,
        IMAGES: TestImages,
    }

    tasks: dict[str, TaskResult] = field(default_factory=dict)

    @classmethod
    def read(cls, metrics: dict[str, Any]) -> Self:
        tasks: dict[str, dict[str, Any]] = {}
        for key, value in metrics.items():
            name = next((name for name in TASK_FIELDS if key.endswith(f"_{name}")), "")
            task = key.removesuffix(f"_{name}")
            if name and task:
                tasks.setdefault(task, {})[name] = value
        return super().read({**metrics, "tasks": tasks})

    def as_dict(self) -> dict[str, Any]:
        flat = super().as_dict()
        for task, numbers in flat.pop("tasks", {}).items():
            flat |= {f"{task}_{name}": value for name, value in numbers.items()}
        return flat

    def accuracies(self) -> dict[str, float | None]:
        return {task: result.top1 for task, result in self.tasks.items()}

    def is_published(self, name: str) -> bool:
        return name in CLASSES and self.tasks[name].num_classes == CLASSES[name]

    def faults(self, run: Run[Any]) -> Iterator[str]:
        return other_than_hits(run, self.accuracies())


class LinearProbe(OnTasks):
    """Linear classifiers on a frozen encoder."""

    kind = "linear_probe"


class L2Probe(OnTasks):
    """Logistic regressions on a frozen encoder, their L2 strengths chosen on held-out images."""

    kind = "l2_probe"


class Finetune(OnTasks):
    """Linear classifiers that were trained together with their encoder."""

    kind = "finetune"


@dataclass(frozen=True, kw_only=True)
class Readouts(OnTasks):
    """Accuracies of classes that are read out of features without training."""

    kind = "readout"

    zero_shot: ZeroShotMethod | None = None


def check_fractions(**values: float | None) -> None:
    """Raises: ValueError that names a value that is neither from 0 to 1, nor NaN or None, or a
    top-5 accuracy below its top-1.
    """
    for name, value in values.items():
        if value is not None and (value < 0 or value > 1):
            raise ValueError(f"{name} is {value:g}, but must be from 0 to 1")
        top1 = values.get(name.replace("top5", "top1"))
        if value is not None and top1 is not None and value < top1:
            raise ValueError(f"{name} is {value:g}, below a top-1 of {top1:g}")


def score_of(run: Run[Any], task: str) -> Score:
    """The top-1 accuracy in % of a probe or of a study's training, with its recorded parts."""
    tasks = run.metrics.tasks if isinstance(run.metrics, OnTasks) else {}
    top1 = tasks[task].top1 if tasks else run.metrics.accuracies[task]
    accuracy = math.nan if top1 is None else top1
    return 100 * with_per_image_hits(run, task, accuracy, texts_of(run, task))


def usual_classifiers(run: Run[Any], task: str) -> list[Classifier]:
    """Those with all data and a random start, of which a task's accuracy is the mean."""
    rows = run.rows("runs", Classifier) if "runs" in run.metrics.rows else []
    key = (task, 1, "random")
    return [row for row in rows if (row.task, row.fraction, row.init) == key]


def texts_of(run: Run[Any], task: str) -> list[str]:
    """The bits of each usual classifier, if they are recorded."""
    return [row.correct for row in usual_classifiers(run, task)]


def with_per_image_hits(run: Run[Any], task: str, accuracy: float, texts: Sequence[str]) -> Score:
    """The mean accuracy of some classifiers, a fraction. Its parts are the fractions of these
    classifiers that were right on each image, NaN for an unreadable image; there are none if hits
    are not recorded, or if an older record does not tell which images were unreadable.
    """
    recorded = (row.unreadable for row in images_of(run) if row.task == task)
    unreadable = next((positions for positions in recorded if positions is not None), None)
    if not texts or not all(texts) or (unreadable is None and run.metrics.broken):
        return Score(accuracy)
    count, unreadable = _num_test(run, task) or 0, unreadable or []
    if count <= len(unreadable):
        return Score(accuracy)
    try:
        right = np.mean([unpacked(text, count - len(unreadable)) for text in texts], axis=0)
        by_image = np.full(count, np.nan)
        by_image[np.delete(np.arange(count), unreadable)] = right
        clusters = clusters_of(run, task)
    except (ValueError, IndexError, OverflowError):
        return Score(accuracy)
    return Score(accuracy, by_image, clusters if len(clusters) == count else None)


def other_than_hits(run: Run[Any], accuracies: Mapping[str, float | None]) -> Iterator[str]:
    """Accuracies that are not those of the classifiers, or of the hits on the test images."""
    for task, accuracy in accuracies.items():
        if rows := usual_classifiers(run, task):
            yield from other_than(f"{task}.top1", accuracy, fmean(row.top1 for row in rows))
    for row in run.rows("runs", Classifier):
        hits = with_per_image_hits(run, row.task, row.top1, [row.correct]).by_image
        if hits is not None:
            yield from other_than(f"{row.task}.top1 of a classifier", row.top1, np.nanmean(hits))


def _num_test(run: Run[Any], task: str) -> int | None:
    if isinstance(run.metrics, OnTasks):
        return run.metrics.tasks[task].num_test if task in run.metrics.tasks else None
    return next((row.num_test for row in run.rows("runs", Classifier) if row.task == task), None)


def images_of(run: Run[Any]) -> list[TestImages]:
    return run.rows(IMAGES, TestImages) if IMAGES in run.metrics.rows else []


def clusters_of(run: Run[Any], task: str) -> NDArray[np.int64]:
    """A number for each test image, the same for images that were sampled together; empty if the
    record has none. Older records of the starter have it in the labels' rows.
    """
    for images in images_of(run):
        if images.task == task and images.clusters:
            return unpacked_ids(images.clusters)
    concept_of: dict[int, int] = {}
    if task in DRAWN and ORIGINS in run.metrics.rows:
        for concept, row in enumerate(run.rows(f"{ORIGINS}concepts", LabelOrigin)):
            concept_of |= dict.fromkeys(row.test_images, concept)
    return np.array([concept_of.get(image, -1) for image in range(len(concept_of))], np.int64)
