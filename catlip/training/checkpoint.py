"""Checkpoints: the whole state of a run in one file, written so that a kill or a full disk never costs the last good one."""

import errno
import json
import os
import re
from pathlib import Path
from typing import Any

import torch

from catlip.cli import InputError

KEEP = 2  # a fault found in the newest leaves one to fall back to


def save(folder: Path, step: int, state: dict[str, Any], config: dict[str, Any]) -> Path:
    """Write `state` after `step` optimizer steps and the `config` that it belongs to; then drop all but the newest KEEP.

    Raises: OSError when it cannot be written whole; older checkpoints are then untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, temporary = folder / f"step-{step:08d}.pt", folder / ".writing.tmp"
    try:
        with open(temporary, "wb") as file:
            torch.save({"step": step, "config": json.dumps(config), "state": state}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except RuntimeError as error:  # how torch.save reports a write that failed half-way
        raise OSError(
            errno.ENOSPC, f"checkpoint of step {step} could not be written, the last one is kept ({error})"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    for old in _all(folder)[:-KEEP]:
        old.unlink()
    return path


def load_latest(folder: Path, config: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
    """Steps done and state of the newest checkpoint in `folder`, on the CPU; None when there is none.

    Raises: InputError when it was made under another config, naming what differs.
    """
    checkpoints = _all(folder)
    if not checkpoints:
        return None
    saved = torch.load(checkpoints[-1], map_location="cpu", weights_only=True)
    before = json.loads(saved["config"])
    if differences := [f"{k} {before.get(k)!r} there, {config.get(k)!r} now" for k in config if before.get(k) != config.get(k)]:
        raise InputError(
            f"{folder.parent} holds a run with another recipe ({'; '.join(differences)}); use --restart or another --out"
        )
    return saved["step"], saved["state"]


def _all(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*.pt") if re.fullmatch(r"step-\d+\.pt", path.name))
