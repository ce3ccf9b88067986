"""What one pre-training saw, reached and took."""

from collections.abc import Sequence
from dataclasses import dataclass

from catlip.method_style import name_of
from catlip.results.kind import Kind
from catlip.results.run import Run
from catlip.table import Cell, Table, number_cell


@dataclass(frozen=True, kw_only=True)
class Pretrain(Kind):
    """The metrics of a finished training: `final_loss` is a mean over the last twentieth of the
    log, in the method's unit, `train_seconds` of all starts, `data_wait_share` what the device
    waited.
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
        measured, anchor = run.measured, run.anchor
        rows.append(
            [
                Cell(f"{name_of(measured.method)}, seed {measured.seed}"),
                number_cell(measured.final_loss, None, anchor),
                number_cell(measured.images_seen, 0, anchor),
                number_cell(measured.epochs_seen, None, anchor),
                number_cell(measured.train_seconds, None, anchor),
                number_cell(measured.images_per_s, None, anchor),
                number_cell(100 * measured.data_wait_share, 1, anchor),
                number_cell(measured.peak_gib, None, anchor),
                number_cell(measured.parameters_total / 1e6, 2, anchor),
            ]
        )
    caption = "The losses of different methods have different units: compare within a method only."
    return Table(name, title, columns, rows=rows, caption=caption)
