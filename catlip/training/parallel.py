"""One objective on several devices, replicated (DDP) or sharded (FSDP2), with the same results.

The loss, the gradient norm and the weights are the same for both. DDP keeps everything on every
device. FSDP2 keeps on each device a part of each parameter, of its gradient and of its optimizer
state, and gathers one transformer block at a time. Only this module handles the difference. 0-D
parameters, which FSDP2 cannot shard, are whole on every rank; `finish_gradients` averages their
gradients.

    replica = distribute(objective, place, "fsdp", "bf16")      # call this instead
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from catlip.training.blocks import blocks
from catlip.training.distributed import Place
from catlip.training.precision import AUTOCAST

Parallel = Literal["ddp", "fsdp"]


def distribute(objective: nn.Module, place: Place, parallel: Parallel, precision: str) -> nn.Module:
    """The module to call in place of `objective`; with one process, the objective itself.

    All ranks start from rank 0's weights. FSDP2 gathers the blocks in `precision`, so activations
    between them have it too; gradients are reduced, and weights stored, in float32.
    """
    if place.world_size == 1:
        return objective
    if parallel == "ddp":
        return DistributedDataParallel(objective, gradient_as_bucket_view=True)
    share_replicated(objective.state_dict().values())
    mesh = init_device_mesh(place.device.type, (place.world_size,))
    policy = MixedPrecisionPolicy(param_dtype=AUTOCAST.get(precision), reduce_dtype=torch.float32)
    for block in blocks(objective):
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(objective, mesh=mesh, ignored_params=set(_scalars(objective)))
    return objective


def synchronised(replica: nn.Module, last: bool) -> AbstractContextManager[None]:
    """The context of a micro-step: ranks exchange gradients only in the last one of a step."""
    if isinstance(replica, FSDPModule):
        replica.set_requires_gradient_sync(last)
    elif isinstance(replica, DistributedDataParallel) and not last:
        return replica.no_sync()
    return nullcontext()


def finish_gradients(replica: nn.Module) -> None:
    """After the last backward of a step, average over ranks the gradients that FSDP2 leaves out."""
    if not isinstance(replica, FSDPModule):
        return
    if gradients := [p.grad for p in _scalars(replica) if p.grad is not None]:
        mean = torch.stack(gradients)
        dist.all_reduce(mean)
        torch._foreach_copy_(gradients, list((mean / dist.get_world_size()).unbind()))


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The 2-norm of the whole gradient, a scalar, the same on all ranks."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    sharded = [gradient.to_local() for gradient in gradients if isinstance(gradient, DTensor)]
    replicated = [gradient for gradient in gradients if not isinstance(gradient, DTensor)]
    if not sharded:
        return nn.utils.get_total_norm(replicated)
    # One exchange for all parameters; the norm of a DTensor takes one for each.
    square = nn.utils.get_total_norm(sharded) ** 2
    dist.all_reduce(square)
    if replicated:
        square = square + nn.utils.get_total_norm(replicated) ** 2
    return square.sqrt()


def local(tensor: Tensor) -> Tensor:
    """This rank's part of a sharded tensor, in the same memory; any other tensor itself."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor gathered from all ranks, which must all call it; any other tensor itself."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def share_replicated(tensors: Iterable[Tensor]) -> None:
    """Copy rank 0's values of tensors that are not sharded to all ranks.

    Running statistics, for example, differ between ranks.
    """
    for tensor in tensors:
        if not isinstance(tensor, DTensor) and dist.is_initialized():
            dist.broadcast(tensor, src=0)


def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean over all ranks, of each number; with one process, the value itself."""
    if dist.is_initialized():
        value = value / dist.get_world_size()
        dist.all_reduce(value)
    return value


def _scalars(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.ndim == 0]
