"""Collectives: those that a training step really issues, and what each costs by itself.

Whether a loss in Python or DDP's reducer in C++ asks for a collective, torch sends it through its
dispatcher as an operator of the namespace `c10d`, with every backend. A dispatch mode sees them
all, in order, with their tensors; autograd takes the mode along to the threads of a backward pass.
An operator that is not in OPERATORS stops the bench, so none is missed in silence.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from catlip.costs import Exchange
from catlip.training.distributed import Rank

# c10d's operator -> its kind, and which argument holds what this rank hands in. A receive is
# counted at its sender.
OPERATORS = {
    "allreduce_": ("all_reduce", 0),
    "allgather_": ("all_gather", 1),
    "_allgather_base_": ("all_gather", 1),
    "reduce_scatter_": ("reduce_scatter", 1),
    "_reduce_scatter_base_": ("reduce_scatter", 1),
    "broadcast_": ("broadcast", 0),
    "scatter_": ("scatter", 0),
    "send": ("neighbour_exchange", 0),
}
ROOT_ARGUMENT = {"scatter_": 3, "send": 2}
# Nearest caller -> what the collective is for; none of these calls DDP's reducer, which is in C++.
ASKED_BY = {
    "torch/distributed/nn/functional.py:": "features",
    "open_clip/loss.py:": "features",
    "catlip/training/parallel.py:mean_over_ranks": "loss",
    "catlip/training/parallel.py:": "norm",
    "_fsdp_collectives.py:": "parameters",
    "torch/nn/parallel/distributed.py:": "buffers",
}
METHODS = "baselines."  # modules of methods: what they send themselves are counts


@dataclass(frozen=True)
class Collective:
    """One call of one rank.

    Attributes:
        what: its purpose, as in `bench.arithmetic.exchanges`, or `loss` for the mean of the loss.
        elements: what one rank hands in, as in `catlip.costs.Exchange`; in a scatter, what one rank
            gets. gloo's all_to_all is a scatter from each rank, and all n scatters together hand in
            what one all_to_all would.
        peer: the root of a scatter, the receiver of a neighbour_exchange.
    """

    what: str
    kind: str
    elements: int
    dtype: torch.dtype
    peer: int = 0

    def sent_bytes(self, world_size: int) -> float:
        """Bytes that leave a rank when the collective runs round a ring; the mean over ranks."""
        kind = "all_to_all" if self.kind == "scatter" else self.kind
        size = self.elements * self.dtype.itemsize
        return Exchange(self.what, kind, 1, payload_bytes=size, world_size=world_size).sent_bytes


class Listener(TorchDispatchMode):
    """Lists every collective that this process issues while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Collective] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._opname
        if func.namespace in ("c10d", "_c10d_functional") and name != "recv_":
            if func.namespace != "c10d" or name not in OPERATORS:
                raise NotImplementedError(f"{func} is not in OPERATORS: what it sends is unknown")
            kind, handed_in = OPERATORS[name]
            tensors: list[Tensor] = tree_leaves(args[handed_in])
            elements = sum(tensor.numel() for tensor in tensors)
            peer = args[ROOT_ARGUMENT[name]] if name in ROOT_ARGUMENT else 0
            what = _what(kind)
            if kind == "reduce_scatter" and dist.get_backend() == "gloo":
                kind = "all_reduce"  # which is how gloo does it
            self.calls.append(Collective(what, kind, elements, tensors[0].dtype, peer))
        return func(*args, **(kwargs or {}))


def _what(kind: str) -> str:
    frame = sys._getframe()
    while frame := frame.f_back:  # type: ignore[assignment]
        caller = f"{frame.f_code.co_filename}:{frame.f_code.co_name}"
        for asking, what in ASKED_BY.items():
            if asking in caller:
                return "gradients" if what == "parameters" and kind == "reduce_scatter" else what
        if str(frame.f_globals.get("__name__")).startswith(METHODS):
            return "counts"
    return "gradients"


def replay(collectives: Sequence[Collective], rank: Rank) -> Callable[[], None]:
    """A function that performs these collectives one after another, in one piece of memory."""
    n = rank.world_size
    gathered = ("all_gather", "scatter")  # the parts of all ranks
    size = max(each.elements * (n if each.kind in gathered else 1) for each in collectives)
    dtypes = {collective.dtype for collective in collectives}
    memory = {dtype: torch.ones(2, size, dtype=dtype, device=rank.device) for dtype in dtypes}

    def run() -> None:
        for collective in collectives:
            elements, peer = collective.elements, collective.peer
            mine, other = memory[collective.dtype][0, :elements], memory[collective.dtype][1]
            match collective.kind:
                case "all_reduce":
                    dist.all_reduce(mine)
                case "all_gather":
                    dist.all_gather_into_tensor(other[: n * elements], mine)
                case "reduce_scatter":
                    dist.reduce_scatter_tensor(other[: elements // n], mine)
                case "broadcast":
                    dist.broadcast(mine, src=0)
                case "scatter":
                    parts = list(other[: n * elements].chunk(n)) if rank.number == peer else None
                    dist.scatter(mine, parts, src=peer)
                case "neighbour_exchange":
                    # Round the ring: what goes on to `peer` comes from the other side.
                    source = (2 * rank.number - peer) % n
                    send = dist.P2POp(dist.isend, mine, peer)
                    receive = dist.P2POp(dist.irecv, other[:elements], source)
                    for work in dist.batch_isend_irecv([send, receive]):
                        work.wait()

    return run
