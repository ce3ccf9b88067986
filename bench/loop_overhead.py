"""How much time the training loop adds to a step: `catlip.training.loop.train`, as pre-training
runs it, is timed in turns with the same work written out without a loop.

Both sides train the same model on the same batch, which is ready on the device, and do a forward
under autocast, a backward, gradient clipping, a fused AdamW step and the update of the averaged
weights. The loop's side also takes the batch from its iterator, seeds the random numbers of the
micro-batch, scales the loss, sets the learning rate, checks that the loss and the gradient's norm
are finite before it steps, keeps times, and writes a line of the log every `log_every` steps.
Writing a line of the log is also timed by itself. No checkpoints are written.
"""

import copy
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from bench.measuring.statistics import ratio, summarise
from bench.measuring.training_step import RUN_STEPS, Factors, batch_of, build
from bench.step_time import loop_overhead_result as result
from bench.step_time.loop_overhead_result import loop_overhead_table
from catlip.cli import InputError, choose, one_of, run
from catlip.data.loader import Batch
from catlip.encoder import ENCODERS
from catlip.program.progress import progress
from catlip.program.ranges import Count, Seed
from catlip.record import Record, build_name
from catlip.table import as_text
from catlip.training.distributed import Place, find_place
from catlip.training.log import Log, Progress
from catlip.training.loop import train
from catlip.training.schedule import Optimization

NUM_CLASSES = 1_000
NUM_WARMUP = 5
# Steps of a side in one sample. On a GPU several: if the bench waited for the GPU after each step,
# the wait of the loop itself would not show.
STEPS = {"cuda": 10, "cpu": 1}


@dataclass(frozen=True)
class LoopOverhead:
    """Time the training loop against a bare forward, backward and optimizer of the same model,
    interleaved.

    python -m bench.loop_overhead
    python -m bench.loop_overhead --models vit_b16 --resolution 224 --batch-size 256 --device cuda
    """

    models: Annotated[tuple[str, ...], one_of(ENCODERS)] = ("hybrid_mini", "vit_tiny16")
    """Image encoders; the shorter the step, the more the loop weighs."""
    resolution: Count = 48
    """Image side in pixels."""
    batch_size: Count = 64
    """Images per step; the starter recipe's."""
    precision: str = "bf16"
    """fp32 or bf16."""
    num_steps: Count = 60
    """Timed steps of each side (on a GPU ten times as many), after 5 rounds that are not counted.
    """
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


def bare_step(objective: nn.Module, batch: Batch, recipe: Optimization) -> Callable[[], object]:
    """The step as one would write it in plain PyTorch, without the loop."""
    weights = list(objective.parameters())
    averages = [weight.detach().clone() for weight in weights]
    update_averages = get_ema_multi_avg_fn(recipe.ema_decay)
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in weights if weight.ndim >= 2]},
        {"params": [weight for weight in weights if weight.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups,
        lr=recipe.max_lr,
        betas=recipe.betas,
        eps=recipe.eps,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    device, bf16 = batch.images.device.type, recipe.precision == "bf16"

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=bf16):
            loss = objective(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, recipe.grad_clip)
        optimizer.step()
        update_averages(averages, weights, 0)

    return step


def now_ms(place: Place) -> float:
    """The time in milliseconds: on a GPU that of the clock once the GPU's work is done; otherwise
    processor time, which the load of other programs does not stretch.
    """
    if place.device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter() * 1e3
    return time.process_time() * 1e3


def timed_ms(work: Callable[[], object], place: Place, times: int = 1) -> float:
    """Milliseconds of one call of `work`, the mean over `times` calls."""
    begin = now_ms(place)
    for _ in range(times):
        work()
    return (now_ms(place) - begin) / times


def measure(config: LoopOverhead, model: str, place: Place) -> dict[str, list[float]]:
    """Milliseconds of each side's steps, and of each line of the log.

    The loop asks for its next batch when it is done with a step, and gets it when it is its turn.
    """
    factors = Factors(
        model=model,
        resolution=config.resolution,
        batch_size=config.batch_size,
        precision=config.precision,
        num_classes=NUM_CLASSES,
        seed=config.seed,
    )
    trainer, batch = build(factors, place), batch_of(factors, place)
    bare = bare_step(copy.deepcopy(trainer.objective), batch, trainer.optimization)
    taken: dict[str, list[float]] = {"loop_ms": [], "bare_ms": [], "log_line_ms": []}
    steps = STEPS[place.device.type]

    def batches(write_line: Callable[[], object]) -> Iterator[Batch]:
        rounds = range(NUM_WARMUP + config.num_steps)
        for number in progress(
            rounds, desc=f"loop_overhead {model}", unit="round", disable=config.quiet
        ):
            bare_first = number % 2 == 0  # each side goes first in half of the rounds
            if bare_first:
                taken["bare_ms"].append(timed_ms(bare, place, steps))
            begin = now_ms(place)
            yield from repeat(batch, steps)
            taken["loop_ms"].append((now_ms(place) - begin) / steps)
            if not bare_first:
                taken["bare_ms"].append(timed_ms(bare, place, steps))
            taken["log_line_ms"].append(timed_ms(write_line, place))

    with tempfile.TemporaryDirectory() as folder:
        log = Log(Path(folder) / "line", 0, place, projects={}, config={})
        done = Progress(loss=1.0, grad_norm=1.0, seconds=1.0, data_wait_seconds=0.0, images=1)
        with suppress(StopIteration):  # the rounds are over long before the run would be
            train(
                trainer,
                lambda _: batches(lambda: log.write(1, [done], 1.0, metrics={})),
                Path(folder) / "run",
                config={},
                log_every=config.log_every,
                checkpoint_every=RUN_STEPS,
                quiet=True,
            )
        log.close()
    return {name: values[NUM_WARMUP:] for name, values in taken.items()}


def main(config: LoopOverhead) -> None:
    """Measure each model, print, and write its record."""
    place = find_place(config.device)
    for model in config.models:
        name = f"{model}-b{config.batch_size}-{config.precision}-{build_name(place.device.type)}"
        with Record(config.out / f"{name}.json", kind=result.LoopOverhead, config=config) as record:
            record.samples |= measure(config, model, place)
            if place.device.type == "cpu":
                record.notes.append("milliseconds of processor time, of all threads together")
            measured = record.measured(_summary(model, record.samples, config.log_every))
        print(as_text(loop_overhead_table("loop_overhead", [measured])))
        print(f"wrote {record.path}")


def _summary(model: str, samples: dict[str, list[float]], log_every: int) -> result.LoopOverhead:
    bare_ms, log_line_ms = summarise(samples["bare_ms"]), summarise(samples["log_line_ms"])
    return result.LoopOverhead(
        model=model,
        loop_ms=summarise(samples["loop_ms"]),
        bare_ms=bare_ms,
        log_line_ms=log_line_ms,
        step_ratio=ratio(samples["loop_ms"], samples["bare_ms"]),
        log_share=log_line_ms.median / log_every / bare_ms.median,
    )


if __name__ == "__main__":
    run(LoopOverhead, main)
