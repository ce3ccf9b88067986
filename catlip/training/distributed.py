"""Where this process stands among those that torchrun started, and what it computes on."""

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist

from catlip.cli import InputError


@dataclass(frozen=True)
class Place:
    """This process: its rank, how many there are, and its device."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this is the one process that prints and writes."""
        return self.rank == 0


def find_place(device: str = "auto") -> Place:
    """The device and rank of this process; joins the process group when torchrun started several.

    Args:
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N".
    Raises: InputError when there is no such device.
    """
    world_size, local_rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if not kind.startswith(("cpu", "cuda")):
        raise InputError(f"device {device!r} is not auto, cpu, cuda or cuda:N")
    if kind.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(
            f"device {device!r} was asked for, but torch {torch.__version__} sees no CUDA device; use --device cpu"
        )
    chosen = torch.device(kind, local_rank) if kind == "cuda" else torch.device(kind)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world_size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return Place(int(os.environ.get("RANK", 0)), world_size, chosen)


def barrier() -> None:
    """Wait for the other ranks, if there are any."""
    if dist.is_initialized():
        dist.barrier()
