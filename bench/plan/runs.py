"""The layout of each method on some devices, and finished trainings compared with such a plan."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.arithmetic.layouts import Laid, best_layout, computing_ms
from bench.arithmetic.scaling import read
from bench.plan import result as plan_result
from bench.plan.config import Plan
from bench.plan.rates import Machine
from catlip.cli import InputError
from catlip.costs import GIB
from catlip.pretraining import result as pretraining_result
from catlip.results import kind


def planned(config: Plan, machine: Machine, devices: int) -> list[plan_result.PlannedRun]:
    """The plan of each method that fits on `devices` devices; empty if the first does not fit."""
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
    if first is None:
        return []
    return [_planned(config, machine, laid=each, below=first) for each in laid.values()]


def _planned(config: Plan, machine: Machine, *, laid: Laid, below: Laid) -> plan_result.PlannedRun:
    step, rate = laid.factors, machine.rates[laid.factors.method]
    hours = config.images / laid.images_per_s * laid.devices / 3600
    ratio = kind.Interval(1.0)
    if laid is not below:
        times = below.images_per_s / laid.images_per_s
        ratio = kind.Interval(times, times * rate.ratio_low, times * rate.ratio_high)
    # Only computing can be faster or slower than in the middle; waiting stays the same.
    computing = laid.compute_ms / laid.step_ms
    low, high = 1 + computing * (rate.low - 1), 1 + computing * (rate.high - 1)
    return plan_result.PlannedRun(
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
        device_hours=kind.Interval(hours, hours * low, hours * high),
        sent_mb=laid.sent_bytes / 1e6,
        ratio=ratio,
        source=rate.compute.source,
    )


def check(path: Path, every: Sequence[Machine]) -> plan_result.PlanCheck:
    """Compare a finished training with the time that the plan predicts for it, on one device. The
    prediction uses the timed steps whose batch size is nearest to the training's, because an image
    takes longer in a small batch. Raises: InputError.
    """
    record, trained = read(path, pretraining_result.Pretrain)
    recipe, timed = record["config"]["recipe"], [m for m in every if trained.method in m.rates]
    if not timed:
        raise InputError(f"{path} is of {trained.method}, which no --step-time record has timed")

    def distance(machine: Machine) -> float:
        batch = machine.rates[trained.method].compute.factors.batch_size
        return abs(math.log(batch / recipe["micro_batch"]))

    machine = min(timed, key=distance)
    compute = machine.rates[trained.method].compute
    if (recipe["encoder"], recipe["precision"]) != (machine.model, compute.factors.precision):
        raise InputError(f"{path} has another encoder or precision than the record of --step-time")
    factors = replace(
        compute.factors,
        resolution=recipe["resolution"],
        batch_size=recipe["micro_batch"],
        checkpointing=recipe["checkpointing"],
    )
    step_ms = computing_ms(compute, factors, 1)
    predicted_s = trained.images_seen / factors.batch_size * step_ms / 1e3
    return plan_result.PlanCheck(
        name=path.stem,
        method=trained.method,
        images=int(trained.images_seen),
        predicted_s=predicted_s,
        measured_s=trained.train_seconds,
    )
