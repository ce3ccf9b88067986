"""A checkpoint is whole or absent, and belongs to one recipe."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from catlip.cli import InputError
from catlip.training import checkpoint


def test_the_newest_is_loaded_and_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 30):
        checkpoint.save(tmp_path, step, {"x": torch.tensor(step)}, {"seed": 0})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002.pt", "step-00000030.pt"]
    step, state = checkpoint.load_latest(tmp_path, {"seed": 0})
    assert (step, state["x"].item()) == (30, 30)


def test_another_recipe_is_refused_naming_what_differs(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, {}, {"seed": 0, "max_lr": 1e-3})
    with pytest.raises(InputError, match=r"max_lr 0\.001 there, 0\.002 now"):
        checkpoint.load_latest(tmp_path, {"seed": 0, "max_lr": 2e-3})


def test_nothing_is_unpickled_that_could_run_code(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"step": 1, "config": "{}", "state": Hostile()}, tmp_path / "step-00000001.pt")
    with pytest.raises(Exception, match=r"[Ww]eights.?only"):
        checkpoint.load_latest(tmp_path, {})
    assert not (tmp_path / "ran").exists()


def test_a_full_disk_keeps_the_previous_checkpoint(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, {"x": torch.ones(10)}, {})
    # A limit on file size fails a write half-way, as a full disk does.
    script = f"""
import pathlib, resource, signal, torch
from catlip.training import checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    checkpoint.save(pathlib.Path({str(tmp_path)!r}), 2, {{"x": torch.ones(1_000_000)}}, {{}})
except OSError as error:
    print("refused:", error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "refused:" in done.stdout, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.pt"]
    assert checkpoint.load_latest(tmp_path, {})[0] == 1
