"""What other people's trainings reach, each with its source, and our own timings beside them.

`published/external_rates.csv` has a line a rate. They were taken on other hardware, other models
and other data paths: they say whether a number of ours is of a sensible size, not who is faster.
"""

import csv
from collections.abc import Sequence

from catlip.kinds import StepTime
from catlip.kinds.cost.steps import percent_cell
from catlip.method_style import name_of, ordered
from catlip.table import Cell, Table, clipped, number_cell, shown
from reports.paper.published import FOLDER
from reports.read.devices import by_device
from reports.read.records import Record
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
        "the rate unless the last column says that the source gives it. Rates are per GPU where a "
        "source gives a total. No published number was found for the memory of a CLIP B/16 "
        "training step, nor for the time of its exchange of features."
    )
    return Table(
        "external_rates",
        "Published training rates of other systems",
        list(COLUMNS.values()),
        rows=rows,
        caption=caption,
    )


def our_rates(records: Sequence[Record[StepTime]]) -> list[Table]:
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
    tables = []
    for i, (device, own) in enumerate(by_device(records).items()):
        rows = [_our_row(r, method) for r in own for method in ordered(r.measured.methods)]
        name, title = f"external_ours{suffix(i)}", f"Our steps on {device}"
        tables.append(Table(name, title, columns, rows=rows, caption=caption))
    return tables


def _our_row(record: Record[StepTime], method: str) -> list[Cell]:
    steps, anchor = record.measured.methods[method], record.anchor
    rate = steps.images_per_s / (record.measured.world_size or 1)
    return [
        Cell(name_of(method)),
        Cell(clipped(record.setup.model or record.name)),
        number_cell(rate, None, anchor),
        percent_cell(steps.mfu_datasheet, anchor),
        percent_cell(steps.mfu, anchor),
        Cell(clipped(record.setup.precision)),
        Cell(shown(record.setup.batch_size, 0)),
    ]
