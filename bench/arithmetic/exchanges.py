"""What the ranks of a training step send each other, from shapes alone, and how long it takes.

CLIP's embeddings are sent in float32, because a GPU's autocast computes `F.normalize` in it.

`bench.communication` compares the bytes with a real step. Collectives run round rings, in two
levels if there are several nodes: the g devices of a node divide the work, and each forms a ring
with its counterparts on the m nodes. Left out are contention between jobs, stragglers, and any cost
of starting a kernel that is not in the latency.
"""

from functools import partial

import torch.distributed as dist
from torch import Tensor

from bench.arithmetic.devices import Link
from bench.arithmetic.flops import objective_of, product_bytes, step_shape
from bench.measuring.factors import Factors
from catlip.costs import FLOAT32, Exchange
from catlip.training.parallel import blocks

# Bucket sizes of DistributedDataParallel: a small one first, so that sending begins early.
DDP_BUCKETS = [2**20, 25 * 2**20]


def step_exchanges(factors: Factors, world_size: int, device_type: str = "cuda") -> list[Exchange]:
    """What each rank sends in a training step, without the mean of the loss over ranks, which only
    the log needs.

    Args:
        device_type: "cuda" (NCCL) or "cpu" (gloo).
    """
    if world_size == 1:
        return []
    objective = objective_of(factors)
    exchange = partial(Exchange, world_size=world_size)
    method_exchanges = objective.exchanges(step_shape(factors, world_size, device_type))
    if factors.parallel == "ddp":
        # Gradients in buckets, in about the order in which backward makes them; and rank 0's
        # buffers before each forward.
        backwards: list[Tensor] = [*reversed(list(objective.parameters()))]
        buckets = dist._compute_bucket_assignment_by_size(backwards, DDP_BUCKETS)[0]
        size = sum(parameter.nbytes for parameter in backwards)
        exchanges = [exchange("gradients", "all_reduce", len(buckets), payload_bytes=size)]
        if buffers := list(objective.buffers()):
            types = {buffer.dtype for buffer in buffers}
            size = sum(buffer.nbytes for buffer in buffers)
            exchanges.append(exchange("buffers", "broadcast", len(types), payload_bytes=size))
        return [*exchanges, *method_exchanges]
    # FSDP2: each block's parameters are gathered in both passes, in the dtype of autocast; those
    # outside of blocks once, in float32 (`catlip.training.parallel.distribute`); gradients are
    # scattered once. A parameter is cut along its first dimension, padded to a multiple of the
    # ranks: a parameter of [1, N, D] is sent W times over.
    inside = {parameter for block in blocks(objective) for parameter in block.parameters()}
    parts = {p: -(-len(p) // world_size) * p[0].numel() for p in objective.parameters()}
    gathered = sum(
        n * (2 * product_bytes(factors) if p in inside else FLOAT32) for p, n in parts.items()
    )
    scattered = sum(parts.values()) * FLOAT32 * world_size
    number = len(blocks(objective))
    scatters = "reduce_scatter" if device_type == "cuda" else "all_reduce"  # gloo has no other
    return [
        exchange("parameters", "all_gather", 2 * number + 1, payload_bytes=gathered),
        exchange("gradients", scatters, number + 1, payload_bytes=scattered),
        exchange("norm", "all_reduce", 1, payload_bytes=FLOAT32),
        *method_exchanges,
    ]


def exchange_ms(exchange: Exchange, link: Link) -> float:
    """Milliseconds of all calls of an exchange, one after another, each of the same size."""
    n, size = exchange.world_size, exchange.payload_bytes / exchange.count
    in_node, nodes = link.levels(n)
    gb_s, latency_us = link.slowest(n)
    match exchange.kind:
        case "reduce_scatter":
            one = scatter_ms(size, n, link)
        case "all_gather":
            one = scatter_ms(size * n, n, link)
        case "all_reduce":
            one = 2 * scatter_ms(size, n, link)
        case "all_to_all":  # each device sends a part to every other: some leave the node
            part = size / n
            one = (in_node - 1) * link.node_ms(part) + (n - in_node) * link.network_ms(part)
        case "broadcast":  # a pipeline through all devices: the bytes once, and each hop's latency
            hops_us = (in_node - 1) * nodes * link.node_latency_us
            hops_us += (nodes - 1) * link.network_latency_us
            one = hops_us / 1e3 + size / gb_s / 1e6
        case "neighbour_exchange":
            # Captions travel round a ring of all devices in both directions at once, and their
            # gradients travel back, in 2 ceil((n-1)/2) rounds: all of the step's calls.
            return 2 * (n // 2) * latency_us / 1e3 + exchange.payload_bytes / gb_s / 1e6
    return exchange.count * one


def scatter_ms(total_bytes: float, devices: int, link: Link) -> float:
    """A reduce_scatter of `total_bytes`, or an all_gather whose result is that large.

    (g-1) (alpha_node + S/g / beta_node) in the node, then (m-1) (alpha_net + S/(g m) / beta_net)
    between nodes.
    """
    g, m = link.levels(devices)
    inside = (g - 1) * link.node_ms(total_bytes / g)
    return inside + (m - 1) * link.network_ms(total_bytes / (g * m))
