"""What goes wrong on one rank stops all at once, says so, and costs nothing that was saved."""

import re

import pytest
import torch
from small_run import Small

from catlip.training.distributed import Place
from catlip.training.schedule import Optimization
from catlip.training.trainer import Trainer

CPU = Place(0, 1, torch.device("cpu"))


def resumed(out) -> Trainer:
    trainer = Trainer(Small(), Optimization(precision="fp32"), 20, place=CPU)
    trainer.resume(out / "checkpoints", {"seed": 0, "num_steps": 20})
    return trainer


@pytest.mark.parametrize(("parallel", "fault"), [("ddp", "nan"), ("fsdp", "inf")])
def test_a_loss_that_is_not_finite_on_one_rank_stops_both_before_the_optimizer(
    small_run, tmp_path, parallel, fault
) -> None:
    done = small_run("--ranks", 2, "--parallel", parallel, "--fault", f"{fault}:1:6", longest_s=120)
    assert done.returncode == 2, done.stderr
    messages = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(messages) == 2, done.stderr
    for message in messages:
        for part in ("step 6", "rank 1", fault):
            assert part in message
        assert "rank 0" not in message
    assert resumed(tmp_path / "run").step == 6


def test_a_disk_that_is_full_for_one_rank_keeps_the_previous_checkpoint(
    small_run, tmp_path
) -> None:
    done = small_run("--ranks", 2, "--parallel", "fsdp", "--fault", "full:1:4", longest_s=120)
    assert done.returncode == 2
    messages = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(messages) == 2, done.stderr
    # The one of step 4 may still be written when the disk is full.
    (failed,) = {int(re.search(r"checkpoint of step (\d+)", message)[1]) for message in messages}
    assert failed in (4, 5)
    left = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert left == [f"step-{failed - 2:08d}", f"step-{failed - 1:08d}"]
    assert resumed(tmp_path / "run").step == failed - 1


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_data_worker_that_dies_is_an_error(small_run, ranks) -> None:
    done = small_run("--num-workers", 2, "--worker-dies", "--ranks", ranks, longest_s=240)
    assert done.returncode
    assert "--num-workers" in done.stderr
