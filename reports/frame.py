"""Every number of every record as one long table, a row a number.

    from reports.frame import results

    frame = results("runs", "reports/records")
    probes = frame.query("kind == 'linear_probe' and metric == 'top1' and fraction == 1")
    probes.groupby(["task", "method"]).value.agg(["mean", "std"])

`python -m reports frame runs -o results.parquet` writes the same table.
"""

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from catlip.cli import InputError
from catlip.pretraining.result import pretraining_of, pretrainings
from catlip.records.run import ByRule, Records, Run, as_number, rule_of
from catlip.records.table import inert
from reports.numbers import numbers
from reports.reading import print_problems, read_records

if TYPE_CHECKING:
    import pandas as pd

# The columns of the table; a field is empty where a record does not state it.
COLUMNS = (
    *("root", "scale", "kind", "name", "method", "encoder", "seed", "images", "images_seen"),
    *("epochs", "flops", "seconds", "device", "rule", "task", "init", "fraction", "threshold"),
    *("batch", "probe_seed", "metric", "value", "correct", "settings", "record"),
)
UNTRAINED = re.compile(r"random:(\w+)@\d+")  # how a program's --encoder spells it


@dataclass(frozen=True)
class WriteFrame:
    """Write every number of every record as one table, a row a number.

    python -m reports frame runs -o results.parquet
    python -m reports frame runs reports/records -o results.csv

    In a .csv a text that a spreadsheet would run as a formula begins with an apostrophe.
    """

    records: tyro.conf.Positional[tuple[Path, ...]]
    """Folders with records at any depth, or single records."""
    out: Annotated[Path, tyro.conf.arg(aliases=("-o",))]
    """The file to write: .parquet or .csv."""


def write_frame(config: WriteFrame) -> None:
    """Write the table, and print where it is."""
    if config.out.suffix not in (".parquet", ".csv"):
        raise InputError(f"--out {config.out} must end in .parquet or .csv")
    records = read_records(config.records)
    print_problems(records)
    frame = frame_of(records)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    if config.out.suffix == ".parquet":
        frame.to_parquet(config.out, index=False)
    else:
        write_csv(frame, config.out)
    print(f"{len(frame):,} numbers of {frame.record.nunique():,} records: {config.out}")


def write_csv(frame: "pd.DataFrame", path: Path) -> None:
    """Write a table, none of whose texts a spreadsheet runs as a formula; numbers stay numbers."""
    inert_cells = frame.map(lambda cell: inert(cell) if isinstance(cell, str) else cell)
    inert_cells.to_csv(path, index=False)


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
    sizes = dict[tuple[str, str], float]()
    for run in runs:
        if samples := run.environment.samples("pretrain"):
            place = (run.root, run.scale)
            sizes[place] = max(samples, sizes.get(place, 0))
    for run in runs:
        training: Run[Any] = pretraining_of(run, known) or run
        metrics = training.raw_metrics
        seen = as_number(metrics.get("images_seen"))
        encoder, init = metrics.get("encoder"), run.config.init
        if untrained := UNTRAINED.fullmatch(run.config.encoder):
            encoder = untrained[1]
        head = {
            "root": run.root,
            "scale": training.scale,
            "kind": run.kind,
            "name": run.name,
            "method": run.method,
            "encoder": encoder or training.config.recipe.encoder or run.config.model,
            "seed": run.seed,
            "images": as_number(metrics.get("images")) or images_asked_for(training) or seen,
            "images_seen": seen,
            "epochs": epochs_of(training, seen, sizes),
            "flops": as_number(metrics.get("flops")),
            "seconds": None if run.environment.beside else as_number(metrics.get("train_seconds")),
            "init": init if init and isinstance(init, str) else None,
            "fraction": as_number(metrics.get("fraction")),
            "rule": rule_of(run) if isinstance(run.metrics, ByRule) else None,
            "device": run.where,
            "settings": hashlib.sha256(run.settings_key.encode()).hexdigest()[:12],
            "record": run.path,
        }
        rows += [head | row for row in numbers(run) if row["metric"] not in COLUMNS]
    # Tables of few rows are cut from it by the hundred, which takes longer in Arrow's strings.
    with pd.option_context("mode.string_storage", "python"):
        return pd.DataFrame(rows, columns=list(COLUMNS))


def images_asked_for(training: Run[Any]) -> float | None:
    """Methods of other batches end in other whole steps, far apart after few images."""
    recipe = training.raw_config.get("recipe")
    recipe = recipe if isinstance(recipe, dict) and not recipe.get("iterations") else {}
    return (as_number(recipe.get("epochs")) or 0) * (training.environment.samples("pretrain") or 0)


def epochs_of(
    training: Run[Any], seen: float | None, sizes: Mapping[tuple[str, str], float]
) -> float | None:
    """Images seen over the samples of the data, with two digits; None if that is unknown. An older
    record has no count of its samples: then it is that of the data's other trainings.
    """
    fraction = as_number(training.raw_metrics.get("fraction")) or 1
    others = fraction * sizes.get((training.root, training.scale), 0)
    samples = training.environment.samples("pretrain") or others
    epochs = seen / samples if seen and samples else None
    epochs = epochs or as_number(training.raw_metrics.get("epochs_seen"))
    return epochs and float(f"{epochs:.2g}")
