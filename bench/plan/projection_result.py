"""Step time, rate and cost on many devices, computed from the step of one device and the bandwidth
of a link, and checked against measurements on a few ranks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.step_time.result import SAMPLES_OF_A_TRAINING
from bench.step_time.steps import MOST_METHODS, percent_cell
from catlip.method_style import name_of
from catlip.results.cells import TIMES, summary_cell
from catlip.results.kind import Kind, Summary
from catlip.results.run import Run
from catlip.table import Cell, Table, clipped, number_cell, shown

MOST_LAYOUTS = 24
SHOWN_DEVICES = (1, 8, 64, 256, 1_024, 4_096)  # in a terminal; the record has all


@dataclass(frozen=True, kw_only=True)
class ProjectedLink:
    """How devices are connected. A bandwidth is what one device sends while it receives as much."""

    node_devices: int
    node_gb_s: float
    node_latency_us: float
    network_gb_s: float
    network_latency_us: float
    source: str


@dataclass(frozen=True, kw_only=True)
class ProjectedCompute:
    """How fast one device computes a step of a method, and the factors of that step."""

    factors: dict[str, Any]
    flops_per_ms: float
    source: str
    optimizer_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A method on a number of devices.

    Attributes:
        exposed_ms: time of a step in which a device waits for others.
        efficiency: images/s over those of as many devices that never wait.
        scaling: `weak` (constant batch per device), `strong` (constant global batch), or one of the
            paper's layouts: `as published`, `as clip`.
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
class Validation:
    """The same computation for ranks that were measured; `error` is predicted over measured, less
    1.
    """

    method: str
    world_size: int
    predicted_ms: float
    predicted_exposed_ms: float | None = None
    measured_ms: Summary
    error: float


@dataclass(frozen=True, kw_only=True)
class Projection(Kind):
    """Layouts of 1 to 4,096 devices and the paper's layouts, computed from `compute` and `link`."""

    kind = "projection"

    link: ProjectedLink
    compute: dict[str, ProjectedCompute]
    layouts: list[Layout]
    paper_layouts: list[Layout]
    paper_ratios: list[LayoutRatio] = field(default_factory=list)
    validation: list[Validation] = field(default_factory=list)


def projection_tables(run: Run[Projection], end: str = "") -> list[Table]:
    """The paper's layouts, with the basis of the projection and the part of communication in their
    ratio; and the check against measured steps. A table without rows is left out.

    Args:
        end: ending of the tables' names.
    """
    tables = [
        _paper_table(run, f"projection{end}"),
        _validation_table(run, f"projection_check{end}"),
    ]
    return [table for table in tables if table.rows]


def scaling_tables(run: Run[Projection]) -> list[Table]:
    """Efficiency and device-hours by number of devices, one row per method, for the terminal; the
    page shows them as a figure.
    """
    tables = []
    for scaling in ("weak", "strong"):
        rows: list[Sequence[Cell]] = []
        for method in run.measured.compute:
            cells = {}
            for layout in run.measured.layouts:
                if (layout.method, layout.scaling) == (method, scaling):
                    efficiency = f"{shown(100 * layout.efficiency, 1)} %"
                    cells[layout.devices] = Cell(efficiency, shown(layout.device_hours))
            shown_cells = [cells.get(devices, Cell()) for devices in SHOWN_DEVICES]
            rows.append([Cell(name_of(method)), *shown_cells])
        columns = ["Method", *(f"{devices:,}" for devices in SHOWN_DEVICES)]
        title = f"Efficiency and device-hours by number of devices, {scaling} scaling"
        tables.append(Table(f"projection_{scaling}", title, columns, rows=rows))
    return tables


def _basis(run: Run[Projection]) -> str:
    """A sentence on what the projection is computed from: rates of one device, and links."""
    measured, link = run.measured, run.measured.link
    sources = dict.fromkeys(compute.source for compute in measured.compute.values())
    devices = [
        clipped(source, 160) + _caution(source, run.machine.cpu)
        for source in list(sources)[:MOST_METHODS]
    ]
    node = (
        f"{shown(link.node_gb_s)} GB/s and {shown(link.node_latency_us)} µs in a node of "
        f"{shown(link.node_devices, 0)} devices"
    )
    network = f"{shown(link.network_gb_s)} GB/s and {shown(link.network_latency_us)} µs between"
    return (
        f"Projected from one device: {'; '.join(devices)}; and from links of {node}, {network} "
        f"nodes ({clipped(link.source, 160)})."
    )


def _caution(source: str, cpu: str) -> str:
    is_cpu = source.startswith("measured") and bool(cpu) and cpu in source
    return " a CPU: its hours say nothing about the paper's" if is_cpu else ""


def samples_words(run: Run[Projection]) -> str:
    """The number of images that the hours are for, in words."""
    samples = run.setup.samples
    return SAMPLES_OF_A_TRAINING if samples is None else f"{shown(samples / 1e9, 1)} billion images"


def _paper_table(run: Run[Projection], name: str) -> Table:
    columns = [
        "Method",
        "Layout",
        "Devices",
        "Images per device",
        "Step (ms)",
        "Computing (ms)",
        "Waiting for others (ms)",
        "Images/s",
        "Efficiency (%)",
        f"Device-hours for {samples_words(run)}",
    ]
    caption = (
        "Computed, not measured. Efficiency is images/s relative to those of as many devices that "
        f"never wait. {_basis(run)} {ratios_said(run)}"
    )
    layouts = run.measured.paper_layouts[:MOST_LAYOUTS]
    rows = [_layout_row(layout, run.anchor) for layout in layouts]
    title = "The paper's layouts, projected"
    return Table(name, title, columns, rows=rows, caption=caption.strip())


def _layout_row(layout: Layout, anchor: str) -> list[Cell]:
    return [
        Cell(name_of(layout.method)),
        Cell(_named(layout.scaling)),
        number_cell(layout.devices, 0, anchor),
        number_cell(layout.batch_per_device, 0, anchor),
        number_cell(layout.step_ms, None, anchor),
        number_cell(layout.compute_ms, None, anchor),
        number_cell(layout.exposed_ms, None, anchor),
        number_cell(layout.images_per_s, None, anchor),
        percent_cell(layout.efficiency, anchor),
        number_cell(layout.device_hours, None, anchor),
    ]


def ratios_said(run: Run[Projection]) -> str:
    """A sentence on CLIP's device-hours over CatLIP's, and the two factors of that ratio."""
    ratios = run.measured.paper_ratios[:MOST_LAYOUTS]
    if not ratios:
        return ""
    said = "; ".join(
        f"{_named(ratio.layouts)} {shown(ratio.device_hours, 2)}{TIMES} (computing "
        f"{shown(ratio.compute, 2)}{TIMES}, communication {shown(ratio.communication, 2)}{TIMES})"
        for ratio in ratios
    )
    return f"CLIP's device-hours over CatLIP's: {said}. The paper measured 2.7, of whole trainings."


def _validation_table(run: Run[Projection], name: str) -> Table:
    columns = [
        "Method",
        "Ranks",
        "Predicted step (ms)",
        "Measured step (ms)",
        "Prediction is off by (%)",
    ]
    caption = (
        "The same arithmetic for ranks that were measured; below a measured step its 5th to 95th "
        "percentile."
    )
    rows = [_validation_row(row, run.anchor) for row in run.measured.validation[:MOST_LAYOUTS]]
    title = f"The projection compared with measured steps, on {run.where}"
    return Table(name, title, columns, rows=rows, caption=caption)


def _validation_row(row: Validation, anchor: str) -> list[Cell]:
    measured_ms = row.measured_ms.median
    error = 100 * (row.predicted_ms / measured_ms - 1) if measured_ms else None
    return [
        Cell(name_of(row.method)),
        number_cell(row.world_size, 0, anchor),
        number_cell(row.predicted_ms, None, anchor),
        summary_cell(row.measured_ms, anchor),
        number_cell(error, 1, anchor),
    ]


def _named(layout: str) -> str:
    """`as catlip` -> `as CatLIP`."""
    return clipped(" ".join(map(name_of, layout.split(" ")[:4])), 32)
