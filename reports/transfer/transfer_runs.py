"""What encoders reach on tasks that they were not trained for, read from records of transfer.

Records of kind `linear_probe`, `finetune` and `readout` hold an encoder each; the first two also
hold, in `samples["runs"]`, a row for each classifier: task, share of the training data, how it
started, its seed, and what it reached. Accuracies are in percent here; a NaN stays one, and a share
that is none is not there.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from catlip.method_style import is_ours, name_of, ordered
from catlip.table import Cell, Quantity, clipped, quantity_cell, shown
from reports.read.likeness import alike
from reports.read.measured import differing_fields, over_seeds
from reports.read.records import Record, drawable, number, text
from reports.summary.tables import link

TASKS = {
    "imagenet": "ImageNet-1k",
    "places365": "Places365",
    "concepts": "concepts",
    "subgroups": "subgroups",
    "folder": "classes of a folder",
}
CLASSES = {
    "imagenet": 1000,
    "places365": 365,
}  # of the data sets themselves; a folder given in their place may hold others
# Of COCO-2017 and ADE20k: classes, and test images.
DENSE_SETS = {"multilabel": (80, 5000), "segmentation": (150, 2000), "detection": (80, 5000)}
MOST_TASKS = 4
INITS = ("random", "transfer")
LEAST_SHARE = 1e-4  # of the training data, in %, that a figure has a place for


@dataclass(frozen=True)
class Run:
    """One classifier (with its encoder, where that was fine-tuned), from a share of a task's
    training data.

    Attributes:
        asked: the share of the training data that was asked for, in %. share: the share that it
        got, in %, which is more where every class kept an image; what was asked where it is not
        known. images: how many these are. init: random, or transfer: rows of the pre-training
        classifier. top1: accuracy in %, or NaN.
    """

    record: Record
    task: str
    asked: float
    share: float
    images: float | None
    init: str
    seed: int | None
    top1: float


def runs_of(record: Record) -> list[Run]:
    """The rows of `samples["runs"]` that make sense, each once; of shares that hold the same
    images, the smallest.
    """
    rows = [run for row in record.rows("runs") if (run := _run(record, row))]
    found: dict[tuple[str, float, str, int | None], Run] = {}
    for run in sorted(rows, key=lambda run: run.asked):
        found.setdefault((run.task, run.share, run.init, run.seed), run)
    return list(found.values())


def _run(record: Record, row: dict[str, Any]) -> Run | None:
    task, init, asked, top1 = (
        text(row, "task"),
        text(row, "init"),
        percent(row, "fraction"),
        percent(row, "top1"),
    )
    if not task or init not in INITS or top1 is None or asked is None or not asked >= LEAST_SHARE:
        return None
    images, whole_set = drawable(row, "num_train"), drawable(record.metrics, f"{task}_num_train")
    share = (
        100 * images / whole_set
        if images and whole_set and LEAST_SHARE <= 100 * images / whole_set <= 100
        else asked
    )
    return Run(record, task, asked, share, images, init, whole(row, "seed"), top1)


def percent(tree: object, *keys: str) -> float | None:
    """The share at a path of keys in %; a NaN stays one, what is no number from 0 to 1 is None."""
    share = number(tree, *keys)
    return 100 * share if share is not None and (share != share or 0 <= share <= 1) else None


def whole(tree: object, *keys: str) -> int | None:
    """The whole number at a path of keys, or None."""
    found = number(tree, *keys)
    return int(found) if found is not None and found.is_integer() else None


def tasks_of(names: Iterable[str]) -> list[str]:
    """Tasks without repetition, the known ones first; so many as are shown."""
    known = list(TASKS)
    unique = dict.fromkeys(names)
    return sorted(unique, key=lambda name: known.index(name) if name in known else len(known))[
        :MOST_TASKS
    ]


def tasks_with(records: Sequence[Record], ending: str) -> list[str]:
    """The tasks with a metric `<task><ending>`."""
    names = [
        key.removesuffix(ending)
        for r in records
        for key in r.metrics
        if key.endswith(ending) and key != ending
    ]
    return tasks_of(
        name
        for name in names
        if any(percent(r.metrics, name + ending) is not None for r in records)
    )


def is_published_dense(record: Record) -> bool:
    """Whether a record of a dense task is of a whole published data set: its classes, and its test
    images.
    """
    classes, images = DENSE_SETS[record.kind]
    sizes = [number(record.metrics, key) for key in ("val_images", "num_val")]
    return (
        number(record.metrics, "num_classes") == classes
        and max(size or 0 for size in sizes) == images
    )


def task_title(records: Sequence[Record], task: str) -> str:
    """`435 concepts`, the number of classes from the records; `ImageNet-1k` where it has that
    many.
    """
    if is_published(records, task):
        return TASKS[task]
    classes = {number(r.metrics, f"{task}_num_classes") for r in records} - {None}
    count = shown(classes.pop(), 0) if len(classes) == 1 else ""
    if task in CLASSES:
        return f"{count} classes of {task}:DIR" if count else f"{task}:DIR"
    return f"{count} {without_classes(records, task)}".strip()


def without_classes(records: Sequence[Record], task: str) -> str:
    """The same, of what does not pass for a published data set without the number of classes."""
    return task_title(records, task) if task in CLASSES else TASKS.get(task, clipped(task, 24))


def is_published(records: Sequence[Record], task: str) -> bool:
    """Whether every record that has the task has it with as many classes as the published data set
    of its name.
    """
    of = [r for r in records if any(key.startswith(f"{task}_") for key in r.metrics)]
    return (
        task in CLASSES
        and bool(of)
        and all(number(r.metrics, f"{task}_num_classes") == CLASSES[task] for r in of)
    )


def chance_of(records: Sequence[Record], task: str) -> float | None:
    """What guessing gives, in %; None where the number of classes is not known, or not the same in
    all records.
    """
    classes = {number(r.metrics, f"{task}_num_classes") for r in records} - {None}
    count = classes.pop() if len(classes) == 1 else None
    return 100 / count if count is not None and 2 <= count < 1e9 else None


def encoder_key(record: Record) -> str:
    """The same for all records of one method's encoder: by the seed of pre-training; by the path
    where that is not known.
    """
    return record.path if record.seed is None else f"seed {record.seed}"


def methods_of(records: Iterable[Record]) -> list[str]:
    """Methods in the order of every table; those that are not ours last."""
    return ordered(record.method for record in records)


def accuracy(records: Sequence[Record], metric: str) -> Quantity | None:
    """A metric in % over the seeds of pre-training."""
    return over_seeds(records, lambda record: percent(record.metrics, metric))


def accuracy_of(records: Sequence[Record], metric: str) -> Cell:
    """The same as a cell, linked to the records."""
    return quantity_cell(accuracy(records, metric), 1, link(records))


def accuracy_cell(records: Sequence[Record], method: str, metric: str) -> Cell:
    """The mean over a method's encoders of one recipe, linked to those records that have the
    metric.

    Args:
        records: of one kind, of all methods; those trained here say which recipe counts.
        metric: `<task>_top1`, or another that ends so.
    """
    there = [r for r in records if percent(r.metrics, metric) is not None]
    own, ours = [r for r in there if r.method == method], [r for r in there if is_ours(r.method)]
    kept = alike(own, ours if is_ours(method) else own, task_of(metric))
    return replace(accuracy_of(kept.records, metric), remarks=kept.remarks)


def task_of(metric: str) -> str:
    """The task that a metric is of: `imagenet` of `imagenet_knn_top1`."""
    return (
        metric.removesuffix("_top1")
        .removesuffix("_top5")
        .removesuffix("_knn")
        .removesuffix("_zero_shot")
    )


def method_cell(method: str) -> Cell:
    """What a row is called."""
    return Cell(clipped(name_of(method), 48))


def same_recipe(records: Sequence[Record]) -> bool:
    """Whether all that is known of how these were trained is the same."""
    recipes = [{**r.recipe, "cached_features": r.config.get("cached_features")} for r in records]
    return not differing_fields(recipes)


def agreed(records: Sequence[Record], value: Callable[[Record], float | None]) -> float | None:
    """A number that is the same in all records; None where it is not."""
    found = {value(record) for record in records}
    return found.pop() if len(found) == 1 else None
