"""Stops a run whose loss or gradient is not finite, and names step, rank and samples."""

import itertools
import math
from typing import NoReturn

import torch
from torch import Tensor

from catlip.cli import InputError
from catlip.training.distributed import Place, of_all_ranks


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
    everywhere = list(itertools.chain(*of_all_ranks(mine)))
    guilty = [one for one in everywhere if not math.isfinite(one[1])] or everywhere
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
