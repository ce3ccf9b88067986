"""The arithmetic of a step and of a whole run; printed, and written as two kinds of record.

The question behind it: in the paper CLIP took 2.7 times the GPU-hours of CatLIP, with 256 images on
each of 256 devices against 1,024 on each of 64 (Figure 1c and Table 6b). How much of that can
operations and communication explain?
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from bench.arithmetic.devices import Gpu, Link, datasheet_tflops, gpu_of
from bench.arithmetic.exchanges import step_exchanges
from bench.arithmetic.flops import (
    forward_flops,
    image_flops,
    mean_flops_per_sample,
    objective_of,
    recomputed_flops,
    step_flops,
    step_shape,
    text_flops,
)
from bench.arithmetic.memory import activation_bytes, parameters, peak_bytes, state_bytes
from bench.measuring import methods
from bench.measuring.factors import FOUR, Factors
from bench.plan import result
from bench.plan.config import Plan
from bench.plan.layouts import Rate, layouts
from bench.step_time.config import StepTime as StepTimeBench
from bench.step_time.result import PACKED, StepTime
from catlip.cli import InputError
from catlip.costs import GIB
from catlip.recipes.pretrain import CATLIP, CLIP
from catlip.records.kind import Interval, Kind
from catlip.records.record import Record, from_plain, plain, read_record
from catlip.records.run import Run
from catlip.records.table import print_tables

K = TypeVar("K", bound=Kind)
# Recipes with the released samplers.
RELEASED = {"catlip": CATLIP["datacomp_b16"], "clip": CLIP["datacomp_b16_release"]}
NOTES = [
    "computed, not measured: no failures, no stragglers, no waiting for images",
    "the time of a step, without the optimizer if it was measured, is assumed to be linear in the "
    "images on a device: small batches are slower than that",
    "collectives run round rings, whose latency grows with the number of nodes; NCCL's trees do "
    "better on many",
    "memory is the peak of a GPU's kernels, without their own work space; a tenth of the device is "
    "left to the driver and NCCL",
]


@dataclass(frozen=True)
class Machine:
    """Devices of one kind for an encoder, and each method's rate; ratios are to the first."""

    name: str
    model: str
    memory_bytes: float
    link: Link
    rates: dict[str, Rate]


def main(config: Plan) -> None:
    """Compute, print the tables and write the records. Raises: InputError."""
    all_machines = list(machines(config))
    runs: list[result.PlannedRun] = []
    for machine, number in itertools.product(all_machines, config.gpus):
        runs += plan_runs(config, machine, number)
    if not runs:
        raise InputError("not even one image fits on a device; give more devices, or larger ones")
    paths = []

    def record(name: str, metrics: K, **settings: Any) -> Run[K]:
        """Write the record; `settings` are those that the config only implies."""
        paths.append(config.out / f"{name}.json")
        with Record(paths[-1], type(metrics), plain(config) | settings) as file:
            file.shown_as, file.notes = methods.page_styles(all_machines[0].rates), NOTES
            return file.finish(metrics)

    devices = max(1, config.global_batch // config.batch_size)
    for model, machine in {machine.model: machine for machine in all_machines}.items():
        step = analytic(config, machine, devices)
        factors = next(iter(machine.rates.values())).factors
        step_run = record(
            f"step-{model}-b{config.batch_size}x{devices}-{factors.precision}",
            step,
            model=model,
            resolution=factors.resolution,
            precision=factors.precision,
            world_size=devices,
        )
        print_tables([result.ANALYTIC.fill([step_run])])
        print(
            f"clip/catlip = {step.flops_ratio_with_own_sizes:.3f} in operations per image, with "
            "the image sizes of each method's released ViT-B/16 recipe\n"
        )
    names = [
        dict.fromkeys(machine.model for machine in all_machines),
        dict.fromkeys(_slug(machine.name) for machine in all_machines),
        map(str, config.gpus),
    ]
    whole = result.Plan(images=config.images, price=config.price, runs=runs)
    print_tables([result.PLANNED.fill([record("-".join(map("_".join, names)), whole)])])
    print("\n".join([*NOTES, *(f"wrote {path}" for path in paths)]))


def _slug(device: str) -> str:
    return device.lower().replace(" ", "_")


def machines(config: Plan) -> Iterator[Machine]:
    """The device of the step-time record, or each encoder on each GPU. Raises: InputError."""
    if config.step_time:
        yield _machine(*measured_rates(config.step_time, config.methods))
        return
    config = replace(config, methods=config.methods or FOUR)
    for model, gpu in itertools.product(config.models, config.gpu):
        yield _machine(gpu.upper(), model, assumed_rates(config, gpu, model))


def _machine(name: str, model: str, rates: dict[str, Rate], memory_gb: float = math.inf) -> Machine:
    gpu = gpu_of(name)
    memory_bytes = GIB * (gpu.memory_gb if gpu else memory_gb)
    return Machine(name, model, memory_bytes, link=gpu.link if gpu else Gpu.link, rates=rates)


def measured_rates(path: Path, wanted: Sequence[str]) -> tuple[str, str, dict[str, Rate], float]:
    """Device, encoder, rates and memory of a record of bench.step_time. Rates range as single steps
    do, from the 5th to the 95th percentile. Raises: InputError.
    """
    record = read_record(path)
    if record["kind"] != StepTime.kind or not record["metrics"]:
        raise InputError(f"{path} is not a finished record of {StepTime.kind}")
    timed, config = StepTime.read(record["metrics"]), from_plain(record["config"], StepTimeBench)
    wanted = wanted or tuple(method for method in timed.methods if not method.endswith(PACKED))
    if (ranks := timed.world_size or 1) != 1:
        raise InputError(f"{path} is of {ranks} ranks; a plan needs a record of one")
    if missing := [method for method in wanted if method not in timed.methods]:
        raise InputError(f"{path} has no times of {', '.join(missing)}; set --methods")
    device, rates = record["environment"]["device"], {}
    for method in wanted:
        factors = config.factors(method)
        ms, optimizer_ms = timed.methods[method].total_ms, timed.methods[method].optimizer_ms.median
        rates[method] = Rate(
            factors,
            step_flops(factors) / (ms.median - optimizer_ms),
            f"measured: {ms.median:.1f} ms at batch {factors.batch_size} on {device}, {path.name}",
            optimizer_ms=optimizer_ms,
            times=((ms.p5 or ms.median) / ms.median, (ms.p95 or ms.median) / ms.median),
        )
        ratio = timed.ratios.get(f"{method}/{wanted[0]}")
        if ratio and ratio.low is not None and ratio.high is not None:
            ends = ratio.low / ratio.value, ratio.high / ratio.value
            rates[method] = replace(rates[method], ratios=ends)
    memory_gb = record["environment"].get("device_memory_gib", math.inf)  # none of a CPU
    return device, config.model, rates, memory_gb


def assumed_rates(config: Plan, gpu: str, model: str) -> dict[str, Rate]:
    """The rates of a GPU that was not measured, from its datasheet. Raises: InputError."""
    least, most = config.mfu
    middle = (least * most) ** 0.5
    tflops = datasheet_tflops(gpu, config.precision)
    if tflops is None:
        raise InputError(f"the datasheet of {gpu} has no {config.precision}; change --precision")
    step = Factors(
        model=model,
        resolution=config.resolution,
        batch_size=config.batch_size,
        precision=config.precision,
        num_classes=config.num_classes,
    )
    return {
        method: Rate(
            replace(step, method=method),
            tflops * middle * 1e9,
            f"assumed: {least:.0%} to {most:.0%} of {tflops:g} TFLOP/s",
            times=(middle / most, middle / least),
        )
        for method in config.methods
    }


def analytic(config: Plan, machine: Machine, devices: int) -> result.Analytic:
    """The costs of one step, with `batch_size` images on each device."""
    factors = {
        method: replace(rate.factors, batch_size=config.batch_size)
        for method, rate in machine.rates.items()
    }
    costs = {method: method_costs(step, devices) for method, step in factors.items()}
    first, *others = factors
    gflops = {method: cost.step_gflops_per_image for method, cost in costs.items()}
    catlip, clip = (
        mean_flops_per_sample(
            replace(factors[first], method=method), recipe.sizes(), recipe.num_devices
        )
        for method, recipe in RELEASED.items()
    )
    return result.Analytic(
        methods=costs,
        flops_ratios={f"{method}/{first}": gflops[method] / gflops[first] for method in others},
        flops_ratio_with_own_sizes=clip / catlip,
    )


def method_costs(factors: Factors, devices: int) -> result.MethodCosts:
    per_image, objective = 1e9 * factors.batch_size, objective_of(factors)
    encoder = image_flops(factors.model, factors.resolution, factors.patch_drop_rate)
    heads = forward_flops(objective.matmuls(step_shape(factors, devices)))
    sent_mb: dict[str, float] = {}
    for exchange in step_exchanges(factors, devices):
        sent_mb[exchange.what] = sent_mb.get(exchange.what, 0.0) + exchange.sent_bytes / 1e6
    activations = activation_bytes(factors, devices)
    return result.MethodCosts(
        forward_gflops={
            "image_encoder": encoder / 1e9,
            "text_tower": text_flops(objective.text) / 1e9 if objective.text else 0.0,
            "head": heads / per_image,
        },
        step_gflops_per_image=step_flops(factors, devices) / per_image,
        recomputed_gflops_per_image=recomputed_flops(factors) / per_image,
        parameters=parameters(factors),
        state_gib={part: size / GIB for part, size in state_bytes(factors).items()},
        activations_gib={part: size / GIB for part, size in activations.items()},
        peak_gib=peak_bytes(factors, devices) / GIB,
        sent_mb=sent_mb | {"total": sum(sent_mb.values())},
    )


def plan_runs(config: Plan, machine: Machine, devices: int) -> list[result.PlannedRun]:
    """The plans of each method on `devices` devices; empty if the first does not fit."""
    fitting = [
        (method, layout)
        for method, rate in machine.rates.items()
        for layout in layouts(
            rate, devices, config.global_batch, link=machine.link, memory_bytes=machine.memory_bytes
        )
    ]
    if not fitting or fitting[0][0] != next(iter(machine.rates)):
        return []
    first, runs = fitting[0][1], []
    for method, layout in fitting:
        step, rate = layout.factors, machine.rates[method]
        hours, ratio = layout.device_hours(config.images), Interval(1.0)
        if layout is not first:
            times = first.images_per_s / layout.images_per_s
            ratio = Interval(times, times * rate.ratios[0], times * rate.ratios[1])
        # Only computing can be faster or slower than in the middle; waiting stays the same.
        computing = layout.compute_ms / layout.step_ms
        low, high = (hours * (1 + computing * (end - 1)) for end in rate.times)
        run = result.PlannedRun(
            model=machine.model,
            method=method,
            gpu=machine.name,
            devices=devices,
            micro_batch=step.batch_size,
            accumulation=layout.accumulation,
            global_batch=layout.global_batch,
            parallel=step.parallel,
            checkpointing=step.checkpointing,
            memory_gib=layout.peak_bytes / GIB,
            step_ms=layout.step_ms,
            exposed_ms=layout.exposed_ms,
            device_hours=Interval(hours, low, high),
            sent_mb=layout.sent_bytes / 1e6,
            ratio=ratio,
            source=rate.source,
        )
        runs.append(run)
    return runs
