"""What a run says when its loss or gradient is not finite: at which step, on which rank, and with
which samples.
"""

import math
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import Tensor

from catlip.cli import InputError
from catlip.training.distributed import Place


def refuse(
    step: int, place: Place, losses: list[Tensor], keys: list[list[str]], grad_norm: float
) -> NoReturn:
    """Stop the run; all ranks call it together.

    Args:
        losses, keys: of this rank's micro-batches: a scalar and the samples of each.
    Raises: InputError naming the micro-batches whose loss is not finite, or all when only the
        gradient is not.
    """
    mine = [(place.rank, loss, keys[i][:3]) for i, loss in enumerate(torch.stack(losses).tolist())]
    every: list[list[tuple[int, float, list[str]]]] = [mine]
    if dist.is_initialized():
        every = [[] for _ in range(place.world_size)]
        dist.all_gather_object(every, mine)
    flat = [found for of_rank in every for found in of_rank]
    guilty = [found for found in flat if not math.isfinite(found[1])] or flat
    where = "; ".join(
        f"on rank {rank} (samples {', '.join(samples)}, ...: loss {loss})"
        for rank, loss, samples in guilty[:3]
    )
    more = f" and {len(guilty) - 3} more micro-batches" if len(guilty) > 3 else ""
    raise InputError(
        f"the loss or the gradient is not finite at step {step} {where}{more}, gradient norm "
        f"{grad_norm}: "
        "nothing was updated, the last checkpoint is kept; look at these samples, or try a lower "
        "--max-lr"
    )
