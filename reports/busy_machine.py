"""What one busy process costs a training on a CPU, a table a device."""

from collections.abc import Sequence

from reports.cells import Cell, Table, clipped, number_cell
from reports.devices import by_device
from reports.measured import anchor_of, ratio_at
from reports.records import Record, lookup, number, text
from reports.rules import suffix
from reports.tables import median_cell, times_cell


def busy_tables(records: Sequence[Record]) -> list[Table]:
    """Seconds of the same steps alone and beside one busy process, a row for each way in which
    OpenMP's threads wait.
    """
    columns = [
        "How threads wait",
        "Alone (s)",
        "Ratio to the first",
        "Beside it (s)",
        "Ratio to the first alone",
        "Threads then",
    ]
    caption = (
        "The same steps of a small training in turns, each in a process of its own, with the 5th "
        "to 95th percentile of the "
        "rounds; below each ratio its 95 % interval."
    )
    tables = []
    for i, (device, own) in enumerate(by_device(records).items()):
        title = f"A training beside one process that keeps a core busy, on {device}"
        rows = [row for record in own for row in _rows(record)]
        if rows:
            tables.append(Table(f"busy_machine{suffix(i)}", title, columns, rows, caption))
    return tables


def _rows(record: Record) -> list[list[Cell]]:
    settings, anchor = lookup(record.metrics, "settings"), anchor_of(record)
    rows = []
    for setting in settings if isinstance(settings, list) else []:
        rows.append(
            [
                Cell(clipped(text(setting, "name"), 60)),
                median_cell(lookup(setting, "alone_s"), anchor),
                times_cell(ratio_at(lookup(setting, "alone_ratio")), anchor),
                median_cell(lookup(setting, "busy_s"), anchor),
                times_cell(ratio_at(lookup(setting, "busy_ratio")), anchor),
                number_cell(number(setting, "busy_threads"), 0, anchor),
            ]
        )
    return rows
