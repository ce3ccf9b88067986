"""Whatever a file holds, it runs nothing, and it ends as weights or as one line."""

import json
import os
import pickle
import random
import zipfile
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


def test_torchscript_is_named_with_the_way_out(tmp_path) -> None:
    path = tmp_path / "scripted.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    assert "torch.jit.load(FILE).state_dict()" in refused(path)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_truncated_file_is_refused(kind, share, tmp_path) -> None:
    path = tmp_path / f"weights.{kind}"
    weights = release.checkpoint("classification", *release.TINY)
    torch.save(weights, path) if kind == "pt" else save_file(dict(weights), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refused(path)


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


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html>Not found</html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0277\nsize 578525\n",
        b"\xff" * 8 + b"{" + b" " * 100,
        b"PK\x03\x04" + b"\0" * 100,
        None,
    ],
)
def test_file_of_something_else_is_refused(content, tmp_path) -> None:
    path = tmp_path / "weights.pt"
    if content is None:
        torch.save({"a": torch.zeros(3)}, path, _use_new_zipfile_serialization=False)
    else:
        path.write_bytes(content)
    refused(path)
    refused(tmp_path)
    refused(tmp_path / "none.pt")


@pytest.mark.parametrize(
    "content",
    [
        torch.zeros(3),
        {},
        {"a": torch.zeros(3), 5: torch.zeros(3)},
        {"a": torch.eye(3).to_sparse()},
        {"a": torch.zeros(1).expand(1 << 40)},
        {"state": {"average": 3}, "config": "{}"},
        {"state": {"average": {"a": torch.zeros(3)}}, "config": 3},
        {"stem.weight": torch.zeros(3)},
    ],
    ids=str,
)
def test_saved_object_that_is_no_checkpoint_is_refused(content, tmp_path) -> None:
    torch.save(content, tmp_path / "weights.pt")
    refused(tmp_path / "weights.pt")


def test_compressed_part_of_an_archive_is_refused_before_it_is_unpacked(tmp_path) -> None:
    torch.save(release.checkpoint("classification", *release.TINY), tmp_path / "plain.pt")
    path = tmp_path / "packed.pt"
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(path, "w") as packed:
        for entry in plain.infolist():
            is_packed = entry.filename.endswith("data.pkl")
            method = zipfile.ZIP_DEFLATED if is_packed else zipfile.ZIP_STORED
            packed.writestr(entry.filename, plain.read(entry), method)
    assert "data.pkl" in refused(path)


@pytest.mark.parametrize(
    "config",
    [
        *("[]", "[" * 10_000, '{"encoder": "vit_b16"}'),
        '{"encoder": "vit_teeny", "resolution": 32}',
        '{"encoder": "vit_tiny16", "resolution": 64}',
        '{"encoder": "vit_tiny16", "resolution": 32, "pool": "max"}',
        '{"encoder": "vit_tiny16", "resolution": 32, "released": "vit_tiny16"}',
        '{"encoder": "vit_tiny16", "resolution": 32, "released": {"encoder": 16}}',
    ],
)
def test_config_that_does_not_fit_is_refused(config, tmp_path) -> None:
    path = tmp_path / "weights.safetensors"
    encoder = build_encoder("vit_tiny16", 32).state_dict()
    weights = {f"image_encoder.{name}": tensor for name, tensor in encoder.items()}
    save_file(weights, path, {"config": config})
    refused(path)
    save_file(weights, path, {"config": json.dumps({"encoder": "vit_tiny16", "resolution": 32})})
    assert read_checkpoint(path).kind == "ours"
