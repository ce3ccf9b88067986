"""Changes one factor of training at a time, and times the step before and after each change.

The two configurations of the reference release differ in much more than the method: attention
kernel, precision, image sizes, images per device and crops. Each factor is changed by itself, in
two orders, because the effect of one depends on the others.
"""

import itertools
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import torch

from bench.arithmetic.flops import mean_flops_per_sample
from bench.arithmetic.memory import free_bytes, images_that_fit
from bench.measuring.deadline import until_deadline
from bench.measuring.factors import Factors, factors_of
from bench.measuring.methods import mean_caption_tokens
from bench.measuring.statistics import ratio, summarise
from bench.measuring.training_step import batch_of, build, free_memory
from bench.waterfall import result
from bench.waterfall.config import Waterfall
from catlip.architectures import ENCODERS
from catlip.cli import choose
from catlip.data.loader import Batch
from catlip.data.sampler import ImageSize
from catlip.program.progress import Bar, progress
from catlip.recipes.pretrain import CATLIP, CLIP, Recipe
from catlip.records.kind import FEWEST
from catlip.records.record import Record, build_name
from catlip.records.run import print_doubts
from catlip.records.table import print_tables
from catlip.training.distributed import Rank, barrier, init_distributed
from catlip.training.stopwatch import Stopwatch
from catlip.training.trainer import Trainer

RELEASE, RELEASED_MODEL = "datacomp_b16_release", "vit_b16_conv"
PUBLISHED_RATIO = 2.7  # Figure 1(c), ViT-B/16
SLEEP_CYCLES_PER_MS = 2.5e6  # at least a millisecond on a GPU of up to 2.5 GHz
NO_FP16 = "fp16 needs a GPU; fp32 throughout"
NO_CROP = "on the host, not in the step"
NOTES = (
    "a pair of variants is timed in turns in one process; a round is one training step at each "
    "image size of the sampler",
    "synthetic images that are already on the device: crops and decoding are not part of the step",
)


def _sizes_in_words(recipe: Recipe) -> str:
    return f"{len(recipe.sizes())}, {recipe.min_resolution} to {recipe.max_resolution} px"


SAMPLERS = {_sizes_in_words(recipe): recipe for recipe in (CLIP[RELEASE], CATLIP[RELEASE])}


@dataclass(frozen=True)
class Variant(Factors):
    """A way to train: the factors of a step, and which of SAMPLERS draws its image sizes."""

    sampler: str = ""

    def sizes(self) -> list[ImageSize]:
        """The image sizes, scaled to the step's resolution, with the batch size at each."""
        recipe = SAMPLERS[self.sampler]
        scale = self.resolution / recipe.resolution
        return replace(
            recipe,
            resolution=self.resolution,
            min_resolution=round(scale * recipe.min_resolution),
            max_resolution=round(scale * recipe.max_resolution),
            micro_batch=self.batch_size,
        ).sizes()


@dataclass(frozen=True)
class Change:
    """One field of a variant, before and after. `not_run` says why it cannot be timed here, if
    so.
    """

    factor: str
    field: str
    before: Any
    after: Any
    not_run: str = ""

    def __call__(self, variant: Variant) -> Variant:
        return variant if self.not_run else replace(variant, **{self.field: self.after})


def main(config: Waterfall) -> None:
    """Time every change, in both orders; the first rank prints and writes the record."""
    rank = init_distributed(config.device)
    config = resolve(config, rank.device)
    gpu = rank.device.type == "cuda"
    start = released_clip(config, gpu)
    release = release_changes(config.batch_size, gpu)
    ranks = f"-n{rank.world_size}" if rank.world_size > 1 else ""
    name = f"{config.model}-b{config.batch_size}{ranks}-{build_name(rank.device)}"
    record = Record(config.out / f"{name}.json", kind=result.Waterfall, config=config)
    record.notes += NOTES
    total = 1 + len(config.orders) * sum(not change.not_run for change in release)
    hidden = config.quiet or not rank.is_main
    with (
        record if rank.is_main else nullcontext(),
        progress(total=total, desc="waterfall", unit="pair", disable=hidden) as bar,
    ):
        timer = PairTimer(config, rank, record, bar)
        run = record.finish(
            result.Waterfall(
                world_size=rank.world_size,
                published_ratio=PUBLISHED_RATIO,
                released_flops_ratio=released_flops_ratio(config),
                release=timer.time_series(start, release),
            )
        )
    if rank.is_main:
        print_tables([result.WATERFALL.fill([run])])
        print_doubts(run)
        print(f"wrote {record.path}")


def resolve(config: Waterfall, device: torch.device) -> Waterfall:
    """The config with every default that depends on the device filled in."""
    gpu = device.type == "cuda"
    model = config.model or (RELEASED_MODEL if gpu else "vit_tiny16")
    choose("encoder", model, ENCODERS)
    batch_size = 8
    if gpu:
        # Of four times as many images two steps fit at once, even without checkpointing.
        end = Factors("catlip", model, num_classes=config.num_classes, range_augment=True)
        most = 4 * CLIP[RELEASE].micro_batch
        batch_size = max(1, images_that_fit([end, end], free_bytes(device), most) // 4)
    return replace(
        config,
        model=model,
        batch_size=config.batch_size or batch_size,
        resolution=config.resolution or CLIP[RELEASE].resolution // (1 if gpu else 2),
        caption_tokens=mean_caption_tokens(config.caption_tokens, model),
        num_rounds=config.num_rounds or FEWEST,
    )


def released_clip(config: Waterfall, gpu: bool) -> Variant:
    """The released CLIP configuration, where the changes begin; on a CPU in fp32, because fp16 is
    no option there.
    """
    released = CLIP[RELEASE]
    step = replace(
        factors_of("clip", released),
        model=config.model,
        resolution=config.resolution,
        batch_size=config.batch_size,
        precision=released.precision if gpu else "fp32",
        optimizer="foreach",
        grad_norm="loop",
        num_classes=config.num_classes,
        caption_tokens=config.caption_tokens,
    )
    return Variant(**vars(step), sampler=_sizes_in_words(released))


def release_changes(batch_size: int, gpu: bool) -> list[Change]:
    """From the released CLIP to the released CatLIP configuration."""
    clip, catlip = CLIP[RELEASE], CATLIP[RELEASE]
    few, many = SAMPLERS
    images = batch_size * catlip.micro_batch // clip.micro_batch
    precision, no_fp16 = (clip.precision, catlip.precision), "" if gpu else NO_FP16
    crops = f"{clip.crop_scale[0]} to 1", f"{catlip.crop_scale[0]} to 1, flips"
    return [
        Change("attention", "attention", clip.attention, catlip.attention),
        Change("precision", "precision", *precision, not_run=no_fp16),
        Change("image sizes", "sampler", few, many),
        Change("images per device", "batch_size", batch_size, images),
        # Neither release does this: it splits the padding of captions from the rest of the method.
        Change(result.NO_PADDING, "packed_captions", False, True),
        Change("method", "method", "clip", "catlip_dense"),
        Change("crop", "", *crops, not_run=NO_CROP),
    ]


def apply_all(start: Variant, changes: Sequence[Change]) -> Variant:
    return reduce(lambda variant, change: change(variant), changes, start)


def flops_ratio(before: Variant, after: Variant, world_size: int = 1) -> float:
    """What a change would give if time were FLOPs, recomputing included."""
    first, then = (
        mean_flops_per_sample(variant, variant.sizes(), world_size, recompute=True)
        for variant in (before, after)
    )
    return first / then


def released_flops_ratio(config: Waterfall) -> float:
    """The FLOPs of the released CLIP configuration over CatLIP's, whatever is timed here."""
    batch_size, resolution = CLIP[RELEASE].micro_batch, CLIP[RELEASE].resolution
    config = replace(config, model=RELEASED_MODEL, batch_size=batch_size, resolution=resolution)
    clip = released_clip(replace(config, caption_tokens=0.0), gpu=True)
    return flops_ratio(clip, apply_all(clip, release_changes(batch_size, gpu=True)))


class PairTimer:
    """Times pairs of variants; the record gets every sample, ms per image of each round."""

    def __init__(self, config: Waterfall, rank: Rank, record: Record, bar: Bar):
        self.config, self.rank, self.record, self.bar = config, rank, record, bar
        self.turns = until_deadline(itertools.count())

    def time_series(self, start: Variant, changes: Sequence[Change]) -> result.ChangeSeries:
        """Time all changes from `start` on, one by one in each order, and all at once."""
        orders: dict[str, list[result.Step]] = {}
        for order in self.config.orders:
            orders[order], before = [], start
            for change in changes[:: -1 if order == "reverse" else 1]:
                pair, after = result.Pair(not_run=change.not_run), change(before)
                if not change.not_run:
                    pair = self.time_pair(f"release {order} {change.factor}", before, after)
                step = vars(pair) | {"before": str(change.before), "after": str(change.after)}
                orders[order].append(result.Step(factor=change.factor, **step))
                before = after
        total = self.time_pair("release total", start, apply_all(start, changes))
        return result.ChangeSeries(orders=orders, total=total)

    def time_pair(self, name: str, before: Variant, after: Variant) -> result.Pair:
        """The ratio before / after, above 1 where the change pays, and what FLOPs alone would
        give.
        """
        if next(self.turns, None) is None:
            return result.Pair(not_run="out of time")
        self.bar.set_postfix_str(name, refresh=False)
        taken: list[list[float]] = []
        busy: list[float | None] = []
        with suppress(torch.OutOfMemoryError):
            taken, busy = time_in_turns((before, after), self.config.num_rounds, self.rank)
        free_memory()
        self.bar.update()
        if not taken:
            sizes = f"{before.batch_size} or {after.batch_size}"
            return result.Pair(not_run=f"out of memory at {sizes} images per device")
        self.record.samples[f"{name} before"], self.record.samples[f"{name} after"] = taken
        self.record.save()
        return result.Pair(
            ratio=ratio(*taken),
            flops_ratio=flops_ratio(before, after, self.rank.world_size),
            ms_per_image_before=summarise(taken[0]),
            ms_per_image=summarise(taken[1]),
            busy_before=busy[0],
            busy=busy[1],
        )


def time_in_turns(
    pair: Sequence[Variant], num_rounds: int, rank: Rank
) -> tuple[list[list[float]], list[float | None]]:
    """Milliseconds per image of each of two variants, one number per round, which is a step at each
    of its sizes; and for which fraction of a step the device was busy, on a GPU.
    """
    sides = []
    for variant in pair:
        trainer = build(variant, rank)
        batches = []
        for size in variant.sizes():
            step = replace(variant, batch_size=size.batch, resolution=size.resolution)
            batches.append(batch_of(step, rank))
        # On a GPU kernels are chosen for each size.
        for batch in batches if rank.device.type == "cuda" else batches[:1]:
            trainer.train_step(iter([batch]))
        sides.append((trainer, batches))
    barrier()
    taken: list[list[float]] = [[], []]
    for number in range(num_rounds):
        for i in (0, 1) if number % 2 else (1, 0):  # each goes first in half of the rounds
            trainer, batches = sides[i]
            watch = Stopwatch(rank.device)
            watch.mark()
            for batch in batches:
                trainer.train_step(iter([batch]))
            watch.mark()
            taken[i].append(watch.laps_ms()[0][1] / sum(map(len, batches)))
    return taken, [busy_fraction(*side, rank.device) for side in sides]


def busy_fraction(trainer: Trainer, batches: Sequence[Batch], device: torch.device) -> float | None:
    """For which fraction of the step of the first batch the device computes, at most 1; in the rest
    it waits for the host to launch kernels. None on a CPU.

    A step's time is compared with that of one whose kernels are launched while the device sleeps,
    so that it then runs them without gaps.
    """
    if device.type != "cuda":
        return None
    step_ms = 0.0
    for sleeps in (False, True):
        watch = Stopwatch(device)
        if sleeps:
            torch.cuda._sleep(int(SLEEP_CYCLES_PER_MS * step_ms))
        watch.mark()
        trainer.train_step(iter(batches[:1]))
        watch.mark()
        before_ms, step_ms = step_ms, watch.laps_ms()[0][1]
    return min(1.0, step_ms / before_ms)
