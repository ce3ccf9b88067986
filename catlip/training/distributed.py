"""This process: its rank and device, its threads, and whether its kernels are deterministic."""

import atexit
import ctypes
import functools
import gc
import os
import platform
import re
import resource
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from catlip.cli import InputError
from catlip.system.files import write_atomically
from catlip.system.foreign import read_json
from catlip.system.machine import processors

# Parameters of malloc.h and their values: M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_MAX.
GLIBC = ((-1, 2**31 - 1), (-2, 64 * 2**20), (-4, 0))
A_LONG_WAIT = timedelta(days=1)
LET_GO_S = 0.1  # the time in which a thread of gloo drops its tensors after an exchange
THREADS = "threads.txt"  # in a run's folder
ALL_THREADS = torch.get_num_threads()
T = TypeVar("T")


@dataclass(frozen=True)
class Rank:
    """This process: its number among all, how many there are, and its device."""

    number: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.number == 0


def init_distributed(device: str = "auto", timeout: timedelta | None = None) -> Rank:
    """The device and rank of this process; joins the process group if torchrun started several.

    Args:
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N".
        timeout: of one collective; torch's by default, 10 minutes or more.
    """
    world_size = int(os.environ.get("WORLD_SIZE", 1))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    kind = default_device()[0] if device == "auto" else device
    if not re.fullmatch(r"cpu|cuda(:\d+)?", kind):
        raise InputError(f"device {device!r} is not auto, cpu, cuda or cuda:N")
    if kind.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(
            f"device {device!r} was asked for, but torch {torch.__version__} sees no CUDA device; "
            "use --device cpu"
        )
    chosen = torch.device(kind, local_rank) if kind == "cuda" else torch.device(kind)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    elif platform.libc_ver()[0] == "glibc":
        # By default glibc returns large blocks to the system, and each step requests them again: a
        # CPU then spends a tenth to two thirds of its time on page faults.
        for parameter, value in GLIBC:
            ctypes.CDLL(None).mallopt(parameter, value)
    if world_size > 1 and not dist.is_initialized():
        _join(chosen, world_size, timeout)
    return Rank(int(os.environ.get("RANK", 0)), world_size, chosen)


@functools.cache
def default_device() -> tuple[str, str]:
    """cuda where torch can compute on it, else cpu, and why; that is printed, once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # torch warns of a driver that is too old
        if torch.cuda.is_available():
            return "cuda", ""
    reason = " ".join(str(warning.message).partition(" (Triggered")[0] for warning in caught)
    for name, part in (("mps", torch.backends.mps), ("xpu", torch.xpu)):
        if not reason and part.is_available():
            reason = f"this project has no support for {name}"
    if reason:
        print(f"computing on the CPU: {reason}", file=sys.stderr)
    return "cpu", reason


def _join(device: torch.device, world_size: int, timeout: timedelta | None) -> None:
    """Join the process group, also after torchrun has restarted its processes.

    Its agent has one store for all attempts (pytorch issue 135712), in which a restarted process
    would find the addresses of dead ones: each attempt uses its own prefix. Several nodes count
    attempts differently: start torchrun there with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1.
    """
    atexit.register(_leave)
    env = os.environ
    options: dict[str, Any] = {"backend": "gloo", "timeout": timeout}
    if device.type == "cuda":
        # With a device_id NCCL connects at once, and does not guess a rank's GPU.
        options |= {"backend": "nccl", "device_id": device}
    if env.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and env.get("GROUP_WORLD_SIZE") == "1":
        port = int(env["MASTER_PORT"])
        agent = dist.TCPStore(env["MASTER_ADDR"], port, world_size, is_master=False)
        attempt = dist.PrefixStore(f"attempt {env['TORCHELASTIC_RESTART_COUNT']}", agent)
        options |= {"store": attempt, "rank": int(env["RANK"]), "world_size": world_size}
    dist.init_process_group(**options)


def join_alone(device: torch.device) -> None:
    """A process group of this process alone, which FSDP2 needs."""
    atexit.register(_leave)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)


def _leave() -> None:
    """Leave the group while Python still runs: a thread of it that drops a tensor after Python has
    ended aborts the process, although its work is done (pytorch pull request 179291).
    """
    gc.collect()
    if dist.is_initialized():
        dist.destroy_process_group()
    gc.collect()
    time.sleep(LET_GO_S)


def barrier() -> None:
    if dist.is_initialized():
        dist.barrier()


def from_rank0(work: Callable[[], T], rank: Rank) -> T:
    """What `work` gives on rank 0, which alone runs it, perhaps for hours. All ranks call it."""
    if not dist.is_initialized():
        return work()
    # A collective of NCCL would time out.
    patient = dist.new_group(backend="gloo", timeout=A_LONG_WAIT)
    assert isinstance(patient, dist.ProcessGroup), "every rank is in it"
    results: list[Any] = [work() if rank.is_main else None]
    dist.broadcast_object_list(results, group=patient)
    dist.destroy_process_group(patient)
    result: T = results[0]
    return result


def rank_and_world_size() -> tuple[int, int]:
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def all_gather_objects(part: T) -> list[T]:
    """The value of each rank, by rank."""
    if not dist.is_initialized():
        return [part]
    parts = [part] * dist.get_world_size()
    dist.all_gather_object(parts, part)
    return parts


def peak_gib(device: torch.device) -> float:
    """Peak memory in GiB: allocated on the GPU, or resident in this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # it is in KiB


def choose_deterministic() -> None:
    """Make torch use deterministic kernels; call it before CUDA starts."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)


def use_threads(folder: Path, rank: Rank) -> None:
    """On a CPU, use as many threads as the run in the folder did before: the number affects the
    rounding of its weights. A new run takes torch's number, or as many as the processors that its
    container has, or OMP_NUM_THREADS.
    """
    if rank.device.type != "cpu":
        return
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads_of(folder) or min(ALL_THREADS, processors()))
    if rank.is_main:
        write_atomically(folder / THREADS, b"%d\n" % torch.get_num_threads())


def threads_of(folder: Path) -> int | None:
    path = folder / THREADS
    return read_json(path, "write the run's number into it", int) if path.exists() else None
