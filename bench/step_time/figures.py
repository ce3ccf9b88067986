"""Tables of a training step's time, and a figure of where the time goes."""

from collections.abc import Sequence
from dataclasses import replace

from bench.step_time.result import StepTime, step_tables
from bench.step_time.steps import shown_methods, step_description
from catlip.results.caveats import with_warning
from catlip.results.devices import by_device
from catlip.results.figures import Figure, Part, bars_figure, is_drawable
from catlip.results.rules import suffix
from catlip.results.run import Run
from catlip.table import Table

LEAST_SHARE = 0.001  # of a step; a shorter part is not drawn


def tables_by_device(records: Sequence[Run[StepTime]]) -> list[Table]:
    """The tables of each device; only those of the first device have their captions."""
    tables = []
    for i, own in enumerate(by_device(records).values()):
        for table in step_tables(own, suffix(i)):
            tables.append(with_warning(replace(table, caption="") if i else table, own))
    return tables


def phases_figure(record: Run[StepTime] | None, name: str = "step_phases") -> list[Figure]:
    """Where the time of a step goes, for each method."""
    if record is None:
        return []
    bars = {
        method: parts
        for method in shown_methods(record.measured.methods)
        if (parts := _parts(record, method))
    }
    if not bars:
        return []
    caption = (
        f"Where a step's time goes ({step_description(record)}): medians of each part, so they "
        "need not add up exactly."
    )
    return [bars_figure(name, caption, bars, unit="ms", axis="ms")]


def _parts(record: Run[StepTime], method: str) -> list[Part]:
    """The median of each part in ms, without parts too short to be seen; empty if the forward pass,
    the backward pass or the optimizer has no valid time.
    """
    steps = record.measured.methods[method]
    needed = (steps.forward_ms, steps.backward_ms, steps.optimizer_ms)
    if not all(is_drawable(ms.median) for ms in needed):
        return []
    medians = [(part, ms.median) for part, ms in steps.parts.items() if ms is not None]
    least = LEAST_SHARE * sum(ms for _, ms in medians if is_drawable(ms))
    return [(part, ms) for part, ms in medians if is_drawable(ms) and ms >= least]
