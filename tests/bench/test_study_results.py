"""What the tables of studies say follows from the records."""

import base64
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.downstream.probe.result import packed_ids, unpacked_ids
from bench.study.result import (
    TRIALS,
    LengthTraining,
    Trial,
    at_cost,
    at_equal_cost,
    best_trials,
    cost_of,
    curves,
    length_rows,
)
from catlip.records.run import Config, Environment, Run, cleaned
from catlip.records.table import RECORDS

LENGTHS = (1_000, 2_000, 4_000, 8_000, 16_000)
COSTS = [8e3, 16e3, 32e3, 64e3, 128e3]


def run_of(metrics, **parts: str) -> Run:
    environment = Environment(device="Example CPU")
    return Run(
        name="",
        kind=metrics.kind,
        metrics=metrics,
        config=Config(),
        environment=environment,
        samples={},
        **parts,
    )


@given(st.lists(st.floats(0.01, 10), min_size=5, max_size=5), st.floats(0.001, 0.999))
def test_cost_of_what_is_reached_at_a_cost_is_that_cost(gains, part) -> None:
    values = np.cumsum(gains).tolist()
    cost = COSTS[0] * (COSTS[-1] / COSTS[0]) ** part
    value = at_cost(COSTS, values, cost)
    assert value is not None
    assert values[0] < value <= values[-1]
    assert cost_of(COSTS, values, value) == pytest.approx(cost, rel=1e-6)
    assert cost_of(COSTS, values, 2 * values[-1]) is at_cost(COSTS, values, 2 * COSTS[-1]) is None


def trained(method: str, images: int, seed: int, top1: float) -> Run[LengthTraining]:
    cost = {"catlip": 1, "clip": 2}[method] * images
    scaling = LengthTraining(
        method=method,
        encoder="hybrid_mini",
        fraction=1.0,
        images=images,
        seed=seed,
        images_seen=images,
        flops=cost * 1e6,
        train_seconds=cost / 100,
        final_loss=1.0,
        accuracies={"concepts": top1},
    )
    return run_of(scaling)


@given(st.lists(st.integers(0, 2**32 - 1), max_size=60))
def test_groups_of_test_images_are_kept(ids: list[int]) -> None:
    numbers = np.array(ids, np.int64)
    same = np.equal.outer(numbers, numbers)
    read = unpacked_ids(packed_ids(numbers))
    assert np.array_equal(np.equal.outer(read, read), same)
    with pytest.raises(ValueError, match="groups of test images"):
        unpacked_ids(base64.b64encode(b"x\xdanone").decode())


def test_long_lists_of_test_images_are_read_whole() -> None:
    samples = {"test_images": [{"task": "concepts", "clusters": "A" * 5_000, "part": "B" * 5_000}]}
    assert cleaned(samples) == samples


def grid(catlip: float, clip: float) -> list[Run[LengthTraining]]:
    """Two methods that gain so many hundredths with each doubling, three seeds a point apart."""
    return [
        trained(method, images, seed, 0.1 + gain * step + seed / 100)
        for method, gain in (("catlip", catlip), ("clip", clip))
        for step, images in enumerate(LENGTHS)
        for seed in range(3)
    ]


def points_at_equal_cost(gain: float, other: float, times: float | None) -> list[float]:
    scores = at_equal_cost(*curves(grid(gain, other)), times)
    return [score.value for score in scores["concepts"]]


@pytest.mark.parametrize("times", [None, 2])  # CLIP has twice the operations
def test_methods_that_reach_the_same_differ_by_what_they_cost(times) -> None:
    assert points_at_equal_cost(0.04, 0.04, times) == pytest.approx([4] * 3)
    assert points_at_equal_cost(0.04, 0.02, times) == pytest.approx([10] * 3)


def test_at_equal_seconds_the_faster_method_sees_more_images() -> None:
    assert points_at_equal_cost(0.04, 0.04, 1) == pytest.approx([0] * 3)
    assert points_at_equal_cost(0.04, 0.04, 0.5) == pytest.approx([-4] * 3)


def test_curve_is_of_the_tasks_that_all_lengths_were_probed_on() -> None:
    runs = []
    for run in grid(0.04, 0.02):
        more = {"pets": 0.5} if run.metrics.images == LENGTHS[0] else {}
        metrics = replace(run.metrics, accuracies=more | run.metrics.accuracies)
        runs.append(replace(run, metrics=metrics))
    catlip, clip = curves(runs)
    assert catlip.top1.keys() == clip.top1.keys() == {"concepts"}


def test_row_of_lengths_is_a_mean_over_seeds() -> None:
    rows = [*length_rows(grid(0.04, 0.02))]
    assert [row["images"] for row in rows[:3]] == [1_000, 1_000, 2_000]
    means = [(row["top1"].mean, row["top1"].spread, row["top1"].n) for row in rows[:3]]
    assert means == [pytest.approx(wanted) for wanted in [(0.11, 0.01, 3)] * 2 + [(0.15, 0.01, 3)]]


def test_best_trial_of_a_method_is_the_one_that_is_linked() -> None:
    runs = []
    for trial, top1 in enumerate((0.1, 0.3, 0.2)):
        found = {"drawn": {"max_lr": top1}, "accuracies": {"concepts": top1}}
        runs.append(run_of(Trial(method="clip", trial=trial, **found), path=f"{trial}.json"))
    (row,) = TRIALS.fill(runs).rows
    assert (row["score"].mean, row["number"], row[RECORDS]) == (0.3, 1, ("1.json",))
    assert row["max_lr"] == 0.3
    assert best_trials(runs, 2) == {"clip": [1, 2]}
