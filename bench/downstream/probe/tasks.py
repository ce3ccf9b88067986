"""The tasks of transfer records: how each is called, and which come first on the page."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from bench.downstream.probe.result import CLASSES, OnTasks
from catlip.results.run import Run
from catlip.table import clipped, shown

N = TypeVar("N")
TITLES = {
    "imagenet": "ImageNet-1k",
    "places365": "Places365",
    "fashion_mnist": "Fashion-MNIST",
    "folder": "classes of a folder",
}
PLURALS = ("concepts", "subgroups", "folder")  # titles that a number can stand before
PAPERS = ("imagenet", "places365")  # the paper's tasks, in its order


def by_importance(tasks: Iterable[str], records: Sequence[Run[OnTasks]]) -> list[str]:
    """The tasks, each once: first the paper's, then those with most classes, and of these those
    with most test images.
    """
    classes: dict[str, set[int]] = {}
    images: dict[str, int] = {}
    for record in records:
        for task, result in record.measured.tasks.items():
            classes.setdefault(task, set()).add(result.num_classes)
            images[task] = max(images.get(task, 0), result.num_test or 0)

    def rank(task: str) -> tuple[int, int, int]:
        counts = classes.get(task, set())
        is_papers = task in PAPERS and counts == {CLASSES[task]}
        place = PAPERS.index(task) if is_papers else len(PAPERS)
        return place, -max(counts, default=0), -images.get(task, 0)

    return sorted(dict.fromkeys(tasks), key=rank)


def task_title(records: Sequence[Run[OnTasks]], task: str) -> str:
    """`435 concepts` or `cifar10 (10 classes)`, with the number of classes from the records;
    `ImageNet-1k` only if it has as many classes as that data set.
    """
    if is_published(records, task):
        return TITLES[task]
    classes = num_classes(records, task)
    count = "" if classes is None else shown(classes, 0)
    if task in CLASSES:
        return f"{count} classes of {task}:DIR" if count else f"{task}:DIR"
    title = without_classes(records, task)
    if task in PLURALS or not count:
        return f"{count} {title}".strip()
    return f"{title} ({count} class{'es' * (classes != 1)})"


def without_classes(records: Sequence[Run[OnTasks]], task: str) -> str:
    """The title without the number of classes, unless the task could then pass for a published data
    set.
    """
    return task_title(records, task) if task in CLASSES else TITLES.get(task, clipped(task, 24))


def is_published(records: Sequence[Run[OnTasks]], task: str) -> bool:
    """Whether every record with the task has the number of classes of the published data set."""
    return task in CLASSES and num_classes(records, task) == CLASSES[task]


def num_classes(records: Sequence[Run[OnTasks]], task: str) -> int | None:
    """The number of classes of a task; None if no record has the task, or if they disagree."""
    results = [r.measured.tasks[task] for r in records if task in r.measured.tasks]
    return agreed([result.num_classes for result in results])


def agreed(values: Iterable[N | None]) -> N | None:
    """The value that all have; None if they differ."""
    different = set(values)
    return different.pop() if len(different) == 1 else None
