"""Checkpoints of the whole state of a run; a kill or a full disk never costs the last good one.

A checkpoint is `step-00000200.pt`, one file that rank 0 writes, also of a run that shards its
weights: a run can go on from it sharded or not, on any number of ranks. It is written under a
temporary name, synced, and renamed: one with its final name is complete. torch writes a CRC-32
beside each tensor, which is checked when it is read: a run never goes on from flipped bits, but
from the checkpoint before.
"""

import errno
import glob
import json
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import torch
from safetensors.torch import save as as_safetensors
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict
from torch.distributed.tensor import DTensor, distribute_tensor

from catlip.cli import InputError
from catlip.program.identity import refuse_another
from catlip.system.files import remove_leftovers, replacing, write_atomically
from catlip.training.distributed import all_gather_objects, rank_and_world_size
from catlip.training.parallel import gather_tensor
from catlip.weights.files import DIGEST, digest_of

TEXTS = ("config", "lines", "unlogged")  # of a head, stored as JSON
KEEP = 2  # if the newest is damaged, a run can go on from the one before
T = TypeVar("T")
State = dict[str, dict[str, Tensor]]
Numbers = dict[str, Any]  # by name


class DamagedError(InputError):
    """A checkpoint cannot be read, or is not what was written."""


@dataclass(frozen=True)
class Head:
    """What a checkpoint holds besides the tensors: the config of the run, the lines of its log so
    far, and the numbers of steps for which it has no line yet.
    """

    step: int
    config: dict[str, Any]
    lines: Sequence[Numbers] = ()
    unlogged: Sequence[Numbers] = ()


def save(folder: Path, head: Head, state: State) -> Path:
    """Write the state after a step as one file; keep the newest KEEP. Raises: OSError when it
    cannot be written whole; earlier ones are then untouched.
    """
    step, path = head.step, folder / f"step-{head.step:08d}.pt"
    texts = {name: json.dumps(getattr(head, name)) for name in TEXTS}
    try:
        remove_leftovers(folder, "step-*.pt")
        with replacing(path) as file:
            torch.save({"step": step, **texts, "state": state}, file)
    except (RuntimeError, OSError) as error:  # torch raises either when writing fails
        raise OSError(
            getattr(error, "errno", None) or errno.ENOSPC,
            f"checkpoint of step {step} could not be written, earlier ones are kept ({folder}: "
            f"{error})",
        ) from error
    # Later ones, which were damaged when the run went on from before them, go too.
    earlier = [other for other in list_checkpoints(folder) if step_of(other) <= step]
    for old in {*list_checkpoints(folder)} - {*earlier[-KEEP:]}:
        old.unlink()
    return path


def moments_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state, not copied: `<parameter>/<moment>` -> tensor."""
    moments: Any = get_optimizer_state_dict(model, optimizer)["state"]
    return {
        f"{name}/{moment}": value
        for name, by_moment in moments.items()
        for moment, value in by_moment.items()
    }


def copy_to_host(state: State, wanted: bool) -> Callable[[], State]:
    """Start to copy to main memory if wanted, a tensor at a time, as a GPU has no room for all that
    is gathered; all ranks call it if the state is sharded. The result waits for the copies.

    They go to pinned memory in the order of the GPU's work, so before the next step: not only its
    optimizer but also its forward pass changes the state, where there is a batch norm.
    """
    copies: State = {part: {} for part in state}
    for part, tensors in state.items():
        for name, tensor in tensors.items():
            gathered = gather_tensor(tensor.detach())
            if wanted:
                copies[part][name] = gathered.to("cpu", copy=True, non_blocking=True)
    copied = torch.cuda.Event() if torch.cuda.is_initialized() else None
    if copied:
        copied.record()

    def wait() -> State:
        if copied:
            copied.synchronize()
        return copies

    return wait


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, the oldest first."""
    paths = [path for path in folder.glob("step-????????*.pt") if path.stem[5:].isdigit()]
    return sorted(paths, key=step_of)


def step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def resume(folder: Path, load: Callable[[Path], T]) -> T | None:
    """What `load` makes of the newest checkpoint that is not damaged, or None."""
    paths = list_checkpoints(folder)[::-1]
    if any(other != paths for other in all_gather_objects(paths)):
        raise InputError(
            f"ranks see different checkpoints in {folder}; put the run's folder on storage that "
            "all nodes share"
        )
    damaged: list[str] = []
    for path in paths:
        try:
            loaded = load(path)
        except DamagedError as error:
            damaged.append(str(error))
            continue
        if damaged and rank_and_world_size()[0] == 0:
            print(f"warning: {'; '.join(damaged)}; going on from {path.name}", file=sys.stderr)
        return loaded
    if damaged:
        raise InputError(
            f"{'; '.join(damaged)}; no other checkpoint is left, remove {folder} to start from the "
            "first step"
        )
    return None


@torch.no_grad()
def load(path: Path, config: dict[str, Any], state: State) -> Head:
    """Fill `state` from the checkpoint at `path`; all ranks call it. Raises: DamagedError, on all
    ranks, when it cannot be read or does not hold this state.
    """
    head, saved = read(path)
    refuse_another(path.parent.parent, head.config, config)
    stored, expected = _flat(saved), _flat(state)
    there, wanted = (
        {(name, tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
        for tensors in (stored, expected)
    )
    if unlike := sorted({name for name, *_ in there ^ wanted}):
        raise DamagedError(f"{path} does not hold this run's state ({', '.join(unlike)[:200]})")
    for name, tensor in expected.items():
        value = stored[name]
        if isinstance(tensor, DTensor):
            value = value.to(tensor.device)
            value = distribute_tensor(value, tensor.device_mesh, tensor.placements)
        tensor.copy_(value)
    return head


def read(path: Path) -> tuple[Head, State]:
    """The head of a checkpoint, and its tensors; each rank checks the sums of a part of them."""
    damage = ""
    try:
        if not path.is_file():  # a pipe would block
            raise ValueError("not a regular file")
        rank, ranks = rank_and_world_size()
        with zipfile.ZipFile(path) as archive:
            archive.filelist = archive.filelist[rank::ranks]
            if other := archive.testzip():
                raise ValueError(f"{other} in it is not what was written")
        saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        texts = {name: json.loads(saved[name]) for name in TEXTS}
        head = msgspec.convert({"step": saved["step"], **texts}, Head)
        state: State = saved["state"]
        _flat(state)
    except Exception as error:  # a damaged archive or pickle can raise nearly anything
        reason = str(error).splitlines()[:1]
        damage = f"{path} cannot be read ({type(error).__name__}: {''.join(reason)})"
    # If only one rank raised, the others would wait for it in their next exchange.
    for found in all_gather_objects(damage):
        if found:
            raise DamagedError(found)
    return head, state


def _flat(state: State) -> dict[str, Tensor]:
    return {f"{part}/{name}": tensor for part in state for name, tensor in state[part].items()}


def save_weights(path: Path, weights: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write weights as safetensors, atomically, with the config that made them as metadata, which
    also holds a digest. One value, as safetensors writes several in any order.
    """
    remove_leftovers(path.parent, glob.escape(path.name))
    contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
    metadata = json.dumps(config | {DIGEST: digest_of(contiguous, config)})
    write_atomically(path, as_safetensors(contiguous, {"config": metadata}))
