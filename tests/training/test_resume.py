"""Resumed is uninterrupted, bit for bit, wherever it stopped, for any ranks and workers."""

import json

import pytest


def check(done) -> dict:
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    return found


FEW_STOPS = ("--num-steps", 8, "--stops", 1, 5)
EVERY_STOP = ("--stops", *range(20))
EVERY_WAY = [
    (ranks, parallel, accumulation, num_workers, EVERY_STOP, 20)
    for ranks, parallel in ((1, "ddp"), (2, "ddp"), (2, "fsdp"))
    for accumulation in (1, 2)
    for num_workers in (0, 2)
]


@pytest.mark.parametrize(
    ("ranks", "parallel", "accumulation", "num_workers", "stops", "count"),
    [
        (1, "ddp", 2, 2, FEW_STOPS, 2),
        (2, "ddp", 1, 0, FEW_STOPS, 2),
        (2, "fsdp", 2, 0, FEW_STOPS, 2),
        *(pytest.param(*way, marks=pytest.mark.slow) for way in EVERY_WAY),
    ],
)
def test_stopped_and_resumed_is_uninterrupted(
    small_run, ranks, parallel, accumulation, num_workers, stops, count
) -> None:
    options = ("--ranks", ranks, "--parallel", parallel, "--num-workers", num_workers)
    done = small_run(*options, "--replicas", ranks * accumulation, *stops, longest_s=3600)
    assert check(done)["stopped"] == count


def test_killed_at_random_moments_and_resumed_is_uninterrupted(small_run) -> None:
    assert check(small_run("--kills", 5, "--num-steps", 12))["killed"] == 5


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "parallel"), [(1, "ddp"), (2, "fsdp")])
def test_killed_at_fifty_random_moments_and_resumed_is_uninterrupted(
    small_run, ranks, parallel
) -> None:
    run = ("--kills", 50, "--ranks", ranks, "--parallel", parallel)
    found = check(small_run(*run, longest_s=3600))
    assert found["while_saving"] > 0
    assert found["unfinished"] > 25
