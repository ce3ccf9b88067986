"""What a pre-training with each method would cost, by arithmetic: a training step (`Analytic`), the
paper's layouts (`Projection`), and a whole run on devices that one owns or rents (`Plan`). Each is
a kind of record; `python -m bench.plan` writes all three.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from bench.arithmetic.devices import Link
from bench.step_time.result import SAMPLES_OF_A_TRAINING
from catlip.records.blocks import Command, Section, Text
from catlip.records.kind import Interval, Kind
from catlip.records.run import TIMES, Records, Run, low_to_high
from catlip.records.select import MAX_SHOWN, suffix, unique_runs
from catlip.records.styles import CATLIP, CLIPS, distinct_name, name_of
from catlip.records.table import Cell, Table, clipped, format_number, number_cell

PLAN = "python -m bench.plan --model vit_b16 --images 12.8e9 --gpu h100 --gpus 64 --price 2.5"


# A training step.


@dataclass(frozen=True, kw_only=True)
class MethodCosts:
    """The costs of one method: 1e9 operations per image, numbers of parameters, GiB kept on one GPU
    and MB sent by it; the dictionaries are by part.
    """

    forward_gflops: dict[str, float]
    step_gflops_per_image: float
    recomputed_gflops_per_image: float
    parameters: dict[str, int]
    state_gib: dict[str, float]
    activations_gib: dict[str, float]
    peak_gib: float
    sent_mb: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Analytic(Kind):
    """The costs of several methods.

    Attributes:
        flops_ratios: `clip/catlip` -> CLIP's operations per image over CatLIP's.
        flops_ratio_with_own_sizes: the ratio of CLIP to CatLIP, each with the image sizes and
            number of devices that it was published with.
    """

    kind = "analytic"

    methods: dict[str, MethodCosts]
    flops_ratios: dict[str, float]
    flops_ratio_with_own_sizes: float


def analytic_table(run: Run[Analytic]) -> Table:
    """One row per method; the ratio is of operations per step, to the first method."""
    step, config = run.metrics, run.config
    first, *_ = step.methods
    columns = ["Method", "Step, relative", "Image GF", "Text GF", "Head GF", "Step GF"]
    columns += ["Recomputed GF", "Parameters (M)", "State (GiB)", "Activations (GiB)"]
    columns += ["Peak (GiB)", "Sent (MB)"]
    rows = [
        [
            Cell(name_of(method)),
            number_cell(step.flops_ratios.get(f"{method}/{first}", 1.0), 3),
            number_cell(costs.forward_gflops["image_encoder"], 2),
            number_cell(costs.forward_gflops["text_tower"], 2),
            number_cell(costs.forward_gflops["head"], 2),
            number_cell(costs.step_gflops_per_image, 1),
            number_cell(costs.recomputed_gflops_per_image, 1),
            number_cell(sum(costs.parameters.values()) / 1e6, 1),
            number_cell(sum(costs.state_gib.values()), 2),
            number_cell(sum(costs.activations_gib.values()), 2),
            number_cell(costs.peak_gib, 2),
            number_cell(costs.sent_mb["total"], 2),
        ]
        for method, costs in step.methods.items()
    ]
    title = (
        f"A training step of {config.model}, {config.resolution} px, {config.precision}, "
        f"{config.batch_size} images on each of {config.world_size} devices; GF: 1e9 operations "
        "per image; memory and bytes sent: of one device"
    )
    return Table("analytic", title, columns, rows=rows)


# The paper's layouts.


@dataclass(frozen=True)
class ProjectedCompute:
    """Where the rate comes from at which one device computes a step of a method."""

    source: str


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A method on devices, as published or `as clip`; `exposed_ms` is waiting for others."""

    method: str
    devices: int
    batch_per_device: int
    step_ms: float
    exposed_ms: float
    device_hours: float
    scaling: str


@dataclass(frozen=True, kw_only=True)
class LayoutRatio:
    """Device-hours of CLIP over CatLIP, and the two factors of that ratio."""

    layouts: str
    device_hours: float
    compute: float
    communication: float


@dataclass(frozen=True, kw_only=True)
class Projection(Kind):
    """The paper's layouts, computed from the rates of `compute` and from `link`."""

    kind = "projection"

    link: Link
    compute: dict[str, ProjectedCompute]
    paper_layouts: list[Layout]
    paper_ratios: list[LayoutRatio] = field(default_factory=list)


def projection_section(records: Records) -> Section:
    words = (
        "The paper trains on many GPUs. These numbers are computed, not measured, without "
        "stragglers and failures. The command plans a training of your own: hours, money, layout."
    )
    runs = [run for run in unique_runs(records, Projection) if run.metrics.paper_layouts][
        :MAX_SHOWN
    ]
    tables = [projection_table(run, suffix(i)) for i, run in enumerate(runs)]
    plans = unique_runs(records, Plan)[:MAX_SHOWN]
    tables += [plan_table(run, suffix(i)) for i, run in enumerate(plans)]
    blocks = [replace(table, folded=True) for table in tables]
    return Section("projection", "Many devices", [Text(words), Command(PLAN), *blocks])


def projection_table(run: Run[Projection], end: str = "") -> Table:
    """The paper's layouts, and what the projection is computed from."""
    projection, anchor, images = run.metrics, run.anchor, run.config.samples
    words = (
        SAMPLES_OF_A_TRAINING if images is None else f"{format_number(images / 1e9)} billion images"
    )
    columns = ["Method", "Layout", "Devices", "Images per device", "Step (ms)"]
    columns += ["Waiting for others (ms)", f"Device-hours for {words}"]
    rows = [
        [
            Cell(name_of(row.method)),
            Cell(name_of_layout(row.scaling)),
            number_cell(row.devices, 0, anchor),
            number_cell(row.batch_per_device, 0, anchor),
            number_cell(row.step_ms, None, anchor),
            number_cell(row.exposed_ms, None, anchor),
            number_cell(row.device_hours, None, anchor),
        ]
        for row in projection.paper_layouts
    ]
    sources = dict.fromkeys(clipped(of.source, 160) for of in projection.compute.values())
    link = projection.link
    caption = (
        f"From the rate of one device ({'; '.join(sources)}) and links of "
        f"{format_number(link.node_gb_s)} GB/s in a node and "
        f"{format_number(link.network_gb_s)} GB/s between nodes "
        f"({clipped(link.source, 160)}). {ratios_in_words(run)}"
    )
    title = "The paper's layouts, projected"
    return Table(f"projection{end}", title, columns, rows=rows, caption=caption.strip())


def name_of_layout(layout: str) -> str:
    """`as catlip` -> `as CatLIP`."""
    return clipped(" ".join(map(name_of, layout.split(" ")[:4])), 32)


def ratios_in_words(run: Run[Projection]) -> str:
    """A sentence on CLIP's device-hours over CatLIP's, and the two factors of that ratio."""
    words = "; ".join(
        f"{name_of_layout(ratio.layouts)} {format_number(ratio.device_hours, 2)}{TIMES} (computing "
        f"{format_number(ratio.compute, 2)}{TIMES}, communication "
        f"{format_number(ratio.communication, 2)}{TIMES})"
        for ratio in run.metrics.paper_ratios
    )
    paper = "The paper measured 2.7, of whole trainings."
    return f"CLIP's device-hours over CatLIP's: {words}. {paper}" if words else ""


# A whole run.


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One method on a number of devices; memory and MB sent are of one device, `exposed_ms` is
    waiting, `ratio` of device-hours to the first method's, `source` where the rate comes from.
    """

    model: str
    method: str
    gpu: str
    devices: int
    micro_batch: int
    accumulation: int
    global_batch: int
    parallel: str
    checkpointing: bool
    memory_gib: float
    step_ms: float
    exposed_ms: float
    device_hours: Interval
    sent_mb: float
    ratio: Interval
    source: str


@dataclass(frozen=True, kw_only=True)
class Plan(Kind):
    """Plans of a training on `images` images, at `price` per device-hour (0 if none is given)."""

    kind = "plan"

    images: float
    price: float = 0.0
    runs: list[PlannedRun]


def plan_table(run: Run[Plan], end: str = "") -> Table:
    plan, anchor = run.metrics, run.anchor
    rows: list[Sequence[Cell]] = []
    heading = ""
    for row in plan.runs:
        if (group := f"{row.model} on {row.gpu}") != heading:
            heading = group
            rows.append([Cell(heading)])
        hours, ratio, parts = row.device_hours, row.ratio, ""
        if row.accumulation > 1:
            parts = f"{row.accumulation} x {row.micro_batch:,}"
        cells = [
            Cell(name_of(row.method)),
            number_cell(row.devices, 0),
            number_cell(row.micro_batch * row.accumulation, 0, small=parts),
            Cell(row.parallel.upper() + ", checkpointing" * row.checkpointing),
            number_cell(row.memory_gib),
            number_cell(row.step_ms),
            number_cell(row.exposed_ms),
            number_cell(row.sent_mb, 0),
            Cell(format_number(hours.value), low_to_high(hours.low, hours.high), anchor),
        ]
        if plan.price:
            prices = low_to_high(hours.low, hours.high, times=plan.price)
            cells.append(Cell(format_number(plan.price * hours.value), prices))
        ratios = low_to_high(ratio.low, ratio.high, 2)
        rows.append([*cells, Cell(f"{format_number(ratio.value, 2)}{TIMES}", ratios, anchor)])
    columns = ["Method", "Devices", "Images per device", "Layout", "Memory (GiB)", "Step (ms)"]
    columns += ["Waiting for others (ms)", "Sent (MB)", "Device-hours"]
    columns += [*["Price"] * bool(plan.price), "Relative device-hours"]
    rates = dict.fromkeys(f"{row.gpu}: {row.source}" for row in plan.runs)
    caption = (
        "Computed for the simplest layout that fits and is at most 2 % slower than the fastest. "
        "Memory is the peak; below hours and ratios is the range that follows from the rates. With "
        "micro-batches, a contrastive method embeds everything once more. "
        f"Rates: {'; '.join(rates)}."
    )
    title = f"Pre-training on {plan.images:,.0f} images, planned"
    return Table(f"plan{end}", title, columns, rows=rows, caption=caption)


def savings_table(run: Run[Plan]) -> Table:
    """What a training costs with CatLIP and with each CLIP, on the plan's first devices."""
    plan, first = run.metrics, run.metrics.runs[0]
    planned = {
        (row.model, row.method): row.device_hours
        for row in plan.runs
        if (row.gpu, row.devices) == (first.gpu, first.devices)
    }
    methods = [one for one in (CATLIP, *CLIPS) if any(one == method for _, method in planned)]
    rows = []
    for model in dict.fromkeys(model for model, _ in planned):
        cells = []
        for method in methods:
            hours = planned.get((model, method))
            if hours is None:
                cells.append(Cell())
                continue
            price = format_number(plan.price * hours.value)
            cells.append(Cell(format_number(hours.value), price, run.anchor))
        rows.append([Cell(model), *cells])
    caption = (
        f"Device-hours (price at {format_number(plan.price)} an hour) for "
        f"{format_number(plan.images / 1e9)} billion images on {first.devices} {first.gpu}, by "
        f"arithmetic ({clipped(first.source, 60)}; captions padded)."
    )
    columns = ["Encoder", *map(distinct_name, methods)]
    return Table("savings", "What would it save?", columns, rows=rows, caption=caption)
