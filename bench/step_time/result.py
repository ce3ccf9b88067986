"""What a training step costs: the time of its parts, images per second, and the fraction of the
device's peak that it reaches.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from bench.measuring import statistics
from bench.step_time.steps import PACKED as PACKED
from bench.step_time.steps import STEP_HEADS, StepKind, step_row
from catlip.architectures import ENCODERS
from catlip.records.kind import ROUNDING, Interval, Summary, other_than
from catlip.records.profile import PROFILE, Operation
from catlip.records.run import Run
from catlip.records.styles import name_of, ordered
from catlip.records.table import NOTE, TIMES, Column, Row, Spec

MOST_PIXELS = 10**11  # of a step, in a record of others


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """TFLOP/s of large matrix products in `precision`: measured, and by the datasheet."""

    precision: str
    tflops: Summary
    datasheet_tflops: float | None = None


@dataclass(frozen=True, kw_only=True)
class MethodSteps:
    """The steps of one method: the first, in which kernels are chosen or compiled, a whole one, its
    parts (if `loss_ms` is None, `forward_ms` includes the loss), images per second of all ranks,
    TFLOP/s of one device without what is computed twice, and these as a fraction of both ceilings;
    of one GPU, the peak of its memory, without what trainings of other methods hold there.
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
    peak_gib: float | None = None


@dataclass(frozen=True, kw_only=True)
class StepTime(StepKind):
    """Steps of several methods, taken in turns in one process; the ratios' names are
    `clip/catlip`, or `clip:packed/catlip` for captions without padding. FLOPs are counted, not
    measured.
    """

    kind = "step_time"
    rounds = ("_total_ms",)
    rows: ClassVar = {PROFILE: Operation}

    ceiling: Ceiling | None = None
    methods: dict[str, MethodSteps]
    ratios: dict[str, Interval]
    flops_ratios: dict[str, float] = field(default_factory=dict)

    def faults(self, run: Run[Any]) -> Iterator[str]:
        total: dict[str, list[float]] = {}
        flops: dict[str, float] = {}
        ceiling, images = self.ceiling, (run.config.batch_size or 0) * (self.world_size or 1)
        for method, steps in self.methods.items():
            parts = [part for part, value in vars(steps).items() if isinstance(value, Summary)]
            ms = {part: self.taken_ms(run, f"{method}_{part}") for part in parts}
            seconds = steps.total_ms.median / 1e3
            stated = (steps.tflops or 0) * 1e12 * seconds
            flops[method] = _flops_by_arithmetic(run, method) or stated
            total[method] = ms["total_ms"]
            rate = flops[method] / seconds / 1e12
            follows: dict[str, Any] = {"images_per_s": images / seconds, "tflops": rate}
            follows |= {part: statistics.summarise(samples) for part, samples in ms.items()}
            share = steps.mfu_datasheet or 0
            if ceiling:
                follows["mfu"] = rate / ceiling.tflops.median
                # A device may be faster in the steps than in the median of the ceiling.
                most = max(1, (ceiling.tflops.p95 or 0) / ceiling.tflops.median)
                share = max(share, (steps.mfu or 0) / most)
            if ceiling and ceiling.datasheet_tflops:
                follows["mfu_datasheet"] = rate / ceiling.datasheet_tflops
            if share > 1 + ROUNDING:
                yield f"{method} computes {share:.0%} of what the device can: measure again"
            yield from other_than(method, steps, follows)
        for pair, ratio in self.ratios.items():
            expected = statistics.ratio(*(total[method] for method in pair.split("/")))
            yield from other_than(f"ratios.{pair}", ratio, expected)
        for pair, quotient in self.flops_ratios.items():
            one, other = (flops[method] for method in pair.split("/"))
            yield from other_than(f"flops_ratios.{pair}", quotient, one / other)


def _flops_by_arithmetic(run: Run[StepTime], method: str) -> float | None:
    """Of one step; None for an encoder or a method of others. Nothing of theirs is opened."""
    from bench.arithmetic.flops import step_flops  # torch takes seconds to load
    from bench.measuring.factors import METHOD_NAMES
    from bench.step_time.config import StepTime as Config
    from catlip.records.record import from_plain

    config = from_plain(run.raw_config, Config)
    name, packed, _ = method.partition(PACKED)
    if config.model not in ENCODERS or name not in METHOD_NAMES:
        return None
    if (pixels := config.batch_size * config.resolution**2) > MOST_PIXELS:
        raise ValueError(f"no device takes {pixels:.3g} pixels at once")
    factors = replace(config.factors(name), packed_captions=bool(packed))
    return step_flops(factors, run.metrics.world_size or 1)


def step_rows(runs: Iterable[Run[StepTime]]) -> Iterator[Row]:
    """A row for each record and method. A ratio is of one record, whose methods took turns."""
    for run in runs:
        metrics, ceiling = run.metrics, run.metrics.ceiling
        ratios = {pair.partition("/")[0]: ratio for pair, ratio in metrics.ratios.items()}
        flops = {pair.partition("/")[0]: ratio for pair, ratio in metrics.flops_ratios.items()}
        for method in ordered(metrics.methods):
            steps = metrics.methods[method]
            yield {
                **step_row(run),
                "method": method_name(method),
                "step": steps.total_ms,
                **{part: ms.median for part, ms in vars(steps).items() if isinstance(ms, Summary)},
                "ratio": run.trusted(ratios[method]) if method in ratios else None,
                "flops": flops.get(method),
                "images": steps.images_per_s,
                "ceiling": steps.mfu,
                "datasheet": steps.mfu_datasheet,
                "memory": steps.peak_gib,
                "tflops": ceiling.tflops.median if ceiling else None,
                NOTE: "; ".join(filter(None, (run.too_few, *run.environment.doubts))),
            }


def method_name(method: str) -> str:
    """`CLIP, no padding`"""
    name, packed, _ = method.partition(PACKED)
    return name_of(name) + (", no padding" if packed else "")


STEP_TIME = Spec(
    "step_time",
    "A training step",
    "One step of each method on the same synthetic batch, in turns in one process: medians, and "
    "5th to 95th percentiles of a step; a ratio to CatLIP's has its 95 % interval. FLOPs are "
    "counted without what is computed twice. Times and ratios of a CPU do not carry over to a GPU.",
    [
        *STEP_HEADS,
        Column("Method", "method"),
        Column("Step (ms)", "step"),
        Column("Waiting for data (ms)", "data_wait_ms"),
        Column("Forward (ms)", "forward_ms"),
        Column("Loss (ms)", "loss_ms"),
        Column("Backward (ms)", "backward_ms"),
        Column("Optimizer (ms)", "optimizer_ms"),
        Column("Step, relative", "ratio", 2, unit=TIMES),
        Column("FLOPs, relative", "flops", 2, unit=TIMES),
        Column("Images/s", "images"),
        Column("Of the measured ceiling (%)", "ceiling", 1, factor=100),
        Column("Ceiling (TFLOP/s)", "tflops"),
        Column("Of the datasheet (%)", "datasheet", 1, factor=100),
        Column("Peak memory (GiB)", "memory"),
    ],
    step_rows,
    "python -m bench.step_time --model vit_b16 --out runs/starter/step_time",
    [StepTime],
)
