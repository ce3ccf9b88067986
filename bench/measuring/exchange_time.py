"""One method's exchange between ranks: intercepted, timed in the step and bare, and split into
exposed and overlapped.

DDP sends gradients while the backward pass still computes. The exposed time, for which the step
waits, is the difference between the step and the same step under `no_sync`, taken in turns; the
rest of the bare time is overlapped. The exchange of embeddings, without which no loss can be
computed, is outside of that difference: nothing overlaps with it, so all of its bare time is
exposed.
"""

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import repeat

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from bench.arithmetic.exchanges import fit, sent
from bench.communication.result import AllReduce, CollectiveCalls, LinkFit, MethodExchange
from bench.measuring.collectives import (
    Collective,
    bare,
    bus_factor,
    listen,
    profiled_ms,
    slowest,
    timed_ms,
)
from bench.measuring.statistics import difference, summarise
from bench.measuring.training_step import Factors, batch_of, build
from catlip.training.distributed import Place
from catlip.training.parallel import synchronised

SWEEP_ELEMENTS = [2**10, 2**14, 2**18, 2**22, 2**24]  # float32: 4 KiB to 64 MiB
NUM_PROFILED = 5
# Calls of a bare group of collectives in one sample. After a barrier the first call also waits for
# the host to launch it; a single call would make a GPU's link look slower than it is.
CALLS = {"cuda": 20, "cpu": 1}
OVERLAPPED = ("gradients", "buffers")  # what DDP leaves out under no_sync


def measure(
    factors: Factors, place: Place, *, warmup: int, rounds: int
) -> tuple[MethodExchange, dict[str, list[float]]]:
    """A method's metrics and its raw samples; all ranks must call this.

    Args:
        warmup: steps not counted; DDP finds its buckets in the first.
        rounds: number of timed steps with exchange, of timed steps without, and of repetitions of
            bare collectives.
    """
    heard, profiles, steps_ms = observe(factors, place, warmup=warmup, rounds=rounds)
    gc.collect()  # the bare collectives get the memory that the step had
    groups = grouped(heard)
    bare_ms = time_bare([[heard[i] for i in group] for group in groups], rounds, place)
    rows = []
    samples = {f"{name}_ms": taken for name, taken in steps_ms.items()}
    for group, taken in zip(groups, bare_ms, strict=True):
        calls = [heard[i] for i in group]
        in_steps = [[profile[i] for i in group] for profile in profiles]
        row = _row(calls, in_steps, bare_ms=taken, world_size=place.world_size)
        rows.append(row)
        samples[f"{row.what}_{row.kind}_{row.dtype}_bare_ms"] = taken
    return _exchange(factors, rows, bare_ms, steps_ms=steps_ms, place=place), samples


def observe(
    factors: Factors, place: Place, *, warmup: int, rounds: int
) -> tuple[list[Collective], list[list[float | None]], dict[str, list[float]]]:
    """The collectives of a step, their times in each of NUM_PROFILED steps, and the times of whole
    steps (`time_steps`).
    """
    trainer = build(factors, place)
    step = partial(trainer.train_step, repeat(batch_of(factors, place)))
    for _ in range(warmup):
        step()
    with listen() as heard:
        step()
    profiles = [profiled_ms(step, heard, place) for _ in range(NUM_PROFILED)]
    return heard, profiles, time_steps(step, trainer.replica, place, rounds=rounds)


def time_steps(
    step: Callable[[], object], replica: nn.Module, place: Place, *, rounds: int
) -> dict[str, list[float]]:
    """Milliseconds of whole steps, of the slowest rank: as they are and, with DDP only, without
    exchange, in turns.

    Returns: "step", and "step_without_exchange".
    """

    def one(exchange: bool) -> None:
        if isinstance(replica, DistributedDataParallel):
            # Otherwise DDP would send buffers one step late, in the wrong kind of step.
            replica.require_forward_param_sync = exchange
        with synchronised(replica, last=exchange):
            step()

    sides = {"step": True}
    if isinstance(replica, DistributedDataParallel):
        sides["step_without_exchange"] = False
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in sorted(sides, reverse=number % 2 == 0):
            taken[name].append(timed_ms(partial(one, sides[name]), place))
    return {name: slowest(samples, place) for name, samples in taken.items()}


def grouped(heard: Sequence[Collective]) -> list[list[int]]:
    """Groups of calls for the same thing, of the same kind and dtype, as positions in `heard`.

    The mean of the loss over ranks is left out, as in `bench.arithmetic.exchanges.sent`: four bytes
    of the training loop, the same for every method.
    """
    groups: dict[tuple[str, str, torch.dtype], list[int]] = {}
    for i, collective in enumerate(heard):
        if collective.what != "loss":
            groups.setdefault((collective.what, collective.kind, collective.dtype), []).append(i)
    return list(groups.values())


def time_bare(
    groups: Sequence[Sequence[Collective]], rounds: int, place: Place
) -> list[list[float]]:
    """Milliseconds of each group's calls, one after another, on the slowest rank. Groups take
    turns; the first round is not counted.
    """
    runs = [bare(group, place) for group in groups]
    taken: list[list[float]] = [[] for _ in groups]
    for _ in range(1 + rounds):
        for run_group, samples in zip(runs, taken, strict=True):
            samples.append(timed_ms(run_group, place, CALLS[place.device.type]))
    return [slowest(samples[1:], place) for samples in taken]


def measure_link(rounds: int, place: Place) -> LinkFit:
    """Bare all-reduces of several sizes, and the latency and bandwidth that fit them
    (`bench.arithmetic.exchanges.fit`).
    """
    sizes = [
        Collective("gradients", "all_reduce", elements, dtype=torch.float32)
        for elements in SWEEP_ELEMENTS
    ]
    taken = [summarise(samples) for samples in time_bare([[size] for size in sizes], rounds, place)]
    sizes_bytes = [size.payload_bytes for size in sizes]
    latency_us, gb_s = fit(sizes_bytes, [ms.median for ms in taken], place.world_size)
    rows = [AllReduce(mb=size / 1e6, ms=ms) for size, ms in zip(sizes_bytes, taken, strict=True)]
    return LinkFit(latency_us=latency_us, gb_s=gb_s, all_reduce=rows)


def _row(
    calls: Sequence[Collective],
    profiles: Sequence[Sequence[float | None]],
    bare_ms: Sequence[float],
    world_size: int,
) -> CollectiveCalls:
    """The metrics of a group of calls."""
    size_mb = sum(call.size_bytes(world_size) for call in calls) / 1e6
    in_step = [
        sum(call_ms for call_ms in profile if call_ms is not None)
        for profile in profiles
        if None not in profile
    ]
    bare_summary = summarise(bare_ms)
    algorithm_gb_s = size_mb / bare_summary.median
    return CollectiveCalls(
        what=calls[0].what,
        kind=calls[0].kind,
        dtype=str(calls[0].dtype).removeprefix("torch."),
        count=len(calls),
        elements=[call.elements for call in calls],
        mb=size_mb,
        sent_mb=sum(call.sent_bytes(world_size) for call in calls) / 1e6,
        in_step_ms=summarise(in_step) if in_step else None,
        bare_ms=bare_summary,
        algorithm_gb_s=algorithm_gb_s,
        bus_gb_s=algorithm_gb_s * bus_factor(calls[0].kind, world_size),
    )


def _exchange(
    factors: Factors,
    rows: list[CollectiveCalls],
    bare_ms: Sequence[list[float]],
    *,
    steps_ms: dict[str, list[float]],
    place: Place,
) -> MethodExchange:
    """What is sent and, with DDP, how long the step waits for it: measured for gradients and
    buffers; for embeddings and counts, all of their bare time.
    """
    sent_mb = sum(row.sent_mb for row in rows)
    exchanges = sent(factors, place.world_size, place.device.type)
    exchange = MethodExchange(
        collectives=rows,
        sent_mb=sent_mb,
        predicted_sent_mb=sum(exchange.sent_bytes for exchange in exchanges) / 1e6,
        sent_kb_per_image=sent_mb * 1e3 / factors.batch_size,
        step_ms=summarise(steps_ms["step"]),
    )
    without = steps_ms.get("step_without_exchange")
    if not without:
        return exchange
    exposed = difference(steps_ms["step"], without)
    total_ms = sum(row.bare_ms.median for row in rows if row.what in OVERLAPPED)
    blocking = [
        taken for row, taken in zip(rows, bare_ms, strict=True) if row.what not in OVERLAPPED
    ]
    waits = [sum(each) for each in zip(*blocking, strict=True)]
    return replace(
        exchange,
        step_without_exchange_ms=summarise(without),
        exposed_ms=exposed,
        overlapped_ms=max(0.0, total_ms - max(0.0, exposed.value)),
        blocking_ms=summarise(waits) if waits else None,
    )
