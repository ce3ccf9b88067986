"""Each method's exchange between ranks: intercepted, timed, and the part for which a step waits.

The collectives of a real step are compared with what `bench.arithmetic.exchanges.sent` says. Each
is then timed bare, at the same size with nothing else going on.

DDP sends gradients while the backward pass still computes. The exposed time, for which the step
waits, is the difference between the step and the same step under `no_sync` (which does not copy
gradients into buckets either), taken in turns. The exchange of embeddings, without which no loss
can be computed, is outside of that difference: nothing overlaps with it, so all of its bare time is
exposed.
"""

import gc
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import repeat

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from bench.arithmetic.exchanges import step_exchanges
from bench.arithmetic.memory import default_batch, default_precision
from bench.communication import result
from bench.communication.collectives import Collective, Listener, replay
from bench.communication.config import Communication
from bench.measuring.factors import Factors
from bench.measuring.statistics import difference, summarise
from bench.measuring.training_step import batch_of, build
from catlip.cli import InputError
from catlip.program.progress import progress
from catlip.records.record import Record, build_name
from catlip.records.run import print_doubts
from catlip.records.table import print_tables
from catlip.training.distributed import Rank, barrier, init_distributed
from catlip.training.parallel import gradient_sync
from catlip.training.stopwatch import Stopwatch

START = "torchrun --nproc-per-node 2 -m bench.communication"
NUM_STEPS = {"cpu": 10, "cuda": 50}
NUM_WARMUP = 3  # DDP finds its buckets in the first step, and uses them from the second on
# Calls of a bare group of collectives in one sample. After a barrier the first call also waits for
# the host to launch it; a single call would make a GPU's link look slower than it is.
CALLS = {"cuda": 20, "cpu": 1}
OVERLAPPED = ("gradients", "buffers")  # what DDP leaves out under no_sync


def main(config: Communication) -> None:
    """Measure all methods on all ranks; the first prints the tables and writes the record."""
    config, rank = resolve(config)
    step = f"{config.model}-b{config.batch_size}-{config.precision}-{config.parallel}"
    name = f"{step}-n{rank.world_size}-{build_name(rank.device)}"
    record = Record(config.out / f"{name}.json", kind=result.Communication, config=config)
    hidden = config.quiet or not rank.is_main
    with record if rank.is_main else nullcontext():
        metrics = result.Communication(
            world_size=rank.world_size,
            backend=dist.get_backend(),
            parallel=config.parallel,
            methods={},
        )
        for method in progress(config.methods, desc=f"communication {step}", disable=hidden):
            metrics.methods[method], samples = measure(
                config.factors(method), rank, rounds=config.num_steps
            )
            record.samples |= {f"{method}_{name}": taken for name, taken in samples.items()}
            record.metrics = metrics.as_dict()
            record.save()
        run = record.finish(metrics)
    if rank.is_main:
        print_tables(spec.fill([run]) for spec in (result.COMMUNICATION, result.COLLECTIVES))
        print_doubts(run)
        print(f"wrote {record.path}")


def resolve(config: Communication) -> tuple[Communication, Rank]:
    """The config with every default that depends on the device filled in, and this rank."""
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    gpus = torch.cuda.device_count() if config.device != "cpu" else 0
    here = int(os.environ.get("LOCAL_WORLD_SIZE", ranks))
    if ranks < 2:
        raise InputError(f"this bench needs several ranks, but there is one; start it by: {START}")
    if 0 < gpus < here:
        raise InputError(f"{here} ranks need as many GPUs, here are {gpus}; or add --device cpu")
    rank = init_distributed(config.device)
    config = replace(
        config,
        precision=config.precision or default_precision(rank.device),
        num_steps=config.num_steps or NUM_STEPS[rank.device.type],
    )
    usual = min(default_batch([config.factors(m)], rank.device) for m in config.methods)
    return replace(config, batch_size=config.batch_size or usual), rank


def measure(
    factors: Factors, rank: Rank, *, rounds: int
) -> tuple[result.MethodExchange, dict[str, list[float]]]:
    """A method's metrics and its raw samples; all ranks must call this.

    Args:
        rounds: number of timed steps with exchange, of timed steps without, and of repetitions of
            bare collectives.
    """
    trainer = build(factors, rank)
    step = partial(trainer.train_step, repeat(batch_of(factors, rank)))
    for _ in range(NUM_WARMUP):
        step()
    with Listener() as listener:
        step()
    steps_ms = time_steps(step, trainer.replica, rank, rounds=rounds)
    del trainer, step
    gc.collect()  # the bare collectives get the memory that the step had
    groups: dict[tuple[str, str, torch.dtype], list[Collective]] = {}
    for call in listener.calls:
        # The mean of the loss over ranks is left out, as in `bench.arithmetic.exchanges.sent`: four
        # bytes of the training loop, the same for every method.
        if call.what != "loss":
            groups.setdefault((call.what, call.kind, call.dtype), []).append(call)
    bare_ms = time_bare(list(groups.values()), rounds, rank)
    rows, alone = [], []
    samples = {f"{name}_ms": taken for name, taken in steps_ms.items()}
    for ((what, kind, dtype), calls), taken in zip(groups.items(), bare_ms, strict=True):
        row = result.CollectiveCalls(
            what=what,
            kind=kind,
            dtype=str(dtype).removeprefix("torch."),
            count=len(calls),
            sent_mb=sum(call.sent_bytes(rank.world_size) for call in calls) / 1e6,
            bare_ms=summarise(taken),
        )
        rows.append(row)
        samples[f"{what}_{kind}_{row.dtype}_bare_ms"] = taken
        if what not in OVERLAPPED:
            alone.append(taken)
    without = steps_ms.get("step_without_exchange")
    blocking = [sum(each) for each in zip(*alone, strict=True)] if without else []
    predicted = step_exchanges(factors, rank.world_size, rank.device.type)
    exchange = result.MethodExchange(
        collectives=rows,
        sent_mb=sum(row.sent_mb for row in rows),
        predicted_sent_mb=sum(each.sent_bytes for each in predicted) / 1e6,
        step_ms=summarise(steps_ms["step"]),
        step_without_exchange_ms=summarise(without) if without else None,
        exposed_ms=difference(steps_ms["step"], without) if without else None,
        blocking_ms=summarise(blocking) if blocking else None,
    )
    return exchange, samples


def time_steps(
    step: Callable[[], object], replica: nn.Module, rank: Rank, *, rounds: int
) -> dict[str, list[float]]:
    """Milliseconds of steps on the slowest rank; with DDP, also without exchange, in turns."""
    taken: dict[str, list[float]] = {"step": []}
    if isinstance(replica, DistributedDataParallel):
        taken["step_without_exchange"] = []
    for number in range(rounds):
        for name in sorted(taken, reverse=number % 2 == 0):
            exchange = name == "step"
            if isinstance(replica, DistributedDataParallel):
                # Otherwise DDP would send buffers one step late, in the wrong kind of step.
                replica.require_forward_param_sync = exchange
            with gradient_sync(replica, last=exchange):
                taken[name].append(timed_ms(step, rank))
    return {name: slowest(samples, rank) for name, samples in taken.items()}


def time_bare(groups: Sequence[Sequence[Collective]], rounds: int, rank: Rank) -> list[list[float]]:
    """Milliseconds of each group's calls on the slowest rank; groups take turns."""
    runs = [replay(group, rank) for group in groups]
    taken: list[list[float]] = [[] for _ in groups]
    for _ in range(1 + rounds):
        for run_group, samples in zip(runs, taken, strict=True):
            samples.append(timed_ms(run_group, rank, CALLS[rank.device.type]))
    return [slowest(samples[1:], rank) for samples in taken]


def timed_ms(run: Callable[[], object], rank: Rank, calls: int = 1) -> float:
    """Milliseconds of `run` on this rank, which all ranks begin together; the mean of `calls`."""
    barrier()
    watch = Stopwatch(rank.device)
    watch.mark()
    for _ in range(calls):
        run()
    watch.mark()
    return watch.laps_ms()[0][1] / calls


def slowest(samples_ms: Sequence[float], rank: Rank) -> list[float]:
    """For each sample, the time of the slowest rank; all ranks must call this."""
    times = torch.tensor(samples_ms, dtype=torch.float64, device=rank.device)
    dist.all_reduce(times, dist.ReduceOp.MAX)
    return [float(ms) for ms in times.tolist()]
