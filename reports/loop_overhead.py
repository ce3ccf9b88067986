"""What the training loop adds to a bare step, a table a device."""

from collections.abc import Sequence

from reports.cells import Cell, Table, clipped, number_cell
from reports.devices import by_device
from reports.measured import anchor_of, ratio_of
from reports.records import Record, lookup, number, text
from reports.rules import suffix
from reports.tables import median_cell, times_cell


def loop_tables(records: Sequence[Record]) -> list[Table]:
    """Bare step, the loop's step and their ratio, a row a model."""
    columns = [
        "What",
        "Bare step (ms)",
        "In the loop (ms)",
        "Loop / bare",
        "A line of the log (ms)",
        "Its share of a step (%)",
    ]
    caption = (
        "Medians in turns, in one process, with the 5th to 95th percentile of single steps; below "
        "the ratio its 95 % interval. "
        "The share is of a line for every so many steps as a training writes one."
    )
    return [
        Table(
            f"loop_overhead{suffix(i)}",
            f"The training loop against a bare step on {device}",
            columns,
            rows,
            caption,
        )
        for i, (device, own) in enumerate(by_device(records).items())
        if (rows := [_row(record) for record in own])
    ]


def _row(record: Record) -> list[Cell]:
    metrics, anchor = record.metrics, anchor_of(record)
    row = [
        Cell(_what(record)),
        *(median_cell(lookup(metrics, key), anchor) for key in ("bare_ms", "loop_ms")),
    ]
    row.append(times_cell(ratio_of(record, lookup(metrics, "step_ratio")), anchor, 3))
    share = number(metrics, "log_share")
    row.append(median_cell(lookup(metrics, "log_line_ms"), anchor))
    return [*row, number_cell(None if share is None else 100 * share, 3, anchor)]


def _what(record: Record) -> str:
    precision = text(record.config, "precision")
    batch, side = number(record.config, "batch_size"), number(record.config, "resolution")
    words = [
        clipped(text(record.metrics, "model") or record.name, 40),
        f"batch {batch:.0f}" if batch is not None else "",
        f"{side:.0f} px" if side is not None else "",
        clipped(precision, 12) if precision else "",
    ]
    return ", ".join(word for word in words if word)
