"""Checkpoints of the whole state of a run; a kill or a full disk never costs the last good one.

A checkpoint is `step-00000200.pt`, one file that rank 0 writes, or under FSDP2 a folder
`step-00000200` to which every rank writes its part (torch.distributed.checkpoint). Both are written
under a temporary name, synced to disk, and renamed, so that a checkpoint with its final name is
complete. Both are read into the tensors of a run that is ready to start. A run can therefore go on
from either, sharded or not, on any number of ranks. Training goes on while they are written: it
only waits until the state is copied to main memory.
"""

import errno
import json
import os
import pickle
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict
from torch.distributed.tensor import DTensor, distribute_tensor

from catlip.cli import InputError
from catlip.training.distributed import barrier, of_all_ranks
from catlip.training.folder import refuse_another
from catlip.training.saving.metadata import PlainMetadataReader

KEEP = 2  # if the newest is damaged, a run can go on from the one before
HEAD = "checkpoint.json"  # in a folder: everything but the tensors

State = dict[str, dict[str, Tensor]]
Unlogged = Sequence[dict[str, Any]]  # the numbers of each step


def save(
    folder: Path, step: int, state: State, config: dict[str, Any], *, unlogged: Unlogged = ()
) -> Path:
    """Write `state` after `step` optimizer steps, and its `config`, as one file.

    The newest KEEP checkpoints are kept.

    Args:
        unlogged: the last steps, if the log has no line for them yet.

    Raises: OSError when it cannot be written whole; older checkpoints are then untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, temporary = folder / f"step-{step:08d}.pt", folder / ".writing.tmp"
    with _whole_or_absent(step, folder, temporary):
        temporary.unlink(missing_ok=True)  # of a killed run, or a link that would be followed
        with open(temporary, "xb") as file:
            torch.save(_head(step, config, unlogged) | {"state": state}, file)
            _sync(file)
        os.replace(temporary, path)
    _drop_old(folder)
    return path


def save_sharded(
    folder: Path,
    step: int,
    state: State,
    config: dict[str, Any],
    *,
    main: bool,
    unlogged: Unlogged = (),
    group: dist.ProcessGroup | None = None,
) -> Callable[[], Path]:
    """Copy `state`, and begin to write it as a folder; all ranks call it.

    Args:
        main: whether this is the rank that makes and deletes folders.
        unlogged: as in `save`.
        group: a CPU process group of all ranks, used for nothing else until the end of the writing.
    Returns: a function that waits for the end of the writing, on any thread. It raises OSError on
        every rank when one of them cannot write its part.
    """
    path, temporary = folder / f"step-{step:08d}", folder / ".sharded.tmp"
    if main:
        _remove(temporary)
        temporary.mkdir(parents=True)
    barrier()
    parts: Any = dcp.async_save(state, checkpoint_id=temporary, process_group=group)

    def finish() -> Path:
        with _whole_or_absent(step, folder, temporary if main else None):
            parts.result()
            if main:
                with open(temporary / HEAD, "w") as file:
                    json.dump(_head(step, config, unlogged), file)
                    _sync(file)
                temporary.rename(path)
        if main:
            _drop_old(folder)
        return path

    return finish


def moments_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state, not copied: `<parameter>/<moment>` -> tensor."""
    moments: Any = get_optimizer_state_dict(model, optimizer)["state"]
    return {
        f"{name}/{moment}": value
        for name, by_moment in moments.items()
        for moment, value in by_moment.items()
    }


def copied(state: State) -> State:
    """A copy of the state in main memory."""
    return {
        part: {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
        for part, tensors in state.items()
    }


def complete(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, the oldest first."""
    return sorted(
        (path for path in folder.glob("step-*") if re.fullmatch(r"step-\d+(\.pt)?", path.name)),
        key=step_of,
    )


def step_of(path: Path) -> int:
    """After how many steps the checkpoint at `path` was written."""
    return int(path.stem.removeprefix("step-"))


def newest(folder: Path) -> Path | None:
    """The newest checkpoint in `folder`, or None.

    Raises: InputError when not all ranks see the same one.
    """
    path = max(complete(folder), key=step_of, default=None)
    seen = of_all_ranks(path)
    if len(set(seen)) > 1:
        raise InputError(
            f"ranks see different checkpoints ({seen}); put the run's folder on storage that all "
            "nodes share"
        )
    return path


def load(path: Path, config: dict[str, Any], state: State) -> int:
    """Fill the tensors of `state` from the checkpoint at `path`.

    Returns: the number of steps done.
    Raises: InputError when it was made under another config, naming what differs, or does not have
        the entries of `state`.
    """
    head = _read_head(path)
    refuse_another(path.parent.parent, json.loads(head["config"]), config)
    if path.is_file():
        _check_names(path, head["state"], state)
        _fill(state, head["state"])
        return head["step"]
    reader = PlainMetadataReader(path)
    reader.read_metadata()  # raises InputError for a damaged index; dcp.load would not
    try:
        with warnings.catch_warnings():
            # Intended: one process alone may go on from a sharded checkpoint.
            warnings.filterwarnings("ignore", "torch.distributed is disabled")
            dcp.load(state, storage_reader=reader)
    except CheckpointException as failure:  # not an Exception, so it would pass every handler
        error, _ = next(iter(failure.failures.values()))
        raise InputError(
            f"{path} cannot be read ({error}); remove it to go on from the previous checkpoint"
        ) from failure
    return head["step"]


def unlogged(path: Path) -> Unlogged:
    """The steps in the checkpoint at `path` that the log has no line for.

    Checkpoints from before they were stored have none.

    Raises: InputError when it cannot be read.
    """
    steps: Unlogged = json.loads(_read_head(path).get("unlogged", "[]"))
    return steps


def config_of(path: Path) -> dict[str, Any]:
    """The run's config that the checkpoint at `path` holds.

    Raises: InputError when it cannot be read.
    """
    config: dict[str, Any] = json.loads(_read_head(path)["config"])
    return config


def _read_head(path: Path) -> dict[str, Any]:
    """What `_head` made of the checkpoint at `path`; of a file also its state."""
    head: dict[str, Any] = _read(path) if path.is_file() else json.loads((path / HEAD).read_text())
    return head


def _head(step: int, config: dict[str, Any], unlogged: Unlogged) -> dict[str, Any]:
    return {"step": step, "config": json.dumps(config), "unlogged": json.dumps(unlogged)}


def _read(path: Path) -> dict[str, Any]:
    try:
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path} cannot be read ({reason}); remove it to go on from the previous checkpoint"
        ) from error
    return saved


def _check_names(path: Path, saved: State, state: State) -> None:
    in_file = {f"{part}/{name}" for part in saved for name in saved[part]}
    in_run = {f"{part}/{name}" for part in state for name in state[part]}
    if in_file != in_run:
        unmatched = ", ".join(sorted(in_file ^ in_run)[:3])
        raise InputError(
            f"{path} does not hold this run's state (only one of them has {unmatched}); remove it "
            "or give another --out"
        )


@torch.no_grad()
def _fill(state: State, saved: State) -> None:
    for part, tensors in state.items():
        for name, tensor in tensors.items():
            value = saved[part][name]
            if isinstance(tensor, DTensor):
                value = distribute_tensor(
                    value.to(tensor.device), tensor.device_mesh, tensor.placements
                )
            tensor.copy_(value)


@contextmanager
def _whole_or_absent(step: int, folder: Path, temporary: Path | None) -> Iterator[None]:
    """Turn any failure to write into an OSError, and delete `temporary`."""
    try:
        yield
    # All of these are raised by torch when writing fails.
    except (RuntimeError, OSError, CheckpointException) as error:
        cause: BaseException = error
        if isinstance(error, CheckpointException):
            cause = next(iter(error.failures.values()))[0]
        number = getattr(cause, "errno", None) or errno.ENOSPC
        message = (
            f"checkpoint of step {step} could not be written, earlier ones are kept ({folder}: "
            f"{cause})"
        )
        raise OSError(number, message) from error
    finally:
        if temporary:
            _remove(temporary)


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _drop_old(folder: Path) -> None:
    doomed = folder / ".old.tmp"
    for old in complete(folder)[:-KEEP]:
        _remove(doomed)
        # Renamed first, so that a kill leaves no incomplete folder with a checkpoint's name.
        _remove(old.rename(doomed))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
