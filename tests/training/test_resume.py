"""Resumed is uninterrupted, bit for bit; what goes wrong on one rank stops all ranks."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from small_run import Small

from catlip.training.distributed import Rank
from catlip.training.preempt import EXIT_CODE
from catlip.training.schedule import Optimization
from catlip.training.trainer import Trainer

FEW_STOPS = ("--num-steps", 5, "--stops", 1, 3)  # in the warm-up and after it
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
        # With three ranks or more, sums have an order.
        (4, "ddp", 1, 0, ("--deterministic", *FEW_STOPS), 2),
        (2, "fsdp", 8, 0, FEW_STOPS, 2),  # in two lanes
        *(pytest.param(*way, marks=pytest.mark.slow) for way in EVERY_WAY),
    ],
)
def test_stopped_and_resumed(small_run, ranks, parallel, accumulation, num_workers, stops, count):
    options = ("--parallel", parallel, "--num-workers", num_workers, *stops)
    how = {"ranks": ranks, "longest_s": 3600}
    done = small_run(*options, "--replicas", ranks * accumulation, **how)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"stopped": count, "wrong": []}


@pytest.mark.parametrize(
    ("first", "then"), [("fsdp", "ddp"), pytest.param("ddp", "fsdp", marks=pytest.mark.slow)]
)
def test_sharded_run_goes_on_on_one_rank_and_a_whole_one_sharded(small_run, first, then) -> None:
    """Random numbers belong to micro-batches, not to ranks, so only the order of sums differs. Each
    of two ranks has a lane.
    """
    ranks, size = {"ddp": 1, "fsdp": 2}, ("--replicas", 16, "--num-steps", 8)
    whole = json.loads(small_run(*size, out="whole").stdout)["log"]
    fault = ("--fault", "nan:0:4")
    cut = small_run("--parallel", first, *size, *fault, ranks=ranks[first])
    assert "step 4" in cut.stderr
    done = small_run("--parallel", then, *size, ranks=ranks[then])
    assert done.returncode == 0, done.stderr
    for line, expected in zip(json.loads(done.stdout)["log"], whole, strict=True):
        assert line == pytest.approx(expected, rel=1e-3)


CPU = Rank(0, 1, torch.device("cpu"))


def resumed(out) -> Trainer:
    trainer = Trainer(Small(), Optimization(precision="fp32"), 20, rank=CPU)
    trainer.resume(out / "checkpoints", {"seed": 0, "num_steps": 20})
    return trainer


@pytest.mark.parametrize(("parallel", "fault"), [("ddp", "nan"), ("fsdp", "inf")])
def test_loss_that_is_not_finite_on_one_rank_stops_both(small_run, tmp_path, parallel, fault):
    done = small_run("--parallel", parallel, "--fault", f"{fault}:1:6", ranks=2)
    assert done.returncode == 2, done.stderr
    messages = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(messages) == 2, done.stderr
    for message in messages:
        for part in ("step 6", "rank 1", fault):
            assert part in message
        assert "rank 0" not in message
    assert resumed(tmp_path / "run").step == 6


def test_disk_that_is_full_for_one_rank_keeps_the_previous_checkpoint(small_run, tmp_path):
    done = small_run("--parallel", "fsdp", "--fault", "full:0:4", ranks=2)
    assert done.returncode == 2
    messages = [line for line in done.stderr.splitlines() if "checkpoint of step" in line]
    # The one of step 4 may still be written when the disk is full.
    (failed,) = {int(re.search(r"checkpoint of step (\d+)", message)[1]) for message in messages}
    assert failed in (4, 5)
    left = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert left == [f"step-{failed - 2:08d}.pt", f"step-{failed - 1:08d}.pt"]
    assert resumed(tmp_path / "run").step == failed - 1


HERE = Path(__file__).parent
NEVER = ("--checkpoint-every", 100)  # what is saved is saved for the signal
LONGEST_S = 600  # on a busy machine
TORCHRUN_ENDS = (1, -signal.SIGABRT)
"""Its rendezvous has a thread that now and then is still there when it ends: it aborts, after all
ranks have ended. 1 of 22 on two busy cores, torch 2.15."""


def goes_on_as_if_never_stopped(small_run, *options, ranks) -> None:
    """The run in `run`, to its end."""
    again, whole = (small_run(*options, out=out, ranks=ranks) for out in ("run", "whole"))
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == json.loads(whole.stdout)


@pytest.mark.parametrize(
    ("signalled", "ranks", "options"),
    [
        ("SIGTERM:0:6", 1, ("--num-workers", 1)),
        ("SIGUSR1:1:6", 2, ()),
        ("SIGTERM:1:6", 2, ("--parallel", "fsdp")),
    ],
)
def test_signal_to_one_rank_stops_all_and_changes_no_outcome(
    small_run, tmp_path, signalled, ranks, options
) -> None:
    """Step 7 is between two lines of the log, which has one every five."""
    options = (*options, *NEVER, "--num-steps", 12)
    stopped = small_run(*options, "--fault", signalled, ranks=ranks)
    assert stopped.returncode == EXIT_CODE, stopped.stderr
    line = f"{signalled.split(':')[0]}: stopped after step 7"
    assert stopped.stderr.count(line) == 1, stopped.stderr
    assert stopped.stdout == "", "the other rank has stopped, too"
    assert [path.stem for path in tmp_path.glob("run/checkpoints/*")] == ["step-00000007"]
    goes_on_as_if_never_stopped(small_run, *options, ranks=ranks)


def test_torchrun_restarts_a_run_and_passes_sigterm_on(small_shards, small_run, tmp_path) -> None:
    """It signals the whole group of each rank, and so the processes that read images too."""
    options = ("--num-steps", 16, "--num-workers", 1, "--checkpoint-every", 3)
    out = tmp_path / "run"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2]
    launch += ["--max-restarts", 1, HERE / "small_run.py", "--fault", "dies:1:4", "--step-s", 0.4]
    command = [*map(str, [*launch, "--shards", small_shards, "--out", out, *options])]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + LONGEST_S
        while not (out / "checkpoints/step-00000006.pt").exists():  # after the restart
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        errors = process.communicate(timeout=LONGEST_S)[1]
    finally:
        process.kill()
    assert process.returncode in TORCHRUN_ENDS, f"say in the README how torchrun ends:\n{errors}"
    assert "exitcode: -9" in errors, errors
    assert "which is saved" in errors, errors
    saved = max(path.stem for path in out.glob("checkpoints/*"))
    assert "step-00000006" < saved < "step-00000016"
    goes_on_as_if_never_stopped(small_run, *options, ranks=2)
