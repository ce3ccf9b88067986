"""The weights of a pre-training run: averaged, or the raw weights of its last checkpoint."""

import json
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from catlip.cli import InputError
from catlip.training.checkpoint import HEAD, PlainMetadataReader, newest
from catlip.weights.checkpoint import RAW, Checkpoint, checkpoint_of, read_checkpoint
from catlip.weights.files import plain_tensors, read_config


def read_run(folder: Path, raw: bool = False) -> Checkpoint:
    """The checkpoint of the run in `folder`.

    Args:
        raw: read the weights of its newest checkpoint, not the average at the end of the run.
    Raises: InputError when there is no such run, or when it does not have these weights yet.
    """
    if not raw:
        path = folder / "weights.safetensors"
        if not path.exists():
            raise InputError(
                f"no weights at {path}; give the folder of a finished run, or another encoder"
            )
        return read_checkpoint(path)
    if (step := newest(folder / "checkpoints")) is None:
        raise InputError(
            f"no checkpoint in {folder / 'checkpoints'}, where a run's raw weights are; give the "
            "folder of a run that has written one"
        )
    return read_checkpoint(step, raw=True) if step.is_file() else _read_sharded(step)


def weights_file(path: Path) -> Path:
    """The file of weights in the folder of a finished run, or in one that `catlip.weights` wrote.

    A path that is not a folder is returned unchanged.

    Raises: InputError for a folder without weights.
    """
    if not path.is_dir():
        return path
    for name in ("weights.safetensors", "model.safetensors"):
        if (path / name).is_file():
            return path / name
    raise InputError(
        f"{path} is a folder without weights.safetensors; give that of a finished run, or a file "
        "of weights"
    )


def _read_sharded(path: Path) -> Checkpoint:
    """The raw weights in a folder that several ranks wrote."""
    reader, prefix = PlainMetadataReader(path), f"{RAW}."
    try:
        config = json.loads((path / HEAD).read_text())["config"]
        entries = reader.read_metadata().state_dict_metadata
        weights = {
            name.removeprefix(prefix): torch.empty(entry.size, dtype=entry.properties.dtype)
            for name, entry in entries.items()
            if name.startswith(prefix) and isinstance(entry, TensorStorageMetadata)
        }
        dcp.load({RAW: weights}, storage_reader=reader)
    except (
        CheckpointException,
        OSError,
        KeyError,
        ValueError,
        AttributeError,
        RuntimeError,
    ) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    return checkpoint_of(plain_tensors(weights, path), read_config(config, path), path)
