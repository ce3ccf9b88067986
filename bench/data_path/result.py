"""How fast images are read: decoding and the whole loader on one core, ours and those in common
use.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from catlip.records.blocks import Block, Section, command_to_fill
from catlip.records.kind import FEWEST, Interval, Kind, Summary
from catlip.records.run import Records, Run, ratio_cell, summary_cell
from catlip.records.select import MAX_SHOWN, suffix, unique_runs
from catlip.records.table import Cell, Table, clipped, format_number

MAX_ROWS = 16
COMMAND = "python -m bench.data_path"


@dataclass(frozen=True, kw_only=True)
class Images:
    """The photographs that were decoded: their number and mean size in pixels."""

    count: int
    mean_width: float
    mean_height: float


@dataclass(frozen=True, kw_only=True)
class DataPath(Kind):
    """Images per second of processor time of decoders and of loaders (`open_clip, 2 workers`); how
    many times faster ours is; and how to install what could not be run.
    """

    kind = "data_path"

    decoders: dict[str, Summary]
    loaders: dict[str, Summary]
    ratios: dict[str, Interval]
    images: Images
    not_run: dict[str, str]


def section(records: Records) -> Section:
    """Decoders and loaders, beside others'."""
    runs = unique_runs(records, DataPath)[:MAX_SHOWN]
    blocks: list[Block] = [rates_table(run, suffix(i)) for i, run in enumerate(runs)]
    blocks = blocks or command_to_fill("Neither decoding nor loading was timed.", COMMAND)
    return Section("data_path", "The data path", blocks)


def rates_table(run: Run[DataPath], end: str = "") -> Table:
    rates, images = run.metrics, run.metrics.images
    rows: list[Sequence[Cell]] = [[Cell("Decoding, with a random resized crop")]]
    for name, rate in list(rates.decoders.items())[:MAX_ROWS]:
        rows.append(_row(run, name, rate, pair=f"ours/{name}"))
    rows.append([Cell("The whole loader, from shards to batches")])
    for name, rate in list(rates.loaders.items())[:MAX_ROWS]:
        rows.append(_row(run, name, rate, pair=f"ours, {name.partition(', ')[2]}/{name}"))
    for peer, how in list(rates.not_run.items())[:MAX_ROWS]:
        rows.append([Cell(clipped(peer, 40)), Cell(f"not run: {clipped(how, 120)}"), Cell()])
    size = f"{format_number(images.mean_width, 0)} x {format_number(images.mean_height, 0)}"
    caption = (
        "Images per second of processor time, of all processes together: what one core does, "
        f"whatever else the machine is busy with. {format_number(images.count, 0)} photographs of "
        f"{size} pixels on average, crops of {format_number(run.config.resolution, 0)} pixels, all "
        "in turns in one process; below a rate its 5th to 95th percentile, below a ratio its "
        "95 % interval. A decoder of the whole picture does not crop: it is a bound, not a loader."
    )
    columns = ["Decoder or loader", "Images/s of one core", "Speed of ours relative to it"]
    title = f"The data path on {run.where}"
    return Table(f"data_path{end}", title, columns, rows=rows, caption=caption, folded=True)


def _row(run: Run[DataPath], name: str, rate: Summary, pair: str) -> list[Cell]:
    ratio = run.metrics.ratios.get(pair)
    if ratio and rate.n is not None and rate.n < FEWEST:
        ratio = Interval(ratio.value)  # loaders have fewer rounds than decoders
    return [Cell(clipped(name, 40)), summary_cell(rate, run.anchor, 0), ratio_cell(run, ratio)]
