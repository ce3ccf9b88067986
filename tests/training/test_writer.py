"""Checkpoints are written beside the steps, when they are due, and a failure is not lost."""

import threading
import time
from pathlib import Path

import pytest
import torch
from small_run import SmallRun, small_run

from catlip.data.loader import Batch
from catlip.training import checkpoint
from catlip.training.distributed import Place
from catlip.training.loop import MAX_FRACTION, USUAL_STEPS, CheckpointWriter


def writer_of(work=lambda: None, **options) -> CheckpointWriter:
    return CheckpointWriter(lambda recent: work, **options)


def due(writer: CheckpointWriter) -> list[int]:
    return [step for step in range(1, 1_001) if writer.is_due(step)]


def test_checkpoints_are_due_as_the_user_says_or_as_often_as_they_cost_little() -> None:
    usual = list(range(USUAL_STEPS, 1_001, USUAL_STEPS))
    given, default = writer_of(every=300), writer_of()
    assert due(given) == [300, 600, 900]
    assert due(default) == usual
    given.seconds = default.seconds = 10
    assert due(given) == [300, 600, 900]
    assert due(default) == []
    assert all(default.may_be_due(step) for step in usual)  # so that all logs have these lines
    default.ended = time.monotonic() - 10 / MAX_FRACTION
    assert due(default) == usual


def test_checkpoints_are_written_in_order_and_the_block_waits_for_the_last() -> None:
    done, go = [], threading.Event()
    parts = iter([lambda: done.append(go.wait(10)), lambda: done.append("second")])
    with CheckpointWriter(lambda recent: next(parts)) as writer:
        writer.write([])
        assert not done
        go.set()
        writer.write([])
        assert done[0] is True
    assert done == [True, "second"]


def fails() -> None:
    raise OSError("the disk is full")


def test_a_failure_is_seen_at_once_and_raised_by_the_next_wait_or_the_end_of_the_block() -> None:
    with writer_of(fails) as writer:
        writer.write([])
        while not writer.asks:
            pass
        with pytest.raises(OSError, match="full"):
            writer.wait()
        assert not writer.asks
    with pytest.raises(OSError, match="full"), writer_of(fails) as writer:
        writer.write([])


def test_steps_go_on_while_a_checkpoint_is_written(
    small_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first checkpoint, of step 3, is held until the tenth micro-batch, of step 5."""
    going_on, save, steps = threading.Event(), checkpoint.save, []

    def held(*arguments, **more) -> Path:
        assert going_on.wait(60)
        return save(*arguments, **more)

    def counted(config: SmallRun, batch: Batch, now: str) -> Batch:
        steps.append(now)
        if len(steps) == 10:
            going_on.set()
        return batch

    monkeypatch.setattr(checkpoint, "save", held)
    monkeypatch.setattr("small_run._with_faults", counted)
    config = SmallRun(small_shards, tmp_path / "run", checkpoint_every=3, num_steps=6)
    small_run(config, Place(0, 1, torch.device("cpu")))
    assert checkpoint.newest(tmp_path / "run" / "checkpoints").stem == "step-00000006"
