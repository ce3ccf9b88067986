"""Resumed is uninterrupted, bit for bit: stopped anywhere, killed anywhere, on any number of ranks and workers."""

import json

import pytest

EVERY_STEP = tuple(range(20))


def check(done) -> dict:
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    return found


@pytest.mark.parametrize(
    ("ranks", "parallel", "accumulation", "num_workers"), [(1, "ddp", 2, 2), (2, "ddp", 1, 0), (2, "fsdp", 2, 0)]
)
def test_stopped_and_resumed_is_uninterrupted(small_run, ranks, parallel, accumulation, num_workers) -> None:
    replicas = ranks * accumulation
    options = ("--ranks", ranks, "--parallel", parallel, "--replicas", replicas, "--num-workers", num_workers)
    done = small_run(*options, "--num-steps", 8, "--stops", 1, 5)
    assert check(done)["stopped"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize(("ranks", "parallel"), [(1, "ddp"), (2, "ddp"), (2, "fsdp")])
def test_stopped_at_every_step_and_resumed_is_uninterrupted(small_run, ranks, parallel, accumulation, num_workers) -> None:
    replicas = ranks * accumulation
    options = ("--ranks", ranks, "--parallel", parallel, "--replicas", replicas, "--num-workers", num_workers)
    done = small_run(*options, "--stops", *EVERY_STEP, timeout=3600)
    assert check(done)["stopped"] == 20


def test_killed_at_random_moments_and_resumed_is_uninterrupted(small_run) -> None:
    assert check(small_run("--kills", 5, "--num-steps", 12))["killed"] == 5


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "parallel"), [(1, "ddp"), (2, "fsdp")])
def test_killed_at_fifty_random_moments_and_resumed_is_uninterrupted(small_run, ranks, parallel) -> None:
    found = check(small_run("--kills", 50, "--ranks", ranks, "--parallel", parallel, timeout=3600))
    assert found["while_saving"] > 0
    assert found["unfinished"] > 25


def test_a_sharded_run_goes_on_on_one_rank_and_a_whole_one_sharded(small_run, tmp_path) -> None:
    """Random numbers belong to micro-batches, not to ranks, so only the order of sums differs."""
    whole = json.loads(small_run("--num-steps", 8).stdout)["log"]
    for first, then in (("fsdp", "ddp"), ("ddp", "fsdp")):
        ranks = {"ddp": 1, "fsdp": 2}
        cut = small_run("--ranks", ranks[first], "--parallel", first, "--num-steps", 8, "--nan", "0:4", out=first)
        assert "at step 4" in cut.stderr
        done = small_run("--ranks", ranks[then], "--parallel", then, "--num-steps", 8, out=first)
        assert done.returncode == 0, done.stderr
        for line, expected in zip(json.loads(done.stdout)["log"], whole, strict=True):
            assert line == pytest.approx(expected, rel=1e-3), (first, then)


def test_torchrun_restarts_a_run_of_which_a_rank_was_killed(small_run) -> None:
    run = ("--num-steps", 10, "--checkpoint-every", 3)
    whole = small_run(*run, "--ranks", 2, out="whole")
    done = small_run(*run, "--dies", "1:7", torchrun=("--nproc-per-node", 2, "--max-restarts", 1))
    assert whole.returncode == done.returncode == 0, done.stderr
    assert "exitcode: -9" in done.stderr
    assert json.loads(done.stdout) == json.loads(whole.stdout)
