"""What the training loop adds to a step: `Trainer.train_step` against the same work written out,
taken in turns.

Both sides train the same model on the same batch, which is ready on the device, and do a forward
under autocast, a backward, gradient clipping, a fused AdamW step and the update of the averaged
weights. The loop's side also takes the batch from its iterator, seeds the random numbers of the
micro-batch, scales the loss, sets the learning rate, waits for the loss and the gradient's norm to
be finite before it steps, and keeps times. A line of the log is timed by itself and counted once
for every `log_every` steps.
"""

import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
from torch import nn

from bench import methods
from bench.statistics import ratio, summarise
from catlip import kinds
from catlip.cli import InputError, choose, one_of, run
from catlip.data.loader import Batch
from catlip.encoder import ENCODERS
from catlip.kinds.loop_overhead import loop_overhead_table
from catlip.objective import Objective
from catlip.progress import progress
from catlip.ranges import Count, Seed
from catlip.record import Record, build_name
from catlip.table import as_text
from catlip.training.average import WeightAverage
from catlip.training.distributed import Place, find_place
from catlip.training.log import Log
from catlip.training.loop import Trainer
from catlip.training.schedule import Optimization, adamw, autocast

NUM_CLASSES = 1_000
NUM_WARMUP = 5
RUN_STEPS = 1_000_000  # of the run that these steps would be the beginning of


@dataclass(frozen=True)
class LoopOverhead:
    """Time the training loop against a bare forward, backward and optimizer of the same model,
    interleaved.

    python -m bench.loop_overhead
    python -m bench.loop_overhead --models vit_b16 --resolution 224 --batch-size 256 --device cuda
    """

    models: Annotated[tuple[str, ...], one_of(ENCODERS)] = ("hybrid_tiny", "vit_tiny16")
    """Image encoders; the shorter the step, the more the loop weighs."""
    resolution: Count = 48
    """Image side in pixels."""
    batch_size: Count = 64
    """Images per step; the starter recipe's."""
    precision: str = "bf16"
    """fp32 or bf16."""
    num_steps: Count = 60
    """Timed steps of each side, after 5 that are not counted."""
    log_every: Count = 20
    """Steps per line of the log."""
    seed: Seed = 0
    """Seed of the weights and of the synthetic batch."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    out: Path = Path("runs/bench/loop_overhead")
    """Folder for the records, named by model, batch, precision, torch and device."""
    quiet: bool = False
    """No progress bar."""

    def __post_init__(self) -> None:
        if self.precision not in ("fp32", "bf16"):
            raise InputError(
                f"precision {self.precision!r} is not fp32 or bf16: the bare side does not scale "
                "losses"
            )
        for model in self.models:
            choose("encoder", model, ENCODERS)


def bare_step(objective: Objective, recipe: Optimization, batch: Batch) -> Callable[[], object]:
    """The step as one would write it without a loop."""
    optimizer, average = adamw(objective, recipe), WeightAverage(objective, recipe.ema_decay)
    steps = itertools.count()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(batch.images.device, recipe.precision):
            loss = objective(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(objective.parameters(), recipe.grad_clip)
        optimizer.step()
        average.update(next(steps))

    return step


def timed_ms(step: Callable[[], object], place: Place) -> float:
    """Milliseconds of one step: until the GPU is done, or of processor time, which other programs'
    load does not stretch.
    """
    clock = time.perf_counter if place.device.type == "cuda" else time.process_time
    begin = clock()
    step()
    if place.device.type == "cuda":
        torch.cuda.synchronize()
    return (clock() - begin) * 1e3


def measure(config: LoopOverhead, model: str, place: Place) -> dict[str, list[float]]:
    """Milliseconds of each side's steps, and of each line of the log."""
    recipe = replace(Optimization(), precision=config.precision)
    batch = methods.synthetic_batch(
        config.batch_size, model, config.resolution, NUM_CLASSES, config.seed
    ).to(place.device)
    twins = [
        methods.build("catlip", model, config.resolution, NUM_CLASSES, config.seed).to(place.device)
        for _ in range(2)
    ]
    trainer = Trainer(twins[0], recipe, RUN_STEPS, accumulation=1, place=place)
    stream, done = itertools.repeat(batch), []
    sides = {
        "loop_ms": lambda: done.append(trainer.train_step(stream)),
        "bare_ms": bare_step(twins[1], recipe, batch),
    }
    taken: dict[str, list[float]] = {name: [] for name in (*sides, "log_line_ms")}
    with tempfile.TemporaryDirectory() as folder:
        log = Log(Path(folder), 0, place, wandb="", config={})
        rounds = range(NUM_WARMUP + config.num_steps)
        for number in progress(
            rounds, desc=f"loop_overhead {model}", unit="round", disable=config.quiet
        ):
            for name in sorted(
                sides, reverse=number % 2 == 0
            ):  # each side goes first in half of the rounds
                taken[name].append(timed_ms(sides[name], place))
            taken["log_line_ms"].append(
                timed_ms(lambda: log.write(trainer.step, done[-1:], recipe.max_lr, {}), place)
            )
        log.close()
    return {name: values[NUM_WARMUP:] for name, values in taken.items()}


def main(config: LoopOverhead) -> None:
    """Measure each model, print, and write its record."""
    place = find_place(config.device)
    for model in config.models:
        name = f"{model}-b{config.batch_size}-{config.precision}-{build_name(place.device.type)}"
        with Record(config.out / f"{name}.json", kind=kinds.LoopOverhead, config=config) as record:
            record.samples |= measure(config, model, place)
            if place.device.type == "cpu":
                record.notes.append("milliseconds of processor time, of all threads together")
            measured = record.measured(_summary(model, record.samples, config.log_every))
        print(as_text(loop_overhead_table("loop_overhead", [measured])))
        print(f"wrote {record.path}")


def _summary(model: str, samples: dict[str, list[float]], log_every: int) -> kinds.LoopOverhead:
    bare_ms, log_line_ms = summarise(samples["bare_ms"]), summarise(samples["log_line_ms"])
    return kinds.LoopOverhead(
        model=model,
        loop_ms=summarise(samples["loop_ms"]),
        bare_ms=bare_ms,
        log_line_ms=log_line_ms,
        step_ratio=ratio(samples["loop_ms"], samples["bare_ms"]),
        log_share=log_line_ms.median / log_every / bare_ms.median,
    )


if __name__ == "__main__":
    run(LoopOverhead, main)
