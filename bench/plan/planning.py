"""The arithmetic of a step and of a whole run; printed, and written as two kinds of record.

In the paper CLIP took 2.7 times the GPU-hours of CatLIP, with 256 images on each of 256 devices
against 1,024 on each of 64 (Figure 1c and Table 6b). How much of that can operations and
communication explain?

A step takes its FLOPs (`bench.arithmetic.flops`) at the rate that one device reached or is assumed
to reach, and the exposed part of its exchange. Gradients are sent while the backward pass computes
the next ones, and sharded parameters are fetched while the block before computes; everything else
that is sent, embeddings above all, the step waits for.

The batch of all devices belongs to the recipe, so it stays: a device takes its part of it in
micro-batches. A contrastive method then embeds everything once more (`baselines.openclip`), and a
method that classifies pays nothing.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.arithmetic import flops, memory
from bench.arithmetic.devices import Gpu, Link, datasheet_tflops, gpu_of
from bench.arithmetic.exchanges import exchange_ms, step_exchanges
from bench.arithmetic.flops import objective_of, recomputed_flops, step_flops, step_shape
from bench.measuring.factors import FOUR, Factors
from bench.plan import result
from bench.plan.config import Plan
from bench.step_time.config import StepTime as StepTimeBench
from bench.step_time.result import PACKED, StepTime
from catlip.cli import InputError
from catlip.costs import GIB, Exchange
from catlip.recipes.pretrain import CATLIP, CLIP
from catlip.records.kind import Interval
from catlip.records.record import Record, from_plain, plain, read_record
from catlip.records.table import print_tables

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
# By what factor the rates of two methods on one device may differ if neither was measured: on CPUs
# CLIP's step, compared with CatLIP's, took 1.03 and 1.19 times as long as the operations of both
# say.
RATES_DIFFER = 1.2
BACKWARD_FRACTION = 2 / 3  # of compute: the backward pass of a matrix product is two products


@dataclass(frozen=True)
class Rate:
    """How fast one device gets through the FLOPs of a method's step, constant over its images.

    Attributes:
        factors: the step whose rate it is.
        optimizer_ms: time of the optimizer in a step, whatever the batch.
        times: the range of a step's time, where 1 is the middle.
        ratios: the same for the ratio of its step to the first method's.
    """

    factors: Factors
    flops_per_ms: float
    source: str
    optimizer_ms: float = 0.0
    times: tuple[float, float] = (1.0, 1.0)
    ratios: tuple[float, float] = (1 / RATES_DIFFER, RATES_DIFFER)

    def step_ms(self, step: Factors, devices: int, *, embeds_twice: bool) -> float:
        """Milliseconds that one of `devices` devices computes in a step."""
        # It may recompute more or less than the step whose rate it is.
        timed = replace(self.factors, batch_size=step.batch_size)
        count = step_flops(step, devices) + recomputed_flops(step) - recomputed_flops(timed)
        if embeds_twice:
            text = objective_of(step).text
            forward = flops.image_flops(step) + (flops.text_flops(text) if text else 0)
            count += step.batch_size * forward
        return count / self.flops_per_ms + self.optimizer_ms


@dataclass(frozen=True)
class Machine:
    """Devices of one kind, and each method's rate, all with one encoder; ratios are to the
    first.
    """

    name: str
    rates: dict[str, Rate]

    @property
    def step(self) -> Factors:  # of the first method
        return next(iter(self.rates.values())).factors

    @property
    def link(self) -> Link:
        return (gpu_of(self.name) or Gpu).link


def main(config: Plan) -> None:
    """Compute, print the tables and write the records. Raises: InputError."""
    all_machines = list(machines(config))
    models = {machine.step.model: machine for machine in all_machines}
    devices = max(1, config.global_batch // config.batch_size)
    for model, machine in models.items():
        step = f"step-{model}-b{config.batch_size}x{devices}-{machine.step.precision}"
        implied = {
            "model": model,
            "resolution": machine.step.resolution,
            "precision": machine.step.precision,
            "world_size": devices,
        }
        path = config.out / f"{step}.json"
        with Record(path, result.Analytic, plain(config) | implied) as record:
            record.notes = NOTES
            run = record.finish(analytic(config, machine, devices))
        print_tables([result.ANALYTIC.fill([run])])
        print(f"wrote {path}")
    runs = [
        run
        for machine, number in itertools.product(all_machines, config.gpus)
        for run in plan_runs(config, machine, number)
    ]
    names = dict.fromkeys(machine.name.lower().replace(" ", "_") for machine in all_machines)
    words = ("_".join(part) for part in (models, names, map(str, config.gpus)))
    path = config.out / f"{'-'.join(words)}.json"
    with Record(path, result.Plan, config) as record:
        record.notes = NOTES
        plan = result.Plan(images=config.images, price=config.price, runs=runs)
        planned = record.finish(plan)
    print_tables([result.PLANNED.fill([planned])])
    print("\n".join([*NOTES, f"wrote {path}"]))


def machines(config: Plan) -> Iterator[Machine]:
    """The device of the step-time record, or each encoder on each GPU. Raises: InputError."""
    if config.step_time:
        yield measured_machine(config.step_time, config.methods)
        return
    for model, gpu in itertools.product(config.models, config.gpu):
        yield Machine(gpu.upper(), assumed_rates(config, gpu, model))


def measured_machine(path: Path, wanted: Sequence[str]) -> Machine:
    """The device and the rates of a record of bench.step_time. Rates range as single steps do, from
    the 5th to the 95th percentile. Raises: InputError.
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
    return Machine(device, rates)


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
        for method in config.methods or FOUR
    }


def analytic(config: Plan, machine: Machine, devices: int) -> result.Analytic:
    """The costs of one step, with `batch_size` images on each device."""
    steps = {
        method: micro_step(config, rate, config.batch_size)
        for method, rate in machine.rates.items()
    }
    costs = {method: method_costs(step, devices) for method, step in steps.items()}
    first, *others = steps
    gflops = {method: cost.step_gflops_per_image for method, cost in costs.items()}
    catlip, clip = (
        flops.mean_flops_per_sample(
            replace(steps[first], method=method), recipe.sizes(), recipe.num_devices
        )
        for method, recipe in RELEASED.items()
    )
    return result.Analytic(
        methods=costs,
        flops_ratios={f"{method}/{first}": gflops[method] / gflops[first] for method in others},
        flops_ratio_with_own_sizes=clip / catlip,
    )


def method_costs(step: Factors, devices: int) -> result.MethodCosts:
    images, objective = step.batch_size, objective_of(step)
    heads = flops.forward_flops(objective.matmuls(step_shape(step, devices)))
    sent_mb: dict[str, float] = {}
    for exchange in step_exchanges(step, devices):
        sent_mb[exchange.what] = sent_mb.get(exchange.what, 0.0) + exchange.sent_bytes / 1e6
    activations = memory.activation_bytes(step, devices)
    return result.MethodCosts(
        forward_gflops={
            "image_encoder": flops.image_flops(step) / 1e9,
            "text_tower": flops.text_flops(objective.text) / 1e9 if objective.text else 0.0,
            "head": heads / 1e9 / images,
        },
        step_gflops_per_image=step_flops(step, devices) / 1e9 / images,
        recomputed_gflops_per_image=recomputed_flops(step) / 1e9 / images,
        parameters=memory.parameters(step),
        state_gib={part: size / GIB for part, size in memory.state_bytes(step).items()},
        activations_gib={part: size / GIB for part, size in activations.items()},
        peak_gib=memory.peak_bytes(step, devices) / GIB,
        sent_mb=sent_mb | {"total": sum(sent_mb.values())},
    )


def micro_step(config: Plan, rate: Rate, images: int) -> Factors:
    """What a device computes at once of so many images."""
    return replace(
        rate.factors,
        batch_size=min(config.batch_size, images),
        checkpointing=config.checkpointing or rate.factors.checkpointing,
    )


def plan_runs(config: Plan, machine: Machine, devices: int) -> list[result.PlannedRun]:
    """The plan of each method on `devices` devices; ratios are to the first's hours."""
    runs: list[result.PlannedRun] = []
    for method, rate in machine.rates.items():
        run = plan_run(config, machine, method, devices)
        if runs:
            times = run.device_hours.value / runs[0].device_hours.value
            run = replace(run, ratio=Interval(times, *(times * end for end in rate.ratios)))
        runs.append(run)
    return runs


def plan_run(config: Plan, machine: Machine, method: str, devices: int) -> result.PlannedRun:
    rate, per_device = machine.rates[method], max(1, config.global_batch // devices)
    micro = micro_step(config, rate, per_device)
    accumulation = per_device // micro.batch_size
    whole = replace(micro, batch_size=micro.batch_size * accumulation)
    embeds_twice = accumulation > 1 and objective_of(micro).whole_step
    compute_ms = rate.step_ms(whole, devices, embeds_twice=embeds_twice)
    exchanges = [
        # Sharded parameters are fetched again in each micro-batch.
        replace(e, count=e.count * accumulation, payload_bytes=e.payload_bytes * accumulation)
        if e.what == "parameters"
        else e
        for e in step_exchanges(whole, devices)
    ]
    # Gradients are sent in the last micro-batch only.
    backward_ms = BACKWARD_FRACTION * compute_ms / accumulation
    covering_ms = {"gradients": backward_ms, "parameters": compute_ms}
    waited_ms = sum(exposed_ms(e, covering_ms.get(e.what, 0.0), machine.link) for e in exchanges)
    global_batch, step_ms = whole.batch_size * devices, compute_ms + waited_ms
    hours = config.images / global_batch * step_ms / 3.6e6 * devices
    # Only computing can be faster or slower than in the middle; waiting stays the same.
    low, high = (hours * (1 + compute_ms / step_ms * (end - 1)) for end in rate.times)
    return result.PlannedRun(
        model=micro.model,
        method=method,
        gpu=machine.name,
        devices=devices,
        micro_batch=micro.batch_size,
        accumulation=accumulation,
        global_batch=global_batch,
        parallel=micro.parallel,
        checkpointing=micro.checkpointing,
        memory_gib=step_bytes(micro, devices, accumulation) / GIB,
        step_ms=step_ms,
        exposed_ms=waited_ms,
        device_hours=Interval(hours, low, high),
        sent_mb=sum(exchange.sent_bytes for exchange in exchanges) / 1e6,
        ratio=Interval(1.0),
        source=rate.source,
    )


def exposed_ms(exchange: Exchange, covering_ms: float, link: Link) -> float:
    """How long a step waits for an exchange of which `covering_ms` of computing can hide all but a
    bucket: k buckets, assumed equal, of time t each take t + max(0, (k-1) t - covering_ms). The
    last gradients are complete only when the backward pass is, and the step waits for the first
    sharded parameters.
    """
    whole_ms = exchange_ms(exchange, link)
    bucket_ms = whole_ms / exchange.count
    return bucket_ms + max(0.0, whole_ms - bucket_ms - covering_ms)


def step_bytes(micro: Factors, devices: int, accumulation: int) -> float:
    """The most bytes on one device: `device_bytes` of a micro-batch; a contrastive method adds what
    it takes to compare the embeddings of the whole step at once.
    """
    peak, objective = memory.device_bytes(micro, devices), objective_of(micro)
    if accumulation > 1 and objective.whole_step:
        whole = replace(micro, batch_size=micro.batch_size * accumulation)
        micro_step, full_step = step_shape(micro, devices), step_shape(whole, devices)
        peak += objective.loss_bytes(full_step) - objective.loss_bytes(micro_step)
        peak += objective.kept_bytes(full_step) - objective.kept_bytes(micro_step)
    return peak
