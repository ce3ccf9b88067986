"""A checkpoint is whole or absent, and belongs to one recipe."""

import json
import os
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor

from catlip.cli import InputError
from catlip.training import checkpoint


def state(value: float) -> checkpoint.State:
    return {"objective": {"x": torch.full((10,), float(value)), "n": torch.tensor(int(value))}}


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
    head = checkpoint.resume(folder, lambda path: checkpoint.load(path, config, found))
    return head.step, found["objective"]["x"]


def test_the_newest_is_loaded_and_two_are_kept(save, tmp_path: Path) -> None:
    history = checkpoint.History([{"step": 5, "loss": 0.1}], [{"loss": 0.2, "images": 8}])
    for step in (1, 2, 30, 99_999_999, 100_000_000):
        save(tmp_path, step, state(step), {"seed": 0}, history)
    assert [path.stem for path in sorted(tmp_path.iterdir())] == ["step-100000000", "step-99999999"]
    step, values = read(tmp_path, {"seed": 0})
    assert step == 100_000_000
    assert torch.equal(values, torch.full((10,), 1e8))
    newest = checkpoint.newest(tmp_path)
    assert checkpoint.load(newest, {"seed": 0}, state(0)).history == history


def test_another_recipe_is_refused_naming_what_differs(save, tmp_path: Path) -> None:
    save(tmp_path, 1, state(1), {"seed": 0, "max_lr": 1e-3, "sizes": (1, 2), "gone": True})
    with pytest.raises(InputError, match=r"max_lr 0\.001 .*gone True"):
        read(tmp_path, {"seed": 0, "max_lr": 2e-3, "sizes": (1, 2)})


Damage = Callable[[Path], object]


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def without(path: Path, name: str) -> None:
    """Leave out a part of the head."""
    if path.is_file():
        saved = torch.load(path)
        del saved[name]
        torch.save(saved, path)
    else:
        head = json.loads((path / checkpoint.HEAD).read_text())
        del head[name], head["crc32"]
        (path / checkpoint.HEAD).write_text(json.dumps(head))


def empty_folder(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.mkdir()


def of_another_state(path: Path, changed: dict[str, Tensor]) -> None:
    """With the same head, and these tensors."""
    if path.is_file():
        torch.save(torch.load(path) | {"state": {"objective": changed}}, path)
    else:
        dcp.save({"objective": changed}, checkpoint_id=path)
        without(path, "lines")


def in_part(damage: Damage, name: str) -> Damage:
    return lambda path: damage(path / name)


DAMAGED: dict[str, Damage] = {
    "no config": lambda path: without(path, "config"),
    "a folder": empty_folder,
    "another shape": lambda path: of_another_state(path, {"x": torch.ones(1), "n": torch.ones(())}),
    "a tensor too few": lambda path: of_another_state(path, {"n": torch.tensor(1)}),
}
DAMAGED_FILE: dict[str, Damage] = {
    "cut": cut,
    "empty": lambda path: path.write_bytes(b""),
    "a link to nothing": lambda path: (path.unlink(), path.symlink_to("nothing")),
    "config of another type": lambda path: torch.save(torch.load(path) | {"config": "[]"}, path),
}
DAMAGED_FOLDER: dict[str, Damage] = {
    f"{name} {how}": in_part(damage, name)
    for name in (checkpoint.HEAD, checkpoint.INDEX, "__0_0.distcp")
    for how, damage in (("cut", cut), ("missing", Path.unlink))
}
WAYS = [
    *(pytest.param("file", damage, id=name) for name, damage in (DAMAGED | DAMAGED_FILE).items()),
    *(
        pytest.param("sharded", damage, id=f"sharded {name}")
        for name, damage in (DAMAGED | DAMAGED_FOLDER).items()
    ),
]


@pytest.mark.parametrize(("save", "damage"), WAYS, indirect=["save"])
def test_from_a_damaged_one_a_run_goes_back_to_the_one_before_and_writes_it_again(
    save, damage: Damage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [save(tmp_path, step, state(step), {}) for step in (1, 2)]
    damage(paths[1])
    assert read(tmp_path, {})[0] == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert paths[1].name in line
    save(tmp_path, 2, state(2), {})
    step, values = read(tmp_path, {})
    assert (step, values.tolist()) == (2, [2.0] * 10)
    for path in paths:
        damage(path)
    with pytest.raises(InputError, match=f"remove {tmp_path}") as failed:
        read(tmp_path, {})
    assert all(path.name in str(failed.value) for path in paths)


def test_a_damaged_one_of_a_later_step_takes_no_place_of_a_good_one(save, tmp_path: Path) -> None:
    for step in (7, 8):
        (tmp_path / f"step-{step:08d}").mkdir()
    for step in (1, 2, 3):
        save(tmp_path, step, state(step), {})
    assert [path.stem for path in sorted(tmp_path.iterdir())] == ["step-00000002", "step-00000003"]


def test_flipped_bits_are_never_resumed(save, tmp_path: Path) -> None:
    """A flipped bit is found, or lies in the space between the tensors, or in a date."""
    path, draw = save(tmp_path, 1, state(1), {"seed": 0}), random.Random(0)
    for part in [path] if path.is_file() else sorted(path.iterdir()):
        whole = part.read_bytes()
        numbers = max(0, whole.find(torch.ones(10).numpy().tobytes()))
        for place in [numbers + 3, *(draw.randrange(len(whole)) for _ in range(100))]:
            spoilt = bytearray(whole)
            spoilt[place] ^= 1 << draw.randrange(8)
            part.write_bytes(spoilt)
            with suppress(checkpoint.DamagedError):
                found = state(0)
                head = checkpoint.load(path, {"seed": 0}, found)
                assert not (numbers and place == numbers + 3)
                assert (head.step, found["objective"]["x"].tolist()) == (1, [1.0] * 10)
        part.write_bytes(whole)


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
from catlip.training import checkpoint
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


def test_what_a_killed_run_left_behind_is_no_checkpoint_and_is_cleared(
    save, tmp_path: Path
) -> None:
    for step in (1, 2):
        save(tmp_path, step, state(step), {})
    (tmp_path / ".writing.tmp").write_bytes(b"half of a checkpoint")
    for name in (".sharded.tmp", ".old.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__0_0.distcp").write_bytes(b"half of a checkpoint")
    assert read(tmp_path, {})[0] == 2
    save(tmp_path, 3, state(3), {})
    assert read(tmp_path, {})[0] == 3
