"""What one pre-training saw, reached and took."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isnan
from pathlib import PurePath
from statistics import fmean, mode
from typing import Any

from catlip.records.kind import Kind, other_than
from catlip.records.run import Records, Run
from catlip.records.styles import name_of
from catlip.records.table import RECORDS, Column, Row, Spec, quantity_of


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
        parameters_total, parameters_image: number of trained parameters, in all and in the image
            encoder.
        num_classes, classes_per_caption: of a method whose labels are classes: how many there are,
            and how many a caption has in the mean.
    """

    kind = "pretrain"

    method: str
    seed: int
    iterations: int
    images_seen: float
    epochs_seen: float
    final_loss: float
    train_seconds: float
    images_per_s: float
    data_wait_share: float
    peak_gib: float
    parameters_total: int
    parameters_image: int
    num_classes: int | None = None
    classes_per_caption: float | None = None

    def faults(self, run: Run[Any]) -> Iterator[str]:
        follows = {"train_seconds": self.images_seen / self.images_per_s}
        if loss := run.series("loss"):
            follows["final_loss"] = fmean(loss[-max(1, len(loss) // 20) :])
        if seen := run.series("images_seen"):
            follows["images_seen"] = seen[-1]
        yield from other_than(self.method, self, follows)


def pretrain_rows(runs: Iterable[Run[Pretrain]]) -> Iterator[Row]:
    """A row for the seeds of a training."""
    by_settings = defaultdict[tuple[str, float, int, str], list[Run[Pretrain]]](list)
    for run in runs:
        size = run.metrics.parameters_total  # a vocabulary's, too
        by_settings[run.method, run.metrics.images_seen, size, run.settings_key].append(run)
    for (method, images, parameters, _), seeds in by_settings.items():
        every = [run.metrics for run in seeds]
        slowest = [rank for run in seeds for rank in run.series("slowest_rank") if not isnan(rank)]
        behind = f"slowest: rank {mode(slowest):.0f}" if slowest else ""
        yield {
            "method": name_of(method),
            "images": images,
            "epochs": every[0].epochs_seen,
            "loss": quantity_of(metrics.final_loss for metrics in every),
            "seconds": fmean(metrics.train_seconds for metrics in every),
            "rate": (fmean(metrics.images_per_s for metrics in every), behind),
            "waiting": fmean(metrics.data_wait_share for metrics in every),
            "memory": fmean(metrics.peak_gib for metrics in every),
            "parameters": parameters,
            RECORDS: tuple(run.path for run in seeds),
        }


# Not what bench.memory measures: on a CPU the memory is the process's.
TRAININGS = Spec(
    "trainings",
    "Trainings",
    "Means over n seeds, of the loss with its standard deviation. The losses of different methods "
    "have different units: compare within a method only.",
    [
        Column("Method", "method", head=True),
        Column("Images seen", "images", 0, head=True),
        Column("Epochs", "epochs", head=True),
        Column("Final loss", "loss"),
        Column("Time (s)", "seconds"),
        Column("Images/s", "rate"),
        Column("Waiting for data (%)", "waiting", 1, factor=100),
        Column("Peak memory (GiB)", "memory"),
        Column("Parameters (M)", "parameters", 2, factor=1e-6),
    ],
    pretrain_rows,
    "./run_all.sh",
    [Pretrain],
)
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
