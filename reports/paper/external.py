"""What other people's trainings reach, each with its source, and our own timings beside them.

`published/external_rates.csv` has a line a rate. They were taken on other hardware, other models
and other data paths: they say whether a number of ours is of a sensible size, not who is faster.
"""

import csv
from collections.abc import Sequence

from catlip.method_style import name_of
from catlip.table import Cell, Table, clipped, number_cell, shown
from reports.paper.published import FOLDER
from reports.read.devices import by_device
from reports.read.measured import anchor_of, step_methods
from reports.read.records import Record, lookup, number, text
from reports.read.rules import suffix

COLUMNS = {
    "system": "System",
    "model": "Model",
    "images_per_s_per_gpu": "Images/s per GPU",
    "mfu_percent": "MFU (%)",
    "gpu_hours": "GPU-hours of the training",
    "hardware": "Hardware",
    "source": "Source",
    "caveat": "Beware",
}


def read_external() -> list[dict[str, str]]:
    """Every published rate, its columns by name; a field that the source does not give is empty."""
    with open(FOLDER / "external_rates.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def external_table() -> Table:
    """Published rates, in the order of the file."""
    rows = [[Cell(row[key]) if row[key] else Cell() for key in COLUMNS] for row in read_external()]
    caption = (
        "MFU is model FLOPs a second over what the card's datasheet promises, computed here from "
        "the rate unless the last "
        "column says that the source gives it. Rates are per GPU where a source gives a total. No "
        "published number was found "
        "for the memory of a CLIP B/16 training step, nor for the time of its exchange of features."
    )
    return Table(
        "external_rates",
        "Published training rates of other systems",
        list(COLUMNS.values()),
        rows,
        caption,
    )


def our_rates(records: Sequence[Record]) -> list[Table]:
    """Our timings in the same columns, a table a device."""
    columns = [
        "Method",
        "Model",
        "Images/s per device",
        "MFU (%)",
        "Share of the measured ceiling (%)",
        "Precision",
        "Batch",
    ]
    caption = (
        "Not to be divided by the rates above: another device, and a loader that has nothing to do "
        "unless a row has one."
    )
    return [
        Table(
            f"external_ours{suffix(i)}",
            f"Our steps on {device}",
            columns,
            [_our_row(r, m) for r in own for m in step_methods(r)],
            caption,
        )
        for i, (device, own) in enumerate(by_device(r for r in records if step_methods(r)).items())
    ]


def _our_row(record: Record, method: str) -> list[Cell]:
    timed, anchor = lookup(record.metrics, "methods", method), anchor_of(record)
    row = [
        Cell(clipped(name_of(method))),
        Cell(clipped(text(record.config, "model") or record.name)),
    ]
    rate, ranks = number(timed, "images_per_s"), number(record.metrics, "world_size") or 1
    row.append(number_cell(None if rate is None else rate / ranks, None, anchor))
    for key in ("mfu_datasheet", "mfu"):
        share = number(timed, key)
        row.append(number_cell(None if share is None else 100 * share, 1, anchor))
    return [
        *row,
        Cell(clipped(text(record.config, "precision"))),
        Cell(shown(number(record.config, "batch_size"), 0)),
    ]
