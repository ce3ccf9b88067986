"""Resumed is uninterrupted, bit for bit: stopped anywhere, killed anywhere, on one rank and two,
for any number of workers.
"""

import json

import pytest

EVERY_STEP = tuple(range(20))


def check(done) -> dict:
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    return found


@pytest.mark.parametrize(
    ("ranks", "parallel", "accumulation", "num_workers"),
    [(1, "ddp", 2, 2), (2, "ddp", 1, 0), (2, "fsdp", 2, 0)],
)
def test_stopped_and_resumed_is_uninterrupted(
    small_run, ranks, parallel, accumulation, num_workers
) -> None:
    replicas = ranks * accumulation
    options = (
        "--ranks",
        ranks,
        "--parallel",
        parallel,
        "--replicas",
        replicas,
        "--num-workers",
        num_workers,
    )
    done = small_run(*options, "--num-steps", 8, "--stops", 1, 5)
    assert check(done)["stopped"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize(("ranks", "parallel"), [(1, "ddp"), (2, "ddp"), (2, "fsdp")])
def test_stopped_at_every_step_and_resumed_is_uninterrupted(
    small_run, ranks, parallel, accumulation, num_workers
) -> None:
    replicas = ranks * accumulation
    options = (
        "--ranks",
        ranks,
        "--parallel",
        parallel,
        "--replicas",
        replicas,
        "--num-workers",
        num_workers,
    )
    done = small_run(*options, "--stops", *EVERY_STEP, timeout=3600)
    assert check(done)["stopped"] == 20


def test_killed_at_random_moments_and_resumed_is_uninterrupted(small_run) -> None:
    assert check(small_run("--kills", 5, "--num-steps", 12))["killed"] == 5


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "parallel"), [(1, "ddp"), (2, "fsdp")])
def test_killed_at_fifty_random_moments_and_resumed_is_uninterrupted(
    small_run, ranks, parallel
) -> None:
    found = check(small_run("--kills", 50, "--ranks", ranks, "--parallel", parallel, timeout=3600))
    assert found["while_saving"] > 0
    assert found["unfinished"] > 25
