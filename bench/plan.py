"""Before the money is spent: what a pre-training would take, method beside method, on devices that
one has or rents.

A rate that was measured comes from the fastest record of bench.step_time of such a device; any
other is assumed, and its range is what it is assumed to lie in (sums: `bench.arithmetic.layouts`).
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from bench.arithmetic.gpus import GPUS, SLOWEST_LINK, gpu_of
from bench.arithmetic.layouts import Laid, best_layout, computing_ms
from bench.arithmetic.link import PRESETS, Link
from bench.arithmetic.scaling import Compute, measured_compute, read
from bench.measuring import methods
from bench.measuring.training_step import EncoderName, MethodNames, factors_of
from catlip import kinds
from catlip.cli import InputError, choose, run
from catlip.costs import GIB
from catlip.kinds.cost.plan import plan_table
from catlip.program.ranges import Count, Fraction, NotNegative, Positive
from catlip.record import Record
from catlip.table import print_tables

# How far apart the rates of two methods on one device may lie where neither was measured: on
# processors CLIP's step took 1.03 and 1.19 times as long as its operations say beside CatLIP's.
RATES_DIFFER = 1.2
NOTES = [
    (
        "no failures, no stragglers, images always there; published OpenCLIP trainings of "
        "ViT-B/16 reached 13 to 16 % of the datasheet, a half to a third of what is assumed here"
    ),
    (
        "a step is taken as linear in the images on a device, but for the optimizer of a measured "
        "one: small batches are slower than that"
    ),
    "memory is at most, by arithmetic; a tenth of the device is left to the driver and NCCL",
]


@dataclass(frozen=True)
class Plan:
    """Plan a pre-training: for each method the layout that fits, hours, money, memory and bytes.

    python -m bench.plan --model vit_b16 --images 12.8e9 --gpu h100 --gpus 64 --price 2.5
    python -m bench.plan --model vit_b16 vit_l16 vit_h16 --gpu a100 h100 --gpus 8 64 256
    python -m bench.plan --step-time runs/bench/step_time/X.json --gpus 8
    python -m bench.plan --step-time B64.json B32.json --against runs/starter/pretrain/*.json
    """

    models: Annotated[tuple[EncoderName, ...], tyro.conf.arg(name="model")] = ("vit_b16",)
    """Image encoders; of the step-time record when one is given."""
    methods: MethodNames = ()
    """What to plan, the first as the denominator of every ratio; by default those of the step-time
    record when one is given, else catlip, clip, siglip and superclass.
    """
    images: Positive = 13.1e9
    """Images that the pre-training sees; the paper's is 200,000 steps of 65,536."""
    gpu: tuple[str, ...] = ("H100",)
    """Kinds of GPU by the names of their datasheets, in either case."""
    gpus: tuple[Count, ...] = (64,)
    """How many of them."""
    price: NotNegative = 0.0
    """Of a device for an hour, in any currency."""
    global_batch: Count = 65_536
    """Images of a step on all devices together."""
    resolution: Count = 224
    """Image side in pixels; of the step-time record when one is given."""
    num_classes: Count = 24_320
    """Size of CatLIP's vocabulary; the paper's is 24,320."""
    precision: str = "bf16"
    """fp32, bf16 or fp16; of the step-time record when one is given."""
    mfu: tuple[Fraction, Fraction] = (0.3, 0.45)
    """Shares of the datasheet between which a rate that was not measured is assumed to lie."""
    memory_gb: NotNegative = 0.0
    """Of a device; 0 for what its datasheet says."""
    link: str = ""
    """One of bench.arithmetic.link.PRESETS; by default the usual one of such a GPU."""
    step_time: tuple[Path, ...] = ()
    """Records of bench.step_time: plan for the device of the first; the others are of the same
    device, at the batches of trainings of --against.
    """
    records: tuple[Path, ...] = (Path("runs"), Path("reports/records"))
    """Folders in which to look for records of bench.step_time of such GPUs."""
    against: tuple[Path, ...] = ()
    """Records of trainings on the device of --step-time, each to be held against the plan from the
    record whose batch is nearest to its own.
    """
    out: Path = Path("runs/bench/plan")
    """Folder for the record, named by models, GPUs and their numbers."""

    def __post_init__(self) -> None:
        for gpu in self.gpu:
            if gpu_of(gpu) is None:
                raise InputError(f"no datasheet of GPU {gpu!r}; choose one of: {', '.join(GPUS)}")
        if not 0 < self.mfu[0] <= self.mfu[1]:
            raise InputError(f"--mfu {self.mfu[0]} {self.mfu[1]}: give the smaller share first")
        if self.against and not self.step_time:
            raise InputError("--against needs --step-time, records of the same device")


@dataclass(frozen=True)
class Rate:
    """How fast a device gets through the steps of a method.

    Attributes:
        low, high: how many times as long a step may take, where 1 is the middle.
        ratio_low, ratio_high: the same of its ratio to the first method's step.
    """

    compute: Compute
    low: float
    high: float
    ratio_low: float
    ratio_high: float


@dataclass(frozen=True)
class Machine:
    """Devices of one kind, on which an encoder would be trained.

    Attributes:
        rates: of each method; ratios are to the first.
    """

    name: str
    model: str
    memory_bytes: float
    link: Link
    rates: dict[str, Rate]


def machines(config: Plan) -> Iterator[Machine]:
    """The device of each record, or each encoder on each GPU. Raises: InputError."""
    for name, model, rates in _rates(config):
        gpu = gpu_of(name)
        memory_gb = config.memory_gb or (gpu.memory_gb if gpu else math.inf)
        link = choose("link", config.link or (gpu.link if gpu else SLOWEST_LINK), PRESETS)
        yield Machine(name, model, GIB * memory_gb, link=link, rates=rates)


def _rates(config: Plan) -> Iterator[tuple[str, str, dict[str, Rate]]]:
    """The name of each kind of device, the encoder, and the rates there."""
    for given in config.step_time:
        record, timed = read(given, kinds.StepTime)
        rates = measured_rates(given, config.methods or tuple(timed.methods))
        yield record["environment"]["device"], record["config"]["model"], rates
    if config.step_time:
        return
    config = replace(config, methods=config.methods or methods.FOUR)
    for model, gpu in itertools.product(config.models, config.gpu):
        path = fastest_record(config, gpu, model)
        rates = measured_rates(path, config.methods) if path else assumed(config, gpu, model)
        yield gpu.upper(), model, rates


def measured_rates(path: Path, wanted: Sequence[str]) -> dict[str, Rate]:
    """Of a record of bench.step_time: single steps from the 5th to the 95th percentile, and the
    intervals of its ratios where it has them. Raises: InputError.
    """
    _, timed = read(path, kinds.StepTime)
    rates = {}
    for method, compute in measured_compute(path, wanted).items():
        ms, ratio = timed.methods[method].total_ms, timed.ratios.get(f"{method}/{wanted[0]}")
        low, high = 1 / RATES_DIFFER, RATES_DIFFER
        if method == wanted[0]:
            low = high = 1.0
        elif ratio and ratio.low is not None and ratio.high is not None:
            low, high = ratio.low / ratio.value, ratio.high / ratio.value
        rates[method] = Rate(
            compute,
            low=(ms.p5 or ms.median) / ms.median,
            high=(ms.p95 or ms.median) / ms.median,
            ratio_low=low,
            ratio_high=high,
        )
    return rates


def assumed(config: Plan, gpu: str, model: str) -> dict[str, Rate]:
    """Of a GPU that was not measured: shares of its datasheet. Raises: InputError."""
    least, most = config.mfu
    middle = (least * most) ** 0.5
    sheet = gpu_of(gpu)
    assert sheet is not None, "the config has looked"
    tflops = sheet.tflops.get(config.precision)
    if tflops is None:
        raise InputError(f"the datasheet of {gpu} has no {config.precision}; try --precision")
    source = f"assumed: {least:.0%} to {most:.0%} of {tflops:g} TFLOP/s"
    rates = {}
    for method in config.methods:
        differ = 1.0 if method == config.methods[0] else RATES_DIFFER
        rates[method] = Rate(
            Compute(factors_of(config, method, model=model), tflops * middle * 1e9, source),
            low=middle / most,
            high=middle / least,
            ratio_low=1 / differ,
            ratio_high=differ,
        )
    return rates


def fastest_record(config: Plan, gpu: str, model: str) -> Path | None:
    """The record of bench.step_time in which the first method was fastest on such a GPU; None
    without any of this encoder, resolution, precision and all methods.
    """
    found = []
    for path in sorted(p for folder in config.records for p in folder.glob("**/step_time/*.json")):
        try:
            record, timed = read(path, kinds.StepTime)
        except InputError:
            continue
        of: dict[str, Any] = record["config"]
        asked = {"model": model, "resolution": config.resolution, "precision": config.precision}
        if (
            gpu_of(record["environment"]["device"]) is gpu_of(gpu)
            and {name: of.get(name) for name in asked} == asked
            and (timed.world_size or 1) == 1
            and all(method in timed.methods for method in config.methods)
        ):
            ms = timed.methods[config.methods[0]].total_ms.median
            found.append((ms / of["batch_size"], path))
    return min(found)[1] if found else None


def planned(config: Plan, machine: Machine, devices: int) -> list[kinds.PlannedRun]:
    """Each method that fits on so many devices; none without the first."""
    laid: dict[str, Laid] = {}
    for method, rate in machine.rates.items():
        layout = best_layout(
            rate.compute,
            devices,
            config.global_batch,
            link=machine.link,
            memory_bytes=machine.memory_bytes,
        )
        if layout is not None:
            laid[method] = layout
    first = laid.get(next(iter(machine.rates)))
    return [
        _planned(config, machine, laid=each, below=first)
        for each in laid.values()
        if first is not None
    ]


def _planned(config: Plan, machine: Machine, *, laid: Laid, below: Laid) -> kinds.PlannedRun:
    step, rate = laid.factors, machine.rates[laid.factors.method]
    hours = config.images / laid.images_per_s * laid.devices / 3600
    ratio = below.images_per_s / laid.images_per_s
    # Only computing is faster or slower than in the middle; waiting stays.
    computing = laid.compute_ms / laid.step_ms
    low, high = (1 + computing * (times - 1) for times in (rate.low, rate.high))
    return kinds.PlannedRun(
        model=machine.model,
        method=step.method,
        gpu=machine.name,
        devices=laid.devices,
        micro_batch=step.batch_size,
        accumulation=laid.accumulation,
        global_batch=laid.global_batch,
        parallel=step.parallel,
        checkpointing=step.checkpointing,
        memory_gib=laid.peak_bytes / GIB,
        step_ms=laid.step_ms,
        exposed_ms=laid.exposed_ms,
        device_hours=kinds.Interval(hours, hours * low, hours * high),
        sent_mb=laid.sent_bytes / 1e6,
        ratio=kinds.Interval(1.0)
        if laid is below
        else kinds.Interval(ratio, ratio * rate.ratio_low, ratio * rate.ratio_high),
        source=rate.compute.source,
    )


def check(path: Path, every: Sequence[Machine]) -> kinds.PlanCheck:
    """A training on one such device, planned as if it had not been there, from the steps whose
    batch is nearest to its own: small batches take longer than their share. Raises: InputError.
    """
    record, trained = read(path, kinds.Pretrain)
    recipe, timed = record["config"]["recipe"], [m for m in every if trained.method in m.rates]
    if not timed:
        raise InputError(f"{path} is of {trained.method}, whose steps were not timed")

    def distance(machine: Machine) -> float:
        batch = machine.rates[trained.method].compute.factors.batch_size
        return abs(math.log(batch / recipe["micro_batch"]))

    machine = min(timed, key=distance)
    compute = machine.rates[trained.method].compute
    if (recipe["encoder"], recipe["precision"]) != (machine.model, compute.factors.precision):
        raise InputError(f"{path} trained another encoder, or in another precision")
    factors = replace(
        compute.factors,
        resolution=recipe["resolution"],
        batch_size=recipe["micro_batch"],
        checkpointing=recipe["checkpointing"],
    )
    step_ms = computing_ms(compute, factors, 1)
    predicted_s = trained.images_seen / factors.batch_size * step_ms / 1e3
    return kinds.PlanCheck(
        name=path.stem,
        method=trained.method,
        images=int(trained.images_seen),
        predicted_s=predicted_s,
        measured_s=trained.train_seconds,
    )


def main(config: Plan) -> None:
    """Plan, print, write the record."""
    every = list(machines(config))
    told = every[:1] if config.step_time else every
    runs = [
        row
        for machine in told
        for devices in config.gpus
        for row in planned(config, machine, devices)
    ]
    if not runs:
        raise InputError("not even one image fits on a device; give more of them, or larger ones")
    path = config.out / f"{_name(told, config.gpus)}.json"
    with Record(path, kind=kinds.Plan, config=config) as record:
        record.shown_as = methods.shown(dict.fromkeys(row.method for row in runs))
        record.notes += NOTES
        plan = record.measured(
            kinds.Plan(
                images=config.images,
                price=config.price,
                runs=runs,
                checks=[check(path, every) for path in config.against],
            )
        )
    table = plan_table(plan)
    print_tables([table])
    print("\n".join([table.caption, *record.notes]))
    print(f"wrote {record.path}")


def _name(every: Sequence[Machine], gpus: Sequence[int]) -> str:
    """`vit_b16-h100-64` of the models, devices and their numbers."""
    parts = [
        dict.fromkeys(machine.model for machine in every),
        dict.fromkeys(machine.name.lower().replace(" ", "_") for machine in every),
        gpus,
    ]
    return "-".join("_".join(map(str, part)) for part in parts)


if __name__ == "__main__":
    run(Plan, main)
