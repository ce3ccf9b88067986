"""How much memory a training step takes, and for what: each method in its own turn, measured beside
predicted.

What is measured, and how, is in `bench.measuring.step_memory`. The step is the third, when the
optimizer has its state.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from bench.arithmetic.activations import peak_bytes
from bench.measuring.largest_batch import largest_batch
from bench.measuring.step_memory import ACTIVATIONS, GIB, activations_of, attempt, predict
from bench.methods import shown
from bench.training_step import BATCH_SIZE, PRECISION, Factors, MethodNames, StepConfig, factors_of
from catlip.cli import InputError, run
from catlip.program.progress import progress
from catlip.program.ranges import Count, NotNegative
from catlip.record import Record, build_name
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
COLUMNS = (
    "peak",
    "parameters",
    "gradients",
    "optimizer",
    "average",
    *ACTIVATIONS.values(),
    "other",
)


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
    predicted = {
        size: {m: predict(f, place.device.type) for m, f in each.items()}
        for size, each in plan.items()
    }
    with Record(
        config.out / f"{_name(config, place)}.json", kind="memory", config=config
    ) as record:
        measured = _measure(config, plan, place, record)
        largest = {
            m: _largest(config, factors_of(config, m, batch_size=config.batch_sizes[0]), place)
            for m in config.methods
        }
        record.shown_as = shown(config.methods)
        record.metrics = {"how": HOW[place.device.type], "batches": {}}
        for size in config.batch_sizes:
            found = {
                m: measured[size][m] | {"predicted": predicted[size][m]} | largest[m]
                for m in config.methods
            }
            record.metrics["batches"][str(size)] = {"methods": found, "ratios": _ratios(found)}
        record.notes.append(NOTES[place.device.type])
        print(_table(config, record))
    print(f"wrote {record.path}")


def _measure(
    config: Memory, plan: dict[int, dict[str, Factors]], place: Place, record: Record
) -> dict[int, dict[str, Any]]:
    """Each method's parts at each batch. Raises: InputError for what does not fit."""
    measured: dict[int, dict[str, Any]] = {size: {} for size in plan}
    runs = [(size, method) for size in plan for method in plan[size]]
    repeats = True
    for size, method in progress(
        runs, desc=f"memory {config.model}", unit="run", disable=config.quiet
    ):
        result = attempt(plan[size][method], place, budget_bytes(config, place.device))
        if result is None:
            device = record.environment["device"]
            raise InputError(
                f"{config.model}, {method}, batch {size}: out of memory on {device}; "
                "the largest that fits can be found with --largest"
            )
        parts, peaks = result
        measured[size][method] = {"measured": parts, "retries": sum(peak.retries for peak in peaks)}
        record.samples[f"{method}_b{size}_peak_bytes"] = [peak.allocated for peak in peaks]
        repeats &= len({peak.allocated for peak in peaks}) == 1
        if measured[size][method]["retries"]:
            record.notes.append(
                f"{method} at batch {size}: the allocator freed its cache to go on, so steps there "
                "are slow"
            )
        record.save()
    same = "the same in each of two steps" if repeats else "the greater of two steps, which differ"
    record.notes.append(f"memory is no random quantity: peaks are {same}, and there is no interval")
    return measured


def _largest(config: Memory, factors: Factors, place: Place) -> dict[str, int | None]:
    """The largest batch that fits, found by trying, and as predicted; None unless asked for."""
    if not config.largest:
        return {"largest_batch": None, "largest_batch_predicted": None}
    budget = budget_bytes(config, place.device)
    room = budget if config.budget_gib else torch.cuda.mem_get_info(place.device)[0]

    def predicted(size: int) -> bool:
        return peak_bytes(replace(factors, batch_size=size), device_type=place.device.type) <= room

    def fits(size: int) -> bool:
        return attempt(replace(factors, batch_size=size), place, budget) is not None

    expected = largest_batch(predicted)
    return {
        "largest_batch": largest_batch(fits, start=max(1, expected)),
        "largest_batch_predicted": expected,
    }


def _ratios(methods: dict[str, Any]) -> dict[str, dict[str, float]]:
    first, *others = methods
    peak = {m: found["measured"]["peak_gib"] for m, found in methods.items()}
    kept = {m: activations_of(found["measured"]) for m, found in methods.items()}
    return {
        f"{m}/{first}": {"peak": peak[m] / peak[first], "activations": kept[m] / kept[first]}
        for m in others
    }


def _name(config: Memory, place: Place) -> str:
    batches = "-".join(map(str, config.batch_sizes))
    variant = ("-naive" if config.attention == "naive" else "") + (
        "-checkpointing" if config.checkpointing else ""
    )
    return f"{config.model}-b{batches}-{config.precision}{variant}-{build_name(place.device.type)}"


def _table(config: Memory, record: Record) -> str:
    device, how = record.environment["device"], record.metrics["how"]
    form = (
        f"{config.precision}, {config.attention}{', checkpointing' if config.checkpointing else ''}"
    )
    names = [column.removeprefix("activations_").removesuffix("_gib") for column in COLUMNS]
    lines = [
        (
            f"{config.model}, {config.resolution} px, {form}, {device}; GiB, {how}; predicted in "
            "the "
            "second line of each"
        )
    ]
    for size, found in record.metrics["batches"].items():
        lines.append(f"{'batch ' + size:16}" + "".join(f"{name:>11}" for name in names))
        for method, parts in found["methods"].items():
            for title, row in ((method, parts["measured"]), ("", parts["predicted"])):
                lines.append(
                    f"{title:16}"
                    + "".join(f"{row[c if c in row else f'{c}_gib']:11.3f}" for c in COLUMNS)
                )
        for pair, ratio in found["ratios"].items():
            lines.append(
                f"{pair} = {ratio['peak']:.2f} at the peak, {ratio['activations']:.2f} in "
                "activations"
            )
    for method, parts in found["methods"].items():
        if parts["largest_batch"] is not None:
            lines.append(
                f"{method}: at most {parts['largest_batch']} images fit, "
                f"{parts['largest_batch_predicted']} predicted"
            )
    return "\n".join([*lines, *record.notes])


if __name__ == "__main__":
    run(Memory, main)
