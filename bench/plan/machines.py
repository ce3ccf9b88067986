"""How fast devices get through the steps of each method, from records or assumed from datasheets,
and how they are connected.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from bench.arithmetic.devices import LINKS, Gpu, Link, gpu_of
from bench.arithmetic.flops import step_flops
from bench.communication.result import Communication
from bench.measuring.factors import FOUR, factors_of
from bench.plan.__main__ import Plan
from bench.plan.layouts import Rate
from bench.step_time.result import StepTime
from catlip.cli import InputError, choose
from catlip.costs import GIB
from catlip.record import read_record
from catlip.results.kind import Kind

K = TypeVar("K", bound=Kind)
# By what factor the rates of two methods on one device may differ if neither was measured: on CPUs
# CLIP's step, compared with CatLIP's, took 1.03 and 1.19 times as long as the operations of both
# say.
RATES_DIFFER = 1.2


@dataclass(frozen=True)
class Machine:
    """Devices of one kind, on which an encoder would be trained, and the rate of each method on
    them; ratios are to the first.
    """

    name: str
    model: str
    memory_bytes: float
    link: Link
    rates: dict[str, Rate]


def machines(config: Plan) -> Iterator[Machine]:
    """The device of the step-time record, or each encoder on each GPU. Raises: InputError."""
    if path := config.step_time:
        record, timed = read(path, StepTime)
        rates = measured_rates(path, config.methods or tuple(timed.methods))
        device, model = record["environment"]["device"], record["config"]["model"]
        yield _machine(config, device, model, rates=rates)
        return
    config = replace(config, methods=config.methods or FOUR)
    for model, gpu in itertools.product(config.models, config.gpu):
        timing = fastest_record(config, gpu, model)
        rates = measured_rates(timing, config.methods) if timing else assumed(config, gpu, model)
        yield _machine(config, gpu.upper(), model, rates=rates)


def _machine(config: Plan, name: str, model: str, rates: dict[str, Rate]) -> Machine:
    gpu = gpu_of(name)
    memory_gb = config.memory_gb or (gpu.memory_gb if gpu else math.inf)
    path = Path(config.link)
    if not path.is_file():
        link = choose("link", config.link or (gpu.link if gpu else Gpu.link), LINKS)
    else:  # a record of bench.communication, as one node whose links are all alike
        _, communication = read(path, Communication)
        fitted, ranks = communication.link, communication.world_size
        if fitted is None or ranks is None:
            raise InputError(f"{path} does not say how fast the link between its ranks is")
        link = Link(
            node_devices=ranks,
            node_gb_s=fitted.gb_s,
            node_latency_us=fitted.latency_us,
            network_gb_s=fitted.gb_s,
            network_latency_us=fitted.latency_us,
            source=f"measured: all-reduces of {ranks} ranks over {communication.backend}, "
            f"{path.name}",
        )
    return Machine(name, model, GIB * memory_gb, link=link, rates=rates)


def measured_rates(path: Path, wanted: Sequence[str]) -> dict[str, Rate]:
    """The rates of a record of bench.step_time. Their range is that of single steps, from the 5th
    to the 95th percentile; that of ratios is the record's interval if it has one. Raises:
    InputError.
    """
    record, timed = read(path, StepTime)
    if (ranks := timed.world_size or 1) != 1:
        raise InputError(f"{path} is of {ranks} ranks; a plan needs a record of one")
    if missing := [method for method in wanted if method not in timed.methods]:
        raise InputError(
            f"{path} has no times of {', '.join(missing)}; set --methods to some of: "
            f"{', '.join(timed.methods)}"
        )
    rates = {}
    for method in wanted:
        factors = factors_of(SimpleNamespace(**record["config"]), method)
        ms, optimizer_ms = timed.methods[method].total_ms, timed.methods[method].optimizer_ms.median
        ratio = timed.ratios.get(f"{method}/{wanted[0]}")
        ratios = _ratios(method, wanted)
        if method != wanted[0] and ratio and ratio.low is not None and ratio.high is not None:
            ratios = ratio.low / ratio.value, ratio.high / ratio.value
        rates[method] = Rate(
            factors,
            step_flops(factors) / (ms.median - optimizer_ms),
            f"measured: {ms.median:.1f} ms at batch {factors.batch_size} on "
            f"{record['environment']['device']}, {path.name}",
            optimizer_ms=optimizer_ms,
            times=((ms.p5 or ms.median) / ms.median, (ms.p95 or ms.median) / ms.median),
            ratios=ratios,
        )
    return rates


def _ratios(method: str, methods: Sequence[str]) -> tuple[float, float]:
    return (1.0, 1.0) if method == methods[0] else (1 / RATES_DIFFER, RATES_DIFFER)


def assumed(config: Plan, gpu: str, model: str) -> dict[str, Rate]:
    """The rates of a GPU that was not measured, from its datasheet. Raises: InputError."""
    least, most = config.mfu
    middle = (least * most) ** 0.5
    sheet = gpu_of(gpu)
    tflops = sheet.tflops.get(config.precision) if sheet else None
    if tflops is None:
        raise InputError(f"the datasheet of {gpu} has no {config.precision}; change --precision")
    return {
        method: Rate(
            factors_of(config, method, model=model),
            tflops * middle * 1e9,
            f"assumed: {least:.0%} to {most:.0%} of {tflops:g} TFLOP/s",
            times=(middle / most, middle / least),
            ratios=_ratios(method, config.methods),
        )
        for method in config.methods
    }


def fastest_record(config: Plan, gpu: str, model: str) -> Path | None:
    """The record of bench.step_time in which the first method was fastest on such a GPU; None if no
    record has this encoder, resolution, precision and all methods.
    """
    asked = {"model": model, "resolution": config.resolution, "precision": config.precision}
    timings = []
    for path in sorted(p for folder in config.records for p in folder.glob("**/step_time/*.json")):
        try:
            record, timed = read(path, StepTime)
        except InputError:
            continue
        settings = record["config"]
        if (
            gpu_of(record["environment"]["device"]) is gpu_of(gpu)
            and {name: settings.get(name) for name in asked} == asked
            and (timed.world_size or 1) == 1
            and all(method in timed.methods for method in config.methods)
        ):
            ms = timed.methods[config.methods[0]].total_ms.median
            timings.append((ms / settings["batch_size"], path))
    return min(timings)[1] if timings else None


def read(path: Path, kind: type[K]) -> tuple[dict[str, Any], K]:
    """A finished record of that kind, and its metrics. Raises: InputError."""
    record = read_record(path)
    if record["kind"] != kind.kind or not record["metrics"]:
        raise InputError(f"{path} is not a finished record of {kind.kind}")
    try:
        return record, kind.read(record["metrics"])
    except ValueError as reason:
        raise InputError(f"{path} is not a whole record of {kind.kind}: {reason}") from reason
