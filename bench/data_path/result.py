"""How fast images are read: decoding and the whole loader on one core, ours and those in common
use, and the cost of starting an epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from catlip.results.cells import ratio_cell, summary_cell
from catlip.results.kind import Interval, Kind, Summary
from catlip.results.least_counts import ROUNDS
from catlip.results.run import Run
from catlip.table import Cell, Table, clipped, number_cell, shown

OURS = "ours"
MOST_ROWS, MOST_WORKERS = 16, 8


@dataclass(frozen=True, kw_only=True)
class PixelDifference:
    """How much the crops of two decoders differ, in grey levels of 0 to 255."""

    mean: float
    max: float


@dataclass(frozen=True, kw_only=True)
class WorkerMemory:
    """Resident memory of each worker in MiB, after the first batch and after the last."""

    workers_mib_start: list[float]
    workers_mib_end: list[float]


@dataclass(frozen=True, kw_only=True)
class EpochPlan:
    """The cost of planning an epoch until its first batch, or a batch in its middle, can be made:
    wall-clock seconds, processor seconds (`_cpu_s`), and peak MiB.
    """

    samples: int
    shards: int
    first_batch_s: float
    first_batch_cpu_s: float
    middle_batch_s: float
    middle_batch_cpu_s: float
    peak_mib: float


@dataclass(frozen=True, kw_only=True)
class RemoteShards:
    """The loader with shards behind a link.

    Attributes:
        megabytes: size of the shards in 1e6 bytes.
        link_mb_s: 1e6 bytes per wall-clock second of a plain download.
        cold_mb_s: 1e6 bytes per wall-clock second of the loader with an empty cache.
        cold_to_link: rate of the loader with an empty cache over that of the download.
        warm_to_local: images per second of processor time with a full cache, over those from a
            local disk.
    """

    megabytes: float
    link_mb_s: Summary
    cold_mb_s: Summary
    cold_to_link: Interval
    warm_to_local: Interval


@dataclass(frozen=True, kw_only=True)
class Images:
    """The photographs that were decoded: their number, mean size in pixels and mean KiB."""

    count: int
    mean_width: float
    mean_height: float
    mean_kib: float


@dataclass(frozen=True, kw_only=True)
class DataPath(Kind):
    """Rates of decoders and loaders, in images per second of processor time.

    Attributes:
        decoders: decoder -> rate.
        loaders: loader and workers, such as `open_clip, 2 workers` -> rate.
        ratios: `ours/pillow` -> rate of ours over that of Pillow; loaders are compared with the
            same number of workers: `ours, 2 workers/open_clip, 2 workers`.
        memory: loader and workers -> memory of its workers.
        not_run: decoder or loader that could not be run -> how to install it.
    """

    kind = "data_path"

    decoders: dict[str, Summary]
    loaders: dict[str, Summary]
    ratios: dict[str, Interval]
    pixel_difference: dict[str, PixelDifference] = field(default_factory=dict)
    memory: dict[str, WorkerMemory]
    remote: RemoteShards | None = None
    plan: EpochPlan | None = None
    images: Images
    not_run: dict[str, str]


def data_path_tables(run: Run[DataPath]) -> list[Table]:
    """Rates on one core with the ratios to ours; then memory, shards behind a link, and planning,
    if they were measured.
    """
    tables = [*rates_tables(run), _plan_table(run)]
    return [table for table in tables if table.rows]


def rates_tables(run: Run[DataPath], end: str = "") -> list[Table]:
    """Only the table of the rates on one core; `end` is the ending of its name."""
    measured, images = run.measured, run.measured.images
    rows: list[Sequence[Cell]] = [[Cell("Decoding, with a random resized crop")]]
    for name, rate in list(measured.decoders.items())[:MOST_ROWS]:
        rows.append(_rate_row(run, name, rate, pair=f"{OURS}/{name}"))
    rows.append([Cell("The whole loader, from shards to batches")])
    for name, rate in list(measured.loaders.items())[:MOST_ROWS]:
        pair = f"{OURS}, {name.partition(', ')[2]}/{name}"
        rows.append(_rate_row(run, name, rate, pair=pair))
    for peer, how in list(measured.not_run.items())[:MOST_ROWS]:
        rows.append([Cell(clipped(peer, 40)), Cell(f"not run: {clipped(how, 120)}"), Cell()])
    size = f"{shown(images.mean_width, 0)} x {shown(images.mean_height, 0)}"
    caption = (
        "Images per second of processor time, of all processes together: what one core does, "
        f"whatever else the machine is busy with. {shown(images.count, 0)} photographs of {size} "
        f"pixels on average, crops of {shown(run.setup.resolution, 0)} pixels, all in turns in one "
        "process; below a rate its 5th to 95th percentile, below a ratio its 95 % interval. A "
        "decoder of the whole picture does not crop: it is a bound, not a loader."
    )
    columns = ["Decoder or loader", "Images/s of one core", "Speed of ours relative to it"]
    title = f"The data path on {run.where}"
    return [Table(f"data_path{end}", title, columns, rows=rows, caption=caption)]


def _rate_row(run: Run[DataPath], name: str, rate: Summary, pair: str) -> list[Cell]:
    ratio = run.measured.ratios.get(pair)
    row = [Cell(clipped(name, 40)), summary_cell(rate, run.anchor, 0)]
    return [*row, ratio_cell(run, ratio and _trusted(ratio, rate.n))]


def _plan_table(run: Run[DataPath]) -> Table:
    plan, anchor, rows, caption = run.measured.plan, run.anchor, [], ""
    for name, memory in list(run.measured.memory.items())[:MOST_ROWS]:
        after = f"after the last batch {_mib(memory.workers_mib_end)}"
        cell = Cell(_mib(memory.workers_mib_start), after, anchor)
        rows.append([Cell(f"Resident memory of each worker, {clipped(name, 40)} (MiB)"), cell])
    if run.measured.remote:
        rows += _remote_rows(run, run.measured.remote)
    if plan:
        for where, seconds, processor_s in (
            ("first", plan.first_batch_s, plan.first_batch_cpu_s),
            ("middle", plan.middle_batch_s, plan.middle_batch_cpu_s),
        ):
            small = f"{shown(processor_s, 2)} of processor time"
            what = f"Planning, until the {where} batch of the epoch (s)"
            rows.append([Cell(what), number_cell(seconds, 2, anchor, small=small)])
        rows.append([Cell("Planning, peak memory (MiB)"), number_cell(plan.peak_mib, 0, anchor)])
        what = f"{shown(plan.samples, 0)} samples in {shown(plan.shards, 0)} shards"
        caption = f"An epoch of {what} was planned once, so there is no interval."
    title = f"Memory and start of the data path on {run.where}"
    return Table("data_plan", title, ["What", "Measured"], rows=rows, caption=caption)


def _remote_rows(run: Run[DataPath], remote: RemoteShards) -> list[list[Cell]]:
    link, rounds = shown(remote.link_mb_s.median, 1), remote.cold_mb_s.n
    size = shown(remote.megabytes, 0)
    cold = summary_cell(remote.cold_mb_s, run.anchor, 1)
    to_link = ratio_cell(run, _trusted(remote.cold_to_link, rounds))
    to_local = ratio_cell(run, _trusted(remote.warm_to_local, rounds))
    return [
        [Cell(f"{size} MB of shards through a link of {link} MB/s, empty cache (MB/s)"), cold],
        [Cell("The same, relative to a plain download"), to_link],
        [Cell("With a full cache, images/s of one core relative to a local disk"), to_local],
    ]


def _trusted(ratio: Interval, rounds: int | None) -> Interval:
    """The ratio, without its ends after too few rounds: loaders have fewer rounds than decoders."""
    few = rounds is not None and rounds < ROUNDS[DataPath.kind]
    return Interval(ratio.value) if few else ratio


def _mib(values: Sequence[float]) -> str:
    return ", ".join(shown(value, 0) for value in values[:MOST_WORKERS])
