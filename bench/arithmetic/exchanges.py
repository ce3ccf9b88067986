"""What the ranks of a training step send each other, from shapes alone; `bench.communication`
compares it with a real step.

With ViT-B/16, 256 images on each of 256 GPUs, gradients are 1,192 MB for CLIP and 833 for CatLIP.
CLIP's embeddings add 535 MB; 16-bit numbers would be 267. A GPU's autocast computes `F.normalize`
in float32, and its result is gathered.

for exchange in sent(Factors(method="clip"), world_size=256):
    print(exchange.what, exchange.kind, exchange.sent_bytes / 1e6, "MB")
"""

from functools import partial

import torch.distributed as dist
from torch import Tensor

from bench.arithmetic.state import objective_of, product_bytes, step_shape
from bench.measuring.training_step import Factors
from catlip.costs import FLOAT32, Exchange
from catlip.training.parallel import blocks

# Bucket sizes of DistributedDataParallel: a small one first, so that sending begins early.
DDP_BUCKETS = [2**20, 25 * 2**20]


def sent(factors: Factors, world_size: int, device_type: str = "cuda") -> list[Exchange]:
    """What each rank sends in a training step, without the mean of the loss over ranks, which only
    the log needs.

    Args:
        device_type: "cuda" (NCCL) or "cpu" (gloo).
    """
    if world_size == 1:
        return []
    of_state = _sharded if factors.parallel == "fsdp" else _replicated
    of_method = objective_of(factors).exchanges(step_shape(factors, world_size, device_type))
    return [*of_state(factors, world_size), *of_method]


def _replicated(factors: Factors, world_size: int) -> list[Exchange]:
    """DDP: gradients in buckets, in about the order in which backward makes them; and rank 0's
    buffers before each forward.
    """
    objective = objective_of(factors)
    exchange = partial(Exchange, world_size=world_size)
    backwards: list[Tensor] = [*reversed(list(objective.parameters()))]
    buckets = dist._compute_bucket_assignment_by_size(backwards, DDP_BUCKETS)[0]
    size = sum(parameter.nbytes for parameter in backwards)
    exchanges = [exchange("gradients", "all_reduce", len(buckets), payload_bytes=size)]
    if buffers := list(objective.buffers()):
        types = {buffer.dtype for buffer in buffers}
        size = sum(buffer.nbytes for buffer in buffers)
        exchanges.append(exchange("buffers", "broadcast", len(types), payload_bytes=size))
    return exchanges


def _sharded(factors: Factors, world_size: int) -> list[Exchange]:
    """FSDP2: each block's parameters gathered in both passes, those outside of blocks once;
    gradients scattered once.

    Blocks are gathered in the dtype of autocast, the rest in float32
    (`catlip.training.parallel.distribute`). A parameter is cut along its first dimension, padded to
    a multiple of the ranks: a parameter of [1, N, D] is sent W times over.
    """
    objective = objective_of(factors)
    inside = {parameter for block in blocks(objective) for parameter in block.parameters()}
    shares = {p: -(-len(p) // world_size) * p[0].numel() for p in objective.parameters()}
    gathered = sum(
        n * (2 * product_bytes(factors) if p in inside else FLOAT32) for p, n in shares.items()
    )
    scattered = sum(shares.values()) * FLOAT32 * world_size
    number = len(blocks(objective))
    exchange = partial(Exchange, world_size=world_size)
    return [
        exchange("parameters", "all_gather", 2 * number + 1, payload_bytes=gathered),
        exchange("gradients", "reduce_scatter", number + 1, payload_bytes=scattered),
        exchange("norm", "all_reduce", 1, payload_bytes=FLOAT32),
    ]
