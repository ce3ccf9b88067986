"""Published training rates of other systems, each with its source.

`published/external_rates.csv` has one line for each rate. The rates are from other hardware, models
and data paths: they show whether our numbers are of a sensible size, not who is faster.
"""

import csv

from catlip.results.blocks import Section, Text
from catlip.table import Cell, Table
from reports.paper.published import FOLDER

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
    rows = []
    for rate in read_external():
        cells = {key: Cell(rate[key]) if rate[key] else Cell() for key in COLUMNS}
        cells["source"] = Cell(rate["source"], link=rate["url"])
        rows.append([*cells.values()])
    caption = (
        "MFU is model FLOPs per second over the peak in the card's datasheet, computed here from "
        "the rate unless the last column says that the source gives it. Rates are per GPU, also "
        "where a source gives a total. No published number was found for the memory of a CLIP B/16 "
        "training step, nor for the time of its exchange of features."
    )
    title = "Published training rates of other systems"
    return Table("external_rates", title, [*COLUMNS.values()], rows=rows, caption=caption)


def external_section() -> Section:
    """Rates of others, to see whether ours are plausible."""
    words = (
        "Rates that other people published for their trainings. Hardware, model, batch, precision "
        "and what counts as time differ from ours and from each other, so ratios to the rates of "
        "our steps mean nothing; but if a number of ours for the same model and card were several "
        "times off, it would be a mistake of ours."
    )
    return Section("external", "Are these numbers plausible?", [Text(words), external_table()])
