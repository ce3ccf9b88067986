"""How a method is laid out over devices: micro-batches, checkpointing, DDP or FSDP.

The batch of all devices belongs to the recipe, so every layout keeps it. If a device's part of it
is too large, the device takes it in micro-batches; a contrastive method then embeds everything once
more (`baselines.openclip`), and a method that classifies pays nothing.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import get_args

from bench.arithmetic.exchanges import sent
from bench.arithmetic.fitting import USABLE, device_bytes
from bench.arithmetic.flops import image_flops, recomputed_flops, text_flops
from bench.arithmetic.link import Link
from bench.arithmetic.scaling import BACKWARD_SHARE, Compute, exposed_ms
from bench.arithmetic.state import objective_of, step_shape
from bench.measuring.training_step import Factors
from catlip.costs import Exchange
from catlip.training.parallel import Parallel

AS_GOOD = 0.98  # of the images a second of the fastest layout


@dataclass(frozen=True)
class Laid:
    """A layout that fits, and what its step takes.

    Attributes:
        factors: those of a micro-batch.
        accumulation: micro-batches in a step.
        peak_bytes: the most bytes on one device.
        sent_bytes: what one device sends in a step.
    """

    factors: Factors
    devices: int
    accumulation: int
    compute_ms: float
    exposed_ms: float
    peak_bytes: float
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


def best_layout(
    compute: Compute, devices: int, global_batch: int, *, link: Link, memory_bytes: float
) -> Laid | None:
    """The simplest layout that is as good as the fastest (AS_GOOD); None if not even one image fits
    on a device.

    Args:
        memory_bytes: memory of one device.
    """
    share = max(1, global_batch // devices)
    fitting = list(_fitting(compute, devices, share, link=link, memory_bytes=memory_bytes))
    fastest = max((laid.images_per_s for laid in fitting), default=0.0)
    return next((laid for laid in fitting if laid.images_per_s >= AS_GOOD * fastest), None)


def _fitting(
    compute: Compute, devices: int, share: int, *, link: Link, memory_bytes: float
) -> Iterator[Laid]:
    """For each way to lay out, the simplest first, the layout with the largest micro-batch that
    fits, if one fits.
    """
    for parallel, checkpointing in itertools.product(get_args(Parallel), (False, True)):
        if parallel == "fsdp" and devices == 1:
            continue
        images = share
        while images:
            factors = replace(
                compute.factors, parallel=parallel, checkpointing=checkpointing, batch_size=images
            )
            if layout_bytes(factors, devices, share // images) <= USABLE * memory_bytes:
                yield laid_out(compute, factors, devices, accumulation=share // images, link=link)
                break
            images //= 2


def laid_out(
    compute: Compute, factors: Factors, devices: int, *, accumulation: int, link: Link
) -> Laid:
    """The layout of these factors, with what its step takes."""
    whole = replace(factors, batch_size=factors.batch_size * accumulation)
    compute_ms = computing_ms(compute, whole, devices, in_parts=accumulation > 1)
    fetched, others = [], []
    for exchange in sent(whole, devices):
        if exchange.what == "parameters":  # fetched again in each micro-batch
            fetched.append(_times(exchange, accumulation))
        else:
            others.append(exchange)
    # Gradients are sent in the last micro-batch only.
    backward_ms = BACKWARD_SHARE * compute_ms
    waited_ms = exposed_ms(fetched, backward_ms, link)
    waited_ms += exposed_ms(others, backward_ms / accumulation, link)
    return Laid(
        factors,
        devices,
        accumulation,
        compute_ms=compute_ms,
        exposed_ms=waited_ms,
        peak_bytes=layout_bytes(factors, devices, accumulation),
        sent_bytes=sum(exchange.sent_bytes for exchange in (*fetched, *others)),
    )


def layout_bytes(factors: Factors, devices: int, accumulation: int) -> float:
    """The most bytes on one device: `device_bytes` of a micro-batch; a contrastive method adds what
    it takes to compare the embeddings of the whole step at once.
    """
    peak, objective = device_bytes(factors, devices), objective_of(factors)
    if accumulation > 1 and objective.whole_step:
        whole = replace(factors, batch_size=factors.batch_size * accumulation)
        of_part, of_whole = step_shape(factors, devices), step_shape(whole, devices)
        peak += objective.loss_bytes(of_whole) - objective.loss_bytes(of_part)
        peak += objective.kept_bytes(of_whole) - objective.kept_bytes(of_part)
    return peak


def computing_ms(
    compute: Compute, factors: Factors, devices: int, *, in_parts: bool = False
) -> float:
    """Milliseconds that a step of `factors` computes; it may recompute more or less than the step
    that was timed.

    Args:
        in_parts: whether the step is in micro-batches, so that a contrastive method embeds
            everything once more.
    """
    timed = replace(compute.factors, batch_size=factors.batch_size)
    again = recomputed_flops(factors) - recomputed_flops(timed)
    if in_parts and objective_of(factors).whole_step:
        again += factors.batch_size * embedding_flops(factors)
    once_ms = replace(compute, factors=factors).step_ms(factors.batch_size, devices)
    return once_ms + again / compute.flops_per_ms


def embedding_flops(factors: Factors) -> int:
    """FLOPs of the forward pass of one image and its caption through the towers."""
    text = objective_of(factors).text
    image = image_flops(factors.model, factors.resolution, factors.patch_drop_rate)
    return image + (text_flops(text) if text else 0)


def _times(exchange: Exchange, times: int) -> Exchange:
    return replace(
        exchange, count=times * exchange.count, payload_bytes=times * exchange.payload_bytes
    )
