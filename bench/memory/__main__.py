"""How much memory a training step takes, and for what: measured for one method after another,
beside what is predicted.

`bench.measuring.step_memory` says what is measured, and how. Two steps come before the measured
ones, so that the optimizer has its state.
"""

import itertools
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from bench.arithmetic.memory import default_batch, peak_bytes
from bench.measuring.deadline import in_time
from bench.measuring.largest_batch import largest_batch
from bench.measuring.methods import shown
from bench.measuring.step_memory import attempt, fitter, predict
from bench.measuring.training_step import PRECISION, MethodNames, StepConfig, factors_of
from bench.memory import result
from bench.memory.result import memory_tables
from catlip.cli import InputError, run
from catlip.costs import GIB
from catlip.program.progress import progress
from catlip.program.ranges import Count, NotNegative, PartialFraction
from catlip.record import LATER, Record, build_name
from catlip.table import print_tables
from catlip.training.distributed import Place, find_place

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
class Memory(StepConfig):
    """Measure the peak memory of one training step of each method, and what it consists of.

    python -m bench.memory --model vit_b16
    python -m bench.memory --model vit_b16 --batch-sizes 64 128 256 --checkpointing --device cuda
    python -m bench.memory --model vit_l16 --precision bf16 --largest
    """

    methods: MethodNames = ("catlip", "clip")
    """Methods to measure; the first is the denominator of every ratio."""
    batch_sizes: Annotated[tuple[Count, ...], tyro.conf.arg(aliases=("--batch-size",))] = ()
    """Images per step, one number or several; by default 4 on a CPU, and on a GPU 256, or fewer if
    256 do not fit.
    """
    attention: Literal["sdpa", "naive"] = "sdpa"
    """Attention of the image encoder: PyTorch's fused attention (sdpa), or one that writes out
    every attention matrix (naive).
    """
    checkpointing: bool = False
    """Compute each image block's activations again in the backward pass."""
    patch_drop_rate: PartialFraction = field(default=0.0, metadata=LATER)
    """Fraction of the patch tokens that are dropped, as in FLIP."""
    largest: bool = False
    """Also look for the largest batch that fits, by trying; on a CPU, in the memory given by
    --budget-gib.
    """
    budget_gib: NotNegative = 0.0
    """GiB of memory that a step may take; 0 for all of the device's."""
    out: Path = Path("runs/bench/memory")
    """Folder for the record, named by model, batches, precision, torch and device."""


def resolve(config: Memory, place: Place) -> Memory:
    """The config with every default that depends on the device filled in.

    Raises: InputError for what cannot be measured.
    """
    if place.world_size > 1:
        raise InputError("bench.memory measures one process: start it without torchrun")
    on_gpu = place.device.type == "cuda"
    if config.largest and not (on_gpu or config.budget_gib):
        raise InputError(
            "--largest on a CPU needs --budget-gib: trying must not use up memory that other "
            "programs share"
        )
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
    lines = Path("/proc/meminfo")
    if device.type == "cuda" or not lines.exists():
        return math.inf
    return next(
        float(line.split()[1]) * 1024
        for line in lines.read_text().splitlines()
        if line.startswith("MemAvailable")
    )


def main(config: Memory) -> None:
    """Measure, print, write the record."""
    place = find_place(config.device)
    config = resolve(config, place)
    path = config.out / f"{_name(config, place)}.json"
    with Record(path, kind=result.Memory, config=config) as record:
        record.shown_as = shown(config.methods)
        record.notes.append(NOTES[place.device.type])
        batches = _measure(config, place, record)
        largest = {m: _largest(config, m, place) for m in config.methods if config.largest}
        if not largest and not any(batch.methods for batch in batches.values()):
            raise InputError(
                f"{config.model}, {', '.join(config.methods)}, batch {min(batches)}: out of memory "
                f"on {record.environment['device']}; the largest that fits can be found with "
                "--largest"
            )
        how = HOW[place.device.type]
        measured = record.measured(result.Memory(how=how, batches=batches, largest=largest))
    print_tables(memory_tables(measured))
    print("\n".join(record.notes))
    print(f"wrote {record.path}")


def _measure(config: Memory, place: Place, record: Record) -> dict[int, result.BatchMemory]:
    """Measure each method at each batch size; those that do not fit are listed with their predicted
    peak.
    """
    batches = {size: result.BatchMemory(methods={}) for size in config.batch_sizes}
    runs = list(itertools.product(config.batch_sizes, config.methods))
    repeats = True
    tried = 0
    for size, method in progress(
        in_time(runs),
        desc=f"memory {config.model}",
        total=len(runs),
        unit="run",
        disable=config.quiet,
    ):
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
        repeats &= len({peak.allocated for peak in peaks}) == 1
        if retries:
            record.notes.append(
                f"{method} at batch {size}: the allocator freed its cache to go on, so steps there "
                "are slow"
            )
        record.save()
    if tried < len(runs):
        record.notes.append(f"out of time after {tried} of {len(runs)} measurements")
    same = "the same in each of two steps" if repeats else "the greater of two steps, which differ"
    record.notes.append(f"memory is not random: peaks are {same}, so there is no interval")
    for batch in batches.values():
        batch.ratios.update(_ratios(batch.methods, config.methods[0]))
    return batches


def _largest(config: Memory, method: str, place: Place) -> result.LargestBatch:
    """The largest batch that fits, found by trying, and as predicted; from 8 images on, only
    multiples of 8 are tried.
    """
    factors = factors_of(config, method, batch_size=1)
    budget = budget_bytes(config, place.device)
    room = budget if config.budget_gib else torch.cuda.mem_get_info(place.device)[0]

    def predicted(size: int) -> bool:
        return peak_bytes(replace(factors, batch_size=size), device_type=place.device.type) <= room

    expected = largest_batch(predicted)
    largest = largest_batch(fitter(factors, place, budget), start=expected, multiple=MULTIPLE)
    return result.LargestBatch(images=largest, predicted=expected)


def _ratios(methods: dict[str, result.MethodMemory], first: str) -> dict[str, result.MemoryRatio]:
    """The ratios of each method to the first; none if the first did not fit."""
    if first not in methods:
        return {}
    below = methods[first].measured
    others = ((m, memory.measured) for m, memory in methods.items() if m != first)
    return {
        f"{m}/{first}": result.MemoryRatio(
            peak=above.peak_gib / below.peak_gib,
            activations=above.activations_gib / below.activations_gib,
        )
        for m, above in others
    }


def _name(config: Memory, place: Place) -> str:
    batches = "-".join(map(str, config.batch_sizes))
    options = {
        "naive": config.attention == "naive",
        "checkpointing": config.checkpointing,
        f"drop{config.patch_drop_rate:g}": config.patch_drop_rate > 0,
    }
    variant = "".join(f"-{name}" for name, given in options.items() if given)
    return f"{config.model}-b{batches}-{config.precision}{variant}-{build_name(place.device.type)}"


if __name__ == "__main__":
    run(Memory, main)
