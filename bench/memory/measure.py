"""The memory of one training step, by part: measured, and as `bench.arithmetic.memory` predicts
it.

On a GPU the peak is that of PyTorch's allocator. A CPU has no allocator that can be asked, so there
it is the most bytes of tensors that were alive at once (`bench.memory.tensors`). Parameters,
optimizer state and averaged weights are there all the time. Activations go as gradients come, so
the peak holds about the larger of the two; `other` is everything beside those: the batch, work
space, and the part of the smaller one that overlaps.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from bench.arithmetic.memory import activation_bytes, default_batch, peak_bytes, state_bytes
from bench.measuring.deadline import in_time
from bench.measuring.factors import PRECISION, Factors, factors_of
from bench.measuring.methods import shown
from bench.measuring.training_step import batch_of, build, free_memory
from bench.memory import result
from bench.memory.__main__ import Memory
from bench.memory.result import MemoryParts
from bench.memory.tensors import LiveStorage, saved_bytes, tensors_of
from catlip.cli import InputError
from catlip.costs import GIB
from catlip.data.loader import Batch
from catlip.program.progress import progress
from catlip.record import Record, build_name
from catlip.results.run import Run
from catlip.training.distributed import Place, find_place
from catlip.training.trainer import Trainer

NUM_WARMUP = 2  # the optimizer's state is made in the first step
NUM_REPEATS = 2  # shows that the figure is the same each time
MULTIPLE = 8  # the largest batch is looked for among multiples of this
HOW = {"cuda": "CUDA allocator", "cpu": "live storage of tensors"}
NOTES = {
    "cuda": (
        "peak: allocated by PyTorch; reserved: what it took from the device; the driver's own "
        "context is in neither"
    ),
    "cpu": (
        "peak: the most bytes of distinct tensor storages alive at once; kernels' own work space "
        "is not counted"
    ),
}


@dataclass(frozen=True)
class Peak:
    """The most bytes allocated in one step; on a GPU also the most bytes reserved, and how often
    the allocator had to try again.
    """

    allocated: int
    reserved: int = 0
    retries: int = 0


def measure_all(config: Memory) -> tuple[Path, Run[result.Memory], list[str]]:
    """Measure every method at every batch size, and write the record.

    Returns: its path, the run, and notes for its reader.
    """
    place = find_place(config.device)
    config = resolve(config, place)
    variant = "-checkpointing" if config.checkpointing else ""
    step = f"{config.model}-b{'-'.join(map(str, config.batch_sizes))}-{config.precision}{variant}"
    path = config.out / f"{step}-{build_name(place.device.type)}.json"
    with Record(path, kind=result.Memory, config=config) as record:
        record.shown_as = shown(config.methods)
        record.notes.append(NOTES[place.device.type])
        batches = _measure_batches(config, place, record)
        largest = {m: _largest(config, m, place) for m in config.methods if config.largest}
        if not largest and not any(batch.methods for batch in batches.values()):
            raise InputError(
                f"{config.model}, batch {min(batches)}: out of memory; --largest finds what fits"
            )
        how = HOW[place.device.type]
        run = record.measured(result.Memory(how=how, batches=batches, largest=largest))
    return path, run, record.notes


def resolve(config: Memory, place: Place) -> Memory:
    """The config with every default that depends on the device filled in."""
    if place.world_size > 1:
        raise InputError("bench.memory measures one process: start it without torchrun")
    if config.largest and not (place.device.type == "cuda" or config.budget_gib):
        raise InputError("--largest on a CPU needs --budget-gib: other programs share its memory")
    config = replace(config, precision=config.precision or PRECISION[place.device.type])
    steps = [factors_of(config, method, batch_size=1) for method in config.methods]
    usual = min(default_batch([step], place.device) for step in steps)
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


def _measure_batches(config: Memory, place: Place, record: Record) -> dict[int, result.BatchMemory]:
    """Measure each method at each batch size; those that do not fit are listed with their predicted
    peak.
    """
    batches = {size: result.BatchMemory(methods={}) for size in config.batch_sizes}
    runs = list(itertools.product(config.batch_sizes, config.methods))
    tried = 0
    rounds = in_time(runs)
    for size, method in progress(rounds, desc="memory", total=len(runs), disable=config.quiet):
        tried += 1
        factors = factors_of(config, method, batch_size=size)
        predicted = predict(factors, place.device.type)
        attempted = attempt(factors, place, budget_bytes(config, place.device))
        if attempted is None:
            batches[size].too_large[method] = predicted.peak_gib
            continue
        parts, peaks = attempted
        retries = sum(peak.retries for peak in peaks)
        batches[size].methods[method] = result.MethodMemory(
            measured=parts, predicted=predicted, retries=retries
        )
        record.samples[f"{method}_b{size}_peak_bytes"] = [peak.allocated for peak in peaks]
        if retries:
            slow = "the allocator freed its cache to go on, so steps there are slow"
            record.notes.append(f"{method} at batch {size}: {slow}")
        record.save()
    if tried < len(runs):
        record.notes.append(f"out of time after {tried} of {len(runs)} measurements")
    record.notes.append("memory is not random: the greater peak of two steps, without an interval")
    first, *others = config.methods
    for batch in batches.values():
        for method in others:
            if first in batch.methods and method in batch.methods:
                above, below = batch.methods[method].measured, batch.methods[first].measured
                batch.ratios[f"{method}/{first}"] = result.MemoryRatio(
                    peak=above.peak_gib / below.peak_gib,
                    activations=above.activations_gib / below.activations_gib,
                )
    return batches


def attempt(factors: Factors, place: Place, budget: float) -> tuple[MemoryParts, list[Peak]] | None:
    """`measure`, or None if a step does not fit; what the step held is free again.

    On a CPU, a step that is predicted not to fit is not tried: a machine without free memory stops
    answering.
    """
    measured = None
    if place.device.type == "cuda" or peak_bytes(factors, device_type="cpu") <= budget:
        with suppress(torch.OutOfMemoryError):
            measured = measure(factors, place)
    free_memory()  # after the block above: until its end, the error's frames hold their tensors
    return measured if measured and measured[0].peak_gib * GIB <= budget else None


def measure(factors: Factors, place: Place) -> tuple[MemoryParts, list[Peak]]:
    """A step's peak and parts, and the peak of each repetition."""
    trainer, batch = build(factors, place), batch_of(factors, place)
    for _ in range(NUM_WARMUP):
        trainer.train_step(iter([batch]))
    peaks = [peak_of(trainer, batch) for _ in range(NUM_REPEATS)]
    parameters = list(trainer.objective.parameters())
    state = {
        "parameters": sum(p.nbytes for p in parameters),
        "gradients": sum(p.grad.nbytes for p in parameters if p.grad is not None),
        "optimizer": sum(tensor.nbytes for tensor in moments_of(trainer)),
        "average": sum(tensor.nbytes for tensor in trainer.weights().values()),
    }
    trainer.optimizer.zero_grad(set_to_none=True)
    parts = _parts(max(peak.allocated for peak in peaks), state, saved_bytes(trainer, batch))
    if place.device.type == "cuda":
        parts = replace(parts, reserved_gib=max(peak.reserved for peak in peaks) / GIB)
    return parts, peaks


def predict(factors: Factors, device_type: str) -> MemoryParts:
    """What `measure` should find."""
    peak = peak_bytes(factors, device_type=device_type)
    activations = activation_bytes(factors, device_type=device_type)
    return _parts(peak, state_bytes(factors), activations)


def _parts(
    peak: float, state: Mapping[str, float], activations: Mapping[str, float]
) -> MemoryParts:
    """Bytes as GiB; `other` is what the peak holds beside all that stays and the larger of
    gradients and activations.
    """
    stays = state["parameters"] + state["optimizer"] + state["average"]
    other = peak - (stays + max(state["gradients"], sum(activations.values())))
    parts = {name: state[name] for name in ("parameters", "gradients", "optimizer", "average")}
    parts |= {
        "activations_image": activations["image_encoder"],
        "activations_text": activations["text_tower"],
        "activations_logits": activations["logits"],
        "other": other,
    }
    return MemoryParts(
        peak_gib=peak / GIB, **{f"{name}_gib": size / GIB for name, size in parts.items()}
    )


def peak_of(trainer: Trainer, batch: Batch) -> Peak:
    """Take one step and measure the most memory that it holds."""
    device = trainer.place.device
    if device.type == "cpu":
        with LiveStorage([*state_of(trainer), *tensors_of(batch)]) as live:
            trainer.train_step(iter([batch]))
        return Peak(live.peak_bytes)
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_stats(device)["num_alloc_retries"]
    trainer.train_step(iter([batch]))
    torch.cuda.synchronize(device)
    retries = torch.cuda.memory_stats(device)["num_alloc_retries"] - before
    return Peak(
        torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device), retries
    )


def state_of(trainer: Trainer) -> list[Tensor]:
    """Every tensor that a step finds when it begins."""
    parameters = list(trainer.objective.parameters())
    gradients = [p.grad for p in parameters if p.grad is not None]
    kept = [*trainer.objective.buffers(), *moments_of(trainer), *trainer.weights().values()]
    return parameters + gradients + kept


def moments_of(trainer: Trainer) -> list[Tensor]:
    """What AdamW keeps of each parameter: two moments, and the number of its steps."""
    return [tensor for state in trainer.optimizer.state.values() for tensor in state.values()]


def _largest(config: Memory, method: str, place: Place) -> result.LargestBatch:
    """The largest batch that fits, found by trying, and as predicted."""
    budget = budget_bytes(config, place.device)
    room = budget if config.budget_gib else torch.cuda.mem_get_info(place.device)[0]

    def is_predicted_to_fit(images: int) -> bool:
        step = factors_of(config, method, batch_size=images)
        return peak_bytes(step, device_type=place.device.type) <= room

    def fits(images: int) -> bool:
        return attempt(factors_of(config, method, batch_size=images), place, budget) is not None

    predicted = largest_batch(is_predicted_to_fit)
    largest = largest_batch(fits, start=predicted, multiple=MULTIPLE)
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
