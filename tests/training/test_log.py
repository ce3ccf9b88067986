"""The log is the same however often a run was stopped, wherever it is shown."""

import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from catlip.training.distributed import Rank
from catlip.training.log import Log, Progress

MAIN = Rank(0, 1, torch.device("cpu"))
STEP = Progress(loss=2.0, grad_norm=1.0, seconds=0.5, data_wait_seconds=0.1, images=8)


def write(folder: Path, first: int, steps: range, lines: Sequence[Any] = ()) -> Log:
    log = Log(folder, first, MAIN, wandb="", config={}, lines=lines)
    for step in steps:
        log.write(step, [STEP, STEP], 0.1, {"psnr_db": 30.0 + step})
    log.close()
    return log


def test_line_is_the_mean_of_its_steps_and_sums_up_the_run(tmp_path: Path) -> None:
    lines = write(tmp_path, 0, range(1, 3)).lines
    found = lines[1]
    assert found.pop("peak_gib") > 0
    assert found == {
        "step": 2, "images_seen": 32, "seconds": 2.0, "broken": 0, "loss": 2.0, "grad_norm": 1.0,
        "learning_rate": 0.1, "images_per_s": 16.0,
        "data_wait_share": pytest.approx(0.2), "psnr_db": 32.0,
    }  # fmt: skip
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0]) == lines[0]


def test_resumed_log_drops_what_came_after_the_checkpoint_everywhere(tmp_path: Path) -> None:
    before = write(tmp_path, 0, range(1, 6)).lines[:3]
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"step": 6, "loss": 0.')  # killed while writing
    # TensorBoard reads events in the order of the seconds that their files are named after.
    time.sleep(1)
    lines = write(tmp_path, 3, range(4, 8), before).lines
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6, 7]
    assert lines[-1]["images_seen"] == 7 * 16
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == lines
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Scalars("psnr_db")] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(("kind", "number"), [("late", 0), ("slow", 1)])
def test_rank_that_all_others_wait_for_is_named(small_run, tmp_path, kind, number) -> None:
    done = small_run("--num-steps", 10, "--fault", f"{kind}:{number}:6", ranks=2)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    (line,) = (line for line in lines if line["step"] == 7)
    assert line["slowest_rank"] == number
    assert line["slowest_host"] == platform.node()
    if kind == "late":  # one rank waited for its data, and the other only for that rank
        assert line["data_wait_share"] == pytest.approx(line["data_wait_spread"] / 2, rel=0.2)
    else:
        assert line["data_wait_spread"] < 0.1 < 0.5 < line["forward_spread"]


@pytest.mark.parametrize(
    ("waits", "forwards", "named"),
    [
        ((0.1, 0.11), (0.3, 0.31), None),
        ((0.1, 0.2), (0.4, 0.3), 1),  # under FSDP the other rank waits for this one's weights
        ((0.1, 0.15), (0.4, 0.3), 0),  # which is more than a late loader explains
    ],
)
def test_rank_is_named_that_is_much_behind(waits, forwards, named, monkeypatch, tmp_path) -> None:
    ranks = [(*times, "host") for times in zip(waits, forwards, strict=True)]
    monkeypatch.setattr(Log, "list_broken", lambda *_: ranks)
    assert write(tmp_path, 0, range(1, 2)).lines[0].get("slowest_rank") == named


def test_wandb_shows_the_log_in_the_folder_of_the_run(small_run, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    done = small_run("--num-steps", 3, "--wandb", "project")
    assert done.returncode == 0, done.stderr
    (stored,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    assert b"data_wait_share" in stored.read_bytes()
