"""How much memory a training step takes, and for what: each method in its own turn, measured beside
predicted.

What is measured, and how, is in `bench.measuring.step_memory`. The step is the third, when the
optimizer has its state.
"""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from bench.arithmetic.activations import peak_bytes
from bench.measuring.largest_batch import largest_batch
from bench.measuring.methods import shown
from bench.measuring.step_memory import GIB, attempt, predict
from bench.measuring.training_step import (
    BATCH_SIZE,
    PRECISION,
    Factors,
    MethodNames,
    StepConfig,
    factors_of,
)
from catlip import kinds
from catlip.cli import InputError, run
from catlip.kinds.cost.memory import memory_tables
from catlip.program.progress import progress
from catlip.program.ranges import Count, NotNegative, PartialFraction
from catlip.record import LATER, Record, build_name
from catlip.table import print_tables
from catlip.training.distributed import Place, find_place

HOW = {"cuda": "CUDA allocator", "cpu": "live storage of tensors"}
NOTES = {
    "cuda": (
        "peak: allocated by PyTorch; reserved: what it took from the device; the driver's own "
        "context is in neither"
    ),
    "cpu": (
        "peak: the most bytes of distinct tensor storages alive at once; kernels' own work space "
        "is not seen"
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
    """What to measure; the first is the denominator of every ratio."""
    batch_sizes: Annotated[tuple[Count, ...], tyro.conf.arg(aliases=("--batch-size",))] = ()
    """Images per step, one or several; by default 256 on a GPU and 4 on a CPU."""
    attention: Literal["sdpa", "naive"] = "sdpa"
    """PyTorch's fused attention, or one that writes out every attention matrix; of the image
    encoder.
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
    """Memory that a step may take; 0 for all of the device's."""
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
            "--largest on a CPU takes --budget-gib: its memory is shared, and is not to be used up "
            "by trying"
        )
    return replace(
        config,
        batch_sizes=config.batch_sizes or (BATCH_SIZE[place.device.type],),
        precision=config.precision or PRECISION[place.device.type],
    )


def budget_bytes(config: Memory, device: torch.device) -> float:
    """What a step may take: as asked, or on a CPU what is free now; on a GPU no limit, because its
    allocator sets one.
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
    plan = {
        size: {m: factors_of(config, m, batch_size=size) for m in config.methods}
        for size in config.batch_sizes
    }
    path = config.out / f"{_name(config, place)}.json"
    with Record(path, kind=kinds.Memory, config=config) as record:
        measured = _measure(config, plan, place, record)
        largest = {
            m: _largest(config, factors_of(config, m, batch_size=config.batch_sizes[0]), place)
            for m in config.methods
        }
        batches = {}
        for size in config.batch_sizes:
            methods = {
                m: replace(
                    measured[size][m],
                    largest_batch=largest[m][0],
                    largest_batch_predicted=largest[m][1],
                )
                for m in config.methods
            }
            batches[size] = kinds.BatchMemory(methods=methods, ratios=_ratios(methods))
        record.shown_as = shown(config.methods)
        record.notes.append(NOTES[place.device.type])
        run = record.measured(kinds.Memory(how=HOW[place.device.type], batches=batches))
    print_tables(memory_tables(run))
    print("\n".join(record.notes))
    print(f"wrote {record.path}")


def _measure(
    config: Memory, plan: dict[int, dict[str, Factors]], place: Place, record: Record
) -> dict[int, dict[str, kinds.MethodMemory]]:
    """Each method's parts at each batch. Raises: InputError for what does not fit."""
    measured: dict[int, dict[str, kinds.MethodMemory]] = {size: {} for size in plan}
    runs = [(size, method) for size in plan for method in plan[size]]
    repeats = True
    for size, method in progress(
        runs, desc=f"memory {config.model}", unit="run", disable=config.quiet
    ):
        factors = plan[size][method]
        result = attempt(factors, place, budget_bytes(config, place.device))
        if result is None:
            device = record.environment["device"]
            raise InputError(
                f"{config.model}, {method}, batch {size}: out of memory on {device}; the largest "
                "that fits can be found with --largest"
            )
        parts, peaks = result
        retries = sum(peak.retries for peak in peaks)
        measured[size][method] = kinds.MethodMemory(
            measured=parts, predicted=predict(factors, place.device.type), retries=retries
        )
        record.samples[f"{method}_b{size}_peak_bytes"] = [peak.allocated for peak in peaks]
        repeats &= len({peak.allocated for peak in peaks}) == 1
        if retries:
            record.notes.append(
                f"{method} at batch {size}: the allocator freed its cache to go on, so steps there "
                "are slow"
            )
        record.save()
    same = "the same in each of two steps" if repeats else "the greater of two steps, which differ"
    record.notes.append(f"memory is no random quantity: peaks are {same}, and there is no interval")
    return measured


def _largest(config: Memory, factors: Factors, place: Place) -> tuple[int | None, int | None]:
    """The largest batch that fits, found by trying, and as predicted; None unless asked for."""
    if not config.largest:
        return None, None
    budget = budget_bytes(config, place.device)
    room = budget if config.budget_gib else torch.cuda.mem_get_info(place.device)[0]

    def predicted(size: int) -> bool:
        return peak_bytes(replace(factors, batch_size=size), device_type=place.device.type) <= room

    def fits(size: int) -> bool:
        return attempt(replace(factors, batch_size=size), place, budget) is not None

    expected = largest_batch(predicted)
    return largest_batch(fits, start=max(1, expected)), expected


def _ratios(methods: dict[str, kinds.MethodMemory]) -> dict[str, kinds.MemoryRatio]:
    """Of each method over the first."""
    (first, below), *others = ((m, memory.measured) for m, memory in methods.items())
    return {
        f"{m}/{first}": kinds.MemoryRatio(
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
