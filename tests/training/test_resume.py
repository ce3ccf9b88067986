"""Resumed is uninterrupted, bit for bit, wherever it stopped, for any ranks and workers; and a run
goes on after torchrun's restart and on another number of ranks.
"""

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


@pytest.mark.parametrize(
    ("first", "then"), [("fsdp", "ddp"), pytest.param("ddp", "fsdp", marks=pytest.mark.slow)]
)
def test_a_sharded_run_goes_on_on_one_rank_and_a_whole_one_sharded(small_run, first, then) -> None:
    """Random numbers belong to micro-batches, not to ranks, so only the order of sums differs."""
    ranks = {"ddp": 1, "fsdp": 2}
    whole = json.loads(small_run("--num-steps", 8, out="whole").stdout)["log"]
    cut = small_run(
        "--ranks", ranks[first], "--parallel", first, "--num-steps", 8, "--fault", "nan:0:4"
    )
    assert "step 4" in cut.stderr
    done = small_run("--ranks", ranks[then], "--parallel", then, "--num-steps", 8)
    assert done.returncode == 0, done.stderr
    for line, expected in zip(json.loads(done.stdout)["log"], whole, strict=True):
        assert line == pytest.approx(expected, rel=1e-3)


def test_torchrun_restarts_a_run_of_which_a_rank_was_killed(small_run) -> None:
    run = ("--num-steps", 10, "--checkpoint-every", 3)
    whole = small_run(*run, "--ranks", 2, out="whole")
    done = small_run(
        *run, "--fault", "dies:1:7", torchrun=("--nproc-per-node", 2, "--max-restarts", 1)
    )
    assert whole.returncode == done.returncode == 0, done.stderr
    assert "exitcode: -9" in done.stderr
    assert json.loads(done.stdout) == json.loads(whole.stdout)
