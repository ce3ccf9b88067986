"""What it costs to plan an epoch, before the first batch: seconds and memory, from its start and
from its middle.
"""

import functools
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

from catlip.data.sampler import SampleOrder, StepPlan
from catlip.data.shard_set import keep_counts, open_shards
from catlip.data.shards import expand
from catlip.recipes.pretrain import CATLIP

SHARDS, SAMPLES = 130_000, 10_000  # DataComp-1.3B's, about
RECIPE = CATLIP["datacomp_b16"]
NUM_STEPS = 200_000  # the paper's, Table 6(b)


def plan_epoch(folder: Path, num_shards: int = SHARDS) -> dict[str, float]:
    """Plan from the start and from the middle, and once more with memory traced, which takes
    several times as long.

    Args:
        folder: an empty one, where the shards will stand: without content, counted as if each had
            about SAMPLES.
    Returns: seconds, by the clock and of the processor, to the first batch of the epoch and to one
        in its middle; peak of MiB.
    """
    for number in range(num_shards):
        (folder / f"{number:06d}.tar").touch()
    counts = np.random.default_rng(0).integers(SAMPLES - 1000, SAMPLES + 1001, size=num_shards)
    keep_counts(expand(str(folder)), counts)
    found: dict[str, float] = {"samples": int(counts.sum()), "shards": num_shards}
    for where, share in (("first", 0.0), ("middle", 0.5)):
        taken = _seconds(functools.partial(_batch_at, folder, share))
        found |= {f"{where}_batch_{unit}": value for unit, value in taken.items()}
    return found | {"peak_mib": _peak_mib(functools.partial(_batch_at, folder, 0.5))}


def _batch_at(folder: Path, share: float) -> None:
    shards = open_shards(expand(str(folder)), quiet=True)
    order = SampleOrder(shards.counts, seed=0)
    plan = StepPlan(RECIPE.sizes(), RECIPE.num_devices, NUM_STEPS, seed=0)
    step = plan[int(np.searchsorted(plan.starts, share * order.total))]
    order(np.arange(step.start, step.start + step.batch))


def _seconds(plan: Callable[[], None]) -> dict[str, float]:
    clock, processor = time.perf_counter(), time.process_time()
    plan()
    return {"s": time.perf_counter() - clock, "cpu_s": time.process_time() - processor}


def _peak_mib(plan: Callable[[], None]) -> float:
    tracemalloc.start()
    try:
        plan()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
