"""What a pre-training with each method would take on devices that one owns or rents."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from catlip.method_style import name_of
from catlip.results.cells import TIMES, low_to_high
from catlip.results.kind import Interval, Kind
from catlip.results.run import Run
from catlip.table import Cell, Table, number_cell, shown


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One method on a number of devices.

    Attributes:
        micro_batch: images that a device processes at once.
        accumulation: number of micro-batches per step.
        parallel: ddp or fsdp.
        memory_gib: peak memory of one device.
        exposed_ms: time of a step in which a device waits for others.
        device_hours: with the range that follows from the range of the rate.
        sent_mb: sent by one device in one step.
        ratio: device-hours over those of the first method, with its range.
        source: where the rate is from: measured, or assumed.
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


def plan_table(run: Run[Plan]) -> Table:
    """One row per method and number of devices, under a heading per encoder and type of device."""
    measured = run.measured
    columns = [
        "Method",
        "Devices",
        "Images per device",
        "Layout",
        "Memory (GiB)",
        "Step (ms)",
        "Waiting for others (ms)",
        "Sent (MB)",
        "Device-hours",
        *(["Price"] if measured.price else []),
        "Relative device-hours",
    ]
    rows: list[Sequence[Cell]] = []
    heading = ""
    for planned in measured.runs:
        if (wanted := f"{planned.model} on {planned.gpu}") != heading:
            heading = wanted
            rows.append([Cell(heading)])
        rows.append(_cells(planned, measured.price, run.anchor))
    rates = dict.fromkeys(f"{planned.gpu}: {planned.source}" for planned in measured.runs)
    caption = (
        "Computed for the simplest layout that fits and is at most 2 % slower than the fastest. "
        "Memory is the peak; below hours and ratios is the range that follows from the rates. With "
        "micro-batches, a contrastive method embeds everything once more. "
        f"Rates: {'; '.join(rates)}. {checked(measured.checks)}"
    )
    title = f"Pre-training on {measured.images:,.0f} images, planned"
    return Table("plan", title, columns, rows=rows, caption=caption.strip())


def _cells(planned: PlannedRun, price: float, anchor: str) -> list[Cell]:
    hours, ratio = planned.device_hours, planned.ratio
    layout = planned.parallel.upper() + (", checkpointing" if planned.checkpointing else "")
    cells = [
        Cell(name_of(planned.method)),
        number_cell(planned.devices, 0),
        _images_cell(planned),
        Cell(layout),
        number_cell(planned.memory_gib, None),
        number_cell(planned.step_ms, None),
        number_cell(planned.exposed_ms, None),
        number_cell(planned.sent_mb, 0),
        Cell(shown(hours.value), low_to_high(hours.low, hours.high), anchor),
    ]
    if price:
        prices = low_to_high(hours.low, hours.high, times=price)
        cells.append(Cell(shown(price * hours.value), prices))
    ratios = low_to_high(ratio.low, ratio.high, 2)
    return [*cells, Cell(f"{shown(ratio.value, 2)}{TIMES}", ratios, anchor)]


def _images_cell(planned: PlannedRun) -> Cell:
    """A device's images of a step, with the number of micro-batches if there are several."""
    times = planned.accumulation
    small = f"{times} x {planned.micro_batch:,}" if times > 1 else ""
    return number_cell(planned.micro_batch * times, 0, small=small)


def checked(checks: Sequence[PlanCheck]) -> str:
    """A sentence on the planned and the actual time of each training; empty without checks."""
    said = [
        f"{name_of(check.method)} on {check.images:,} images ({check.name}) "
        f"{shown(check.predicted_s)} s planned, {shown(check.measured_s)} s taken "
        f"({100 * check.error:+.0f} %)"
        for check in checks
    ]
    return f"Compared with actual trainings: {'; '.join(said)}." if said else ""
