"""What a pre-training with each method would cost, by arithmetic: a training step (`Analytic`), the
same step on many devices (`Projection`), and a whole run on devices that one owns or rents
(`Plan`). Each is a kind of record; `python -m bench.plan` writes all three.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from bench.arithmetic.devices import Link
from bench.step_time.result import SAMPLES_OF_A_TRAINING
from bench.step_time.steps import MAX_METHODS, percent_cell, shown_methods
from catlip.method_style import colour_of, marker_of, name_of
from catlip.results.blocks import Block, Command, Section, Text, side_by_side, to_fill
from catlip.results.figures import Figure, is_drawable, label_points, thinned, write_out_powers
from catlip.results.kind import Interval, Kind
from catlip.results.run import TIMES, Records, Run, low_to_high
from catlip.results.select import MOST, suffix, unique_runs
from catlip.table import Cell, Table, clipped, number_cell, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLAN = "python -m bench.plan --model vit_b16 --images 12.8e9 --gpu h100 --gpus 64 --price 2.5"
MAX_LAYOUTS = 24
MAX_TICKS = 7
Curve = list[tuple[float, float]]


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
        flops_ratios: `clip/catlip` -> operations per image of CLIP over those of CatLIP.
        flops_ratio_with_own_sizes: the ratio of CLIP to CatLIP, each with the image sizes and
            number of devices that it was published with.
    """

    kind = "analytic"

    methods: dict[str, MethodCosts]
    flops_ratios: dict[str, float]
    flops_ratio_with_own_sizes: float


STEP_COLUMNS: dict[str, Callable[[MethodCosts], Cell]] = {
    "Image GF": lambda costs: number_cell(costs.forward_gflops["image_encoder"], 2),
    "Text GF": lambda costs: number_cell(costs.forward_gflops["text_tower"], 2),
    "Head GF": lambda costs: number_cell(costs.forward_gflops["head"], 2),
    "Step GF": lambda costs: number_cell(costs.step_gflops_per_image, 1),
    "Recomputed GF": lambda costs: number_cell(costs.recomputed_gflops_per_image, 1),
    "Parameters (M)": lambda costs: number_cell(sum(costs.parameters.values()) / 1e6, 1),
    "State (GiB)": lambda costs: number_cell(sum(costs.state_gib.values()), 2),
    "Activations (GiB)": lambda costs: number_cell(sum(costs.activations_gib.values()), 2),
    "Peak (GiB)": lambda costs: number_cell(costs.peak_gib, 2),
    "Sent (MB)": lambda costs: number_cell(costs.sent_mb["total"], 2),
}


def analytic_table(run: Run[Analytic]) -> Table:
    """One row per method; the ratio is of operations per step, to those of the first method."""
    step, setup = run.measured, run.setup
    first, *_ = step.methods
    rows = []
    for method, costs in step.methods.items():
        ratio = number_cell(step.flops_ratios.get(f"{method}/{first}", 1.0), 3)
        cells = [column(costs) for column in STEP_COLUMNS.values()]
        rows.append([Cell(name_of(method)), ratio, *cells])
    title = (
        f"A training step of {setup.model}, {setup.resolution} px, {setup.precision}, "
        f"{setup.batch_size} images on each of {setup.world_size} devices; GF: 1e9 operations per "
        "image; memory and bytes sent: of one device"
    )
    return Table("analytic", title, ["Method", "Step, relative", *STEP_COLUMNS], rows=rows)


# The same step on 1 to 4,096 devices.


@dataclass(frozen=True)
class ProjectedCompute:
    """How fast one device computes a step of a method."""

    flops_per_ms: float
    source: str
    optimizer_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A method on a number of devices.

    Attributes:
        exposed_ms: time of a step in which a device waits for others.
        efficiency: images/s over those of as many devices that never wait.
        scaling: `weak` (constant batch per device), or one of the paper's layouts: `as published`,
            `as clip`; older records also have `strong` (constant global batch).
    """

    method: str
    devices: int
    batch_per_device: int
    global_batch: int
    step_ms: float
    compute_ms: float
    exposed_ms: float
    images_per_s: float
    efficiency: float
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
    """Layouts of 1 to 4,096 devices and the paper's layouts, computed from `compute` and `link`."""

    kind = "projection"

    link: Link
    compute: dict[str, ProjectedCompute]
    layouts: list[Layout]
    paper_layouts: list[Layout]
    paper_ratios: list[LayoutRatio] = field(default_factory=list)


def projection_section(records: Records) -> Section:
    words = (
        "The paper trains on many GPUs. These numbers are computed from one device's step and the "
        "bandwidth of a link, not measured. Stragglers, failures and networks shared with others "
        "are not included."
    )
    blocks: list[Block] = []
    for i, run in enumerate(unique_runs(records, Projection)[:MOST]):
        blocks += side_by_side(projection_figures(run, suffix(i)))
        if run.measured.paper_layouts:
            blocks.append(projection_table(run, suffix(i)))
    blocks = blocks or to_fill("No projection was made.", PLAN)
    return Section("projection", "Many devices", [Text(words), *blocks])


LAYOUT_COLUMNS: dict[str, Callable[[Layout, str], Cell]] = {
    "Method": lambda row, _: Cell(name_of(row.method)),
    "Layout": lambda row, _: Cell(name_of_layout(row.scaling)),
    "Devices": lambda row, anchor: number_cell(row.devices, 0, anchor),
    "Images per device": lambda row, anchor: number_cell(row.batch_per_device, 0, anchor),
    "Step (ms)": lambda row, anchor: number_cell(row.step_ms, None, anchor),
    "Computing (ms)": lambda row, anchor: number_cell(row.compute_ms, None, anchor),
    "Waiting for others (ms)": lambda row, anchor: number_cell(row.exposed_ms, None, anchor),
    "Images/s": lambda row, anchor: number_cell(row.images_per_s, None, anchor),
    "Efficiency (%)": lambda row, anchor: percent_cell(row.efficiency, anchor),
    "Device-hours": lambda row, anchor: number_cell(row.device_hours, None, anchor),
}


def projection_table(run: Run[Projection], end: str = "") -> Table:
    """The paper's layouts, and what the projection is computed from."""
    layouts = run.measured.paper_layouts[:MAX_LAYOUTS]
    return Table(
        f"projection{end}",
        "The paper's layouts, projected",
        [*list(LAYOUT_COLUMNS)[:-1], f"Device-hours for {_images_in_words(run)}"],
        rows=[[column(row, run.anchor) for column in LAYOUT_COLUMNS.values()] for row in layouts],
        caption=(
            "Computed, not measured. Efficiency is images/s relative to those of as many devices "
            f"that never wait. {_basis(run)} {ratios_in_words(run)}"
        ).strip(),
    )


def name_of_layout(layout: str) -> str:
    """`as catlip` -> `as CatLIP`."""
    return clipped(" ".join(map(name_of, layout.split(" ")[:4])), 32)


def ratios_in_words(run: Run[Projection]) -> str:
    """A sentence on CLIP's device-hours over CatLIP's, and the two factors of that ratio."""
    ratios = run.measured.paper_ratios[:MAX_LAYOUTS]
    if not ratios:
        return ""
    words = "; ".join(
        f"{name_of_layout(ratio.layouts)} {shown(ratio.device_hours, 2)}{TIMES} (computing "
        f"{shown(ratio.compute, 2)}{TIMES}, communication {shown(ratio.communication, 2)}{TIMES})"
        for ratio in ratios
    )
    return (
        f"CLIP's device-hours over CatLIP's: {words}. The paper measured 2.7, of whole trainings."
    )


def _images_in_words(run: Run[Projection]) -> str:
    images = run.setup.samples
    return SAMPLES_OF_A_TRAINING if images is None else f"{shown(images / 1e9)} billion images"


def _basis(run: Run[Projection]) -> str:
    """A sentence on what the projection is computed from: rates of one device, and links."""
    link, cpu = run.measured.link, run.machine.cpu
    sources = dict.fromkeys(compute.source for compute in run.measured.compute.values())
    devices = []
    for source in list(sources)[:MAX_METHODS]:
        on_cpu = source.startswith("measured") and bool(cpu) and cpu in source
        warning = " a CPU: its hours say nothing about the paper's" if on_cpu else ""
        devices.append(clipped(source, 160) + warning)
    node = (
        f"{shown(link.node_gb_s)} GB/s and {shown(link.node_latency_us)} µs in a node of "
        f"{shown(link.node_devices, 0)} devices"
    )
    network = f"{shown(link.network_gb_s)} GB/s and {shown(link.network_latency_us)} µs between"
    return (
        f"Projected from one device: {'; '.join(devices)}; and from links of {node}, {network} "
        f"nodes ({clipped(link.source, 160)})."
    )


def projection_figures(run: Run[Projection], end: str = "") -> list[Figure]:
    figures = []
    for name, unit, curves in (
        ("efficiency", "efficiency (%)", _curves(run, lambda row: 100 * row.efficiency)),
        ("device_hours", "device-hours", _curves(run, lambda row: row.device_hours)),
    ):
        of = f"device-hours for {_images_in_words(run)}" if name == "device_hours" else name
        caption = f"Projected {of}, the same batch on every device (weak scaling)."
        points = "; ".join(
            f"{clipped(name_of(m))}: {', '.join(f'{shown(y)} at {n:,.0f}' for n, y in curve)}"
            for m, curve in curves.items()
        )
        draw = partial(_draw, curves=curves, unit=unit, logarithmic=name == "device_hours")
        if curves:
            figures.append(
                Figure(f"projection_{name}{end}", caption, f"Lines. {points}.", draw=draw)
            )
    return figures


def _curves(run: Run[Projection], size: Callable[[Layout], float]) -> dict[str, Curve]:
    """Method -> its points (devices, size); only methods with at least two points."""
    layouts = [row for row in run.measured.layouts if row.scaling == "weak"]
    curves: dict[str, Curve] = {}
    for method in shown_methods(layout.method for layout in layouts):
        points = [(float(row.devices), size(row)) for row in layouts if row.method == method]
        curve = sorted(point for point in points if all(map(is_drawable, point)))
        if len(curve) > 1:
            curves[method] = curve[:MAX_LAYOUTS]
    return curves


def _draw(axes: "Axes", curves: dict[str, Curve], unit: str, logarithmic: bool) -> None:
    from matplotlib.ticker import LogLocator

    for method, curve in curves.items():
        line = "--" if "_" in method else "-"  # dashed for a variant, which has its method's colour
        style = f"{marker_of(method)}{line}"
        axes.plot(
            *zip(*curve, strict=True), style, color=colour_of(method), markersize=4, linewidth=1.6
        )
    sizes = [y for curve in curves.values() for _, y in curve]
    axes.set_xscale("log", base=2)
    counts = sorted({n for curve in curves.values() for n, _ in curve})
    axes.set_xticks([counts[i] for i in thinned(len(counts), MAX_TICKS)])
    write_out_powers(axes.xaxis)
    axes.tick_params(axis="x", labelsize=9)
    axes.set_xlim(0.9 * counts[0], 1.1 * counts[-1])
    axes.set_ylim(0, 1.12 * max(sizes))
    if logarithmic:
        axes.set_yscale("log")
        axes.set_ylim(min(sizes) / 1.3, 1.3 * max(sizes))
        axes.yaxis.set_major_locator(
            LogLocator(subs=(1, 2, 5) if max(sizes) < 1000 * min(sizes) else (1,))
        )
    write_out_powers(axes.yaxis)
    ends = [
        (*curve[-1], f"{clipped(name_of(m), 24)} {shown(curve[-1][1])}", colour_of(m))
        for m, curve in curves.items()
    ]
    label_points(axes, ends, gap=0.09)
    axes.set_xlabel("devices")
    axes.set_ylabel(unit)


# A whole run.


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One method on a number of devices, in steps of `accumulation` micro-batches; memory and MB
    sent in a step are of one device. `exposed_ms` of a step a device waits for others; `ratio` is
    of device-hours to those of the first method; `source` is that of the rate.
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
class PlanCheck:
    """An actual training: the time that the plan predicts for it, and the time that it took."""

    name: str
    method: str
    images: int
    predicted_s: float
    measured_s: float

    @property
    def error(self) -> float:
        """Predicted over measured, less 1."""
        return self.predicted_s / self.measured_s - 1


@dataclass(frozen=True, kw_only=True)
class Plan(Kind):
    """Plans of a training on `images` images, at `price` per device-hour (0 if none is given)."""

    kind = "plan"

    images: float
    price: float = 0.0
    runs: list[PlannedRun]
    checks: list[PlanCheck] = field(default_factory=list)


def plan_section(records: Records) -> Section:
    """The plan with the most rows, and the checks of all plans."""
    words = (
        "What a pre-training would take on your devices. The command knows more GPUs, image sizes "
        "and links, and takes the rate of a step that you have timed."
    )
    blocks: list[Block] = [Text(words)]
    if plans := unique_runs(records, Plan):
        if checks := checks_in_words([c for run in plans for c in run.measured.checks]):
            blocks.append(Text(checks))
        largest = max(plans, key=lambda run: len(run.measured.runs))
        blocks += [Command(PLAN), replace(plan_table(largest), folded=True)]
    else:
        blocks += to_fill("No training was planned.", PLAN)
    return Section("plan", "A training of your own", blocks)


PLAN_COLUMNS: dict[str, Callable[[PlannedRun], Cell]] = {
    "Method": lambda row: Cell(name_of(row.method)),
    "Devices": lambda row: number_cell(row.devices, 0),
    "Images per device": lambda row: number_cell(
        row.micro_batch * row.accumulation,
        0,
        small=f"{row.accumulation} x {row.micro_batch:,}" if row.accumulation > 1 else "",
    ),
    "Layout": lambda row: Cell(row.parallel.upper() + ", checkpointing" * row.checkpointing),
    "Memory (GiB)": lambda row: number_cell(row.memory_gib, None),
    "Step (ms)": lambda row: number_cell(row.step_ms, None),
    "Waiting for others (ms)": lambda row: number_cell(row.exposed_ms, None),
    "Sent (MB)": lambda row: number_cell(row.sent_mb, 0),
}


def plan_table(run: Run[Plan]) -> Table:
    plan = run.measured
    rows: list[Sequence[Cell]] = []
    heading = ""
    for row in plan.runs:
        if (wanted := f"{row.model} on {row.gpu}") != heading:
            heading = wanted
            rows.append([Cell(heading)])
        hours, ratio = row.device_hours, row.ratio
        cells = [column(row) for column in PLAN_COLUMNS.values()]
        cells.append(Cell(shown(hours.value), low_to_high(hours.low, hours.high), run.anchor))
        if plan.price:
            prices = low_to_high(hours.low, hours.high, times=plan.price)
            cells.append(Cell(shown(plan.price * hours.value), prices))
        ratios = low_to_high(ratio.low, ratio.high, 2)
        rows.append([*cells, Cell(f"{shown(ratio.value, 2)}{TIMES}", ratios, run.anchor)])
    price = ["Price"] if plan.price else []
    columns = [*PLAN_COLUMNS, "Device-hours", *price, "Relative device-hours"]
    rates = dict.fromkeys(f"{row.gpu}: {row.source}" for row in plan.runs)
    caption = (
        "Computed for the simplest layout that fits and is at most 2 % slower than the fastest. "
        "Memory is the peak; below hours and ratios is the range that follows from the rates. With "
        "micro-batches, a contrastive method embeds everything once more. "
        f"Rates: {'; '.join(rates)}. {checks_in_words(plan.checks)}"
    )
    title = f"Pre-training on {plan.images:,.0f} images, planned"
    return Table("plan", title, columns, rows=rows, caption=caption.strip())


def checks_in_words(checks: Sequence[PlanCheck]) -> str:
    """A sentence on the planned and the actual time of each training; empty without checks."""
    words = [
        f"{name_of(check.method)} on {check.images:,} images ({check.name}) "
        f"{shown(check.predicted_s)} s planned, {shown(check.measured_s)} s taken "
        f"({100 * check.error:+.0f} %)"
        for check in checks
    ]
    return f"Compared with actual trainings: {'; '.join(words)}." if words else ""
