"""How fast devices are: from records, or assumed from datasheets."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.arithmetic.gpus import SLOWEST_LINK, gpu_of
from bench.arithmetic.link import PRESETS, Link
from bench.arithmetic.scaling import Compute, measured_compute, read
from bench.measuring import methods
from bench.measuring.training_step import factors_of
from bench.plan.config import Plan
from bench.step_time import result
from catlip.cli import InputError, choose
from catlip.costs import GIB

# By what factor the rates of two methods on one device may differ if neither was measured: on CPUs
# CLIP's step, compared with CatLIP's, took 1.03 and 1.19 times as long as the operations of both
# say.
RATES_DIFFER = 1.2


@dataclass(frozen=True)
class Rate:
    """How fast a device gets through the steps of a method.

    Attributes:
        low, high: how many times as long a step may take, where 1 is the middle.
        ratio_low, ratio_high: the same for the ratio of its step to the first method's.
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
        record, timed = read(given, result.StepTime)
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
    """The rates of a record of bench.step_time. Their range is that of single steps, from the 5th
    to the 95th percentile; that of ratios is the record's interval if it has one. Raises:
    InputError.
    """
    _, timed = read(path, result.StepTime)
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
    """The rates of a GPU that was not measured, from its datasheet. Raises: InputError."""
    least, most = config.mfu
    middle = (least * most) ** 0.5
    sheet = gpu_of(gpu)
    assert sheet is not None, "the config has looked"
    tflops = sheet.tflops.get(config.precision)
    if tflops is None:
        raise InputError(f"the datasheet of {gpu} has no {config.precision}; change --precision")
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
    """The record of bench.step_time in which the first method was fastest on such a GPU; None if no
    record has this encoder, resolution, precision and all methods.
    """
    timings = []
    for path in sorted(p for folder in config.records for p in folder.glob("**/step_time/*.json")):
        try:
            record, timed = read(path, result.StepTime)
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
            timings.append((ms / of["batch_size"], path))
    return min(timings)[1] if timings else None
