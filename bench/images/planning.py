"""What it costs to plan an epoch, before the first batch: seconds and memory, from its start and
from its middle.
"""

import time
import tracemalloc
from pathlib import Path

import numpy as np

from bench.data_path.result import EpochPlan
from catlip.data.sampler import SampleOrder, StepPlan
from catlip.data.shard_set import keep_counts, open_shards
from catlip.data.shards import expand
from catlip.recipes.pretrain import CATLIP

SHARDS, SAMPLES = 130_000, 10_000  # about those of DataComp-1.3B
RECIPE = CATLIP["datacomp_b16"]
NUM_STEPS = 200_000  # the paper's, Table 6(b)


def plan_epoch(folder: Path, num_shards: int = SHARDS) -> EpochPlan:
    """Plan from the start and from the middle, and once more with memory traced, which takes
    several times as long.

    Args:
        folder: an empty folder for the shards, which have no content and are counted as if each had
            about SAMPLES samples.
    """
    for number in range(num_shards):
        (folder / f"{number:06d}.tar").touch()
    counts = np.random.default_rng(0).integers(SAMPLES - 1000, SAMPLES + 1001, size=num_shards)
    keep_counts(expand(str(folder)), counts)
    first_s, first_cpu_s = _seconds(folder, 0.0)
    middle_s, middle_cpu_s = _seconds(folder, 0.5)
    return EpochPlan(
        samples=int(counts.sum()),
        shards=num_shards,
        first_batch_s=first_s,
        first_batch_cpu_s=first_cpu_s,
        middle_batch_s=middle_s,
        middle_batch_cpu_s=middle_cpu_s,
        peak_mib=_peak_mib(folder, 0.5),
    )


def _batch_at(folder: Path, share: float) -> None:
    """Plan, and find the samples of the batch that begins when this fraction has been seen."""
    shards = open_shards(expand(str(folder)), quiet=True)
    order = SampleOrder(shards.counts, seed=0)
    plan = StepPlan(RECIPE.sizes(), RECIPE.num_devices, NUM_STEPS, seed=0)
    step = plan[int(np.searchsorted(plan.starts, share * order.total))]
    order(np.arange(step.start, step.start + step.batch))


def _seconds(folder: Path, share: float) -> tuple[float, float]:
    """Seconds of `_batch_at` by the clock, and seconds of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    _batch_at(folder, share)
    return time.perf_counter() - clock, time.process_time() - processor


def _peak_mib(folder: Path, share: float) -> float:
    tracemalloc.start()
    try:
        _batch_at(folder, share)
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
