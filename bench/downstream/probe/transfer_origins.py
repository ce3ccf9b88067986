"""Where the classifier rows of Transfer Init come from: how many labels are a class of
pre-training, are near one, or have none.
"""

from collections.abc import Sequence

from bench.downstream.probe.result import LabelOrigin, OnTasks
from bench.downstream.probe.runs import tasks_of
from bench.downstream.probe.tasks import task_title
from catlip.results.run import Run
from catlip.table import quantity_of, shown

PREFIX = "origins_"
KINDS = {
    "exact": "the class itself",
    "near": "a class near it",
    "mean": "the mean of several classes",
    "random": "random (no class is near enough)",
}
TIES = {
    "frequent": "of equally near classes, the most frequent is used",
    "mean": "of equally near classes, the mean is used",
}
BIAS = {
    "copy": "biases are copied",
    "zero": "biases start at zero",
    "fresh": "biases start at random",
}
SCALE = {
    "as_is": "rows keep their length",
    "fresh": "rows are as long as random ones",
    "unit": "rows have length 1",
}

Origins = tuple[Run[OnTasks], list[LabelOrigin]]  # the record, and one row for each label


def origins_of(records: Sequence[Run[OnTasks]]) -> dict[str, Origins]:
    """Task -> the first record that says where the rows of the task's labels come from, and what it
    says.
    """
    origins: dict[str, Origins] = {}
    for record in records:
        for name in record.samples:
            if name.startswith(PREFIX) and (rows := record.rows(name, LabelOrigin)):
                origins.setdefault(name.removeprefix(PREFIX), (record, rows))
    return {task: origins[task] for task in tasks_of(origins, records)}


def origin_sentences(records: Sequence[Run[OnTasks]]) -> list[str]:
    """One paragraph: how many labels of each task are of each kind, and how the rows were chosen;
    the records hold every label.
    """
    by_task = origins_of(records)
    if not by_task:
        return []
    said = [_counted(task_title([record], task), of) for task, (record, of) in by_task.items()]
    return [
        " ".join(["Where the rows come from.", *said, _chosen(next(iter(by_task.values()))[0])])
    ]


def _counted(title: str, rows: Sequence[LabelOrigin]) -> str:
    """`Of 435 concepts: the class itself 206, ...`."""
    kinds: list[str] = [row.kind for row in rows]
    counts = ", ".join(f"{words} {kinds.count(kind):,}" for kind, words in KINDS.items())
    mean = quantity_of(row.similarity for row in rows)
    similarity = f"; mean similarity {shown(mean.mean, 2)}" if mean else ""
    return f"Of {title}: {counts}{similarity}."


def _chosen(record: Run[OnTasks]) -> str:
    """How the rows were chosen, as far as the record says it."""
    options = record.setup.transfer
    words = "Similarity is 1 / (1 + steps in WordNet's graph of kinds)"
    if options.alpha is not None:
        words += f", and a class is used for a label from {shown(options.alpha, 2)} on"
    words += ". "
    choices = ((options.ties, TIES), (options.bias, BIAS), (options.scale, SCALE))
    chosen = "; ".join(meaning[choice] for choice, meaning in choices if choice in meaning)
    return f"{words}{chosen[0].upper()}{chosen[1:]}." if chosen else words
