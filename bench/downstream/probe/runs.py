"""Reads from transfer records what encoders reach on tasks that they were not trained for.

Accuracies are in percent here; a NaN stays NaN.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from bench.downstream.probe.result import Classifier, OnTasks, TaskResult, Transferred, in_percent
from bench.downstream.probe.tasks import by_importance, num_classes
from catlip.method_style import is_ours, name_of, ordered
from catlip.results.likeness import alike
from catlip.results.run import Run
from catlip.results.seeds import link, over_seeds
from catlip.table import Cell, Quantity, clipped, quantity_cell

# Data sets that a user may not have; no verdict depends on them.
NOT_JUDGED = frozenset({"fashion_mnist"})
MOST_TASKS = 8
LEAST_FRACTION = 1e-4  # the smallest fraction of the training data, in %, that is used
Value = Callable[[TaskResult], float | None]


@dataclass(frozen=True)
class SweepRun:
    """One classifier (with its encoder, where that was fine-tuned), from a fraction of a task's
    training data.

    Attributes:
        asked: the fraction of the training data that was asked for, in %.
        fraction: the fraction that was used, in %, which is more if every class keeps at least one
            image; equal to `asked` if it is not known.
        images: how many images were used.
        init: random, or transfer: rows of the pre-training classifier.
        top1: accuracy in %, or NaN.
    """

    record: Run[OnTasks]
    task: str
    asked: float
    fraction: float
    images: int
    init: str
    seed: int
    top1: float


def runs_of(record: Run[OnTasks]) -> list[SweepRun]:
    """The classifiers of a record, each once; of several fractions that hold the same images, only
    the smallest.
    """
    rows = [_run(record, row) for row in record.rows("runs", Classifier)]
    runs: dict[tuple[str, float, str, int], SweepRun] = {}
    for run in sorted(rows, key=lambda run: run.asked):
        if run.asked >= LEAST_FRACTION:
            runs.setdefault((run.task, run.fraction, run.init, run.seed), run)
    return list(runs.values())


def _run(record: Run[OnTasks], row: Classifier) -> SweepRun:
    asked = fraction = 100 * row.fraction
    result = record.measured.tasks.get(row.task)
    if result and result.num_train:
        used = 100 * row.num_train / result.num_train
        if LEAST_FRACTION <= used <= 100:
            fraction = used
    return SweepRun(
        record,
        row.task,
        asked,
        fraction=fraction,
        images=row.num_train,
        init=row.init,
        seed=row.seed,
        top1=100 * row.top1,
    )


def top1(result: TaskResult) -> float | None:
    """The default value that is read from a task's result."""
    return result.top1


def on_task(record: Run[OnTasks], task: str, value: Value = top1) -> float | None:
    """An accuracy on a task, in %; None where the record has none."""
    result = record.measured.tasks.get(task)
    fraction = value(result) if result else None
    return None if fraction is None else 100 * fraction


def tasks_of(names: Iterable[str], records: Sequence[Run[OnTasks]]) -> list[str]:
    """At most MOST_TASKS tasks, the most important first."""
    return by_importance(names, records)[:MOST_TASKS]


def tasks_with(records: Sequence[Run[OnTasks]], value: Value = top1) -> list[str]:
    """The tasks for which any record has the value."""
    names = dict.fromkeys(task for record in records for task in record.measured.tasks)
    return [task for task in names if any(on_task(r, task, value) is not None for r in records)]


def chance_of(records: Sequence[Run[OnTasks]], task: str) -> float | None:
    """What guessing gives, in %; None if the number of classes is not known, or differs between
    records.
    """
    classes = num_classes(records, task)
    return 100 / classes if classes is not None and classes > 1 else None


def encoder_key(record: Run) -> str:
    """A key that is equal for all records of one encoder of a method: its seed of pre-training, or
    the record's path if the seed is not known.
    """
    return record.path if record.seed is None else f"seed {record.seed}"


def methods_of(records: Iterable[Run]) -> list[str]:
    """Methods in the order of every table; encoders that were not trained here are last."""
    return ordered(record.method for record in records)


def accuracy(records: Sequence[Run[Transferred]], name: str) -> Quantity | None:
    """The accuracy on a task, or by a measure, in %, over the seeds of pre-training."""
    return over_seeds(records, lambda record: in_percent(record, name))


def accuracy_of(records: Sequence[Run[Transferred]], name: str) -> Cell:
    """`accuracy` as a cell, linked to the records."""
    return quantity_cell(accuracy(records, name), 1, link(records))


def accuracy_cell(
    records: Sequence[Run[OnTasks]], method: str, task: str, value: Value = top1
) -> Cell:
    """The mean over a method's encoders of one recipe, linked to those records that have the value.

    Args:
        records: of one kind and of all methods; the encoders trained here decide which recipe
            counts.
    """
    there = [r for r in records if on_task(r, task, value) is not None]
    own = [r for r in there if r.method == method]
    ours = [r for r in there if is_ours(r.method)]
    kept = alike(own, ours if is_ours(method) else own, task)
    mean = over_seeds(kept.records, lambda record: on_task(record, task, value))
    return replace(quantity_cell(mean, 1, link(kept.records)), remarks=kept.remarks)


def method_cell(method: str) -> Cell:
    """The first cell of a method's row."""
    return Cell(clipped(name_of(method), 48))
