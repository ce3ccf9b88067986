"""Times the steps of several methods in turns, as pre-training takes them."""

import itertools
import warnings
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray

from baselines.openclip import CaptionTokenizer
from baselines.subwords import count_subwords, is_countable
from bench.arithmetic.devices import datasheet_tflops
from bench.arithmetic.flops import objective_of, step_flops
from bench.arithmetic.memory import default_batch, default_precision
from bench.downstream.outputs import encoder_name
from bench.measuring.deadline import until_deadline
from bench.measuring.factors import Factors
from bench.measuring.methods import (
    LABELS_PER_CAPTION,
    mean_caption_tokens,
    tower_of_context,
)
from bench.measuring.statistics import ratio, summarise
from bench.measuring.training_step import PHASES, batch_of, build, free_memory
from bench.measuring.user_encoder import UserEncoder
from bench.memory.measure import state_of
from bench.step_time import result
from bench.step_time.config import StepTime
from bench.step_time.steps import without_folders
from catlip.cli import InputError
from catlip.costs import GIB, TEXT_VOCABULARY, TextTower
from catlip.data.augment import Augmentation
from catlip.data.loader import Batch, DataPath
from catlip.data.sampler import ImageSize, SampleOrder, StepPlan, lanes_of
from catlip.data.shard_set import open_shards
from catlip.data.shards import Shard, expand
from catlip.data.workers import group_timeout
from catlip.label.audit import take_captions
from catlip.label.sources import find
from catlip.program.progress import progress
from catlip.records.profile import PROFILE, PROFILES
from catlip.records.record import Record, build_name
from catlip.records.run import Run, print_doubts
from catlip.records.table import format_number, print_tables
from catlip.system.matmul import matmul_flops_per_s
from catlip.training.distributed import Rank, barrier, init_distributed
from catlip.training.parallel import blocks
from catlip.training.profile import STEPS, profiled
from catlip.training.stopwatch import Stopwatch
from catlip.training.trainer import Trainer

PARTS = ("data_wait", *PHASES)
NOTES = (
    "one synthetic batch stays on the device: no data loading",
    "one loader makes labels and tokens for all methods, whichever steps next",
)
NUM_STEPS = {"cuda": 50, "cpu": 8}
NUM_WARMUP = {"cuda": 10, "cpu": 2}
CAPTIONS = 10_000  # whose lengths are counted
LEAST_TOKENS = 4  # a word, and what opens, closes and pads a caption


def main(config: StepTime, eager: bool = True) -> None:
    """Measure, compare, print, and write a record of eager blocks, unless `eager` is false, and one
    of compiled blocks.
    """
    rank = init_distributed(config.device, group_timeout([config.data]))
    config = resolve(config, rank.device)
    if config.dry_run:
        print(f"{', '.join(variants(config))}: {config.num_steps} steps each")
        print(f"record: {config.out / _name(config, rank)}.json")
        return
    runs = []
    for compiled in [False] * eager + [True] * bool(config.compile):
        runs += time_steps(replace(config, compile=compiled), rank)
        free_memory()  # two ways at once may not fit on a device
    if runs:
        print_tables([result.STEP_TIME.fill(runs), PROFILES.fill(runs)])
    for timed in runs[1:]:
        for method, steps in timed.metrics.methods.items():
            uncompiled = runs[0].metrics.methods[method]
            seconds = ((steps.first_ms or 0.0) - (uncompiled.first_ms or 0.0)) / 1e3
            print(f"compiling {method} took {format_number(seconds)} s")
    for timed in runs:
        print_doubts(timed)
        print(f"wrote {config.out / timed.name}.json")


@dataclass(frozen=True)
class Timed:
    """What was measured of one method: each of PARTS, and "total" -> its milliseconds in each timed
    step; and the time of the very first step, in which kernels are chosen or compiled.
    """

    ms: dict[str, list[float]]
    first_ms: float
    parameters: int
    peak_gib: float | None = None


def resolve(config: StepTime, device: torch.device) -> StepTime:
    """The config with every default that depends on the device filled in."""
    compiled = device.type == "cuda" if config.compile is None else config.compile
    tokens, in_use = config.caption_tokens, config.tokens_in_use
    text = tower_of_context(config.model, config.text_context)
    if config.captions and not tokens:
        tokens = tokens_of(config.captions, text)
    if not in_use and config.captions:
        in_use = count_tokens_in_use(config.captions, text)
    if not LEAST_TOKENS <= in_use <= TEXT_VOCABULARY:
        raise InputError(
            f"--tokens-in-use {in_use}: give {LEAST_TOKENS} to {TEXT_VOCABULARY}, or 0 and shards "
            "as --captions"
        )
    config = replace(
        config,
        precision=config.precision or default_precision(device),
        num_steps=config.num_steps or NUM_STEPS[device.type],
        caption_tokens=mean_caption_tokens(tokens, config.model, config.text_context),
        tokens_in_use=in_use,
    )
    steps = [*variants(config).values()]
    return replace(
        config,
        batch_size=config.batch_size or default_batch(steps, device),
        compile=compiled and any(blocks(objective_of(step)) for step in steps),
    )


def tokens_of(captions: str, text: TextTower) -> float:
    """The mean length in tokens of captions of shards or tables; those that are cut count so."""
    tokenize = CaptionTokenizer(text.context)
    # END is the greatest token.
    lengths = [
        tokenize([text]).argmax().item() + 1 for text in take_captions(find([captions]), CAPTIONS)
    ]
    if not lengths:
        raise InputError(f"--captions {captions}: no captions")
    return round(fmean(lengths), 1)


def count_tokens_in_use(captions: str, text: TextTower) -> int:
    """For how many tokens a training on these shards has rows."""
    shards = open_shards(expand(captions), quiet=True)
    if not is_countable(shards):
        return TEXT_VOCABULARY
    return int(count_subwords(shards, text.context, quiet=True).rows.max())


def variants(config: StepTime) -> dict[str, Factors]:
    """What is timed: every method and, if wanted, each with blocks in its text tower once more
    without the padding of captions.
    """
    factors = {}
    for method in config.methods:
        factors[method] = config.factors(method)
        text = objective_of(factors[method]).text
        if config.packed_captions and text and text.depth:
            factors[method + result.PACKED] = replace(factors[method], packed_captions=True)
    return factors


def time_steps(config: StepTime, rank: Rank) -> list[Run[result.StepTime]]:
    """Measure one way, eager or compiled, and write the record; [] in ranks that do not write."""
    if config.compile:
        from torch._inductor import config as inductor  # slow: loads triton

        # Otherwise what an earlier run compiled costs nothing, and its first step is no measure.
        inductor.force_disable_caches = True
        warnings.filterwarnings("ignore", "dynamo_pgo force disabled")
    if not rank.is_main:
        take_steps(config, rank)
        return []
    path = config.out / f"{_name(config, rank)}.json"
    with Record(path, kind=result.StepTime, config=config) as record:
        gpu = torch.cuda.get_device_name(rank.device) if rank.device.type == "cuda" else ""
        rates = matmul_flops_per_s(rank.device, config.precision)
        free_memory()
        try:
            timed = take_steps(config, rank)
        except torch.OutOfMemoryError:
            raise InputError(
                f"{config.model}, batch {config.batch_size}: out of memory; set --batch-size "
                "(bench.memory --largest finds the largest)"
            ) from None
        # The machine may have become faster or slower while it took steps.
        rates += matmul_flops_per_s(rank.device, config.precision)
        ceiling = result.Ceiling(
            precision=config.precision,
            tflops=summarise([rate / 1e12 for rate in rates]),
            datasheet_tflops=datasheet_tflops(gpu, config.precision),
        )
        record.samples |= {
            f"{method}_{part}_ms": ms
            for method, each in timed.items()
            for part, ms in each.ms.items()
        }
        record.notes.append(NOTES[bool(config.data)])
        encoder = objective_of(config.factors(config.methods[0])).image_encoder
        if isinstance(encoder, UserEncoder):
            record.notes.append(encoder.note)
        if (count := len(timed[config.methods[0]].ms["total"])) < config.num_steps:
            record.notes.append(f"out of time after {count} of {config.num_steps} timed steps")
        run = record.finish(_summary(config, timed, ceiling, ranks=rank.world_size))
        record.notes += run.metrics.faults(run)
        return [run]


def take_steps(config: StepTime, rank: Rank) -> dict[str, Timed]:
    """Take the steps of all methods, in turns. The parts of a step, and what ends each:

    data_wait   what the bench does between two steps
    forward     the trainer clears the gradients, and asks for a batch
    data_wait   the batch is on the device
    forward     RangeAugment and each tower or head; then, by "loss", the loss alone
    backward    the gradients are there
    optimizer   gradients are clipped, weights updated and averaged: the step ends
    """
    watch = Stopwatch(rank.device)
    factors = variants(config)
    trainers = {method: build(each, rank, watch.mark) for method, each in factors.items()}
    num_warmup = NUM_WARMUP[rank.device.type]
    rounds = num_warmup + config.num_steps
    first = factors[config.methods[0]]
    if config.data:
        count = (rounds + STEPS * config.profile) * len(trainers)
        batches = real_batches(config.data, first, rank, count=count, workers=config.workers)
    else:
        batches = itertools.repeat(batch_of(first, rank))

    def marked() -> Iterator[Batch]:
        while True:
            watch.mark("forward")  # before it asks for a batch, the trainer clears the gradients
            batch = next(batches).to(rank.device)
            watch.mark("data_wait")
            yield batch

    stream, peaks = marked(), dict[str, int]()
    barrier()
    watch.mark()
    hidden = config.quiet or not rank.is_main
    for _ in progress(until_deadline(range(rounds)), "step_time", rounds, disable=hidden):
        for method, trainer in trainers.items():
            watch.mark("data_wait")  # the bench's own time between two steps
            trainer.train_step(stream)
            if rank.device.type == "cuda" and rank.world_size == 1:
                peaks[method] = torch.cuda.max_memory_allocated()
                torch.cuda.reset_peak_memory_stats()
    held = {m: sum(tensor.nbytes for tensor in state_of(trainers[m])) for m in peaks}
    steps = [dict.fromkeys(PARTS, 0.0)]
    laps = watch.laps_ms()  # read at the end, so that a GPU never waits for the bench
    if config.profile:
        for method, trainer in trainers.items():
            _profile(method, trainer, stream, config=config)
    for part, lap in laps:
        steps[-1][part] += lap
        if part == "optimizer":  # which ends a step
            steps.append(dict.fromkeys(PARTS, 0.0))
    steps.pop()
    taken = len(steps) // len(trainers)
    if taken == 1:
        raise InputError("out of time after the first round")
    steps_to_time = steps[min(num_warmup, taken - 1) * len(trainers) :]
    timed = {}
    for i, (method, trainer) in enumerate(trainers.items()):
        method_steps = steps_to_time[i :: len(trainers)]
        ms = {part: [step[part] for step in method_steps] for part in PARTS}
        timed[method] = Timed(
            ms | {"total": [sum(step.values()) for step in method_steps]},
            first_ms=sum(steps[i].values()),
            parameters=sum(p.numel() for p in trainer.objective.parameters()),
            peak_gib=(peaks[method] + held[method] - sum(held.values())) / GIB if peaks else None,
        )
    return timed


def _profile(method: str, trainer: Trainer, stream: Iterator[Batch], config: StepTime) -> None:
    """Take STEPS more steps, on rank 0 with the profiler."""
    rank = trainer.rank
    trace = config.out / f"{_name(config, rank)}-{method.replace(':', '-')}.trace.json.gz"
    profiler = profiled(trace, rank.device, f"{PROFILE}{method}") if rank.is_main else None
    with profiler or nullcontext():
        for _ in range(STEPS):
            trainer.train_step(stream)
    if rank.is_main:
        print(f"wrote {trace}")


def even_labels(
    captions: Sequence[tuple[Shard, int, int]], num_classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Values and offsets of the same few classes for every caption."""
    classes = np.arange(LABELS_PER_CAPTION, dtype=np.int64) * (num_classes // LABELS_PER_CAPTION)
    offsets = np.arange(len(captions) + 1, dtype=np.int64) * LABELS_PER_CAPTION
    return np.tile(classes, len(captions)), offsets


def real_batches(
    shards: str, factors: Factors, rank: Rank, count: int, workers: int
) -> Iterator[Batch]:
    """`count` batches of this rank from shards, with everything that any method may need."""
    opened = open_shards(expand(shards), quiet=True)
    sizes = [ImageSize(factors.resolution, factors.batch_size)]
    data = DataPath(
        opened,
        SampleOrder(opened.counts, factors.seed, lanes_of(rank.world_size)),
        StepPlan(sizes, rank.world_size, count, seed=factors.seed),
        augmentation=Augmentation(),
        seed=factors.seed,
        rank=rank.number,
        world_size=rank.world_size,
        labels=partial(even_labels, num_classes=factors.num_classes),
        tokenize=CaptionTokenizer(tower_of_context(factors.model, factors.text_context).context),
    )
    return data.batches(0, workers, pin_memory=rank.device.type == "cuda")


def _summary(
    config: StepTime, timed: dict[str, Timed], ceiling: result.Ceiling, *, ranks: int
) -> result.StepTime:
    first, *others = timed
    totals = {method: each.ms["total"] for method, each in timed.items()}
    flops = {method: step_flops(each, ranks) for method, each in variants(config).items()}
    methods = {}
    for method, each in timed.items():
        summaries = {f"{part}_ms": summarise(ms) for part, ms in each.ms.items() if any(ms)}
        step_ms, promised = summaries["total_ms"].median, ceiling.datasheet_tflops
        tflops = flops[method] / step_ms / 1e9
        methods[method] = result.MethodSteps(
            parameters=each.parameters,
            first_ms=each.first_ms,
            **summaries,
            images_per_s=config.batch_size * ranks / step_ms * 1e3,
            tflops=tflops,
            mfu=tflops / ceiling.tflops.median,
            mfu_datasheet=tflops / promised if promised else None,
            peak_gib=each.peak_gib,
        )
    return result.StepTime(
        world_size=ranks,
        ceiling=ceiling,
        methods=methods,
        ratios={f"{m}/{first}": ratio(totals[m], totals[first]) for m in others},
        flops_ratios={f"{m}/{first}": flops[m] / flops[first] for m in others},
    )


def _name(config: StepTime, rank: Rank) -> str:
    options = {
        "_".join(config.methods): config.methods != StepTime.methods,
        "packed": config.packed_captions,
        "checkpointing": config.checkpointing,
        "compile": config.compile,
        "data": bool(config.data),
        f"{rank.world_size}x{config.parallel}": rank.world_size > 1 or config.parallel == "fsdp",
        "again": config.again,
        f"{config.resolution}px": config.resolution != StepTime.resolution,
        f"{config.tokens_in_use}tokens": config.tokens_in_use != StepTime.tokens_in_use,
    }
    chosen = "".join(f"-{name}" for name, given in options.items() if given)
    model = encoder_name(without_folders(config.model))
    step = f"{model}-b{config.batch_size}-{config.precision}{chosen}"
    return f"{step}-{build_name(rank.device)}"
