"""Every number of every record as one long table, a row a number.

    from reports.results import results

    frame = results("runs", "reports/records")
    probes = frame.query("kind == 'linear_probe' and metric == 'top1' and fraction == 1")
    probes.groupby(["task", "method"]).value.agg(["mean", "std"])

`python -m reports frame runs -o results.parquet` writes the same table.
"""

import dataclasses
import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from bench.downstream.probe.result import texts_of, with_per_image_hits
from bench.downstream.retrieval.result import Retrieval
from bench.memory.result import Memory
from bench.study.result import Studied, Threshold, threshold_accuracies
from catlip.cli import InputError
from catlip.pretraining.result import Pretrain, pretraining_of, pretrainings
from catlip.records.estimate import Score, mean_of
from catlip.records.run import Records, Run, as_number
from catlip.records.select import ByRule, rule_of
from catlip.vocabulary.result import VocabularyStatistics
from reports.read.records import read_records

if TYPE_CHECKING:
    import pandas as pd

# The columns of the table; a field is empty where a record does not state it.
COLUMNS = (
    *("root", "scale", "kind", "name", "method", "encoder", "seed", "images", "images_seen"),
    *("flops", "seconds", "device", "rule", "task", "init", "fraction", "threshold", "batch"),
    *("condition", "probe_seed"),
    *("metric", "value", "correct", "settings", "record"),
)
# A dictionary in a field of this name has the values of a column as its keys.
KEYED_BY = {
    "methods": "method",
    "tasks": "task",
    "accuracies": "task",
    "thresholds": "threshold",
    "batches": "batch",
}


@dataclass(frozen=True)
class WriteFrame:
    """Write every number of every record as one table, a row a number.

    python -m reports frame runs -o results.parquet
    python -m reports frame runs reports/records -o results.csv
    """

    records: tyro.conf.Positional[tuple[Path, ...]]
    """Folders with records at any depth, or single records."""
    out: Annotated[Path, tyro.conf.arg(aliases=("-o",))]
    """The file to write: .parquet or .csv."""


def write_frame(config: WriteFrame) -> None:
    """Write the table, and print where it is."""
    if config.out.suffix not in (".parquet", ".csv"):
        raise InputError(f"--out {config.out} must end in .parquet or .csv")
    frame = results(*config.records)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    if config.out.suffix == ".parquet":
        frame.to_parquet(config.out, index=False)
    else:
        frame.to_csv(config.out, index=False)
    print(f"{len(frame):,} numbers of {frame.record.nunique():,} records: {config.out}")


def results(*folders: Path | str) -> "pd.DataFrame":
    return frame_of(read_records([Path(folder) for folder in folders]))


def measure(config: Any) -> "pd.DataFrame":
    """Run a bench in this process, as its program does, and return the numbers of the records that
    it wrote, as `results` has them.

    Args:
        config: of a bench, such as `bench.step_time.config.StepTime(model="vit_b16")`.
    """
    started = time.time()
    module = type(config).__module__.removesuffix(".config")
    import_module(f"{module}.measure").main(config)
    folder = config.out if config.out.is_dir() else config.out.parent
    return results(*(path for path in folder.glob("*.json") if path.stat().st_mtime >= started))


def frame_of(records: Records) -> "pd.DataFrame":
    """One row for each number of each record, with COLUMNS.

    Accuracies are fractions. `seed` is that of pre-training, `probe_seed` that of a classifier on
    the encoder; `images` is the length that the encoder's training was asked for, `images_seen`
    the one in whole steps. `correct` has, for each test image of a classifier's top-1, one bit
    (`bench.downstream.probe.result.unpacked`); of a mean over classifiers, the texts of all, with
    spaces between them. Runs that differ only in their seed have the same
    `settings`.
    """
    import pandas as pd  # takes half a second

    known = pretrainings(records)
    rows = []
    runs: tuple[Run[Any], ...] = records.every
    for run in runs:
        training: Run[Any] = pretraining_of(run, known) or run
        metrics = training.raw_metrics
        seen = as_number(metrics.get("images_seen"))
        encoder, init = metrics.get("encoder"), run.config.init
        head = {
            "root": run.root,
            "scale": training.scale,
            "kind": run.kind,
            "name": run.name,
            "method": run.method,
            "encoder": encoder or training.config.recipe.encoder or run.config.model,
            "seed": run.seed,
            "images": as_number(metrics.get("images")) or seen,
            "images_seen": seen,
            "flops": as_number(metrics.get("flops")),
            "seconds": None if run.environment.beside else as_number(metrics.get("train_seconds")),
            "init": init if init and isinstance(init, str) else None,
            "fraction": as_number(metrics.get("fraction")),
            "condition": metrics.get("noise"),
            "rule": rule_of(run) if isinstance(run.metrics, ByRule) else None,
            "device": run.where,
            "settings": hashlib.sha256(run.settings_key.encode()).hexdigest()[:12],
            "record": run.path,
        }
        rows += [head | row for row in numbers(run) if row["metric"] not in COLUMNS]
    # Tables of few rows are cut from it by the hundred, which takes longer in Arrow's strings.
    with pd.option_context("mode.string_storage", "python"):
        return pd.DataFrame(rows, columns=list(COLUMNS))


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


def score_of_row(row: Any, run: Run) -> Score:
    """The value of a row of the table, with the test images behind it where the row has them."""
    texts = row.correct.split() if isinstance(row.correct, str) else []
    return with_per_image_hits(run, row.task, row.value, texts)


def with_scores(
    rows: "pd.DataFrame", runs: Mapping[str, Run[Any]], factor: float = 100
) -> "pd.DataFrame":
    """The rows with a column of their scores; `runs` by path."""
    import pandas as pd

    read = rows[["task", "value", "correct", "record"]].itertuples()
    scores = [factor * score_of_row(row, runs[row.record]) for row in read]
    return rows.assign(score=pd.Series(scores, rows.index, object))  # else they become floats


def nested(rows: "pd.DataFrame", *columns: str) -> dict[Any, Any]:
    """Means of the scores in dictionaries inside dictionaries, by the values of these columns."""
    tree: dict[Any, Any] = {}
    for keys, scores in rows.groupby([*columns], sort=False).score:
        inner = tree
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
        inner[keys[-1]] = mean_of(scores)
    return tree
