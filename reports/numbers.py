"""The numbers of a record, as rows of the table of results."""

import dataclasses
from collections.abc import Iterator
from statistics import fmean
from typing import Any

from bench.downstream.probe.result import texts_of
from bench.downstream.retrieval.result import Retrieval
from bench.memory.result import Memory
from bench.study.result import Studied, Threshold, threshold_accuracies
from catlip.pretraining.result import Pretrain
from catlip.records.run import Run
from catlip.vocabulary.result import VocabularyStatistics

# A dictionary in a field of this name has the values of a column as its keys.
KEYED_BY = {
    "methods": "method",
    "tasks": "task",
    "accuracies": "task",
    "thresholds": "threshold",
    "batches": "batch",
}


def numbers(run: Run[Any]) -> Iterator[dict[str, Any]]:
    """The numbers of a record's metrics, those that follow from them, and those of the classifiers
    in its samples.
    """
    metrics = run.metrics
    shared = {"task": metrics.data} if isinstance(metrics, Retrieval) else {}
    for row in _below(dataclasses.asdict(metrics), shared, path=()):
        texts = texts_of(run, row["task"]) if row["metric"] == "top1" and "task" in row else []
        yield row | ({"correct": " ".join(texts)} if all(texts) and texts else {})
    if "runs" in metrics.rows:
        classifiers: list[Any] = run.rows("runs", metrics.rows["runs"])
        for classifier in classifiers:
            columns = dataclasses.asdict(classifier)
            columns["probe_seed"] = columns.pop("seed")
            if isinstance(metrics, Studied):
                # In a study, `fraction` is that of the pre-training data, and the accuracy with
                # all labels is among the metrics.
                if columns.pop("fraction") < 1:
                    yield columns | {"metric": "few_label_top1", "value": columns["top1"]}
                continue
            yield columns | {"metric": "top1", "value": columns["top1"]}
            yield columns | {"metric": "top5", "value": columns["top5"], "correct": None}
    match metrics:
        case Pretrain(train_seconds=seconds, images_seen=images):
            if seconds > 0 and images > 0:
                yield {"metric": "seconds_per_image", "value": seconds / images}
            loss = run.series("loss")
            tenth = len(loss) // 10
            if tenth >= 2:  # how much lower the loss is in the last tenth than in the one before
                fall = fmean(loss[-2 * tenth : -tenth]) - fmean(loss[-tenth:])
                yield {"metric": "loss_fall", "value": fall}
        case Memory():
            for method, largest in metrics.largest.items():
                yield {"method": method, "metric": "largest", "value": largest.images}
        case Threshold():
            for task, levels in threshold_accuracies(run).items():
                for threshold, by_seed in levels.items():
                    for seed, top1 in by_seed.items():
                        columns = {"task": task, "threshold": threshold, "seed": seed}
                        yield columns | {"metric": "top1", "value": top1 / 100}
        case VocabularyStatistics(imagenet=labels) if labels and labels.labels:
            share = labels.exact / labels.labels
            yield {"metric": "labels.imagenet.exact_share", "value": share}


def _below(tree: Any, columns: dict[str, Any], path: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The numbers of a tree of dictionaries and lists; `path` names the metric."""
    if isinstance(tree, dict):
        column = KEYED_BY.get(path[-1]) if path else None
        for key, value in tree.items():
            if column:
                above = path[:-1] + ("top1",) * (path[-1] == "accuracies")
                yield from _below(value, columns | {column: key}, above)
            else:
                yield from _below(value, columns, (*path, str(key)))
    elif isinstance(tree, list):
        for i, value in enumerate(tree):
            yield from _below(value, columns, (*path, str(i)))
    elif isinstance(tree, int | float) and not isinstance(tree, bool):
        yield columns | {"metric": ".".join(path), "value": float(tree)}
