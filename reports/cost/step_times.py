"""What a training step costs: its parts, how fast images pass, and how much of what the device can
do is used.

A table a device: within one record the methods took turns, so their ratio means something; devices
are never compared.
"""

from collections.abc import Sequence

from catlip.method_style import name_of
from catlip.table import Cell, Table, clipped, number_cell, shown
from reports.read.caveats import with_warning
from reports.read.devices import by_device
from reports.read.measured import anchor_of, step_methods
from reports.read.records import Record, drawable, entries, lookup, number, text
from reports.read.rules import suffix
from reports.render.figures import Figure, Part, bars_figure
from reports.summary.tables import TIMES, median_cell, ratio_cell, step_description, what_was_timed

PHASES = {
    "data_wait_ms": "waiting for data",
    "forward_ms": "forward",
    "loss_ms": "loss",
    "backward_ms": "backward",
    "optimizer_ms": "optimizer",
}
OPTIONAL = ("data_wait_ms", "loss_ms")  # what not every record splits off
SAMPLES_OF_A_TRAINING = "13.1 billion images"
MOST_METHODS = 8
LEAST_SHARE = 0.001  # of a step, for a part to be drawn


def step_tables(records: Sequence[Record]) -> list[Table]:
    """Per device, one table of the parts of a step and one of rates, a row a method and record."""
    tables = []
    for i, (device, own) in enumerate(by_device(r for r in records if step_methods(r)).items()):
        rows = [
            (record, method, n == 0)
            for record in own
            for n, method in enumerate(step_methods(record))
        ]
        made = (_parts_table(device, rows, suffix(i)), _rates_table(device, rows, suffix(i)))
        tables += [with_warning(table, own) for table in made]
    return tables


Row = tuple[Record, str, bool]  # whether it is the record's first


def _parts_table(device: str, rows: Sequence[Row], end: str) -> Table:
    phases = [
        p
        for p in PHASES
        if p != "data_wait_ms" or any(text(record.config, "data") for record, _, _ in rows)
    ]
    columns = ["What", "Method", "Parameters (M)", "Step (ms)"]
    columns += [f"{PHASES[phase].capitalize()} (ms)" for phase in phases]
    columns += ["Relative step time", "Relative FLOPs"]
    caption = (
        "Medians, with the 5th to 95th percentile of single steps below the step time, and the 95 "
        "% interval below a ratio. "
        "Within one record the methods took turns, so their ratio means something; numbers of "
        "different records are not to be "
        "divided. The ratio of FLOPs is counted, not measured: what the ratio of times has beyond "
        "it is efficiency. "
        "Where the loss has no number of its own, the forward pass holds it."
    )
    body = [_parts_row(record, method, is_first, phases) for record, method, is_first in rows]
    return Table(
        f"step_time{end}",
        f"Time of one training step on {device}",
        columns,
        body,
        "" if end else caption,
    )


def _parts_row(record: Record, method: str, is_first: bool, phases: Sequence[str]) -> list[Cell]:
    timed, anchor = lookup(record.metrics, "methods", method), anchor_of(record)
    parameters = number(timed, "parameters")
    row = [_what(record, is_first), Cell(clipped(name_of(method)))]
    row.append(number_cell(None if parameters is None else parameters / 1e6, 1, anchor))
    row.append(median_cell(lookup(timed, "total_ms"), anchor))
    row += [number_cell(number(timed, phase, "median"), None, anchor) for phase in phases]
    return [*row, ratio_cell(record, method), _flops_cell(record, method)]


def _flops_cell(record: Record, method: str) -> Cell:
    """`1.17x` of FLOPs, for a method above the line."""
    ratios = entries(record.metrics, "flops_ratios")
    for pair in ratios:
        if pair.partition("/")[0] == method and (found := number(ratios, pair)) is not None:
            return Cell(f"{shown(found, 2)}{TIMES}", "", anchor_of(record))
    return Cell()


def _rates_table(device: str, rows: Sequence[Row], end: str) -> Table:
    columns = [
        "What",
        "Method",
        "Images/s",
        "Model TFLOP/s",
        "Of the measured ceiling (%)",
        "Of the datasheet (%)",
    ]
    columns += [f"Device-hours for {SAMPLES_OF_A_TRAINING}"]
    caption = (
        "Model FLOPs do not count what is computed twice. The ceiling is the fastest matrix "
        "product that this device was seen "
        "to do in this precision; below a share, what it is a share of. Device-hours are "
        "extrapolated from the rate of one "
        "device on images that are already there: no decoding, nothing sent, no failure."
    )
    body = [_rates_row(record, method, is_first) for record, method, is_first in rows]
    return Table(
        f"step_rates{end}",
        f"Rate and efficiency of one training step on {device}",
        columns,
        body,
        "" if end else caption,
    )


def _rates_row(record: Record, method: str, is_first: bool) -> list[Cell]:
    timed, anchor = lookup(record.metrics, "methods", method), anchor_of(record)
    ceiling = (
        number(record.metrics, "ceiling", "tflops", "median"),
        number(record.metrics, "ceiling", "datasheet_tflops"),
    )
    row = [_what(record, is_first), Cell(clipped(name_of(method)))]
    row += [number_cell(number(timed, key), None, anchor) for key in ("images_per_s", "tflops")]
    for key, most in zip(("mfu", "mfu_datasheet"), ceiling, strict=True):
        share = number(timed, key)
        of = f"of {shown(most)} TFLOP/s" if most is not None else ""
        row.append(number_cell(None if share is None else 100 * share, 1, anchor, of))
    hours = number(timed, "device_hours")
    return [*row, number_cell(hours, 0, anchor)]


def _what(record: Record, is_first: bool) -> Cell:
    return Cell(what_was_timed(record) if is_first else "as above")


def phases_figure(record: Record | None, name: str = "step_phases") -> list[Figure]:
    """Where the time of a step goes, per method."""
    if record is None:
        return []
    whole = {
        method: parts
        for method in step_methods(record)[:MOST_METHODS]
        if (parts := _parts(record, method))
    }
    if not whole:
        return []
    caption = (
        f"Where a step's time goes ({step_description(record)}): medians of each part, so they "
        "need not add up exactly."
    )
    return [bars_figure(name, caption, whole, "ms", "ms", 0.8 + 0.7 * len(whole))]


def _parts(record: Record, method: str) -> list[Part]:
    """Each part's median; empty where one that every record has is missing."""
    found = {
        phase: drawable(record.metrics, "methods", method, phase, "median") for phase in PHASES
    }
    if any(time is None for phase, time in found.items() if phase not in OPTIONAL):
        return []
    least = LEAST_SHARE * sum(time for time in found.values() if time is not None)
    return [
        (PHASES[phase], time) for phase, time in found.items() if time is not None and time >= least
    ]
