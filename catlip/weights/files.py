"""Files of weights from outside, read without letting them run anything.

Files of torch.save are read by `torch.load(weights_only=True)`, memory-mapped, after the archive
itself has been checked; all others must be safetensors. Every problem with a file is reported in
one line.
"""

import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from catlip.cli import InputError
from catlip.system.foreign import read_json

ZIP = b"PK\x03\x04"
# Bytes of safetensors before its header: the length of the header, which may have any value.
HEADER_AT = 8
DIGEST = "weights_digest"  # in the config that this project writes beside weights
LONGEST_REASON = 200  # characters of torch's own message
# Under which trainers save weights, and what DistributedDataParallel puts before their names.
WRAPPERS, PARALLEL = ("state_dict", "model_state_dict", "model"), "module."
SHOWN = 3  # names that an error message lists of each sort
Shapes = dict[str, tuple[int, ...]]


def read_file(path: Path) -> tuple[dict[Any, Any], dict[str, Any]]:
    """Tensors by name, or what torch.save has saved; and this project's config in it, or {}."""
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    with open(path, "rb") as file:
        start = file.read(HEADER_AT + 1)
    if start.startswith(b"{", HEADER_AT):
        return _read_safetensors(path)
    if start.startswith(ZIP):
        return _read_archive(path), {}
    raise InputError(
        f"{path} is neither a torch.save file (of PyTorch 1.6 or newer) nor safetensors"
    )


def _read_archive(path: Path) -> dict[Any, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise ValueError(
                    "it is TorchScript; write its weights to a file of their own by "
                    "torch.save(torch.jit.load(FILE).state_dict(), NEW)"
                )
            # torch.save compresses nothing; compressed content may have any size.
            if packed := [e.filename for e in archive.infolist() if e.compress_type]:
                raise ValueError(f"{packed[0]!r} in it is compressed")
        contents = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a broken archive or pickle can raise nearly anything
        reason = next(iter(str(error).splitlines()), "")[:LONGEST_REASON]
        if wanted := re.search(r"GLOBAL (\S+)", str(error)):  # without torch's advice to load it
            reason = f"it wants to import {wanted[1]}; a genuine one holds only tensors"
        elif isinstance(error, pickle.UnpicklingError):
            reason = "its pickle is broken, or holds more than tensors"
        raise InputError(f"{path} is not a whole torch.save file of weights: {reason}") from None
    if not isinstance(contents, dict):
        raise InputError(f"{path} holds a {type(contents).__name__}, not weights by name")
    return contents


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # SafetensorError, and what torch raises for unusual dtypes
        raise InputError(f"{path} is not a whole safetensors file: {error}") from None
    config = read_config(metadata.get("config", "{}"), path)
    written = config.pop(DIGEST, None)  # files of others, and of earlier versions, have none
    if written is not None and written != digest_of(tensors, config):
        raise InputError(f"{path} is damaged: it is not what was written; copy or make it again")
    return tensors, config


def digest_of(tensors: Mapping[str, Tensor], config: dict[str, Any]) -> str:
    """What tells damage of a file of weights: a digest of all bits of tensors and config."""
    digest = blake2b(json.dumps(config).encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def read_config(text: Any, path: Path) -> dict[str, Any]:
    """The config that this project writes beside weights."""
    return dict(read_json(path, "its config cannot be read", content=str(text).encode()))


def plain_tensors(contents: Any, path: Path) -> dict[str, Tensor]:
    """`contents` as tensors by name, without what trainers wrap around them; anything else in it is
    refused.
    """
    inner = (contents.get(name) for name in WRAPPERS) if isinstance(contents, dict) else ()
    contents = next((weights for weights in inner if isinstance(weights, dict)), contents)
    if not isinstance(contents, dict) or not contents:
        raise InputError(f"{path} holds no weights by name")
    for name, value in contents.items():
        is_dense = (
            isinstance(name, str)
            and isinstance(value, Tensor)
            and value.layout == torch.strided
            and not value.is_quantized
            # A stride of 0 could claim any size.
            and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
        )
        if not is_dense:
            raise InputError(f"{path} is not a file of weights: {name!r} is no dense tensor")
    prefix = PARALLEL if all(name.startswith(PARALLEL) for name in contents) else ""
    return {name.removeprefix(prefix): value.detach() for name, value in contents.items()}


def differences(tensors: Mapping[str, Tensor], expected: Shapes) -> list[str]:
    """How `tensors` differ from the expected names and shapes, in words; [] when they agree."""
    misshapen = []
    for name in sorted(expected.keys() & tensors.keys()):
        shape, tensor = expected[name], tensors[name]
        is_count = name.endswith("num_batches_tracked")
        if tuple(tensor.shape) != shape or tensor.is_floating_point() == is_count:
            misshapen.append(f"{name} is {tensor.dtype} {list(tensor.shape)} and not {list(shape)}")
    differing = {
        "missing": [name for name in expected if name not in tensors],
        "not understood": [name for name in tensors if name not in expected],
        "of another shape or type": misshapen,
    }
    return [f"{len(names)} {sort} ({shorten(names)})" for sort, names in differing.items() if names]


def shorten(names: list[str], most: int = SHOWN) -> str:
    """The first few names, and the number of the others; control characters are spelt out."""
    text = ", ".join(name if name.isprintable() else repr(name) for name in names[:most])
    return text + (f" and {len(names) - most} more" if len(names) > most else "")
