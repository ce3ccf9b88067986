"""What the ranks of a training step send each other, from shapes alone; `bench.communication`
compares it with a real step.

With ViT-B/16, 256 images on each of 256 GPUs, gradients are 1,192 MB for CLIP and 833 for CatLIP.
CLIP's embeddings add 535 MB, not the 267 of 16-bit numbers: a GPU's autocast takes `F.normalize` in
float32, and what is gathered is its result.

for exchange in sent(Factors(method="clip"), world_size=256):
    print(exchange.what, exchange.kind, exchange.sent_bytes / 1e6, "MB")
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from baselines.openclip import TEXT_VOCABULARY, text_tower
from bench.arithmetic.flops import TWO_TOWERS
from bench.arithmetic.state import FLOAT32, objective_of, product_bytes
from bench.training_step import Factors
from catlip.training.blocks import blocks

DDP_BUCKETS = [
    2**20,
    25 * 2**20,
]  # DistributedDataParallel's: a small one first, so that sending begins early


@dataclass(frozen=True)
class Exchange:
    """What every rank sends in one step for one purpose.

    Attributes:
        what: gradients, parameters, features, counts, buffers or norm. kind: the collective, or
        neighbour_exchange (point to point, round a ring of ranks). count: calls. payload_bytes:
        what one rank hands in, all `count` calls together: the tensor that is reduced or broadcast,
        its own
            share of a gather, the whole input of a reduce_scatter or all_to_all, what goes to a
            neighbour.
        world_size: ranks.
    """

    what: str
    kind: str
    count: int
    payload_bytes: int
    world_size: int

    @property
    def sent_bytes(self) -> float:
        """What leaves a rank when the collective runs round a ring; of a broadcast, the mean: the
        last passes nothing on.
        """
        n, payload = self.world_size, self.payload_bytes
        return {
            "all_reduce": 2 * (n - 1) / n * payload,
            "all_gather": (n - 1) * payload,
            "reduce_scatter": (n - 1) / n * payload,
            "all_to_all": (n - 1) / n * payload,
            "broadcast": (n - 1) / n * payload,
            "neighbour_exchange": payload,
        }[self.kind]


def sent(factors: Factors, world_size: int, device_type: str = "cuda") -> list[Exchange]:
    """What a training step sends, per rank; the mean of the loss over ranks, which only the log
    wants, is not in it.

    Args:
        device_type: "cuda" (NCCL) or "cpu" (gloo, which has no reduce_scatter with gradient:
            OpenCLIP's gather sends its gradient by all_to_all there). It also decides how wide
            embeddings are under autocast.
    """
    if world_size == 1:
        return []
    of_state = _sharded if factors.parallel == "fsdp" else _replicated
    found = [*of_state(factors, world_size), *_features(factors, world_size, device_type)]
    if factors.method == "superclass":
        found.append(
            Exchange("counts", "all_reduce", 1, TEXT_VOCABULARY * torch.int64.itemsize, world_size)
        )
    return found


def _features(factors: Factors, world_size: int, device_type: str) -> list[Exchange]:
    """Embeddings forward, their gradients backward: of both towers for CLIP, of captions for
    SigLIP.
    """
    if factors.method not in TWO_TOWERS:
        return []
    wide = (
        product_bytes(factors) if device_type == "cpu" else FLOAT32
    )  # on a GPU, F.normalize widens to float32
    one = factors.batch_size * text_tower(factors.model).joint * wide
    if (
        factors.method == "siglip"
    ):  # round the ring in both directions at once; each gradient goes back the way it came
        return [
            Exchange(
                "features",
                "neighbour_exchange",
                2 * (world_size - 1),
                2 * (world_size - 1) * one,
                world_size,
            )
        ]
    towers = 1 if factors.method == "siglip_gather" else 2
    back = "reduce_scatter" if device_type == "cuda" else "all_to_all"
    return [
        Exchange("features", "all_gather", towers, towers * one, world_size),
        Exchange("features", back, towers, towers * one * world_size, world_size),
    ]


def _replicated(factors: Factors, world_size: int) -> list[Exchange]:
    """DDP: gradients in buckets, in about the order in which backward makes them; and rank 0's
    buffers before each forward.
    """
    objective = objective_of(factors)
    backwards: list[Tensor] = [*reversed([*objective.parameters()])]
    buckets = dist._compute_bucket_assignment_by_size(backwards, DDP_BUCKETS)[0]
    found = [
        Exchange(
            "gradients", "all_reduce", len(buckets), sum(p.nbytes for p in backwards), world_size
        )
    ]
    buffers = [*objective.buffers()]
    if buffers:
        types = {buffer.dtype for buffer in buffers}
        found.append(
            Exchange("buffers", "broadcast", len(types), sum(b.nbytes for b in buffers), world_size)
        )
    return found


def _sharded(factors: Factors, world_size: int) -> list[Exchange]:
    """FSDP2: each block's parameters gathered in both passes, those outside of blocks once;
    gradients scattered once.

    Blocks are gathered in the width of autocast, the rest in float32
    (`catlip.training.parallel.distribute`). A parameter is cut along its first dimension, padded to
    a multiple of the ranks: one of [1, N, D] is sent W times over.
    """
    objective = objective_of(factors)
    inside = {parameter for block in blocks(objective) for parameter in block.parameters()}
    shares = {p: -(-len(p) // world_size) * p[0].numel() for p in objective.parameters()}
    gathered = sum(
        n * (2 * product_bytes(factors) if p in inside else FLOAT32) for p, n in shares.items()
    )
    number = len(blocks(objective))
    return [
        Exchange("parameters", "all_gather", 2 * number + 1, gathered, world_size),
        Exchange(
            "gradients",
            "reduce_scatter",
            number + 1,
            sum(shares.values()) * FLOAT32 * world_size,
            world_size,
        ),
        Exchange("norm", "all_reduce", 1, FLOAT32, world_size),
    ]
