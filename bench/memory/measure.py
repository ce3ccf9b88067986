"""The memory of one training step, by part; and its peak as `bench.arithmetic.memory` predicts it.

On a GPU, PyTorch's allocator counts the peak. A CPU has no allocator that can be asked, so there
it is the most bytes of tensors that were alive at once (`bench.memory.tensors`). Parameters,
optimizer state and averaged weights are there all the time. Activations go as gradients come, so
the peak holds about the larger of the two; `other` is everything beside those: the batch, work
space, and the part of the smaller one that overlaps.
"""

import itertools
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from bench.arithmetic.flops import objective_of
from bench.arithmetic.memory import default_batch, default_precision, peak_bytes
from bench.downstream.outputs import encoder_name
from bench.measuring.deadline import until_deadline
from bench.measuring.factors import Factors, is_user_encoder
from bench.measuring.training_step import batch_of, build, free_memory
from bench.measuring.user_encoder import UserEncoder
from bench.memory import result
from bench.memory.config import Memory
from bench.memory.result import MemoryParts
from bench.memory.tensors import LiveStorage, saved_bytes, tensors_of
from bench.step_time.steps import without_folders
from catlip.cli import InputError
from catlip.costs import GIB
from catlip.data.loader import Batch
from catlip.program.progress import progress
from catlip.records.record import Record, build_name
from catlip.records.table import print_tables
from catlip.training.distributed import Rank, init_distributed
from catlip.training.trainer import Trainer

T = TypeVar("T")
NUM_WARMUP = 2  # the optimizer's state is made in the first step
NUM_REPEATS = 2  # shows that the figure is the same each time
MULTIPLE = 8  # the largest batch is looked for among multiples of this
HOW = {"cuda": "CUDA allocator", "cpu": "live storage of tensors"}


def main(config: Memory) -> None:
    """Measure every method at every batch size, print, and write the record."""
    rank = init_distributed(config.device)
    config = resolve(config, rank)
    variant = "-checkpointing" if config.checkpointing else ""
    model, sizes = without_folders(config.model), "-".join(map(str, config.batch_sizes))
    step = f"{encoder_name(model)}-b{sizes}-{config.precision}{variant}"
    path = config.out / f"{step}-{build_name(rank.device)}.json"
    with Record(path, kind=result.Memory, config=config) as record:
        encoder = objective_of(config.factors(config.methods[0])).image_encoder
        if isinstance(encoder, UserEncoder):
            record.notes.append(encoder.note)
        batches = _measure_batches(config, rank, record)
        largest = {m: _largest(config, m, rank) for m in config.methods if config.largest}
        if not largest and not any(batch.methods for batch in batches.values()):
            raise InputError(
                f"{config.model}, batch {min(batches)}: out of memory; --largest finds what fits"
            )
        how = HOW[rank.device.type]
        run = record.finish(result.Memory(how=how, batches=batches, largest=largest))
    print_tables([result.MEMORY.fill([run])])
    print(f"wrote {path}")


def resolve(config: Memory, rank: Rank) -> Memory:
    """The config with every default that depends on the device filled in."""
    if rank.world_size > 1:
        raise InputError("bench.memory measures one process: start it without torchrun")
    if config.largest and not (rank.device.type == "cuda" or config.budget_gib):
        raise InputError("--largest on a CPU needs --budget-gib: other programs share its memory")
    config = replace(config, precision=config.precision or default_precision(rank.device))
    usual = min(default_batch([config.factors(m)], rank.device) for m in config.methods)
    return replace(config, batch_sizes=config.batch_sizes or (usual,))


def budget_bytes(config: Memory, device: torch.device) -> float:
    """Bytes that a step may take: the user's budget, or on a CPU what is free now; on a GPU no
    limit, because its allocator sets one.
    """
    if config.budget_gib:
        return config.budget_gib * GIB
    if device.type == "cuda" or not Path("/proc/meminfo").exists():
        return math.inf
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def _measure_batches(config: Memory, rank: Rank, record: Record) -> dict[int, result.BatchMemory]:
    """Measure each method at each batch size; those that do not fit are listed with their predicted
    peak.
    """
    batches = {size: result.BatchMemory(methods={}) for size in config.batch_sizes}
    runs = list(itertools.product(config.batch_sizes, config.methods))
    rounds = until_deadline(runs, record)
    for size, method in progress(rounds, desc="memory", total=len(runs), disable=config.quiet):
        factors = replace(config.factors(method), batch_size=size)
        peak_gib = predicted_gib(factors, rank.device)
        attempted = attempt(measure, factors, rank, budget=budget_bytes(config, rank.device))
        if attempted is None:
            batches[size].too_large[method] = peak_gib
            continue
        parts, peaks = attempted
        predicted = None if peak_gib is None else result.PredictedMemory(peak_gib=peak_gib)
        batches[size].methods[method] = result.MethodMemory(measured=parts, predicted=predicted)
        record.samples[f"{method}_b{size}_peak_bytes"] = peaks
        record.save()
    return batches


def attempt(
    take: Callable[[Factors, Rank], tuple[T, list[int]]],
    factors: Factors,
    rank: Rank,
    *,
    budget: float,
) -> tuple[T, list[int]] | None:
    """What `take` returns of steps and of their peaks in bytes, or None if they do not fit; what
    they held is free again.

    On a CPU, a step that is predicted not to fit is not tried: a machine without free memory stops
    answering.
    """
    taken = None
    if rank.device.type == "cuda" or (predicted_gib(factors, rank.device) or 0) * GIB <= budget:
        with suppress(torch.OutOfMemoryError):
            taken = take(factors, rank)
    free_memory()  # after the block above: until its end, the error's frames hold their tensors
    return taken if taken and max(taken[1]) <= budget else None


def predicted_gib(factors: Factors, device: torch.device) -> float | None:
    """The peak of a step; None with a user's encoder, whose layers are not known."""
    if is_user_encoder(factors.model):
        return None
    return peak_bytes(factors, device_type=device.type) / GIB


def measure(factors: Factors, rank: Rank) -> tuple[MemoryParts, list[int]]:
    """A step's peak and parts, and the bytes at the peak of each repetition."""
    trainer, batch = build(factors, rank), batch_of(factors, rank)
    for _ in range(NUM_WARMUP):
        trainer.train_step(iter([batch]))
    peaks = [peak_of(trainer, batch) for _ in range(NUM_REPEATS)]
    parameters = list(trainer.objective.parameters())
    gradients = sum(p.grad.nbytes for p in parameters if p.grad is not None)
    trainer.optimizer.zero_grad(set_to_none=True)
    activations = saved_bytes(trainer, batch)
    stays = {
        "parameters": sum(p.nbytes for p in parameters),
        "optimizer": sum(tensor.nbytes for tensor in moments_of(trainer)),
        "average": sum(tensor.nbytes for tensor in trainer.weights().values()),
    }
    parts = stays | {
        "peak": max(peaks),
        "gradients": gradients,
        "activations_image": activations["image_encoder"],
        "activations_text": activations["text_tower"],
        "activations_logits": activations["logits"],
        "other": max(peaks) - sum(stays.values()) - max(gradients, sum(activations.values())),
    }
    return MemoryParts(**{f"{name}_gib": size / GIB for name, size in parts.items()}), peaks


def peak_of(trainer: Trainer, batch: Batch) -> int:
    """Take one step and measure the most bytes that it holds."""
    device = trainer.rank.device
    if device.type == "cpu":
        with LiveStorage([*state_of(trainer), *tensors_of(batch)]) as live:
            trainer.train_step(iter([batch]))
        return live.peak_bytes
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    trainer.train_step(iter([batch]))
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device)


def state_of(trainer: Trainer) -> list[Tensor]:
    """Every tensor that a step finds when it begins. The caller must not keep the list: the step
    frees the old gradients.
    """
    parameters = list(trainer.objective.parameters())
    gradients = [p.grad for p in parameters if p.grad is not None]
    kept = [*trainer.objective.buffers(), *moments_of(trainer), *trainer.weights().values()]
    return parameters + gradients + kept


def moments_of(trainer: Trainer) -> list[Tensor]:
    """What AdamW keeps of each parameter: two moments, and the number of its steps."""
    return [tensor for state in trainer.optimizer.state.values() for tensor in state.values()]


def _largest(config: Memory, method: str, rank: Rank) -> result.LargestBatch:
    """The largest batch that fits, found by trying with one model, and as predicted."""
    budget = budget_bytes(config, rank.device)
    free_memory()  # what an earlier search has left in the allocator
    room = budget if config.budget_gib else torch.cuda.mem_get_info(rank.device)[0]
    step = replace(config.factors(method), batch_size=1)
    trainer: Trainer | None = None

    def take(factors: Factors, rank: Rank) -> tuple[None, list[int]]:
        nonlocal trainer
        trainer = trainer or build(step, rank)
        batch = batch_of(factors, rank)
        try:
            return None, [peak_of(trainer, batch) for _ in range(NUM_WARMUP)]
        finally:
            trainer.optimizer.zero_grad()

    def fits(images: int) -> bool:
        factors = replace(step, batch_size=images)
        return attempt(take, factors, rank, budget=budget) is not None

    def is_predicted_to_fit(images: int) -> bool:
        factors = replace(step, batch_size=images)
        return peak_bytes(factors, device_type=rank.device.type) <= room

    unknown = is_user_encoder(config.model)
    predicted = None if unknown else largest_batch(is_predicted_to_fit)
    # One image first makes the optimizer's whole state; a step out of memory would make a part.
    largest = largest_batch(fits, start=predicted or 1, multiple=MULTIPLE) if fits(1) else 0
    return result.LargestBatch(images=largest, predicted=predicted)


def largest_batch(fits: Callable[[int], bool], start: int = 1, multiple: int = 1) -> int:
    """The largest batch that fits, by growing steps away from the guess `start` and then halving
    the gap; 0 if not even one image fits. Only multiples are tried, unless none of them fits.
    """
    stride, start = multiple, max(multiple, start // multiple * multiple)
    if fits(start):
        low, high = start, start + stride
        while fits(high):
            stride *= 2
            low, high = high, high + stride
    else:
        low, high = start - stride, start
        while low > 0 and not fits(low):
            stride *= 2
            low, high = max(0, low - stride), low
    while high - low > multiple:
        middle = (low + high) // (2 * multiple) * multiple
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low if low or multiple == 1 else largest_batch(fits, start=multiple - 1)
