"""What a training step costs: forward, loss, backward and optimizer of each method, interleaved in
one process.

The steps are those of `catlip.training.trainer.Trainer`, as pre-training takes them: in each, the
host waits once for the loss and the gradient's norm.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from bench.arithmetic.fitting import default_batch
from bench.arithmetic.flops import step_flops
from bench.measuring.ceiling import measure_ceiling
from bench.measuring.deadline import in_time
from bench.measuring.feed import real_batches
from bench.measuring.methods import shown
from bench.measuring.statistics import ratio, summarise
from bench.measuring.training_step import (
    PHASES,
    PRECISION,
    Factors,
    MethodNames,
    StepConfig,
    Stopwatch,
    batch_of,
    build,
    factors_of,
    free_memory,
)
from bench.step_time import result
from bench.step_time.result import step_tables
from catlip.cli import InputError, run
from catlip.data.loader import Batch
from catlip.program.progress import progress
from catlip.program.ranges import Natural, PartialFraction
from catlip.record import LATER, Record, build_name
from catlip.results.run import Run
from catlip.system.machine import EnergyMeter
from catlip.table import print_tables
from catlip.training.distributed import Place, barrier, choose_deterministic, find_place
from catlip.training.parallel import Parallel
from catlip.training.trainer import Trainer

PAPER_SAMPLES = 13.1e9  # 200,000 steps of 65,536 images (Table 6b)


@dataclass(frozen=True)
class StepTime(StepConfig):
    """Time one training step of each method, interleaved, and compare.

    python -m bench.step_time --model vit_b16
    python -m bench.step_time --model vit_l16 --batch-size 128 --compile --device cuda
    python -m bench.step_time --model vit_b16 --methods catlip clip siglip superclass
    python -m bench.step_time --model vit_tiny16 --resolution 96 --data data/starter/pretrain \\
        --workers 2
    torchrun --nproc-per-node 8 -m bench.step_time --model vit_b16
    python -m bench.compare runs/bench/step_time/A.json B.json      # do two runs agree?
    """

    methods: MethodNames = ("catlip", "clip")
    """Methods to time; the first is the denominator of every ratio."""
    batch_size: Natural = 0
    """Images per step and device; 0 for 4 on a CPU, and on a GPU for 256, or fewer if 256 do not
    fit while the methods take turns.
    """
    attention: Literal["sdpa", "naive"] = "sdpa"
    """Attention of the image encoder: PyTorch's fused attention (sdpa), or one that writes out
    every attention matrix (naive).
    """
    checkpointing: bool = False
    """Compute each image block's activations again in the backward pass."""
    patch_drop_rate: PartialFraction = field(default=0.0, metadata=LATER)
    """Fraction of the patch tokens that are dropped, as in FLIP."""
    range_augment: bool = field(default=False, metadata=LATER)
    """Also draw each image's brightness, contrast and noise, as the paper's recipes do."""
    compile: bool = False
    """Time only with compiled transformer blocks."""
    eager: bool = field(default=False, metadata=LATER)
    """Time only without compiled blocks. By default a GPU is timed both ways, with one record each,
    and a CPU without.
    """
    deterministic: bool = field(default=False, metadata=LATER)
    """Use only kernels that give the same result each time."""
    parallel: Parallel = "ddp"
    """Under torchrun: ddp, or fsdp."""
    data: str = ""
    """Image-caption shards to load batches from, end to end; by default one synthetic batch stays
    on the device.
    """
    workers: Natural = 2
    """Loader processes, with --data."""
    num_steps: Natural = 0
    """Timed steps of each method; 0 for 50 on a GPU and 8 on a CPU."""
    num_warmup: Natural = 0
    """Steps of each method before the timed ones, not counted; 0 for 10 on a GPU and 2 on a CPU."""
    out: Path = Path("runs/bench/step_time")
    """Folder for the record, named by model, batch, precision, options, torch and device."""


PARTS = ("data_wait", *PHASES)


@dataclass(frozen=True)
class Measured:
    """What was measured of one method.

    Attributes:
        steps: for each timed step, the milliseconds of each of PARTS.
        first_ms: milliseconds of the very first step, in which kernels are chosen or compiled.
        parameters: how many parameters are trained.
        joules: energy of as many further steps, by the part of the machine that used it.
    """

    steps: list[dict[str, float]]
    first_ms: float
    parameters: int
    joules: dict[str, float]

    @property
    def totals_ms(self) -> list[float]:
        """Milliseconds of each timed step."""
        return [sum(step.values()) for step in self.steps]


def resolve(config: StepTime, device: torch.device) -> StepTime:
    """The config with every default that depends on the device filled in.

    Raises: InputError for an unknown name.
    """
    gpu = device.type == "cuda"
    resolved = replace(
        config,
        precision=config.precision or PRECISION[device.type],
        num_steps=config.num_steps or (50 if gpu else 8),
        num_warmup=config.num_warmup or (10 if gpu else 2),
    )
    steps = [factors_of(resolved, method) for method in resolved.methods]
    return replace(resolved, batch_size=config.batch_size or default_batch(steps, device))


def measure(config: StepTime, place: Place) -> dict[str, Measured]:
    """Take the steps of all methods, in turns. Returns: method -> what was measured.

    The marks are read at the end, so that a GPU never waits for the bench to read them.
    """
    watch = Stopwatch(place.device)
    factors = {method: factors_of(config, method) for method in config.methods}
    trainers = {method: build(each, place, watch.mark) for method, each in factors.items()}
    rounds = config.num_warmup + config.num_steps
    batches = _batches(config, factors[config.methods[0]], place, rounds * len(trainers))
    stream = _marked(batches, place, watch.mark)
    barrier()
    hidden = config.quiet or not place.is_main
    watch.mark()
    for _ in progress(
        in_time(range(rounds)),
        desc=f"step_time {config.model}",
        total=rounds,
        unit="round",
        disable=hidden,
    ):
        for trainer in trainers.values():
            watch.mark("data_wait")  # the bench's own time between two steps
            trainer.train_step(stream)
    steps = steps_ms(watch.laps_ms())
    taken = len(steps) // len(trainers)
    if taken == 1:
        raise InputError("out of time after the first round")
    warmup = min(config.num_warmup, taken - 1)
    timed = steps[warmup * len(trainers) :]
    return {
        method: Measured(
            steps=timed[i :: len(trainers)],
            first_ms=sum(steps[i].values()),
            parameters=sum(p.numel() for p in trainer.objective.parameters()),
            joules=joules_of(trainer, factors[method], config.num_steps) if taken == rounds else {},
        )
        for i, (method, trainer) in enumerate(trainers.items())
    }


def joules_of(trainer: Trainer, factors: Factors, num_steps: int) -> dict[str, float]:
    """Joules that `num_steps` steps of one method alone use: counters are too slow for single
    steps. Empty without a counter, or with several ranks.
    """
    meter = EnergyMeter()
    if not meter.joules() or trainer.place.world_size > 1:
        return {}
    batches = itertools.repeat(batch_of(factors, trainer.place))
    for _ in range(num_steps):
        trainer.train_step(batches)  # waits for the device
    return meter.joules()


def _batches(config: StepTime, factors: Factors, place: Place, count: int) -> Iterator[Batch]:
    if config.data:
        return real_batches(config.data, factors, place, count=count, workers=config.workers)
    return itertools.repeat(batch_of(factors, place), count)


def _marked(batches: Iterator[Batch], place: Place, mark: Callable[[str], None]) -> Iterator[Batch]:
    """The batches, on the device, with a mark before and after the wait for each."""
    while True:
        mark("forward")  # before it asks for a batch, the trainer has cleared the gradients
        batch = next(batches).to(place.device)
        mark("data_wait")
        yield batch


def steps_ms(laps: Sequence[tuple[str, float]]) -> list[dict[str, float]]:
    """Milliseconds of each of PARTS, one dictionary per step; a step ends with its optimizer."""
    steps = [dict.fromkeys(PARTS, 0.0)]
    for part, ms in laps:
        steps[-1][part] += ms
        if part == "optimizer":
            steps.append(dict.fromkeys(PARTS, 0.0))
    return steps[:-1]


def main(config: StepTime) -> None:
    """Measure, compare, print, and write one record for each way, eager or compiled."""
    if config.deterministic:
        choose_deterministic()
    place = find_place(config.device)
    config = resolve(config, place.device)
    runs = []
    for compiled in ways(config, place.device.type):
        runs += time_steps(replace(config, compile=compiled), place)
        free_memory()  # two ways at once may not fit on a device
    if runs:
        print_tables(step_tables(runs))
    for timed in runs:
        if timed.machine.busy:
            print(f"warning: {timed.name}: {timed.machine.busy} Times are in doubt.")
        print(f"wrote {config.out / timed.name}.json")


def ways(config: StepTime, device_type: str) -> list[bool]:
    """Whether to compile, for each way that is timed. Raises: InputError."""
    if config.compile and config.eager:
        raise InputError("--compile and --eager exclude each other; give neither to time both ways")
    if config.compile or config.eager or device_type != "cuda":
        return [config.compile]
    return [False, True]


def time_steps(config: StepTime, place: Place) -> list[Run[result.StepTime]]:
    """Measure one way and write the record; [] in ranks that do not write. Raises: InputError."""
    if not place.is_main:
        measure(config, place)
        return []
    path = config.out / f"{_name(config, place)}.json"
    with Record(path, kind=result.StepTime, config=config) as record:
        ceiling = measure_ceiling(place.device, config.precision)
        try:
            measured = measure(config, place)
        except torch.OutOfMemoryError:
            size = f"{config.model}, batch {config.batch_size}, {config.precision}"
            raise InputError(
                f"{size}: out of memory; set --batch-size (bench.memory --largest finds the "
                "largest)"
            ) from None
        record.shown_as = shown(config.methods)
        record.samples = _samples(measured)
        record.notes = _notes(config, place)
        timed = len(measured[config.methods[0]].steps)
        if timed < config.num_steps:
            record.notes.append(f"out of time after {timed} of {config.num_steps} timed steps")
        return [record.measured(_summary(config, measured, ceiling, ranks=place.world_size))]


def _samples(measured: dict[str, Measured]) -> dict[str, list[Any]]:
    samples = {
        f"{method}_{part}_ms": [step[part] for step in each.steps]
        for method, each in measured.items()
        for part in PARTS
    }
    return samples | {f"{method}_total_ms": each.totals_ms for method, each in measured.items()}


def _notes(config: StepTime, place: Place) -> list[str]:
    notes = ["one synthetic batch stays on the device: no data loading"]
    if config.data:
        notes = [
            "one loader makes labels and tokens for all methods, and the method that steps next "
            "takes its next batch"
        ]
    if place.world_size == 1:
        notes.append("one process: no communication between devices")
    elif place.device.type == "cpu":
        notes.append(
            f"{place.world_size} processes share one machine's cores, so this does not measure "
            "several machines"
        )
    return notes


def _summary(
    config: StepTime, measured: dict[str, Measured], ceiling: result.Ceiling, *, ranks: int
) -> result.StepTime:
    first, *others = config.methods
    totals = {method: each.totals_ms for method, each in measured.items()}
    flops = {method: step_flops(factors_of(config, method), ranks) for method in config.methods}
    methods = {}
    for method, each in measured.items():
        total_ms = summarise(totals[method])
        images_per_s = config.batch_size * ranks / total_ms.median * 1e3
        tflops, promised = flops[method] / total_ms.median / 1e9, ceiling.datasheet_tflops
        parts = {part: summarise([step[part] for step in each.steps]) for part in PARTS}
        methods[method] = result.MethodSteps(
            parameters=each.parameters,
            first_ms=each.first_ms,
            total_ms=total_ms,
            data_wait_ms=parts["data_wait"],
            forward_ms=parts["forward"],
            loss_ms=parts["loss"],
            backward_ms=parts["backward"],
            optimizer_ms=parts["optimizer"],
            images_per_s=images_per_s,
            tflops=tflops,
            mfu=tflops / ceiling.tflops.median,
            mfu_datasheet=tflops / promised if promised else None,
            device_hours=PAPER_SAMPLES / images_per_s * ranks / 3600,
            joules_per_1000_images={
                of: 1e3 * joules / (config.num_steps * config.batch_size)
                for of, joules in each.joules.items()
            },
        )
    return result.StepTime(
        world_size=ranks,
        ceiling=ceiling,
        methods=methods,
        ratios={f"{m}/{first}": ratio(totals[m], totals[first]) for m in others},
        flops_ratios={f"{m}/{first}": flops[m] / flops[first] for m in others},
    )


def _name(config: StepTime, place: Place) -> str:
    options = {
        "naive": config.attention == "naive",
        "checkpointing": config.checkpointing,
        f"drop{config.patch_drop_rate:g}": config.patch_drop_rate > 0,
        "augmented": config.range_augment,
        "deterministic": config.deterministic,
        "compile": config.compile,
        "data": bool(config.data),
        f"{place.world_size}x{config.parallel}": place.world_size > 1,
        f"{config.resolution}px": config.resolution != StepTime.resolution,
    }
    chosen = "".join(f"-{name}" for name, given in options.items() if given)
    step = f"{config.model}-b{config.batch_size}-{config.precision}{chosen}"
    return f"{step}-{build_name(place.device.type)}"


if __name__ == "__main__":
    run(StepTime, main)
