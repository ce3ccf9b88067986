"""The order of samples and the sizes of steps are a pure function of seed and position."""

import itertools
import tracemalloc
from functools import lru_cache
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catlip.data.sampler import (
    ImageSize,
    SampleOrder,
    StepPlan,
    devices_of,
    lanes_of,
    steps_for,
)
from catlip.recipes.pretrain import CATLIP

COUNTS = st.lists(st.integers(0, 40), min_size=1, max_size=30).filter(any)


@given(counts=COUNTS, seed=st.integers(0, 3), lanes=st.integers(1, 9), per_lane=st.integers(1, 3))
@settings(max_examples=40)
def test_all_devices_together_see_each_sample_of_an_epoch_once(counts, seed, lanes, per_lane):
    """Also with fewer shards, or samples, than lanes."""
    order = SampleOrder(counts, seed, lanes)
    sizes = [ImageSize(16, 6), ImageSize(24, 3)]
    devices = lanes * per_lane
    plan = StepPlan(sizes, devices, num_steps=order.total // devices + 1, seed=seed)
    positions = np.concatenate(
        [
            step.positions(device, devices, lanes)
            for step in map(plan.__getitem__, range(len(plan)))
            for device in range(devices)
        ]
    )
    assert np.array_equal(np.sort(positions), np.arange(plan.starts[-1]))
    seen = np.stack(order(positions), axis=1)
    for epoch in range(3):  # a device takes at least 3 images a step, so 3 epochs or more
        of_epoch = seen[positions // order.total == epoch]
        assert len(np.unique(of_epoch, axis=0)) == len(of_epoch) == order.total


def test_order_of_one_lane_is_that_of_all_trainings_before_there_were_lanes() -> None:
    order = SampleOrder([*range(40), 0, *range(1, 25)], seed=3)
    located = np.stack(order(np.arange(3 * order.total)))
    digest = "5fa215a67341e66d"
    assert sha256(located.astype("<i8").tobytes()).hexdigest()[:16] == digest
    assert [*map(lanes_of, (1, 2, 8, 12, 64, 256, 7))] == [1, 1, 1, 3, 8, 32, 7]


@pytest.mark.parametrize(
    ("nodes", "gpus", "num_devices"),
    [(1, 8, 8), (1, 8, 256), (8, 8, 64), (8, 8, 256), (32, 8, 512), (16, 4, 64), (8, 1, 8)],
)
@pytest.mark.parametrize(("shards", "batch"), [(128, 4), (128, 30), (331, 30)])
def test_node_fetches_little_more_than_it_uses(nodes, gpus, num_devices, shards, batch) -> None:
    """Whole shards, by a cache of the last 64."""
    counts = np.random.default_rng(0).integers(300, 400, size=shards)
    order = SampleOrder(counts, 0, lanes_of(num_devices, gpus))
    sizes = [ImageSize(16, batch), ImageSize(12, 2 * batch)]
    steps = steps_for(2 * order.total, sizes, num_devices)
    plan = StepPlan(sizes, num_devices, steps, seed=0)
    accumulation = num_devices // (gpus * nodes)
    for node in {0, nodes // 2, nodes - 1}:
        ranks = [devices_of(rank, accumulation) for rank in range(gpus * node, gpus * (node + 1))]
        fetched, used = list[int](), 0
        fetch = lru_cache(64)(lambda shard, fetched=fetched: fetched.append(int(counts[shard])))
        for step, devices in itertools.product(
            map(plan.__getitem__, range(len(plan))), zip(*ranks, strict=True)
        ):
            positions = [step.positions(d, num_devices, order.lanes) for d in devices]
            read, _ = order(np.concatenate(positions))
            used += len(read)
            for shard in np.unique(read).tolist():
                fetch(shard)
        assert sum(fetched) <= (1.2 if nodes == 1 else 1.6) * used  # one node shares no border


def test_every_seed_has_sizes_of_its_own() -> None:
    sizes = [ImageSize(16, 6), ImageSize(24, 3)]
    assert len({tuple(StepPlan(sizes, 1, 40, seed).choice) for seed in range(4)}) == 4


def test_epoch_of_datacomp_is_planned_from_its_middle_in_little_memory() -> None:
    counts = np.random.default_rng(0).integers(9_000, 11_000, size=130_000)
    tracemalloc.start()
    order = SampleOrder(counts, seed=0)
    middle = np.arange(order.total // 2, order.total // 2 + 200_000)
    shards, numbers = order(middle)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    assert order.total == counts.sum() > 1.29e9
    assert (numbers < counts[shards]).all()
    assert len(set(zip(shards.tolist(), numbers.tolist(), strict=True))) == len(middle)
    assert len(np.unique(shards)) <= 3 * 16  # windows of 16 shards


@pytest.mark.parametrize("lanes", [1, 2, 7, 16])
def test_windows_hold_what_the_lanes_read_in_this_step_and_the_next(lanes) -> None:
    order, mine = SampleOrder([*range(1, 60)], 5, lanes), [*range(0, lanes, 3)]
    for start, count in itertools.product(range(0, 2000, 37 * lanes), (1, 20, 90)):
        positions = np.add.outer(start + np.array(mine), lanes * np.arange(2 * count))
        now, next_ = order.windows_at(start, mine, count)
        assert {*order(positions[:, :count].ravel())[0]} <= {*now}
        assert {*order(positions.ravel())[0]} <= {*now, *next_}
        # Not more than the windows at the beginnings and ends of both steps take.
        assert len(now) + len(next_) <= len(mine) * (4 * max(1, 16 // lanes) + 2 * count)


def test_steps_follow_each_other_without_gap() -> None:
    sizes = CATLIP["datacomp_b16"].sizes()
    plan = StepPlan(sizes, replicas=64, num_steps=100, seed=3)
    for step in range(99):
        assert plan[step].start + plan[step].batch * 64 == plan[step + 1].start
    assert len({plan[step].resolution for step in range(100)}) == 13
    start, batch = plan[9].start, plan[9].batch
    for device in range(6):
        begin, lane = start + device * batch, start + device // 3
        turns = device % 3 * batch + np.arange(batch)
        assert (plan[9].positions(device, 6, lanes=1) == begin + np.arange(batch)).all()
        assert (plan[9].positions(device, 6, lanes=2) == lane + 2 * turns).all()
    longer = StepPlan(sizes, replicas=64, num_steps=200_000, seed=3)
    assert longer.starts[-1] == pytest.approx(16.7e9, rel=0.01)  # the samples that the release sees
    assert steps_for(16.67e9, sizes, 64) == pytest.approx(200_000, rel=0.01)
    assert all(longer[step] == plan[step] for step in range(100))
