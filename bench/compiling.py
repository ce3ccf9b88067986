"""How long compiling the transformer blocks takes at each image size of a recipe, and when it pays.

A compiled block is fast because it is made for one image size. A recipe that draws its images at 13
sizes compiles 13 times, at the first step of each. The time that compiling takes, and the time that
a step then saves, say how long a training must be before compiling pays.
"""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
from torch._inductor import config as inductor

from bench.arithmetic.memory import default_batch
from bench.measuring.deadline import in_time
from bench.measuring.methods import METHODS, shown
from bench.measuring.statistics import ratio, summarise
from bench.measuring.training_step import (
    PRECISION,
    StepConfig,
    Stopwatch,
    batch_of,
    build,
    factors_of,
)
from bench.measuring.variants import Variant
from bench.step_time import compiling_result as result
from bench.step_time.compiling_result import compiling_table, when_it_pays
from catlip.cli import choose, one_of, run
from catlip.data.loader import Batch
from catlip.program.progress import progress
from catlip.program.ranges import Natural
from catlip.recipes.pretrain import CATLIP
from catlip.record import Record, build_name
from catlip.results.least_counts import ROUNDS
from catlip.table import print_tables
from catlip.training.distributed import Place, find_place
from catlip.training.trainer import Trainer


@dataclass(frozen=True)
class Compiling(StepConfig):
    """Time eager and compiled steps at every image size of a recipe, and how long compiling takes.

    python -m bench.compiling --model vit_b16     # some minutes: 13 sizes
    python -m bench.compiling --model vit_tiny16 --resolution 96 --num-sizes 3
    """

    method: Annotated[str, one_of(METHODS)] = "catlip"
    """Method to train."""
    sizes_of: Annotated[str, one_of(CATLIP)] = "datacomp_b16"
    """The recipe whose image sizes are taken, scaled to --resolution."""
    batch_size: Natural = 0
    """Images per step at --resolution; 0 for 4 on a CPU, and on a GPU for 256, or fewer if 256 do
    not fit.
    """
    num_sizes: Natural = 0
    """Number of image sizes, evenly spaced; 0 for all."""
    num_rounds: Natural = 0
    """How many steps are timed at each size, eager and compiled alike; 0 for the fewest that give
    an interval.
    """
    out: Path = Path("runs/bench/compiling")
    """Folder for the record, named by model, method, batch, precision, torch and device."""


def resolve(config: Compiling, device: torch.device) -> Compiling:
    """The config with every default that depends on the device filled in.

    Raises: InputError for an unknown name.
    """
    choose("recipe", config.sizes_of, CATLIP)
    config = replace(
        config,
        precision=config.precision or PRECISION[device.type],
        num_rounds=config.num_rounds or ROUNDS["compiling"],
    )
    both = [factors_of(config, config.method)] * 2  # both trainers are in memory at once
    return replace(config, batch_size=config.batch_size or default_batch(both, device))


def step_ms(trainer: Trainer, batch: Batch) -> float:
    """Milliseconds of one step, including any compiling, for which the device waits."""
    watch = Stopwatch(trainer.place.device)
    watch.mark()
    trainer.train_step(iter([batch]))
    watch.mark()
    return watch.laps_ms()[0][1]


def measure(config: Compiling, place: Place, record: Record) -> result.Compiling:
    """Time the first step of each size, eager and compiled, then steps of both in turns; the record
    keeps the times.
    """
    inductor.force_disable_caches = True  # or what an earlier run compiled costs nothing
    warnings.filterwarnings("ignore", "dynamo_pgo force disabled")
    step = factors_of(config, config.method)
    eager, compiled = (build(replace(step, compile=way), place) for way in (False, True))
    sizes, totals = [], ([0.0] * config.num_rounds, [0.0] * config.num_rounds)
    every = Variant(step, CATLIP[config.sizes_of], config.num_sizes).sizes()
    for size in progress(
        in_time(every),
        desc=f"compiling {config.model}",
        total=len(every),
        unit="size",
        disable=config.quiet,
    ):
        batch = batch_of(replace(step, resolution=size.resolution, batch_size=size.batch), place)
        first_ms = [step_ms(trainer, batch) for trainer in (eager, compiled)]
        taken: tuple[list[float], list[float]] = [], []
        record.samples[f"{size.resolution}_px_eager_ms"] = taken[0]
        record.samples[f"{size.resolution}_px_compiled_ms"] = taken[1]
        for number in range(config.num_rounds):
            for way in (0, 1) if number % 2 else (1, 0):  # each goes first in half of the rounds
                ms = step_ms((eager, compiled)[way], batch)
                taken[way].append(ms)
                totals[way][number] += ms
        sizes.append(
            result.CompiledSize(
                resolution=size.resolution,
                batch_size=size.batch,
                compile_s=(first_ms[1] - first_ms[0]) / 1e3,
                eager_ms=summarise(taken[0]),
                compiled_ms=summarise(taken[1]),
                ratio=ratio(*taken),
            )
        )
        record.save()
    if len(sizes) < len(every):
        record.notes.append(f"out of time after {len(sizes)} of {len(every)} image sizes")
    return result.Compiling(image_sizes=sizes, ratio=ratio(*totals))


def main(config: Compiling) -> None:
    """Measure, print, write the record."""
    place = find_place(config.device)
    config = resolve(config, place.device)
    step = f"{config.model}-{config.method}-b{config.batch_size}-{config.precision}"
    path = config.out / f"{step}-{build_name(place.device.type)}.json"
    with Record(path, kind=result.Compiling, config=config) as record:
        record.shown_as = shown([config.method])
        measured = record.measured(measure(config, place, record))
    print_tables([compiling_table("compiling", measured)])
    print(when_it_pays([measured]))
    print(f"wrote {record.path}")


if __name__ == "__main__":
    run(Compiling, main)
