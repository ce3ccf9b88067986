"""A checkpoint is whole or absent, and belongs to one recipe."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor

from catlip.cli import InputError
from catlip.training.saving import checkpoint


def state(value: float) -> checkpoint.State:
    return {"objective": {"x": torch.full((10,), value), "n": torch.tensor(int(value))}}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory):
    """A process group of this process only."""
    store = tmp_path_factory.mktemp("store") / "store"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture(params=["file", "sharded"])
def save(request, alone):
    """Both ways to save."""
    if request.param == "file":
        return checkpoint.save
    return lambda *arguments: checkpoint.save_sharded(*arguments, main=True)()


def read(folder: Path, config: dict) -> tuple[int, Tensor]:
    found = state(0)
    return checkpoint.load(checkpoint.newest(folder), config, found), found["objective"]["x"]


def test_the_newest_is_loaded_and_two_are_kept(save, tmp_path: Path) -> None:
    for step in (1, 2, 30, 100_000_000, 99_999_999):
        save(tmp_path, step, state(step), {"seed": 0})
    assert [path.stem for path in sorted(tmp_path.iterdir())] == ["step-100000000", "step-99999999"]
    step, values = read(tmp_path, {"seed": 0})
    assert step == 100_000_000
    assert torch.equal(values, torch.full((10,), 1e8))


def test_another_recipe_is_refused_naming_what_differs(save, tmp_path: Path) -> None:
    save(tmp_path, 1, state(1), {"seed": 0, "max_lr": 1e-3, "sizes": (1, 2), "gone": True})
    differing = r"\(max_lr 0\.001 there, 0\.002 now; gone True there, None now\)"
    with pytest.raises(InputError, match=differing):
        read(tmp_path, {"seed": 0, "max_lr": 2e-3, "sizes": (1, 2)})


def test_the_state_of_another_version_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, {"objective": {"y": torch.ones(1)}}, {})
    with pytest.raises(InputError, match="objective/n, objective/x, objective/y"):
        read(tmp_path, {})


class Hostile:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_nothing_is_unpickled_that_could_run_code(tmp_path: Path) -> None:
    hostile = Hostile(tmp_path / "ran")
    torch.save({"step": 1, "config": "{}", "state": hostile}, tmp_path / "step-00000001.pt")
    with pytest.raises(Exception, match=r"[Ww]eights.?only"):
        read(tmp_path, {})
    assert not (tmp_path / "ran").exists()


def test_nothing_in_a_sharded_checkpoint_can_run_code(alone, tmp_path: Path) -> None:
    path = checkpoint.save_sharded(tmp_path, 1, state(1), {}, main=True)()
    (path / ".metadata").write_bytes(pickle.dumps(Hostile(tmp_path / "ran")))
    with pytest.raises(InputError, match=r"_?io\.open"):
        read(tmp_path, {})
    pickled = {"x": Hostile(tmp_path / "ran"), "n": torch.tensor(1)}  # in the place of a tensor
    dcp.save({"objective": pickled}, checkpoint_id=path)
    (tmp_path / "ran").unlink(missing_ok=True)
    with pytest.raises(InputError, match="BytesStorageMetadata"):
        read(tmp_path, {})
    assert not (tmp_path / "ran").exists()


def test_a_full_disk_keeps_the_previous_checkpoint(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, state(1), {})
    # A limit on file size fails a write half-way, as a full disk does.
    script = f"""
import pathlib, resource, signal, torch
from catlip.training.saving import checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
state = {{"objective": {{"x": torch.ones(1_000_000)}}}}
try:
    checkpoint.save(pathlib.Path({str(tmp_path)!r}), 2, state, {{}})
except OSError as error:
    print("refused:", error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "refused:" in done.stdout, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.pt"]
    assert read(tmp_path, {})[0] == 1


@pytest.mark.parametrize("left", [".writing.tmp", ".sharded.tmp", ".old.tmp"])
def test_what_a_killed_run_left_behind_is_no_checkpoint_and_is_cleared(
    save, tmp_path: Path, left: str
) -> None:
    for step in (1, 2):
        save(tmp_path, step, state(step), {})
    if left == ".writing.tmp":
        (tmp_path / left).write_bytes(b"half of a checkpoint")
    else:
        (tmp_path / left).mkdir()
        (tmp_path / left / "__0_0.distcp").write_bytes(b"half of a checkpoint")
    assert read(tmp_path, {})[0] == 2
    save(tmp_path, 3, state(3), {})
    assert read(tmp_path, {})[0] == 3
