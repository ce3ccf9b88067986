"""How fast images come: decoding and the whole loader on one core, ours and the field's, and what
starting an epoch takes.
"""

from collections.abc import Sequence
from dataclasses import replace

from catlip.least_counts import ROUNDS
from catlip.table import Cell, Table, clipped, number_cell, shown
from reports.read.measured import anchor_of, ratio_of
from reports.read.records import Record, as_number, entries, lookup, number, text
from reports.summary.tables import median_cell, times_cell

OURS = "ours"
MOST_ROWS, MOST_WORKERS = 16, 8
GROUPS = {
    "decoders": "Decoding, with a random resized crop",
    "loaders": "The whole loader, from shards to batches",
}


def data_path_tables(record: Record, suffix: str = "") -> list[Table]:
    """Rates of a core with what ours gains, then memory and planning."""
    return [*_rates_table(record, suffix), *_plan_table(record, suffix)]


def _rates_table(record: Record, suffix: str) -> list[Table]:
    rows: list[list[Cell]] = []
    for group, heading in GROUPS.items():
        names = list(entries(record.metrics, group))[:MOST_ROWS]
        rows += (
            [[Cell(heading)], *(_rate_row(record, group, name) for name in names)] if names else []
        )
    if not rows:
        return []
    rows += [
        [Cell(clipped(peer, 40)), Cell(f"not run: {clipped(how, 120)}"), Cell()]
        for peer, how in _not_run(record)
    ]
    images = entries(record.metrics, "images")
    size = " x ".join(shown(number(images, f"mean_{side}"), 0) for side in ("width", "height"))
    caption = (
        "Images a second of processor time, of all processes together: what one core does, "
        "whatever else the machine is busy "
        f"with. {shown(number(images, 'count'), 0)} photographs of {size} pixels on average, crops "
        "of "
        f"{shown(number(record.config, 'resolution'), 0)} pixels, all in turns in one process; "
        "below a rate its 5th to 95th "
        "percentile, below a ratio its 95 % interval. Who decodes the whole picture does not crop: "
        "it is a bound, not a loader."
    )
    columns = ["Who", "Images/s of one core", "Ours is so many times as fast"]
    return [Table(f"data_path{suffix}", f"The data path on {record.where}", columns, rows, caption)]


def _rate_row(record: Record, group: str, name: str) -> list[Cell]:
    ratio = ratio_of(record, lookup(record.metrics, "ratios", _pair(group, name)))
    rounds = number(record.metrics, group, name, "n")
    if (
        ratio and rounds is not None and rounds < ROUNDS["data_path"]
    ):  # loaders are timed in fewer rounds than decoders
        ratio = replace(ratio, low=None, high=None)
    rate = median_cell(lookup(record.metrics, group, name), anchor_of(record), 0)
    return [Cell(clipped(name, 40)), rate, times_cell(ratio, anchor_of(record))]


def _pair(group: str, name: str) -> str:
    """Under which name the ratio of ours to this one is: loaders are compared with the same number
    of workers.
    """
    if group == "decoders":
        return f"{OURS}/{name}"
    return f"{OURS}, {name.partition(', ')[2]}/{name}"


def _not_run(record: Record) -> Sequence[tuple[str, str]]:
    found = entries(record.metrics, "not_run")
    return [(peer, text(found, peer)) for peer in list(found)[:MOST_ROWS]]


def _plan_table(record: Record, suffix: str) -> list[Table]:
    anchor, plan = anchor_of(record), entries(record.metrics, "plan")
    names = list(entries(record.metrics, "memory"))[:MOST_ROWS]
    rows = [
        [Cell(f"Resident in each worker, {clipped(name, 40)} (MiB)"), _workers_cell(record, name)]
        for name in names
    ]
    for where in ("first", "middle") if plan else ():
        seconds, processor = (number(plan, f"{where}_batch_{unit}") for unit in ("s", "cpu_s"))
        small = f"{shown(processor, 2)} of the processor" if processor is not None else ""
        rows.append(
            [
                Cell(f"Planning, to the {where} batch of the epoch (s)"),
                number_cell(seconds, 2, anchor, small),
            ]
        )
    rows += (
        [[Cell("Planning, at most (MiB)"), number_cell(number(plan, "peak_mib"), 0, anchor)]]
        if plan
        else []
    )
    what = (
        f"{shown(number(plan, 'samples'), 0)} samples in {shown(number(plan, 'shards'), 0)} shards"
    )
    caption = f"Planned is an epoch of {what}; once, so without an interval." if plan else ""
    title = f"Memory and start of the data path on {record.where}"
    return [Table(f"data_plan{suffix}", title, ["What", "Measured"], rows, caption)] if rows else []


def _workers_cell(record: Record, name: str) -> Cell:
    """A number a worker, after the first batch and below it after the last."""
    start, end = (
        _mib(lookup(record.metrics, "memory", name, f"workers_mib_{when}"))
        for when in ("start", "end")
    )
    return (
        Cell(start, f"after the last batch {end}", anchor_of(record)) if start and end else Cell()
    )


def _mib(found: object) -> str:
    values = [as_number(value) for value in found[:MOST_WORKERS]] if isinstance(found, list) else []
    return ", ".join(shown(value, 0) for value in values)
