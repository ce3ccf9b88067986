"""Whatever a file holds, it runs nothing, and it ends as weights or as one line."""

import json
import os
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import release
import torch
from safetensors.torch import save_file

from catlip.cli import InputError
from catlip.encoder import build_encoder
from catlip.training.checkpoint import save_weights
from catlip.weights.checkpoint import read_checkpoint
from catlip.weights.files import plain_tensors, read_file

Write = Callable[[Path], object]


class Touch:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message
    assert len(message) < 700
    return message


@pytest.mark.parametrize("place", ["alone", "among weights", "bare pickle"])
def test_file_that_runs_code_is_refused_and_runs_nothing(place, tmp_path) -> None:
    content = touch = Touch(tmp_path / "ran")
    if place == "among weights":
        content = release.checkpoint("classification", *release.TINY) | {"extra": touch}
    path = tmp_path / "weights.pt"
    if place == "bare pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    message = refused(path)
    assert "weights_only" not in message, "torch's advice is to load it unsafely"
    assert place == "bare pickle" or "system" in message
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict", ""])
@pytest.mark.parametrize("prefix", ["module.", ""])
def test_wrappers_of_trainers_are_taken_off(wrapper, prefix, tmp_path) -> None:
    weights = release.checkpoint("classification", *release.TINY)
    wrapped: dict = {f"{prefix}{name}": tensor for name, tensor in weights.items()}
    path = tmp_path / "weights.pt"
    torch.save({wrapper: wrapped, "epoch": 3} if wrapper else wrapped, path)
    found = plain_tensors(read_file(path)[0], path)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_flipped_bits_are_refused_and_a_file_without_a_digest_is_read(tmp_path) -> None:
    path, draw = tmp_path / "weights.safetensors", random.Random(0)
    config = {"encoder": "hybrid_micro", "resolution": 32, "sizes": [[48, 1]], "max_lr": 1e-05}
    tensors = build_encoder("hybrid_micro", 32).state_dict()  # with counts of 0 dimensions
    weights = {f"image_encoder.{name}": tensor for name, tensor in tensors.items()}
    weights["half"] = torch.ones(3, dtype=torch.bfloat16)
    save_weights(path, weights, config)
    assert read_checkpoint(path).config == config
    content = path.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    for place in [
        content.index(b"hybrid_micro"),
        content.index(b"_embed"),
        *(draw.randrange(begin, len(content)) for _ in range(20)),
    ]:
        spoilt = bytearray(content)
        spoilt[place] ^= 1 << draw.randrange(8)
        path.write_bytes(spoilt)
        refused(path)
    save_file(weights, path, {"config": json.dumps(config)})
    assert read_checkpoint(path).config == config


def written(content: bytes) -> Write:
    return lambda path: path.write_bytes(content)


def saved(content: object) -> Write:
    return lambda path: torch.save(content, path)


def saved_as_of_old(path: Path) -> None:
    torch.save(GOOD, path, _use_new_zipfile_serialization=False)


def configured(config: str) -> Write:
    return lambda path: save_file(OURS, path, {"config": config})


def cut(share: float, write: Callable[[dict, Path], object]) -> Write:
    def write_part(path: Path) -> None:
        write(dict(GOOD), path)
        os.truncate(path, int(path.stat().st_size * share))

    return write_part


def compressed(path: Path) -> None:
    torch.save(GOOD, path)
    with zipfile.ZipFile(path) as plain:
        contents = {name: plain.read(name) for name in plain.namelist()}
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in contents.items():
            packed.writestr(name, content, 8 * name.endswith("data.pkl"))


def scripted(path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)


GOOD = release.checkpoint("classification", *release.TINY)
OF_ENCODER = build_encoder("vit_tiny16", 32).state_dict()
OURS = {f"image_encoder.{name}": tensor for name, tensor in OF_ENCODER.items()}
CONFIG = '{"encoder": "vit_tiny16", "resolution": 32'
REFUSED = [
    *(saved_as_of_old, compressed, scripted, Path.mkdir, lambda path: None),
    *(cut(share, write) for share in (0.0, 0.5, 0.999) for write in (torch.save, save_file)),
    written(b"<!DOCTYPE html><html>Not found</html>"),
    written(b"version https://git-lfs.github.com/spec/v1\noid sha256:0277\nsize 578525\n"),
    written(b"\xff" * 8 + b"{" + b" " * 100),
    written(b"PK\x03\x04" + b"\0" * 100),
    saved(torch.zeros(3)),
    saved({}),
    saved({"a": torch.zeros(3), 5: torch.zeros(3)}),
    saved({"state": {"average": 3}, "config": "{}"}),
    saved({"state": {"average": {"a": torch.zeros(3)}}, "config": 3}),
    saved({"stem.weight": torch.zeros(3)}),
    *map(configured, ("[]", "[" * 10_000, '{"encoder": "vit_b16"}')),
    configured('{"encoder": "vit_teeny", "resolution": 32}'),
    configured('{"encoder": "vit_tiny16", "resolution": 64}'),
    configured(f'{CONFIG}, "pool": "max"}}'),
    configured(f'{CONFIG}, "released": "vit_tiny16"}}'),
    configured(f'{CONFIG}, "released": {{"encoder": 16}}}}'),
]
NAMED = {compressed: "data.pkl", scripted: "torch.jit.load(FILE).state_dict()"}


@pytest.mark.parametrize("write", REFUSED)
def test_file_that_holds_no_whole_weights_is_refused(write: Write, tmp_path: Path) -> None:
    write(tmp_path / "weights")
    assert NAMED.get(write, "") in refused(tmp_path / "weights")


@pytest.mark.parametrize("tensor", [torch.eye(3).to_sparse(), torch.zeros(1).expand(1 << 40)])
def test_tensor_that_may_claim_any_size_is_no_weight(tensor, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no dense tensor"):
        plain_tensors({"a": tensor}, tmp_path)
