"""What a training step costs: forward, loss, backward and optimizer of each method, interleaved in
one process.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from bench.arithmetic.flops import step_flops
from bench.measuring.ceiling import measure_ceiling
from bench.measuring.feed import real_batches
from bench.methods import shown
from bench.statistics import ratio, summarise
from bench.training_step import (
    BATCH_SIZE,
    PHASES,
    PRECISION,
    Factors,
    MethodNames,
    StepConfig,
    Stopwatch,
    batch_of,
    build,
    factors_of,
)
from catlip.cli import InputError, run
from catlip.data.loader import Batch
from catlip.program.progress import progress
from catlip.program.ranges import Natural
from catlip.record import Record, build_name
from catlip.training.distributed import Place, barrier, find_place
from catlip.training.parallel import Parallel

PAPER_SAMPLES = 13.1e9  # 200,000 steps of 65,536 images (Table 6b)
ROW = "{:14}{:>28} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>5} {:>13}"


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
    """What to time; the first is the denominator of every ratio."""
    batch_size: Natural = 0
    """Images per step and device; 0 for 256 on a GPU and 4 on a CPU."""
    attention: Literal["sdpa", "naive"] = "sdpa"
    """PyTorch's fused attention, or one that writes out every attention matrix."""
    checkpointing: bool = False
    """Compute each image block's activations again in the backward pass."""
    compile: bool = False
    """Compile the transformer blocks."""
    parallel: Parallel = "ddp"
    """Under torchrun: ddp, or fsdp."""
    data: str = ""
    """Image-caption shards to load batches from, end to end; by default one synthetic batch stays
    on the device.
    """
    workers: Natural = 2
    """Loader processes, with `data`."""
    num_steps: Natural = 0
    """Timed steps of each method; 0 for 50 on a GPU and 8 on a CPU."""
    num_warmup: Natural = 0
    """Steps of each method before those, not counted; 0 for 10 on a GPU and 2 on a CPU."""
    out: Path = Path("runs/bench/step_time")
    """Folder for the record, named by model, batch, precision, options, torch and device."""


PARTS = ("data_wait", *PHASES)
Laps = dict[str, list[dict[str, float]]]  # of each method and step, the ms of each of PARTS


def resolve(config: StepTime, device: torch.device) -> StepTime:
    """The config with every default that depends on the device filled in.

    Raises: InputError for an unknown name.
    """
    gpu = device.type == "cuda"
    found = replace(
        config,
        precision=config.precision or PRECISION[device.type],
        batch_size=config.batch_size or BATCH_SIZE[device.type],
        num_steps=config.num_steps or (50 if gpu else 8),
        num_warmup=config.num_warmup or (10 if gpu else 2),
    )
    for method in found.methods:
        factors_of(found, method)
    return found


def measure(config: StepTime, place: Place) -> tuple[Laps, dict[str, int]]:
    """The timed steps of each method, taken in turns, and its number of parameters.

    The marks are read at the end, so that a GPU never waits for the bench to look.
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
        range(rounds), desc=f"step_time {config.model}", unit="round", disable=hidden
    ):
        for trainer in trainers.values():
            watch.mark("data_wait")  # what the bench itself takes between two steps
            trainer.train_step(stream)
    steps = steps_ms(watch.laps_ms())[config.num_warmup * len(trainers) :]
    return {method: steps[i :: len(trainers)] for i, method in enumerate(trainers)}, {
        method: sum(p.numel() for p in trainer.objective.parameters())
        for method, trainer in trainers.items()
    }


def _batches(config: StepTime, factors: Factors, place: Place, count: int) -> Iterator[Batch]:
    if config.data:
        return real_batches(config.data, factors, place, count, config.workers)
    return itertools.repeat(batch_of(factors, place), count)


def _marked(batches: Iterator[Batch], place: Place, mark: Callable[[str], None]) -> Iterator[Batch]:
    """The batches, on the device, with a mark before and after the wait for each."""
    while True:
        mark("forward")  # before it asks for a batch, the trainer has cleared the gradients
        batch = next(batches).to(place.device)
        mark("data_wait")
        yield batch


def steps_ms(laps: Sequence[tuple[str, float]]) -> list[dict[str, float]]:
    """Milliseconds of each of PARTS, a dictionary a step; a step ends with its optimizer."""
    steps = [dict.fromkeys(PARTS, 0.0)]
    for part, ms in laps:
        steps[-1][part] += ms
        if part == "optimizer":
            steps.append(dict.fromkeys(PARTS, 0.0))
    return steps[:-1]


def main(config: StepTime) -> None:
    """Measure, compare, print, write the record."""
    place = find_place(config.device)
    config = resolve(config, place.device)
    if not place.is_main:
        measure(config, place)
        return
    with Record(
        config.out / f"{_name(config, place)}.json", kind="step_time", config=config
    ) as record:
        ceiling = measure_ceiling(place.device, config.precision)
        try:
            laps, parameters = measure(config, place)
        except torch.OutOfMemoryError:
            size = f"{config.model}, batch {config.batch_size}, {config.precision}"
            raise InputError(
                f"{size}: out of memory; set --batch-size (bench.memory --largest finds the "
                "largest)"
            ) from None
        _fill(record, config, place, laps, parameters, ceiling)
        print(_table(config, record))
    print(f"wrote {record.path}")


def _fill(
    record: Record,
    config: StepTime,
    place: Place,
    laps: Laps,
    parameters: dict[str, int],
    ceiling: dict[str, Any],
) -> None:
    first, world_size = config.methods[0], place.world_size
    totals = {method: [sum(step.values()) for step in taken] for method, taken in laps.items()}
    flops = {
        method: step_flops(factors_of(config, method), world_size) for method in config.methods
    }
    record.shown_as = shown(config.methods)
    record.metrics = {
        "world_size": world_size,
        "ceiling": ceiling,
        "methods": {
            m: {"parameters": parameters[m], **_summary(config, place, laps[m], flops[m], ceiling)}
            for m in config.methods
        },
        "ratios": {f"{m}/{first}": ratio(totals[m], totals[first]) for m in config.methods[1:]},
        "flops_ratios": {f"{m}/{first}": flops[m] / flops[first] for m in config.methods[1:]},
    }
    record.samples = {
        f"{m}_{part}_ms": [step[part] for step in laps[m]] for m in laps for part in PARTS
    }
    record.samples |= {f"{method}_total_ms": taken for method, taken in totals.items()}
    if config.data:
        record.notes.append(
            "one loader makes labels and tokens for all methods, and whoever steps next takes its "
            "next batch"
        )
    else:
        record.notes.append("one synthetic batch stays on the device: no data loading")
    if world_size == 1:
        record.notes.append("one process: no communication between devices")
    elif place.device.type == "cpu":
        record.notes.append(
            f"{world_size} processes share one machine's cores: no measure of several machines"
        )


def _summary(
    config: StepTime,
    place: Place,
    laps: list[dict[str, float]],
    flops: float,
    ceiling: dict[str, Any],
) -> dict[str, Any]:
    """Of one method; FLOP/s are of one device, without what checkpointing computes again."""
    total = summarise([sum(step.values()) for step in laps])
    phases = {f"{part}_ms": summarise([step[part] for step in laps]) for part in PARTS}
    images_per_s = config.batch_size * place.world_size / total.median * 1e3
    tflops, promised = flops / total.median / 1e9, ceiling["datasheet_tflops"]
    return {
        "total_ms": total,
        **phases,
        "images_per_s": images_per_s,
        "tflops": tflops,
        "mfu": tflops / ceiling["tflops"].median,
        "mfu_datasheet": promised and tflops / promised,
        "device_hours": PAPER_SAMPLES / images_per_s * place.world_size / 3600,
    }


def _name(config: StepTime, place: Place) -> str:
    options = {
        "naive": config.attention == "naive",
        "checkpointing": config.checkpointing,
        "compile": config.compile,
        "data": bool(config.data),
        f"{place.world_size}x{config.parallel}": place.world_size > 1,
        f"{config.resolution}px": config.resolution != StepTime.resolution,
    }
    chosen = "".join(f"-{name}" for name, given in options.items() if given)
    step = f"{config.model}-b{config.batch_size}-{config.precision}{chosen}"
    return f"{step}-{build_name(place.device.type)}"


def _table(config: StepTime, record: Record) -> str:
    found, device = record.metrics, record.environment["device"]
    reached = found["ceiling"]["tflops"]
    lines = [
        f"{config.model}, batch {config.batch_size} x {found['world_size']}, {config.resolution} "
        f"px, {config.precision}, "
        f"{device}; matrix products reach {reached.median:.3g} TFLOP/s [{reached.p5:.3g}, "
        f"{reached.p95:.3g}]",
        ROW.format(
            "", "total ms [p5, p95]", "wait", *PHASES, "images/s", "TFLOP/s", "MFU", "device-hours"
        ),
    ]
    for method, of in found["methods"].items():
        total = of["total_ms"]
        spread = f"{total.median:.1f} [{total.p5:.1f}, {total.p95:.1f}]"
        phases = [f"{of[f'{phase}_ms'].median:.1f}" for phase in PARTS]
        rates = (
            f"{of['images_per_s']:.1f}",
            f"{of['tflops']:.3g}",
            f"{of['mfu']:.0%}",
            f"{of['device_hours']:,.0f}",
        )
        lines.append(ROW.format(method, spread, *phases, *rates))
    for pair, measured in found["ratios"].items():
        interval = f"95 % interval {measured.low:.2f} to {measured.high:.2f}"
        lines.append(
            f"{pair} = {measured.value:.2f}  ({interval}); by FLOPs alone "
            f"{found['flops_ratios'][pair]:.2f}"
        )
    return "\n".join([*lines, f"device-hours are for {PAPER_SAMPLES:.3g} images at this rate"])


if __name__ == "__main__":
    run(StepTime, main)
