"""How a method is laid out over so many devices: images on each, checkpointing, DDP or FSDP.

The batch of all devices belongs to the recipe, so a layout that keeps it comes before a faster one.
Where none does, each device takes the most images that fit, halved from its share until they do.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import get_args

from bench.arithmetic.fitting import USABLE, device_bytes
from bench.arithmetic.flops import recomputed_flops, step_flops
from bench.arithmetic.link import Link
from bench.arithmetic.scaling import Compute, project
from bench.measuring.training_step import Factors
from catlip import kinds
from catlip.training.parallel import Parallel

AS_GOOD = 0.98  # of the images a second of the fastest layout


@dataclass(frozen=True)
class Laid:
    """A layout that fits.

    Attributes:
        factors: of its step.
        step: what it takes.
        peak_bytes: on one device, at most.
    """

    factors: Factors
    step: kinds.Layout
    peak_bytes: float


def best_layout(
    compute: Compute, devices: int, global_batch: int, *, link: Link, memory_bytes: float
) -> Laid | None:
    """Of the layouts that keep most of the global batch, the simplest that is as good as fastest;
    None where not one image fits on a device.

    Args:
        memory_bytes: of a device.
    """
    fitting = list(_fitting(compute, devices, global_batch, link=link, memory_bytes=memory_bytes))
    kept = max((laid.step.global_batch for laid in fitting), default=0)
    keeping = [laid for laid in fitting if laid.step.global_batch == kept]
    fastest = max((laid.step.images_per_s for laid in keeping), default=0.0)
    return next((x for x in keeping if x.step.images_per_s >= AS_GOOD * fastest), None)


def _fitting(
    compute: Compute, devices: int, global_batch: int, *, link: Link, memory_bytes: float
) -> Iterator[Laid]:
    """The largest batch of each way to lay out where one fits, the simplest way first."""
    for parallel, checkpointing in itertools.product(get_args(Parallel), (False, True)):
        if parallel == "fsdp" and devices == 1:
            continue
        batch = global_batch // devices
        while batch:
            factors = replace(
                compute.factors,
                parallel=parallel,
                checkpointing=checkpointing,
                batch_size=batch,
            )
            if (peak := device_bytes(factors, devices)) <= USABLE * memory_bytes:
                step = project(slowed(compute, factors), devices, batch, link=link, samples=0.0)
                yield Laid(factors, step, peak)
                break
            batch //= 2


def slowed(compute: Compute, factors: Factors) -> Compute:
    """The rate of `factors`, which may compute more or less again than the step that was timed."""
    timed = replace(compute.factors, batch_size=factors.batch_size)
    again = recomputed_flops(factors) - recomputed_flops(timed)
    model_flops = step_flops(factors)
    rate = compute.flops_per_ms * model_flops / (model_flops + again)
    return replace(compute, factors=factors, flops_per_ms=rate)
