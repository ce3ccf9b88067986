"""How long a training step takes on many devices, by arithmetic from the speed of one device and of
its links.

A step takes its compute and the exposed part of its exchange. Compute is the FLOPs of the step
(`bench.arithmetic.flops`) at the rate that one device reached or is assumed to reach; the FLOPs
grow with the number of devices if images are compared with the captions of all. Gradients are sent
while the backward pass computes the next ones, and sharded parameters are fetched while the block
before computes, so of their time only one bucket and what computing does not cover are exposed. The
step waits for everything else that is sent, embeddings above all. `bench.arithmetic.link` gives the
time of each collective. Stragglers, data loading and failures are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from bench.arithmetic.exchanges import sent
from bench.arithmetic.flops import step_flops
from bench.arithmetic.link import Link, exchange_ms
from bench.communication.result import Communication
from bench.measuring.training_step import Factors, factors_of
from bench.plan.projection_result import Layout
from bench.step_time.result import StepTime
from catlip.cli import InputError
from catlip.costs import Exchange
from catlip.record import read_record
from catlip.results.kind import Kind

K = TypeVar("K", bound=Kind)
BACKWARD_SHARE = 2 / 3  # of compute: the backward pass of a matrix product is two products


@dataclass(frozen=True)
class Compute:
    """How fast one device gets through the FLOPs of a method's step.

    Attributes:
        factors: those of the step; a projection varies the batch size and the number of devices.
        flops_per_ms: the rate. It is constant, so half of the batch takes half of this time; a real
            device is slower than that on small batches.
        source: where the rate comes from.
        optimizer_ms: time of the optimizer in a step, whatever the batch.
    """

    factors: Factors
    flops_per_ms: float
    source: str
    optimizer_ms: float = 0.0

    def step_ms(self, batch_size: int, devices: int) -> float:
        """Milliseconds of one device's step among `devices`: its FLOPs divided by the rate, plus
        the optimizer.
        """
        flops = step_flops(replace(self.factors, batch_size=batch_size), devices)
        return flops / self.flops_per_ms + self.optimizer_ms


def exposed_ms(exchanges: Sequence[Exchange], backward_ms: float, link: Link) -> float:
    """How long a step waits: the time of all that is sent, less what computing covers.

    k buckets of gradients, assumed equal, of time t each are exposed for t + max(0, (k-1) t -
    backward_ms): the last is complete only when the backward pass is. For sharded parameters, the
    step waits for the first bucket, and the forward pass covers the others too.
    """
    covering_ms = {"gradients": backward_ms, "parameters": backward_ms / BACKWARD_SHARE}
    exposed = 0.0
    for exchange in exchanges:
        whole_ms = exchange_ms(exchange, link)
        if exchange.what in covering_ms:
            bucket_ms = whole_ms / exchange.count
            whole_ms = bucket_ms + max(0.0, whole_ms - bucket_ms - covering_ms[exchange.what])
        exposed += whole_ms
    return exposed


def project(
    compute: Compute,
    devices: int,
    batch_size: int,
    *,
    link: Link,
    samples: float,
    scaling: str = "weak",
) -> Layout:
    """One layout, replicated by DDP: step_ms = compute_ms + exposed_ms, and what follows from it.

    Args:
        batch_size: images per device and step.
        samples: images of the whole training, for device_hours.
        scaling: what the layout is called.
    """
    factors = replace(compute.factors, batch_size=batch_size)
    compute_ms = compute.step_ms(batch_size, devices)
    waited_ms = exposed_ms(sent(factors, devices), BACKWARD_SHARE * compute_ms, link)
    step_ms = compute_ms + waited_ms
    images_per_s = devices * batch_size / step_ms * 1e3
    return Layout(
        method=factors.method,
        devices=devices,
        batch_per_device=batch_size,
        global_batch=devices * batch_size,
        step_ms=step_ms,
        compute_ms=compute_ms,
        exposed_ms=waited_ms,
        images_per_s=images_per_s,
        efficiency=compute.step_ms(batch_size, 1) / step_ms,
        device_hours=samples / images_per_s * devices / 3600,
        scaling=scaling,
    )


def measured_compute(path: Path, wanted: Sequence[str]) -> dict[str, Compute]:
    """The rate on one device of the `wanted` methods, or of all, from a record of bench.step_time.

    Raises: InputError.
    """
    record, timed = read(path, StepTime)
    if (ranks := timed.world_size or 1) != 1:
        raise InputError(f"{path} is of {ranks} ranks; a projection needs a record of one")
    if missing := [method for method in wanted if method not in timed.methods]:
        raise InputError(
            f"{path} has no times of {', '.join(missing)}; set --methods to some of: "
            f"{', '.join(timed.methods)}"
        )
    computes = {}
    for method in wanted or timed.methods:
        factors = factors_of(SimpleNamespace(**record["config"]), method)
        ms = timed.methods[method].total_ms.median
        optimizer_ms = timed.methods[method].optimizer_ms.median
        source = (
            f"measured: {ms:.1f} ms at batch {factors.batch_size} on "
            f"{record['environment']['device']}, {path.name}"
        )
        rate = step_flops(factors) / (ms - optimizer_ms)
        computes[method] = Compute(factors, rate, source, optimizer_ms=optimizer_ms)
    return computes


def measured_link(path: Path) -> Link:
    """The link that a record of bench.communication fitted, as one node whose links are all alike.

    Raises: InputError.
    """
    _, measured = read(path, Communication)
    link, ranks = measured.link, measured.world_size
    if link is None or ranks is None:
        raise InputError(f"{path} does not say how fast the link between its ranks is")
    source = f"measured: all-reduces of {ranks} ranks over {measured.backend}, {path.name}"
    return Link(
        ranks,
        link.gb_s,
        link.latency_us,
        network_gb_s=link.gb_s,
        network_latency_us=link.latency_us,
        source=source,
    )


def read(path: Path, kind: type[K]) -> tuple[dict[str, Any], K]:
    """A finished record of that kind, and its metrics. Raises: InputError."""
    record = read_record(path)
    if record["kind"] != kind.kind:
        raise InputError(f"{path} is a record of {record['kind']}; one of {kind.kind} is needed")
    if not record["metrics"]:
        raise InputError(f"{path} has no metrics, because its run was cut short; measure again")
    try:
        return record, kind.read(record["metrics"])
    except ValueError as reason:
        raise InputError(f"{path} is not a whole record of {kind.kind}: {reason}") from reason
