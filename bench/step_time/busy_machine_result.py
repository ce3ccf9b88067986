"""How much one process that keeps a core busy slows a training on the CPU."""

from collections.abc import Sequence
from dataclasses import dataclass

from catlip.results.cells import ratio_cell, summary_cell
from catlip.results.kind import Interval, Kind, Summary
from catlip.results.run import Run
from catlip.table import Cell, Table, number_cell


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """One setting of how OpenMP's threads wait for each other.

    Attributes:
        alone_s, busy_s: seconds of the same steps, alone and beside a process that keeps a core
            busy.
        alone_ratio, busy_ratio: `alone_s` and `busy_s` over `alone_s` of the first setting.
        busy_threads: number of threads that the training used beside the busy process.
    """

    name: str
    environment: dict[str, str]
    alone_s: Summary
    busy_s: Summary
    alone_ratio: Interval
    busy_ratio: Interval
    busy_threads: int


@dataclass(frozen=True, kw_only=True)
class BusyMachine(Kind):
    """Seconds of `num_steps` steps of a small training with each setting."""

    kind = "busy_machine"

    num_steps: int
    settings: list[Waiting]


def busy_machine_table(name: str, runs: Sequence[Run[BusyMachine]]) -> Table:
    """One row per setting; all runs are on one device."""
    columns = [
        "How threads wait",
        "Alone (s)",
        "Ratio to first row",
        "Beside the busy process (s)",
        "Ratio to first row alone",
        "Threads beside it",
    ]
    caption = (
        "The settings take turns, each in a process of its own, with the same steps of a small "
        "training; below seconds the 5th to 95th percentile of the rounds, below each ratio its "
        "95 % interval."
    )
    title = f"A training beside one process that keeps a core busy, on {runs[0].where}"
    rows = [_row(run, waiting) for run in runs for waiting in run.measured.settings]
    return Table(name, title, columns, rows=rows, caption=caption)


def _row(run: Run[BusyMachine], waiting: Waiting) -> list[Cell]:
    return [
        Cell(waiting.name),
        summary_cell(waiting.alone_s, run.anchor),
        ratio_cell(run, waiting.alone_ratio),
        summary_cell(waiting.busy_s, run.anchor),
        ratio_cell(run, waiting.busy_ratio),
        number_cell(waiting.busy_threads, 0, run.anchor),
    ]
