"""What a training step costs: the time of its parts, images per second, and the fraction of the
device's peak that it reaches.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, TypeVar

from bench.self_check.result import SelfCheck, caution
from bench.step_time.steps import (
    CPU_CAUTION,
    StepKind,
    percent_cell,
    step_description,
    what_was_timed,
    without_folders,
)
from catlip.records.blocks import Block, Section, Text, command_to_fill
from catlip.records.kind import Interval, Summary
from catlip.records.profile import PROFILE, Operation, profile_table
from catlip.records.run import (
    TIMES,
    Records,
    Run,
    Setting,
    interval,
    ratio_cell,
    summary_cell,
    times_cell,
)
from catlip.records.select import group_by_device, suffix, unique_runs, with_warning
from catlip.records.styles import CATLIP, name_of, ordered
from catlip.records.table import Cell, Table, clipped, format_number, number_cell

T = TypeVar("T")
COMMAND = "python -m bench.step_time --model vit_b16 --out runs/starter/step_time"
WORDS = (
    "One step of each method on the same synthetic batch, in turns in one process: the cost of "
    "computing alone, without reading images and exchanging between devices."
)
SAMPLES_OF_A_TRAINING = "13.1 billion images"
PACKED = ":packed"  # after the name of a method whose text tower does not compute padding


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """TFLOP/s of large matrix products in `precision`: measured, and by the datasheet. GB/s read
    plus written by a large copy in the device's memory.
    """

    precision: str
    tflops: Summary
    datasheet_tflops: float | None = None
    copied_gb_s: Summary | None = None


@dataclass(frozen=True, kw_only=True)
class MethodSteps:
    """The steps of one method: the first, in which kernels are chosen or compiled, a whole one, its
    parts (if `loss_ms` is None, `forward_ms` includes the loss), images per second of all ranks,
    TFLOP/s of one device without what is computed twice, and these as a fraction of both ceilings;
    and of an eager step on a GPU, the least time by its operations as a fraction of its time.
    """

    parameters: int
    first_ms: float | None = None
    total_ms: Summary
    data_wait_ms: Summary | None = None
    forward_ms: Summary
    loss_ms: Summary | None = None
    backward_ms: Summary
    optimizer_ms: Summary
    images_per_s: float
    tflops: float | None = None
    mfu: float | None = None
    mfu_datasheet: float | None = None
    roofline: float | None = None

    @property
    def parts(self) -> dict[str, Summary | None]:
        return {
            "waiting for data": self.data_wait_ms,
            "forward": self.forward_ms,
            "loss": self.loss_ms,
            "backward": self.backward_ms,
            "optimizer": self.optimizer_ms,
        }


@dataclass(frozen=True, kw_only=True)
class StepTime(StepKind):
    """Steps of several methods, taken in turns in one process; the ratios' names are
    `clip/catlip`, or `clip:packed/catlip` for captions without padding. FLOPs are counted, not
    measured.
    """

    kind = "step_time"
    rows: ClassVar = {f"{PROFILE}_": Operation}

    ceiling: Ceiling | None = None
    methods: dict[str, MethodSteps]
    ratios: dict[str, Interval]
    ratios_without_optimizer: dict[str, Interval] = field(default_factory=dict)
    flops_ratios: dict[str, float] = field(default_factory=dict)


def times_as_long(run: Run[StepTime], method: str) -> float | None:
    """How many times as long as CatLIP the method takes for an image: the less of its step with
    padded captions and of that without; None if neither was timed beside CatLIP.
    """
    pairs = (f"{method}/{CATLIP}", f"{method}{PACKED}/{CATLIP}")
    ratios = run.metrics.ratios
    return min((ratios[pair].value for pair in pairs if pair in ratios), default=None)


def section(main: Setting | None, records: Records) -> Section:
    """A table of each device, the main scale's steps first, and sentences on these."""
    title, timed = "A training step", unique_runs(records, StepTime)
    scale = main.scale if main else ""
    timed.sort(key=lambda run: (run.is_cpu, run.scale != scale))
    if not timed:
        return Section("step-time", title, command_to_fill("No step has been timed.", COMMAND))
    tables = []
    for i, device_runs in enumerate(group_by_device(timed).values()):
        table = step_table(device_runs, suffix(i))
        # Only the table of the first device has its caption.
        tables.append(with_warning(replace(table, caption="") if i else table, device_runs))
    cautions = [CPU_CAUTION] if any(run.is_cpu for run in timed) else []
    cautions += filter(None, [caution(timed, records.of(SelfCheck))])
    same_scale = [run for run in timed if run.scale == timed[0].scale]
    fair = [Text(words) for run in same_scale if (words := avoidable(run))]
    blocks: list[Block] = [Text(WORDS), *map(Text, cautions), *fair, *tables]
    blocks += profile_tables(timed)
    return Section("step-time", title, blocks)


def avoidable(run: Run[StepTime]) -> str:
    """A sentence on what an implementation of CLIP can avoid: the padding of captions, and an
    optimizer that updates the whole token embedding; empty if the former was not timed.
    """
    every, computed = run.metrics.ratios, run.metrics.ratios_without_optimizer
    pairs = ("clip/catlip", f"clip{PACKED}/catlip")
    if run.too_few or not {*pairs} <= every.keys() & computed.keys():
        return ""
    padded, packed, *without = (
        f"{format_number(ratio.value, 2)} ({interval(run, ratio)})"
        for ratio in (of[pair] for of in (every, computed) for pair in pairs)
    )
    model = clipped(without_folders(run.config.model), 24)
    return (
        f"{model}: CLIP's step takes {padded} times as long as CatLIP's, "
        f"{packed} without the padding of captions; {' and '.join(without)} without the optimizer."
    )


def step_table(runs: Sequence[Run[StepTime]], end: str = "") -> Table:
    """The parts of a step and its efficiency, of runs on one device; a row for each run and
    method.
    """
    parts = ["forward", "loss", "backward", "optimizer"]
    if any(run.config.data for run in runs):
        parts.insert(0, "waiting for data")
    columns = ["What", "Method", "Step (ms)", *(f"{part.capitalize()} (ms)" for part in parts)]
    columns += ["Relative step time", "Relative FLOPs", "Images/s", "Of the measured ceiling (%)"]
    ceilings = [run.metrics.ceiling for run in runs if run.metrics.ceiling]
    has_datasheet = any(ceiling.datasheet_tflops is not None for ceiling in ceilings)
    columns += ["Of the datasheet (%)"] if has_datasheet else []
    every = [steps for run in runs for steps in run.metrics.methods.values()]
    has_roofline = any(steps.roofline is not None for steps in every)
    columns += ["Of the roofline (%)"] if has_roofline else []
    caption = (
        "Medians; below a step time the 5th to 95th percentile of steps, below a ratio its 95 % "
        "interval. A ratio is of one record, whose methods took turns. FLOPs are counted, without "
        "what is computed twice. Ceiling: the median rate of a large matrix product here."
    )
    if any(ceiling.copied_gb_s for ceiling in ceilings):
        caption += " Copies: what a large copy in memory reads plus writes."
    if has_roofline:
        caption += (
            " Roofline: the least time of an eager step if each operation computes at the measured "
            "ceiling and moves its bytes as fast as a copy."
        )
    rows = []
    for run in runs:
        what, ceiling = what_was_timed(run), run.metrics.ceiling
        reached = promised = ""
        if ceiling:
            reached = f"of {format_number(ceiling.tflops.median)} TFLOP/s"
            if ceiling.copied_gb_s:
                reached += f"; copies {format_number(ceiling.copied_gb_s.median)} GB/s"
            if ceiling.datasheet_tflops is not None:
                promised = f"of {format_number(ceiling.datasheet_tflops)} TFLOP/s"
        for method in ordered(run.metrics.methods):
            steps = run.metrics.methods[method]
            medians = [ms.median if ms else None for ms in map(steps.parts.get, parts)]
            flops_ratio = _by_numerator(run.metrics.flops_ratios).get(method)
            rows.append(
                [
                    *(Cell(what), Cell(name_of(method)), summary_cell(steps.total_ms, run.anchor)),
                    *(number_cell(median, None, run.anchor) for median in medians),
                    step_ratio_cell(run, method),
                    times_cell(flops_ratio, run.anchor),
                    number_cell(steps.images_per_s, None, run.anchor),
                    percent_cell(steps.mfu, run.anchor, reached),
                    *([percent_cell(steps.mfu_datasheet, run.anchor, promised)] * has_datasheet),
                    *([percent_cell(steps.roofline, run.anchor)] * has_roofline),
                ]
            )
            what, reached, promised = "as above", "", ""
    title = f"Time of one training step on {runs[0].where}"
    return Table(f"step_time{end}", title, columns, rows=rows, caption=caption)


def profile_tables(runs: Sequence[Run[StepTime]]) -> list[Table]:
    """The longest operations of each method that was profiled."""
    tables: list[Table] = []
    for run in runs:
        for method in ordered(run.metrics.methods):
            if operations := run.rows(f"{PROFILE}_{method}", Operation):
                name = f"step_time_profile{suffix(len(tables))}"
                title = f"Profiled steps: {name_of(method)}, {step_description(run)}"
                tables.append(profile_table(name, title, operations, run.anchor))
    return tables


def step_ratio_cell(run: Run[StepTime], method: str) -> Cell:
    """The ratio of step times with its interval; 1 for the method that others are divided by."""
    metrics = run.metrics
    if method not in metrics.methods:
        return Cell()
    if run.too_few:
        return Cell(small=f"too few for a ratio: {run.too_few}")
    ratios = _by_numerator(metrics.ratios)
    if method in ratios:
        return ratio_cell(run, ratios[method])
    is_below = any(pair.endswith(f"/{method}") for pair in metrics.ratios)
    return Cell(f"1{TIMES}", "", run.anchor) if is_below else Cell()


def _by_numerator(ratios: dict[str, T]) -> dict[str, T]:
    """`clip` -> the ratio `clip/catlip`."""
    return {pair.partition("/")[0]: ratio for pair, ratio in ratios.items()}
