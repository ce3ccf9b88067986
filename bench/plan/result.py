"""What a pre-training with each method would cost, by arithmetic: a training step (`Analytic`), and
a whole run on devices that one owns or rents (`Plan`). `python -m bench.plan` writes both.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.arithmetic.devices import USABLE, gpu_of
from catlip.records.kind import Interval, Kind, other_than
from catlip.records.run import Run
from catlip.records.styles import name_of
from catlip.records.table import NOTE, RECORDS, TIMES, Column, Row, Spec, clipped

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

    def faults(self, run: Run[Any]) -> Iterator[str]:
        for pair, ratio in self.flops_ratios.items():
            one, other = (self.methods[name].step_gflops_per_image for name in pair.split("/"))
            yield from other_than(f"flops_ratios.{pair}", ratio, one / other)


def analytic_rows(runs: Iterable[Run[Analytic]]) -> Iterator[Row]:
    """One row per method; the ratio is of operations per step, to the first method."""
    for run in runs:
        step, config = run.metrics, run.config
        first = next(iter(step.methods), "")
        for method, costs in step.methods.items():
            yield {
                "what": f"{config.model}, {config.batch_size} on each of {config.world_size}",
                "method": name_of(method),
                "ratio": step.flops_ratios.get(f"{method}/{first}", 1.0),
                **costs.forward_gflops,
                "step": costs.step_gflops_per_image,
                "recomputed": costs.recomputed_gflops_per_image,
                "parameters": sum(costs.parameters.values()),
                "state": sum(costs.state_gib.values()),
                "activations": sum(costs.activations_gib.values()),
                "peak": costs.peak_gib,
                "sent": costs.sent_mb.get("total"),
                RECORDS: (run.path,),
            }


ANALYTIC = Spec(
    "analytic",
    "What a step takes, by arithmetic",
    "GF: 1e9 operations per image; memory and bytes sent: of one device.",
    [
        Column("What", "what", head=True),
        Column("Method", "method"),
        Column("Step, relative", "ratio", 3, unit=TIMES),
        Column("Image GF", "image_encoder", 2),
        Column("Text GF", "text_tower", 2),
        Column("Head GF", "head", 2),
        Column("Step GF", "step", 1),
        Column("Recomputed GF", "recomputed", 1),
        Column("Parameters (M)", "parameters", 1, factor=1e-6),
        Column("State (GiB)", "state", 2),
        Column("Activations (GiB)", "activations", 2),
        Column("Peak (GiB)", "peak", 2),
        Column("Sent (MB)", "sent", 2),
    ],
    analytic_rows,
    PLAN,
    [Analytic],
)


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


def plan_rows(runs: Iterable[Run[Plan]]) -> Iterator[Row]:
    for run in runs:
        plan = run.metrics
        for row in plan.runs:
            hours, gpu = row.device_hours, gpu_of(row.gpu)
            ends = [None if end is None else plan.price * end for end in (hours.low, hours.high)]
            parts = f"{row.accumulation} x {row.micro_batch:,}" if row.accumulation > 1 else ""
            is_too_large = gpu and row.memory_gib > USABLE * gpu.memory_gb
            yield vars(row) | {
                "images": plan.images,
                "source": clipped(row.source, 60),
                "method": name_of(row.method),
                "batch": (row.micro_batch * row.accumulation, parts),
                "layout": row.parallel.upper() + ", checkpointing" * row.checkpointing,
                "price": Interval(plan.price * hours.value, *ends) if plan.price else None,
                NOTE: TOO_LARGE if is_too_large else "",
                RECORDS: (run.path,),
            }


TOO_LARGE = "More memory than the GPU has: give a smaller --batch-size, or --checkpointing."
PLANNED = Spec(
    "plan",
    "A whole pre-training, planned",
    "Computed; below hours and ratios is the range that follows from the rates. With micro-batches "
    "a contrastive method embeds everything once more.",
    [
        Column("Images", "images", head=True),
        Column("Encoder", "model", head=True),
        Column("GPU", "gpu", head=True),
        Column("Rate from", "source", head=True),
        Column("Method", "method"),
        Column("Devices", "devices", 0),
        Column("Images per device", "batch", 0),
        Column("Layout", "layout"),
        Column("Memory (GiB)", "memory_gib"),
        Column("Step (ms)", "step_ms"),
        Column("Waiting (ms)", "exposed_ms"),
        Column("Sent (MB)", "sent_mb", 0),
        Column("Device-hours", "device_hours"),
        Column("Price", "price"),
        Column("Relative", "ratio", 2, unit=TIMES),
    ],
    plan_rows,
    PLAN,
    [Plan],
)
