"""What is done beside the training is done, and its failure is not lost."""

import threading
from pathlib import Path

import pytest
import torch
from small_run import SmallRun, small_run

from catlip.data.loader import Batch
from catlip.training.distributed import Place
from catlip.training.saving import checkpoint
from catlip.training.saving.background import Background


def fails() -> None:
    raise OSError("the disk is full")


def _fails_twice() -> None:
    with Background() as beside:
        beside.do(fails)
        1 / 0  # noqa: B018


def test_a_block_ends_when_the_last_thing_is_done_and_things_are_done_in_order() -> None:
    done, go = [], threading.Event()
    with Background() as beside:
        beside.do(lambda: done.append(go.wait(10)))
        assert not done
        go.set()
        beside.do(lambda: done.append("second"))
        assert done[0] is True
    assert done == [True, "second"]


def test_a_failure_is_seen_at_once_and_raised_by_the_next_wait_or_the_end_of_the_block() -> None:
    with Background() as beside:
        beside.do(fails)
        while not beside.failed:
            pass
        with pytest.raises(OSError, match="full"):
            beside.wait()
        assert not beside.failed
    with pytest.raises(OSError, match="full"), Background() as beside:
        beside.do(fails)
    with pytest.raises(ZeroDivisionError):
        _fails_twice()


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
