"""The records of an encoder on other tasks, and how the page reads and names what they hold."""

import base64
import dataclasses
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from catlip.records.estimate import Score
from catlip.records.kind import Kind
from catlip.records.run import Run
from catlip.records.select import keep_common_recipe, link, quantity_over_seeds
from catlip.records.styles import is_ours, name_of, ordered
from catlip.records.table import Cell, Quantity, clipped, format_number, quantity_cell

Init = Literal["random", "transfer", "names"]
ZeroShotMethod = Literal["prompts", "classifier rows"]  # of classifying zero-shot
T = TypeVar("T")

# Classes of the published data sets; a folder that is given instead may have another number.
CLASSES = {
    **{"imagenet": 1000, "places365": 365, "fashion_mnist": 10},
    **{"cifar10": 10, "cifar10-10k": 10, "fashion-types": 25},
}
MOST_IMAGES = 10**7  # in a test, so that a few bytes cannot fill the memory
PAPERS = ("imagenet", "places365")  # the paper's tasks, in its order
TITLES = {
    **{"imagenet": "ImageNet-1k", "places365": "Places365", "fashion_mnist": "Fashion-MNIST"},
    **{"cifar10": "CIFAR-10", "cifar10-10k": "CIFAR-10", "fashion-types": "article types"},
}
PLURALS = ("concepts", "subgroups")  # task names that can follow a number
IMAGES = "test_images"  # in samples: rows of TestImages
TASK_PART_SEPARATOR = ", "  # between a task and the part of its test images
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
    """A task's test images: `clusters` has the same number for those sampled together; for a part
    of a task (`concepts, seen`), the bits of `part` tell which images it is. `unreadable` are the
    positions of those that have no bit in `Classifier.correct`; None in older records.
    """

    task: str
    clusters: str = ""  # `packed_ids`
    part: str = ""  # `packed`
    unreadable: list[int] | None = None


def parts_of(task: str, names: NDArray[np.str_] | None) -> list[TestImages]:
    """The parts of a task, of which `names` [n] has one for each test image."""
    if names is None:
        return []
    return [
        TestImages(f"{task}{TASK_PART_SEPARATOR}{part}", part=packed(names == part))
        for part in np.unique(names)
    ]


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
    if not data.startswith(b"x\xda"):  # an older record has the numbers themselves
        return np.frombuffer(data, "<u4").astype(np.int64)
    try:
        differences = zlib.decompressobj().decompress(data, 4 * MOST_IMAGES)
    except zlib.error as error:
        raise ValueError(f"groups of test images: {error}") from None
    return np.cumsum(np.frombuffer(differences, "<i4"), dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class LabelOrigin:
    """A row of `origins_<task>`: where Transfer Init takes a label's row from. `similarity` is a
    mean; `test_images` are the positions of its images, empty in older records.
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
        "origins_": LabelOrigin,
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

    def sizes(self, task: str = "") -> dict[str, int | None]:
        names = ("num_classes", "num_test") if task else ()
        return {f"{task}_{name}": getattr(self.tasks.get(task), name, None) for name in names}

    def accuracies(self) -> dict[str, float | None]:
        return {task: result.top1 for task, result in self.tasks.items()}

    def is_published(self, name: str) -> bool:
        return name in CLASSES and self.tasks[name].num_classes == CLASSES[name]


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
    """Raises: ValueError that names a value that is neither from 0 to 1, nor NaN or None."""
    for name, value in values.items():
        if value is not None and (value < 0 or value > 1):
            raise ValueError(f"{name} is {value:g}, but must be from 0 to 1")


# Names and order of tasks


def tasks_by_importance(tasks: Iterable[str], records: Sequence[Run[OnTasks]]) -> list[str]:
    """First the paper's tasks, then those with most classes, then with most test images."""

    def rank(task: str) -> tuple[int, int, int]:
        results = results_on(records, task)
        is_papers = task in PAPERS and is_published(records, task)
        return (
            PAPERS.index(task) if is_papers else len(PAPERS),
            -max((result.num_classes for result in results), default=0),
            -max((result.num_test or 0 for result in results), default=0),
        )

    return sorted(dict.fromkeys(tasks), key=rank)


def task_title(records: Sequence[Run[OnTasks]], task: str) -> str:
    """`435 concepts`, `cifar10 (10 classes)`, or `ImageNet-1k` if it has all of its classes. A
    small data set that only a study probed on, whose records have no number of classes, has its
    title.
    """
    is_of_study = task in TITLES and task not in PAPERS and not results_on(records, task)
    if is_of_study or is_published(records, task):
        return TITLES[task]
    name, classes = clipped(task, 24), num_classes(records, task)
    if classes is None:
        return name
    if task in PLURALS:
        return f"{format_number(classes, 0)} {name}"
    return f"{name} ({format_number(classes, 0)} class{'es' * (classes != 1)})"


def short_task_title(records: Sequence[Run[OnTasks]], task: str) -> str:
    """The title, with the number of classes only if it could pass for a published data set."""
    return task_title(records, task) if task in CLASSES else clipped(task, 24)


def is_published(records: Sequence[Run[OnTasks]], task: str) -> bool:
    """Whether every record with the task has the number of classes of the published data set."""
    return task in CLASSES and num_classes(records, task) == CLASSES[task]


def results_on(records: Sequence[Run[OnTasks]], task: str) -> list[TaskResult]:
    return [r.metrics.tasks[task] for r in records if task in r.metrics.tasks]


def num_classes(records: Sequence[Run[OnTasks]], task: str) -> int | None:
    """The number of classes of a task; None if no record has the task, or if they disagree."""
    return agreed(result.num_classes for result in results_on(records, task))


def agreed(values: Iterable[T | None]) -> T | None:
    """The value that all have; None if they differ."""
    different = set(values)
    return different.pop() if len(different) == 1 else None


# Accuracies, in percent; a NaN stays NaN


def on_task(record: Run[OnTasks], task: str, metric: str) -> float | None:
    """An accuracy, a field of `TaskResult`; None where the record has none."""
    fraction = getattr(record.metrics.tasks.get(task), metric, None)
    return None if fraction is None else 100 * fraction


def accuracy_cell(records: Sequence[Run[OnTasks]], method: str, task: str, metric: str) -> Cell:
    """The mean over a method's encoders of one recipe. The records are of one kind and all methods;
    the encoders trained here decide which recipe counts.
    """
    tested = [r for r in records if on_task(r, task, metric) is not None]
    runs = [r for r in tested if r.method == method]
    trained_here = [r for r in tested if is_ours(r.method)]
    comparable = keep_common_recipe(runs, trained_here if is_ours(method) else runs, task)
    mean = quantity_over_seeds(comparable.records, lambda record: on_task(record, task, metric))
    cell = quantity_cell(mean, 1, link(comparable.records))
    return replace(cell, remarks=comparable.remarks)


def accuracy_in_percent(record: Run[Transferred], name: str) -> float | None:
    """A record's accuracy on a task or by a measure; None if it has none."""
    accuracy = record.metrics.accuracies().get(name)
    return None if accuracy is None else 100 * accuracy


def accuracy(records: Sequence[Run[Transferred]], name: str) -> Quantity | None:
    """The accuracy on a task or by a measure, over the seeds of pre-training."""
    return quantity_over_seeds(records, lambda record: accuracy_in_percent(record, name))


def accuracy_of(records: Sequence[Run[Transferred]], name: str) -> Cell:
    return quantity_cell(accuracy(records, name), 1, link(records))


def methods_of(records: Iterable[Run]) -> list[str]:
    return ordered(record.method for record in records)


def method_cell(method: str) -> Cell:
    return Cell(clipped(name_of(method), 48))


@dataclass(frozen=True)
class SweepRun:
    """A classifier with its record. `fraction`, in %, is what it used: an image a class or more."""

    record: Run[OnTasks]
    task: str
    fraction: float
    images: int
    init: Init
    seed: int
    top1: float


def runs_of(record: Run[OnTasks]) -> list[SweepRun]:
    """The classifiers of a record, each once; if fractions give equal images, the smallest."""
    runs: dict[tuple[str, float, str, int], SweepRun] = {}
    for row in sorted(record.rows("runs", Classifier), key=lambda row: row.fraction):
        result = record.metrics.tasks.get(row.task)
        used = row.num_train / result.num_train if result and result.num_train else row.fraction
        run = SweepRun(
            record, row.task, 100 * used, row.num_train, row.init, row.seed, 100 * row.top1
        )
        runs.setdefault((run.task, run.fraction, run.init, run.seed), run)
    return list(runs.values())


def score_of(run: Run[Any], task: str) -> Score:
    """The top-1 accuracy in % of a probe or of a study's training, with its recorded parts."""
    for images in images_of(run):
        if images.task == task and images.part:
            whole = score_of(run, task.partition(TASK_PART_SEPARATOR)[0])
            if whole.by_image is not None:
                is_part = unpacked(images.part, len(whole.by_image))
                return score_on(whole, np.flatnonzero(is_part).tolist())
    tasks = run.metrics.tasks if isinstance(run.metrics, OnTasks) else {}
    top1 = tasks[task].top1 if tasks else run.metrics.accuracies[task]
    accuracy = math.nan if top1 is None else top1
    return 100 * with_per_image_hits(run, task, accuracy, texts_of(run, task))


def texts_of(run: Run[Any], task: str) -> list[str]:
    """The bits of each classifier with all data and a random start, if they are recorded."""
    rows = run.rows("runs", Classifier) if "runs" in run.metrics.rows else []
    key = (task, 1, "random")
    return [row.correct for row in rows if (row.task, row.fraction, row.init) == key]


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
    if task in PLURALS and "origins_" in run.metrics.rows:
        for concept, row in enumerate(run.rows("origins_concepts", LabelOrigin)):
            concept_of |= dict.fromkeys(row.test_images, concept)
    return np.array([concept_of.get(image, -1) for image in range(len(concept_of))], np.int64)


def score_on(score: Score, images: Sequence[int]) -> Score:
    """The score on the images at these positions; NaN if it has no parts, or none was read."""
    if score.by_image is None or np.isnan(score.by_image[images]).all():
        return Score(math.nan)
    clusters = None if score.clusters is None else score.clusters[images]
    by_image = score.by_image[images]
    return Score(float(np.nanmean(by_image)), by_image, clusters)


def class_accuracies(
    records: Iterable[Run[LinearProbe]], task: str, classes: Mapping[str, Sequence[int]]
) -> dict[str, float]:
    """Class -> mean accuracy in %, from the positions of its test images; empty without bits."""
    scores = [score_of(record, task).by_image for record in records]
    recorded = [by_image for by_image in scores if by_image is not None]
    if not recorded:
        return {}
    mean = Score(math.nan, np.mean(recorded, axis=0))
    return {label: score_on(mean, images).value for label, images in classes.items()}
