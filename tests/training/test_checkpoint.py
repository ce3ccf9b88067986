"""A checkpoint is whole or absent, and belongs to one recipe."""

import os
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import Tensor

from catlip.cli import InputError
from catlip.training import checkpoint
from catlip.training.checkpoint import Head, save


def state(value: float) -> checkpoint.State:
    return {"objective": {"x": torch.full((10,), float(value)), "n": torch.tensor(int(value))}}


def read(folder: Path, config: dict) -> tuple[int, Tensor]:
    found = state(0)
    head = checkpoint.resume(folder, lambda path: checkpoint.load(path, config, found))
    return head.step, found["objective"]["x"]


def test_newest_is_loaded_and_two_are_kept(tmp_path: Path) -> None:
    log = {"lines": [{"step": 5, "loss": 0.1}], "unlogged": [{"loss": 0.2, "images": 8}]}
    (tmp_path / ".step-00000001.pt.01ab.tmp").write_bytes(b"half, of a killed run")
    (tmp_path / "step-1000.pt").write_bytes(b"another program's")
    for step in (1, 2, 30, 99_999_999, 100_000_000):
        save(tmp_path, Head(step, {"seed": 0}, **log), state(step))
    left = [path.stem for path in sorted(tmp_path.iterdir())]
    assert left == ["step-1000", "step-100000000", "step-99999999"]
    step, values = read(tmp_path, {"seed": 0})
    assert step == 100_000_000
    assert torch.equal(values, torch.full((10,), 1e8))
    newest = checkpoint.list_checkpoints(tmp_path)[-1]
    assert checkpoint.load(newest, {"seed": 0}, state(0)) == Head(step, {"seed": 0}, **log)


Damage = Callable[[Path], object]


def changed(**values: object) -> Damage:
    return lambda path: torch.save(torch.load(path) | values, path)


DAMAGED: dict[str, Damage] = {
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: path.write_bytes(b""),
    "a pipe": lambda path: (path.unlink(missing_ok=True), os.mkfifo(path)),
    "a link to nothing": lambda path: (path.unlink(), path.symlink_to("nothing")),
    "config of another type": changed(config="[]"),
    "another shape": changed(state={"objective": {"x": torch.ones(1), "n": torch.tensor(1)}}),
    "a tensor too few": changed(state={"objective": {"n": torch.tensor(1)}}),
    "no tensors": changed(state=[]),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_run_goes_back_from_a_damaged_checkpoint(damage, tmp_path, capsys) -> None:
    paths = [save(tmp_path, Head(step, {}), state(step)) for step in (1, 2)]
    damage(paths[1])
    assert read(tmp_path, {})[0] == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert paths[1].name in line
    save(tmp_path, Head(2, {}), state(2))
    step, values = read(tmp_path, {})
    assert (step, values.tolist()) == (2, [2.0] * 10)
    for path in paths:
        damage(path)
    with pytest.raises(InputError, match=f"remove {tmp_path}"):
        read(tmp_path, {})


def test_flipped_bits_are_never_resumed(tmp_path: Path) -> None:
    """A flipped bit is found, or lies in the space between the tensors, or in a date."""
    path, draw = save(tmp_path, Head(1, {"seed": 0}), state(1)), random.Random(0)
    content = path.read_bytes()
    numbers = content.find(torch.ones(10).numpy().tobytes())
    for place in [numbers + 3, *(draw.randrange(len(content)) for _ in range(100))]:
        spoilt = bytearray(content)
        spoilt[place] ^= 1 << draw.randrange(8)
        path.write_bytes(spoilt)
        with suppress(checkpoint.DamagedError):
            found = state(0)
            head = checkpoint.load(path, {"seed": 0}, found)
            assert place != numbers + 3
            assert (head.step, found["objective"]["x"].tolist()) == (1, [1.0] * 10)


def test_nothing_is_unpickled_that_could_run_code(tmp_path: Path) -> None:
    torch.save({"step": 1, "config": "{}", "state": print}, tmp_path / "step-00000001.pt")
    with pytest.raises(Exception, match=r"[Ww]eights.?only"):
        read(tmp_path, {})
