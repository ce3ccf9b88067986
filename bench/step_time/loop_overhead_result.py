"""What the training loop adds to a bare step."""

from collections.abc import Sequence
from dataclasses import dataclass

from catlip.results.cells import ratio_cell, summary_cell
from catlip.results.kind import Interval, Kind, Summary
from catlip.results.run import Run
from catlip.table import Cell, Table, number_cell


@dataclass(frozen=True, kw_only=True)
class LoopOverhead(Kind):
    """Steps of the loop and bare steps, taken in turns.

    Attributes:
        loop_ms, bare_ms, log_line_ms: milliseconds of a step in the loop, of a bare step, and of
            writing a line of the log.
        step_ratio: time of a step in the loop over that of a bare step.
        log_share: time that the log adds to a step, as a fraction of a bare step.
    """

    kind = "loop_overhead"

    model: str
    loop_ms: Summary
    bare_ms: Summary
    log_line_ms: Summary
    step_ratio: Interval
    log_share: float


def loop_overhead_table(name: str, runs: Sequence[Run[LoopOverhead]]) -> Table:
    """One row per run; all runs are on one device."""
    columns = [
        "What",
        "Bare step (ms)",
        "In the loop (ms)",
        "Loop / bare",
        "Log line (ms)",
        "Log time per step (%)",
    ]
    caption = (
        "Medians in turns, in one process, with the 5th to 95th percentile (on a GPU, of means of "
        "several steps); below the ratio its 95 % interval. Log time per step is the time of a "
        "line divided by the steps between two lines, in % of a bare step."
    )
    title = f"The training loop against a bare step on {runs[0].where}"
    return Table(name, title, columns, rows=[_row(run) for run in runs], caption=caption)


def _row(run: Run[LoopOverhead]) -> list[Cell]:
    setup, measured = run.setup, run.measured
    what = [measured.model, f"batch {setup.batch_size}", f"{setup.resolution} px", setup.precision]
    return [
        Cell(", ".join(what)),
        summary_cell(measured.bare_ms, run.anchor),
        summary_cell(measured.loop_ms, run.anchor),
        ratio_cell(run, measured.step_ratio, decimals=3),
        summary_cell(measured.log_line_ms, run.anchor),
        number_cell(100 * measured.log_share, 3, run.anchor),
    ]
