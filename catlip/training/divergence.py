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
        losses, keys: the loss and the sample keys of each of this rank's micro-batches.
    Raises: InputError naming the micro-batches whose loss is not finite, or all of them when only
        the gradient is not.
    """
    mine = [(place.rank, loss, keys[i][:3]) for i, loss in enumerate(torch.stack(losses).tolist())]
    batches = list(itertools.chain(*of_all_ranks(mine)))
    guilty = [batch for batch in batches if not math.isfinite(batch[1])] or batches
    where = "; ".join(
        f"on rank {rank} (samples {', '.join(samples)}, ...: loss {loss})"
        for rank, loss, samples in guilty[:3]
    )
    more = f" and {len(guilty) - 3} more micro-batches" if len(guilty) > 3 else ""
    raise InputError(
        f"the loss or the gradient is not finite at step {step} {where}{more}, gradient norm "
        f"{grad_norm}: nothing was updated, the last checkpoint is kept; look at these samples, or "
        "try a lower --max-lr"
    )
