"""A training that is told to stop saves, exits with a code of its own, and loses no step."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from catlip.training.preempt import EXIT_CODE

HERE = Path(__file__).parent
NEVER = ("--checkpoint-every", 100)  # what is saved is saved for the signal
LONGEST_S = 120
TORCHRUN_ENDS = (1, -signal.SIGABRT)
"""Its rendezvous has a thread that now and then is still there when it ends: it aborts, after all
ranks have ended. 1 of 22 on two busy cores, torch 2.15."""


@pytest.mark.parametrize(
    ("signalled", "options"),
    [
        ("SIGTERM:0:6", ("--ranks", 1, "--num-workers", 1)),
        ("SIGUSR1:1:6", ("--ranks", 2)),
        ("SIGTERM:1:6", ("--ranks", 2, "--parallel", "fsdp")),
    ],
)
def test_a_signal_to_one_rank_stops_all_after_that_step_and_the_run_ends_as_if_never_stopped(
    small_run, signalled, options
) -> None:
    """Step 7 is between two lines of the log, which has one every five."""
    done = small_run(*options, *NEVER, "--num-steps", 12, "--fault", signalled, "--compare")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == {"codes": [EXIT_CODE] * options[1], "saved": ["step-00000007"], "same": True}
    said = f"{signalled.split(':')[0]}: stopped after step 7"
    assert done.stderr.count(said) == 1, done.stderr


def test_torchrun_passes_sigterm_on_and_waits_for_the_checkpoint(
    small_shards, small_run, tmp_path
) -> None:
    """It signals the whole group of each rank, and so the processes that read images too."""
    options = ("--num-steps", 12, "--num-workers", 1, *NEVER)
    out = tmp_path / "run" / "cut"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2]
    run = ["--shards", small_shards, "--out", out, "--step-s", 0.4, *options]
    command = [*map(str, [*launch, HERE / "small_run.py", *run])]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        log, end = out / "log.jsonl", time.monotonic() + LONGEST_S
        while not (log.exists() and log.read_text()):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        errors = process.communicate(timeout=LONGEST_S)[1]
    finally:
        process.kill()
    assert process.returncode in TORCHRUN_ENDS, f"say in the README how torchrun ends:\n{errors}"
    assert "which is saved" in errors, errors
    (saved,) = [path.stem for path in out.glob("checkpoints/*")]
    assert "step-00000005" < saved < "step-00000012"
    done = small_run(*options, "--ranks", 2, "--compare")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["same"]
