"""What one pre-training saw, reached and took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import ClassVar

from catlip.records.kind import Kind
from catlip.records.profile import PROFILE, Operation
from catlip.records.run import Records, Run
from catlip.records.select import is_enough
from catlip.records.styles import name_of
from catlip.records.table import Cell, Table, number_cell


@dataclass(frozen=True, kw_only=True)
class Pretrain(Kind):
    """The metrics of a finished training.

    Attributes:
        final_loss: mean over the last twentieth of the log, in the unit of the method's loss.
        epochs_seen: images seen, divided by the number of samples in the shards.
        train_seconds: seconds of training, summed over all starts of the run: from a start to its
            last line of the log, with copies for checkpoints. Records made before checkpoints
            counted have less.
        data_wait_share: fraction of the time in which the device waited for a batch, mean over
            ranks.
        data_wait_spread: the largest share less the smallest; None with one rank.
        slowest_rank: the rank that waited longest in most lines of the log; None with one rank.
        parameters_total, parameters_image: number of trained parameters, in all and in the image
            encoder.
        num_classes, classes_per_caption: of a method whose labels are classes: how many there are,
            and how many a caption has in the mean.
    """

    kind = "pretrain"
    rows: ClassVar = {PROFILE: Operation}

    method: str
    seed: int
    iterations: int
    images_seen: float
    epochs_seen: float
    final_loss: float
    train_seconds: float
    images_per_s: float
    data_wait_share: float
    data_wait_spread: float | None = None
    slowest_rank: int | None = None
    peak_gib: float
    parameters_total: int
    parameters_image: int
    num_classes: int | None = None
    classes_per_caption: float | None = None


def pretrain_table(name: str, title: str, runs: Sequence[Run[Pretrain]]) -> Table:
    # Not what bench.memory measures, which is the peak of a step's tensors.
    on_cpu = {run.is_cpu for run in runs}
    whose = "Process's" if on_cpu == {True} else "GPU's" if on_cpu == {False} else "Device's"
    columns = [
        "Run",
        "Final loss",
        "Images seen",
        "Epochs",
        "Time (s)",
        "Images/s",
        "Waiting for data (%)",
        f"{whose} peak memory (GiB)",
        "Parameters (M)",
    ]
    rows = []
    for run in runs:
        metrics, anchor = run.metrics, run.anchor
        longest = "" if metrics.slowest_rank is None else f"longest: rank {metrics.slowest_rank}"
        rows.append(
            [
                Cell(f"{name_of(metrics.method)}, seed {metrics.seed}"),
                number_cell(metrics.final_loss, None, anchor),
                number_cell(metrics.images_seen, 0, anchor),
                number_cell(metrics.epochs_seen, None, anchor),
                number_cell(metrics.train_seconds, None, anchor),
                number_cell(metrics.images_per_s, None, anchor),
                number_cell(100 * metrics.data_wait_share, 1, anchor, small=longest),
                number_cell(metrics.peak_gib, None, anchor),
                number_cell(metrics.parameters_total / 1e6, 2, anchor),
            ]
        )
    caption = "The losses of different methods have different units: compare within a method only."
    return Table(name, title, columns, rows=rows, caption=caption)


Pretrainings = Mapping[tuple[str, str, str], Run[Pretrain]]


def pretrainings(records: Records) -> Pretrainings:
    return {(r.root, r.scale, r.name): r for r in records.of(Pretrain)}


def pretraining_of(record: Run[Kind], known: Pretrainings) -> Run[Pretrain] | None:
    """The pre-training, under the same root, of a transfer record's encoder."""
    parts = PurePath(record.config.encoder.removesuffix(":raw").removesuffix(".json")).parts
    if len(parts) < 3 or parts[-2] != "pretrain":
        return None
    pretraining = known.get((record.root, parts[-3], parts[-1]))
    return pretraining if pretraining and pretraining.method == record.method else None


def is_whole(pretraining: Run[Pretrain]) -> bool:
    return is_enough(pretraining.metrics.images_seen, pretraining.scale)
