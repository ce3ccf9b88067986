"""Where a speed-up comes from: one factor changed at a time, in two orders.

The ratio of a factor is the time per image before its change over the time after it: above 1 is
faster, and ratios multiply. The series `release` leads from the released CLIP configuration to the
released CatLIP one, of which the paper's ratio is.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.measuring import statistics
from bench.step_time.steps import STEP_HEADS, StepKind, step_row
from catlip.records.kind import Interval, Summary, other_than
from catlip.records.run import Run
from catlip.records.styles import name_of
from catlip.records.table import NOTE, TIMES, Column, Row, Spec, clipped, format_number

ORDERS = ("forward", "reverse")
BUSY = 0.8  # a pair is launch-bound if the device computes for less of a side's step
NO_PADDING = "captions without padding"  # a factor


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two configurations that were timed in turns, or why they were not. `busy` is the fraction of
    a step in which the device computed; None on a CPU, and in older records.
    """

    ratio: Interval | None = None
    flops_ratio: float | None = None
    ms_per_image_before: Summary | None = None
    ms_per_image: Summary | None = None
    busy_before: float | None = None
    busy: float | None = None
    not_run: str | None = None

    @property
    def launch_bound(self) -> str:
        """`55 %` busy, of the side that was less so, if that is too little; otherwise empty."""
        least = min((one for one in (self.busy_before, self.busy) if one is not None), default=1.0)
        return f"{format_number(100 * least, 0)} %" if least < BUSY else ""


@dataclass(frozen=True, kw_only=True)
class Step(Pair):
    """The change of one factor in one order."""

    factor: str
    before: str
    after: str

    @property
    def change(self) -> str:
        """`naive to sdpa`, as readers see it."""
        return f"{_word(self.before)} to {_word(self.after)}"


@dataclass(frozen=True, kw_only=True)
class ChangeSeries:
    """A series of changes in both orders; and the first configuration timed against the last."""

    orders: dict[str, list[Step]]
    total: Pair

    def product(self, order: str) -> float | None:
        ratios = [step.ratio.value for step in self.orders.get(order, []) if step.ratio]
        return math.prod(ratios) if ratios else None


@dataclass(frozen=True, kw_only=True)
class Waterfall(StepKind):
    """The series of changes, and the ratio that the paper claims for it."""

    kind = "waterfall"
    rounds = (" before", " after")

    published_ratio: float
    release: ChangeSeries
    released_flops_ratio: float | None = None  # of the two releases as they are

    def faults(self, run: Run[Any]) -> Iterator[str]:
        pairs: dict[str, Pair] = {"release total": self.release.total}
        for order, steps in self.release.orders.items():
            pairs |= {f"release {order} {step.factor}": step for step in steps}
        for name, pair in pairs.items():
            if pair.ratio:
                before = self.taken_ms(run, f"{name} before")
                after = self.taken_ms(run, f"{name} after")
                follows: dict[str, Any] = {"ratio": statistics.ratio(before, after)}
                follows["ms_per_image_before"] = statistics.summarise(before)
                follows["ms_per_image"] = statistics.summarise(after)
                yield from other_than(name, pair, follows)


def waterfall_rows(runs: Iterable[Run[Waterfall]]) -> Iterator[Row]:
    """The factors of each record, with both orders side by side, and all together."""
    for run in runs:
        series = run.metrics.release
        shared = step_row(run)
        by_change: dict[tuple[str, str], dict[str, Step]] = {}
        for order in ORDERS:
            for step in series.orders.get(order, []):
                by_change.setdefault((step.factor, step.change), {})[order] = step
        for (factor, change), steps in by_change.items():
            ratios = {
                order: step.ratio and run.trusted(step.ratio) for order, step in steps.items()
            }
            reasons = [step.not_run for step in steps.values() if step.not_run]
            busy = [step.launch_bound for step in steps.values() if step.launch_bound]
            notes = []
            if not any(ratios.values()):
                notes.append(f"Not run: {clipped((*reasons, 'no ratio recorded')[0], 160)}.")
            if busy:
                notes.append(f"Of the host as much as of the device, which was {busy[-1]} busy.")
            counted = [step.flops_ratio for step in steps.values() if step.flops_ratio is not None]
            yield shared | {
                "factor": factor,
                "change": change,
                **ratios,
                "flops": next(iter(counted), None),
                NOTE: " ".join(notes),
            }
        products = {order: series.product(order) for order in ORDERS}
        flops = series.total.flops_ratio
        yield shared | {"factor": "product of the above", **products, "flops": flops}
        total = series.total.ratio and run.trusted(series.total.ratio)
        yield shared | {"factor": "first against last, in turns", "forward": total, "flops": flops}
        yield shared | {
            "factor": "both releases, as published",
            "forward": run.metrics.published_ratio,
            "flops": run.metrics.released_flops_ratio,
        }


WATERFALL = Spec(
    "waterfall",
    "From the released CLIP configuration to the released CatLIP one, one change at a time",
    "Time of an image before the change over that after it, so above 1 is faster; in two orders, "
    "because the effect of a change may depend on those before it. Reading images and the number "
    "of epochs are not included. Where padding is left out after CLIP has become CatLIP, which "
    "reads no captions, the ratio shows the error of the measurement.",
    [
        *STEP_HEADS,
        Column("Factor", "factor"),
        Column("Change", "change"),
        Column("First to last", "forward", 2, unit=TIMES),
        Column("Last to first", "reverse", 2, unit=TIMES),
        Column("FLOPs alone", "flops", 2, unit=TIMES),
    ],
    waterfall_rows,
    "python -m bench.waterfall",
    [Waterfall],
)


def _word(value: str) -> str:
    """A value for readers: `True` -> `on`, `1024` -> `1,024`, `catlip` -> `CatLIP`."""
    if value in ("True", "False"):
        return "on" if value == "True" else "off"
    if value.isdecimal() and len(value) < 9:
        return format_number(float(value), 0)
    return clipped(name_of(value), 28)
