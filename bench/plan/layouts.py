"""How long a step takes when a method is laid out over devices, in micro-batches or with
checkpointing where memory asks for it.

A step takes its compute and the exposed part of its exchange. Compute is the FLOPs of the step
(`bench.arithmetic.flops`) at the rate that one device reached or is assumed to reach; the FLOPs
grow with the number of devices if images are compared with the captions of all. Gradients are sent
while the backward pass computes the next ones, and sharded parameters are fetched while the block
before computes, so of their time only one bucket and what computing does not cover are exposed. The
step waits for everything else that is sent, embeddings above all. Stragglers, data loading and
failures are left out.

The batch of all devices belongs to the recipe, so every layout keeps it. If a device's part of it
is too large, the device takes it in micro-batches; a contrastive method then embeds everything once
more (`baselines.openclip`), and a method that classifies pays nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.arithmetic.devices import Link
from bench.arithmetic.exchanges import exchange_ms, step_exchanges
from bench.arithmetic.flops import (
    image_flops,
    objective_of,
    recomputed_flops,
    step_flops,
    step_shape,
    text_flops,
)
from bench.arithmetic.memory import USABLE, device_bytes
from bench.measuring.factors import Factors
from catlip.costs import Exchange

# By what factor the rates of two methods on one device may differ if neither was measured: on CPUs
# CLIP's step, compared with CatLIP's, took 1.03 and 1.19 times as long as the operations of both
# say.
RATES_DIFFER = 1.2
BACKWARD_FRACTION = 2 / 3  # of compute: the backward pass of a matrix product is two products


@dataclass(frozen=True)
class Rate:
    """How fast one device gets through the FLOPs of a method's step.

    Attributes:
        factors: the step whose rate it is.
        flops_per_ms: the rate. It is constant, so half of the batch takes half of this time; a real
            device is slower than that on small batches.
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

    def step_ms(self, factors: Factors, devices: int = 1, *, embeds_twice: bool = False) -> float:
        """Milliseconds that one of `devices` devices computes in a step of `factors`."""
        # It may recompute more or less than the step whose rate it is.
        timed = replace(self.factors, batch_size=factors.batch_size)
        flops = step_flops(factors, devices) + recomputed_flops(factors) - recomputed_flops(timed)
        if embeds_twice:
            text = objective_of(factors).text
            image = image_flops(factors.model, factors.resolution, factors.patch_drop_rate)
            flops += factors.batch_size * (image + (text_flops(text) if text else 0))
        return flops / self.flops_per_ms + self.optimizer_ms


@dataclass(frozen=True)
class FittedLayout:
    """A layout of `accumulation` micro-batches, and its step; bytes are of one device."""

    factors: Factors
    devices: int
    accumulation: int
    compute_ms: float
    exposed_ms: float
    sent_bytes: float

    @property
    def global_batch(self) -> int:
        return self.factors.batch_size * self.accumulation * self.devices

    @property
    def step_ms(self) -> float:
        return self.compute_ms + self.exposed_ms

    @property
    def images_per_s(self) -> float:
        """Images per second of all devices together."""
        return self.global_batch / self.step_ms * 1e3

    def device_hours(self, images: float) -> float:
        return images / self.images_per_s * self.devices / 3600

    @property
    def peak_bytes(self) -> float:
        return layout_bytes(self.factors, self.devices, self.accumulation)


def layouts(
    rate: Rate, devices: int, global_batch: int, *, link: Link, memory_bytes: float
) -> list[FittedLayout]:
    """The layout with the largest micro-batch that fits; if a method then embeds everything twice,
    also the one with checkpointing. Empty if not one image fits.
    """
    per_device, fitting = max(1, global_batch // devices), list[FittedLayout]()
    for checkpointing in (False, True):
        images = per_device
        while images:
            factors = replace(rate.factors, checkpointing=checkpointing, batch_size=images)
            parts = per_device // images
            if layout_bytes(factors, devices, parts) <= USABLE * memory_bytes:
                fitting.append(lay_out(rate, factors, devices, accumulation=parts, link=link))
                break
            images //= 2
        if fitting and not (fitting[0].accumulation > 1 and objective_of(rate.factors).whole_step):
            break
    return fitting


def lay_out(
    rate: Rate, factors: Factors, devices: int, *, accumulation: int = 1, link: Link
) -> FittedLayout:
    """What a step takes with these factors of a micro-batch."""
    whole = replace(factors, batch_size=factors.batch_size * accumulation)
    embeds_twice = accumulation > 1 and objective_of(factors).whole_step
    compute_ms = rate.step_ms(whole, devices, embeds_twice=embeds_twice)
    fetched, others = [], []
    for exchange in step_exchanges(whole, devices):
        if exchange.what == "parameters":  # fetched again in each micro-batch
            count, payload = exchange.count * accumulation, exchange.payload_bytes * accumulation
            fetched.append(replace(exchange, count=count, payload_bytes=payload))
        else:
            others.append(exchange)
    # Gradients are sent in the last micro-batch only.
    backward_ms = BACKWARD_FRACTION * compute_ms
    waited_ms = exposed_ms(fetched, backward_ms, link)
    waited_ms += exposed_ms(others, backward_ms / accumulation, link)
    return FittedLayout(
        factors,
        devices,
        accumulation,
        compute_ms=compute_ms,
        exposed_ms=waited_ms,
        sent_bytes=sum(exchange.sent_bytes for exchange in (*fetched, *others)),
    )


def exposed_ms(exchanges: Sequence[Exchange], backward_ms: float, link: Link) -> float:
    """How long a step waits: the time of all that is sent, less what computing covers.

    k buckets of gradients, assumed equal, of time t each are exposed for t + max(0, (k-1) t -
    backward_ms): the last is complete only when the backward pass is. For sharded parameters, the
    step waits for the first bucket, and the forward pass covers the others too.
    """
    covering_ms = {"gradients": backward_ms, "parameters": backward_ms / BACKWARD_FRACTION}
    exposed = 0.0
    for exchange in exchanges:
        whole_ms = exchange_ms(exchange, link)
        if exchange.what in covering_ms:
            bucket_ms = whole_ms / exchange.count
            whole_ms = bucket_ms + max(0.0, whole_ms - bucket_ms - covering_ms[exchange.what])
        exposed += whole_ms
    return exposed


def layout_bytes(factors: Factors, devices: int, accumulation: int) -> float:
    """The most bytes on one device: `device_bytes` of a micro-batch; a contrastive method adds what
    it takes to compare the embeddings of the whole step at once.
    """
    peak, objective = device_bytes(factors, devices), objective_of(factors)
    if accumulation > 1 and objective.whole_step:
        whole = replace(factors, batch_size=factors.batch_size * accumulation)
        micro_step, full_step = step_shape(factors, devices), step_shape(whole, devices)
        peak += objective.loss_bytes(full_step) - objective.loss_bytes(micro_step)
        peak += objective.kept_bytes(full_step) - objective.kept_bytes(micro_step)
    return peak
