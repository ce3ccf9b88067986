"""Collectives: those that a training step really issues, and what each costs by itself.

    with listen() as calls:
        step(batch)
    calls  # [Collective("buffers", "broadcast", ...), ...]

Whether a loss in Python or DDP's reducer in C++ asks for a collective, torch sends it through its
dispatcher as an operator of the namespace `c10d`, with every backend. A dispatch mode sees them
all, in order, with their tensors; autograd takes the mode along to the threads of a backward pass.
An operator that is not in OPERATORS stops the bench, so none is missed in silence.
"""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.measuring.training_step import Stopwatch
from catlip.costs import Exchange
from catlip.training.distributed import Place, barrier

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
TRACED_AS = {  # kind: its name in a profile; gloo makes a reduce_scatter of an all_reduce
    "gloo": {
        "all_reduce": "gloo:all_reduce",
        "all_gather": "gloo:all_gather",
        "reduce_scatter": "gloo:all_reduce",
        "broadcast": "gloo:broadcast",
        "scatter": "gloo:scatter",
        "neighbour_exchange": "gloo:send",
    },
    "nccl": {
        "all_reduce": "AllReduce",
        "all_gather": "AllGather",
        "reduce_scatter": "ReduceScatter",
        "broadcast": "Broadcast",
        "neighbour_exchange": "SendRecv",
    },
}
NCCL_KERNEL = re.compile(r"nccl(?:Dev)?Kernel_([A-Za-z]+)")


@dataclass(frozen=True)
class Collective:
    """One call of one rank.

    Attributes:
        what: what it is for: gradients, parameters, features, counts, buffers or norm, as in
            `bench.arithmetic.exchanges`, or the mean of the loss.
        elements: what one rank hands in, as in `catlip.costs.Exchange`. Of a scatter, what one rank
            gets: gloo's all_to_all is a scatter from each rank, and the n scatters together hand in
            what one all_to_all would.
        peer: the root of a scatter, the receiver of a neighbour_exchange.
    """

    what: str
    kind: str
    elements: int
    dtype: torch.dtype
    peer: int = 0

    @property
    def payload_bytes(self) -> int:
        return self.elements * self.dtype.itemsize

    def sent_bytes(self, world_size: int) -> float:
        """Bytes that leave a rank when the collective runs round a ring; the mean over ranks."""
        kind = "all_to_all" if self.kind == "scatter" else self.kind
        size = self.payload_bytes
        return Exchange(self.what, kind, 1, payload_bytes=size, world_size=world_size).sent_bytes

    def max_elements(self, world_size: int) -> int:
        """Elements of what is handed in or of what comes out, whichever is larger."""
        return self.elements * (world_size if self.kind in ("all_gather", "scatter") else 1)

    def size_bytes(self, world_size: int) -> int:
        """Its size as nccl-tests counts it: of a gather or scatter, the parts of all ranks."""
        return self.max_elements(world_size) * self.dtype.itemsize


def bus_factor(kind: str, world_size: int) -> float:
    """Bus bandwidth divided by algorithm bandwidth, by nccl-tests' PERFORMANCE.md: it turns the
    measured bandwidth into that of the links, for any number of ranks.
    """
    others = (world_size - 1) / world_size
    return {"all_reduce": 2 * others, "broadcast": 1.0, "neighbour_exchange": 1.0}.get(kind, others)


class _Listener(TorchDispatchMode):
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
            self.calls.append(Collective(_what(kind), kind, elements, tensors[0].dtype, peer))
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def listen() -> Iterator[list[Collective]]:
    """Within the block, every collective that this process issues is added to the list."""
    with _Listener() as listener:
        yield listener.calls


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


def profiled_ms(
    run: Callable[[], object], calls: Sequence[Collective], place: Place
) -> list[float | None]:
    """How long each collective that `run` issues took, waiting for the other ranks included, as
    torch's profiler saw it: milliseconds, in the order of `calls`, which `listen` found. None if
    the profile does not tell, as for several sends in one kernel.
    """
    spans: dict[str, list[tuple[float, float]]] = {}
    on_gpu = place.device.type == "cuda"
    activity = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU
    with profile(activities=[activity]) as profiler:
        run()
        if on_gpu:
            torch.cuda.synchronize()
    for event in profiler.events() or ():
        kernel = NCCL_KERNEL.match(event.name) if event.device_type == DeviceType.CUDA else None
        span = (event.time_range.start, event.time_range.elapsed_us() / 1e3)
        spans.setdefault(kernel[1] if kernel else event.name, []).append(span)
    names = [TRACED_AS[dist.get_backend()].get(collective.kind, "") for collective in calls]
    times_ms: dict[str, Iterator[float | None]] = {}
    for name in set(names):
        durations = [ms for _, ms in sorted(spans.get(name, []))]
        times_ms[name] = iter(durations) if len(durations) == names.count(name) else repeat(None)
    return [next(times_ms[name]) for name in names]


def bare(collectives: Sequence[Collective], place: Place) -> Callable[[], None]:
    """A function that performs these collectives one after another, each at its size and type, with
    nothing else going on, in one piece of memory.
    """
    n = place.world_size
    size = max(collective.max_elements(n) for collective in collectives)
    dtypes = {collective.dtype for collective in collectives}
    memory = {dtype: torch.ones(2, size, dtype=dtype, device=place.device) for dtype in dtypes}

    def perform(collective: Collective) -> None:
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
                parts = list(other[: n * elements].chunk(n)) if place.rank == peer else None
                dist.scatter(mine, parts, src=peer)
            case "neighbour_exchange":
                # Round the ring: what goes on to `peer` comes from the other side.
                source = (2 * place.rank - peer) % n
                send = dist.P2POp(dist.isend, mine, peer)
                receive = dist.P2POp(dist.irecv, other[:elements], source)
                for work in dist.batch_isend_irecv([send, receive]):
                    work.wait()

    def run() -> None:
        for collective in collectives:
            perform(collective)

    return run


def timed_ms(run: Callable[[], object], place: Place, calls: int = 1) -> float:
    """Milliseconds of `run` on this rank, which all ranks begin together; the mean of `calls`."""
    barrier()
    watch = Stopwatch(place.device)
    watch.mark()
    for _ in range(calls):
        run()
    watch.mark()
    return watch.laps_ms()[0][1] / calls


def slowest(samples_ms: Sequence[float], place: Place) -> list[float]:
    """For each sample, the time of the slowest rank; all ranks must call this."""
    times = torch.tensor(samples_ms, dtype=torch.float64, device=place.device)
    dist.all_reduce(times, dist.ReduceOp.MAX)
    return [float(ms) for ms in times.tolist()]
