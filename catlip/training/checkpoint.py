"""Checkpoints of the whole state of a run; a kill or a full disk never costs the last good one.

A checkpoint is `step-00000200.pt`, one file that rank 0 writes, or under FSDP2 a folder
`step-00000200` to which every rank writes its part (torch.distributed.checkpoint). Both are written
under a temporary name, synced, and renamed: one with its final name is complete. A run can go on
from either, sharded or not, on any number of ranks. torch writes a CRC-32 beside each tensor, which
is checked when it is read: a run never goes on from flipped bits, but from the checkpoint before.
"""

import errno
import io
import json
import os
import pickle
import re
import shutil
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.checkpoint import FileSystemReader, Metadata
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import StorageMeta, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict
from torch.distributed.tensor import DTensor, distribute_tensor

from catlip.cli import InputError
from catlip.training.distributed import barrier, of_all_ranks, rank_of_ranks
from catlip.training.folder import refuse_another

KEEP = 2  # if the newest is damaged, a run can go on from the one before
HEAD = "checkpoint.json"  # in a folder: everything but the tensors
INDEX = ".metadata"  # in a folder: which part of which file is which tensor
# All that the index of a sharded checkpoint may import. torch stores the index as a pickle, which
# could import and call anything; a trainer's state holds only tensors, so it needs a dozen names.
_DCP = "torch.distributed.checkpoint"
ADMITTED = {
    f"{_DCP}.metadata.Metadata",
    f"{_DCP}.metadata.MetadataIndex",
    f"{_DCP}.metadata.StorageMeta",
    f"{_DCP}.metadata.TensorProperties",
    f"{_DCP}.metadata.TensorStorageMetadata",
    f"{_DCP}.metadata.ChunkStorageMetadata",
    f"{_DCP}.metadata._MEM_FORMAT_ENCODING",
    f"{_DCP}.filesystem._StorageInfo",
    "torch.serialization._get_layout",
    "torch.Size",
    "pathlib.PosixPath",
    "pathlib._local.PosixPath",  # where Python 3.13 keeps it
    *(str(value) for value in vars(torch).values() if isinstance(value, torch.dtype)),
}
BLOCK_BYTES = 2**20  # read at a time to check a sum

T = TypeVar("T")
State = dict[str, dict[str, Tensor]]
Numbers = dict[str, Any]  # by name


class DamagedError(InputError):
    """A checkpoint cannot be read, or is not what was written."""


@dataclass(frozen=True)
class History:
    """The lines of the log so far, and the numbers of steps for which it has no line yet."""

    lines: Sequence[Numbers] = ()
    unlogged: Sequence[Numbers] = ()


@dataclass(frozen=True)
class Head:
    """What a checkpoint holds besides the tensors."""

    step: int
    config: dict[str, Any]
    history: History

    def plain(self) -> dict[str, Any]:
        """In a form that is read without unpickling any class."""
        return {
            "step": self.step,
            "config": json.dumps(self.config),
            "lines": json.dumps(self.history.lines),
            "unlogged": json.dumps(self.history.unlogged),
        }


def save(
    folder: Path, step: int, state: State, config: dict[str, Any], history: History = History()
) -> Path:
    """Write `state` after `step` optimizer steps, and its `config`, as one file; keep the newest
    KEEP.

    Raises: OSError when it cannot be written whole; older checkpoints are then untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, temporary = folder / f"step-{step:08d}.pt", folder / ".writing.tmp"
    with _whole_or_absent(step, folder, temporary):
        temporary.unlink(missing_ok=True)  # of a killed run, or a link that would be followed
        with open(temporary, "xb") as file:
            torch.save(Head(step, config, history).plain() | {"state": state}, file)
            file.flush()
            os.fsync(file.fileno())
        _keep(temporary, path)
    return path


def save_sharded(
    folder: Path,
    step: int,
    state: State,
    config: dict[str, Any],
    history: History = History(),
    *,
    main: bool,
    group: dist.ProcessGroup | None = None,
) -> Callable[[], Path]:
    """Copy `state`, and begin to write it as a folder; all ranks call it.

    Args:
        group: a CPU process group of all ranks, used for nothing else until the end of the writing.
    Returns: waits for the end of the writing, on any thread. It raises OSError on every rank when
        one of them cannot write its part.
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
                head = Head(step, config, history).plain()
                head["crc32"] = _head_sum(head, temporary)
                with open(temporary / HEAD, "w") as file:
                    json.dump(head, file)
                    file.flush()
                    os.fsync(file.fileno())
                _keep(temporary, path)
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
    return {
        part: {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
        for part, tensors in state.items()
    }


def complete(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, the oldest first."""
    paths = [path for path in folder.glob("step-*") if re.fullmatch(r"step-\d+(\.pt)?", path.name)]
    return sorted(paths, key=step_of)


def step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def newest(folder: Path) -> Path | None:
    return next(iter(_newest_first(folder)), None)


def resume(folder: Path, load: Callable[[Path], T]) -> T | None:
    """What `load` makes of the newest checkpoint that is not damaged, or None."""
    damaged: list[str] = []
    for path in _newest_first(folder):
        try:
            loaded = load(path)
        except DamagedError as error:
            damaged.append(str(error))
            continue
        if damaged and rank_of_ranks()[0] == 0:
            print(f"warning: {'; '.join(damaged)}; going on from {path.name}", file=sys.stderr)
        return loaded
    if damaged:
        raise InputError(
            f"{'; '.join(damaged)}; no other checkpoint is left, remove {folder} to start from the "
            "first step"
        )
    return None


def _newest_first(folder: Path) -> list[Path]:
    """The checkpoints in `folder`. Raises: InputError when not all ranks see the same ones."""
    paths = complete(folder)[::-1]
    if any(other != paths for other in of_all_ranks(paths)):
        raise InputError(
            f"ranks see different checkpoints in {folder}; put the run's folder on storage that "
            "all nodes share"
        )
    return paths


def load(path: Path, config: dict[str, Any], state: State) -> Head:
    """Fill the tensors of `state` from the checkpoint at `path`; all ranks call it.

    Raises: DamagedError, on all ranks, when it cannot be read or does not hold this state.
    """
    head, saved = read(path)
    refuse_another(path.parent.parent, head.config, config)
    expected = _flat(state)
    for name in sorted(saved.keys() | expected.keys()):
        found, wanted = _described(saved.get(name)), _described(expected.get(name))
        if found != wanted:
            raise DamagedError(
                f"{path} does not hold this run's state ({name}: {found} there, {wanted} expected)"
            )
    if path.is_file():
        with torch.no_grad():
            for name, tensor in expected.items():
                value = saved[name]
                if isinstance(tensor, DTensor):
                    value = value.to(tensor.device)
                    value = distribute_tensor(value, tensor.device_mesh, tensor.placements)
                tensor.copy_(value)
        return head
    try:
        with warnings.catch_warnings():
            # Intended: one process alone may go on from a sharded checkpoint.
            warnings.filterwarnings("ignore", "torch.distributed is disabled")
            dcp.load(state, storage_reader=PlainMetadataReader(path))
    except CheckpointException as failure:  # not an Exception, so it would pass every handler
        (error, _), *_ = failure.failures.values()
        raise DamagedError(f"{path} cannot be read ({error})") from failure
    return head


def _described(tensor: Any) -> str:
    if isinstance(tensor, TensorStorageMetadata):
        return f"{tensor.properties.dtype} {list(tensor.size)}"
    return f"{tensor.dtype} {list(tensor.shape)}" if isinstance(tensor, Tensor) else repr(tensor)


def read(path: Path) -> tuple[Head, dict[str, Any]]:
    """The head of a checkpoint, and its tensors, or what its index says of them."""
    damage = ""
    try:
        saved, tensors = _read_file(path) if path.is_file() else _read_folder(path)
        history = {name: json.loads(saved[name]) for name in ("lines", "unlogged")}
        config = json.loads(saved["config"])
        head = msgspec.convert({"step": saved["step"], "config": config, "history": history}, Head)
    except Exception as error:  # a damaged archive or pickle can raise nearly anything
        reason = str(error).splitlines()[:1]
        damage = f"{path} cannot be read ({type(error).__name__}: {''.join(reason)})"
    for each in of_all_ranks(damage):
        if each:
            raise DamagedError(each)
    return head, tensors


def _read_file(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    rank, ranks = rank_of_ranks()
    with zipfile.ZipFile(path) as archive:
        _check_sums(archive, archive.infolist()[rank::ranks])
    saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return saved, _flat(saved["state"])


def _read_folder(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    index = PlainMetadataReader(path).read_metadata()
    saved: dict[str, Any] = json.loads((path / HEAD).read_text())
    if saved.pop("crc32") != _head_sum(saved, path):
        raise ValueError(f"{HEAD} or {INDEX} is not what was written")
    rank, ranks = rank_of_ranks()
    for part in list(index.storage_data.values())[rank::ranks]:
        with open(path / part.relative_path, "rb") as file:
            file.seek(part.offset)
            archive = zipfile.ZipFile(io.BytesIO(file.read(part.length)))
        _check_sums(archive, archive.infolist())
    entries = index.state_dict_metadata.items()
    return saved, {name.replace(".", "/", 1): entry for name, entry in entries}


def _check_sums(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo]) -> None:
    """zipfile raises BadZipFile at the end of an entry whose content is not what was written."""
    for entry in entries:
        with archive.open(entry) as content:
            while content.read(BLOCK_BYTES):
                pass


def _head_sum(head: dict[str, Any], folder: Path) -> int:
    return zlib.crc32((folder / INDEX).read_bytes(), zlib.crc32(json.dumps(head).encode()))


def _flat(state: State) -> dict[str, Tensor]:
    return {f"{part}/{name}": tensor for part in state for name, tensor in state[part].items()}


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
        raise OSError(
            getattr(cause, "errno", None) or errno.ENOSPC,
            f"checkpoint of step {step} could not be written, earlier ones are kept ({folder}: "
            f"{cause})",
        ) from error
    finally:
        if temporary:
            _remove(temporary)


def _keep(temporary: Path, path: Path) -> None:
    """Name a whole checkpoint, and delete all but the newest KEEP."""
    if os.path.lexists(path):  # damaged, so that the run went on from one before it
        _discard(path)
    temporary.rename(path)
    step, paths = step_of(path), complete(path.parent)
    kept = [path for path in paths if step_of(path) <= step][-KEEP:]
    for path in paths:
        if path not in kept:
            _discard(path)


def _discard(path: Path) -> None:
    """Delete a checkpoint. Renamed first, so that a kill leaves no part of it under its name."""
    doomed = path.with_name(".old.tmp")
    _remove(doomed)
    _remove(path.rename(doomed))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class _IndexUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in ADMITTED:
            raise InputError(
                f"its index wants to import {module}.{name}; a genuine one holds only tensors"
            )
        return super().find_class(module, name)


class PlainMetadataReader(FileSystemReader):
    """torch's reader of a checkpoint folder, which reads the index with only ADMITTED imports."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        path = Path(self.path)
        try:
            with open(path / INDEX, "rb") as file:
                metadata = _IndexUnpickler(file).load()
        except Exception as error:  # a damaged pickle can raise nearly anything
            raise InputError(f"{path} cannot be read ({error})") from error
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


def save_weights(path: Path, weights: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write weights as safetensors, atomically, with the config that made them as metadata."""
    temporary = path.with_suffix(".tmp")
    try:
        temporary.unlink(missing_ok=True)  # of a killed run, or a link that would be followed
        temporary.touch()
        # As the user's umask says; a file made by safetensors can be read by its owner only.
        mode = temporary.stat().st_mode
        contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
        save_file(contiguous, temporary, {"config": json.dumps(config)})
        temporary.chmod(mode)
        temporary.replace(path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else errno.EIO, str(error), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
