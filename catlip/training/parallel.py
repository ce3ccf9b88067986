"""One objective on several devices, replicated (DDP) or sharded (FSDP2), with the same results;
compiled blocks, and precision.

DDP keeps everything on every device. FSDP2 keeps on each device a part of each parameter, of its
gradient and of its optimizer state, and gathers one transformer block at a time. Only this module
handles the difference. 0-D parameters, which FSDP2 cannot shard, are whole on every rank;
`finish_gradients` averages their gradients.
"""

import functools
import sys
import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from catlip.training.distributed import Rank, join_alone

Parallel = Literal["ddp", "fsdp"]
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
# Compiled graphs of a block: one for each image size, in training and in evaluation. With dropped
# paths, blocks of one class do not share graphs, because each has another drop rate.
MAX_GRAPHS = 64
# Steps of each image size from which on compiling is assumed to save time on a GPU: compiling takes
# about half a minute a size, and should save some hundredths of a second a step.
# `bench.step_time --compile` measures both.
PAYING_STEPS = 1_000


def distribute(objective: nn.Module, rank: Rank, parallel: Parallel, precision: str) -> nn.Module:
    """The module to call in place of `objective`; with one process and DDP, the objective itself.

    All ranks start from rank 0's weights. FSDP2 gathers the blocks in `precision`, so activations
    between them have it, also with one process; gradients are reduced, and weights stored,
    in float32. Autocast, which would return these activations to float32, is off in the blocks.
    """
    # open_clip's loss gathers by functions of torch's that have newer names: no rank can change it.
    warnings.filterwarnings("ignore", category=FutureWarning, module="open_clip|torch.distributed")
    if parallel == "ddp":
        if rank.world_size == 1:
            return objective
        # After the first step of each start, DDP lays out its buckets anew: from three ranks on,
        # sums then run in another order, and a run that was stopped ends with other bits. It does
        # not where it looks for parameters without a gradient, for which ranks exchange more.
        exact = torch.are_deterministic_algorithms_enabled()
        # Of 1x1 convolutions, whose gradients are small, on images in channels_last.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        return DistributedDataParallel(
            objective, gradient_as_bucket_view=True, find_unused_parameters=exact
        )
    if not dist.is_initialized():
        join_alone(rank.device)
    for tensor in objective.state_dict().values():
        dist.broadcast(tensor, src=0)
    mesh = init_device_mesh(rank.device.type, (rank.world_size,))
    policy = MixedPrecisionPolicy(param_dtype=AUTOCAST.get(precision), reduce_dtype=torch.float32)
    for block in blocks(objective):
        if policy.param_dtype:
            block.__class__ = _without_autocast(type(block))  # type: ignore[arg-type]
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(objective, mesh=mesh, ignored_params=set(_scalars(objective)))
    return objective


@functools.cache  # compiled blocks of one class share their graphs
def _without_autocast(block: type[nn.Module]) -> type[nn.Module]:
    class WithoutAutocast(block):  # type: ignore[misc,valid-type]
        def forward(self, inputs: Tensor, *others: Any, **options: Any) -> Any:
            with torch.autocast(inputs.device.type, enabled=False):
                return super().forward(inputs, *others, **options)

    return WithoutAutocast


def gradient_sync(replica: nn.Module, last: bool) -> AbstractContextManager[None]:
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


def local_part(tensor: Tensor) -> Tensor:
    """This rank's part of a sharded tensor, in the same memory; any other tensor itself."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gather_tensor(tensor: Tensor) -> Tensor:
    """A sharded tensor gathered from all ranks, which must all call it; any other tensor itself."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean over all ranks, of each number; with one process, the value itself."""
    if dist.is_initialized():
        value = value / dist.get_world_size()
        dist.all_reduce(value)
    return value


def begin_reading(numbers: Tensor) -> Callable[[], list[float]]:
    """Start to copy numbers to the host; the result waits for the copy, not for what follows it."""
    if numbers.device.type != "cuda":
        return numbers.tolist
    copy, copied = numbers.to("cpu", non_blocking=True), torch.cuda.Event()
    copied.record()

    def read() -> list[float]:
        copied.synchronize()
        return copy.tolist()

    return read


def _scalars(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.ndim == 0]


def blocks(module: nn.Module) -> list[nn.Module]:
    """The blocks of a module: the members of each outermost nn.ModuleList or nn.Sequential of at
    least two modules of one class with weights.
    """
    members = list(module.children())
    is_series = (
        isinstance(module, nn.ModuleList | nn.Sequential)
        and len({type(member) for member in members}) == 1
    )
    if is_series and len(members) > 1 and any(True for _ in module.parameters()):
        return members
    return [block for member in members for block in blocks(member)]


def compile_blocks(module: nn.Module) -> bool:
    """Compile the blocks in place. Each image size has a graph: one for all would depend on the
    order of sizes, and so on where a run was stopped.

    Returns: whether there is anything to compile.
    """
    compiled = blocks(module)
    most = MAX_GRAPHS * max(1, len(compiled))
    torch._dynamo.config.recompile_limit = most
    torch._dynamo.config.accumulated_recompile_limit = most
    # Otherwise, beyond the limit, blocks would run uncompiled without a message.
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    for block in compiled:
        block.compile(dynamic=False)
    return bool(compiled)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    return torch.autocast(device.type, dtype=AUTOCAST.get(precision), enabled=precision in AUTOCAST)


def is_emulated(device: torch.device, precision: str) -> bool:
    """Whether the device has no instructions for that precision: on a CPU, products then take some
    70 times as long as in fp32. NVIDIA's GPUs from Ampere on have them for bf16, and x86
    processors with AVX-512.
    """
    if device.type == "cuda":
        return precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False)
    if precision not in AUTOCAST or not torch.backends.mkldnn.is_available():
        return False
    return not getattr(torch.ops.mkldnn, f"_is_mkldnn_{precision}_supported")()


@functools.cache  # a program that trains many small classifiers says it once
def warn_if_emulated(device: torch.device, precision: str) -> None:
    if is_emulated(device, precision):
        other = "fp16" if device.type == "cuda" else "fp32"
        print(
            f"this device only emulates {precision}, which takes many times as long as {other}: "
            f"give --precision {other}",
            file=sys.stderr,
        )
