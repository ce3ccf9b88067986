"""Where the published 2.7x comes from: from the released CLIP configuration to the released CatLIP
one, changing one factor at a time.

The two configurations of the reference release differ in much more than the method: attention
kernel, precision, image sizes, images per device and crops. Each factor is changed by itself, in
two orders, because the effect of one depends on the others; before and after are timed in turns in
one process. Improvements that both releases could have made alike come after that: these factors
explain none of the ratio, but show what a step of either method costs without them.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

from bench.arithmetic.flops import mean_flops_per_sample
from bench.arithmetic.memory import images_that_fit
from bench.data_path.photographs import shipped_photographs
from bench.measuring.deadline import in_time
from bench.measuring.statistics import ratio, summarise
from bench.measuring.training_step import EncoderName, Factors, Stopwatch, free_memory
from bench.measuring.variants import (
    RELEASE,
    RESOLUTION,
    Change,
    Variant,
    further_changes,
    measure,
    release_changes,
    released_clip,
)
from bench.waterfall import result
from bench.waterfall.result import waterfall_tables
from catlip.cli import choose, run
from catlip.data.augment import draws_at, random_crop
from catlip.encoder import ENCODERS
from catlip.program.progress import Bar, progress
from catlip.program.ranges import Count, Natural, Seed
from catlip.recipes.pretrain import CATLIP, CLIP
from catlip.record import LATER, Record, build_name
from catlip.results.least_counts import ROUNDS
from catlip.table import print_tables
from catlip.training.distributed import Place, find_place

Order = Literal["forward", "reverse"]
PUBLISHED_RATIO = 2.7  # Figure 1(c), ViT-B/16
NOTES = (
    "a pair of variants is timed in turns in one process; a round is one training step at each "
    "image size of the sampler",
    "synthetic images that are already on the device: crops and decoding are not part of the step",
    "learning rates, epsilons and the clipping threshold of the two releases also differ, but cost "
    "nothing",
)


@dataclass(frozen=True)
class Waterfall:
    """Change the released CLIP configuration into the released CatLIP one, one factor at a time,
    and time the step before and after each change.

    python -m bench.waterfall     # on a CPU: a small encoder and small batches
    python -m bench.waterfall --model vit_b16_conv --device cuda
    torchrun --nproc-per-node 8 -m bench.waterfall
    """

    model: EncoderName = ""
    """Image encoder; by default vit_b16_conv on a GPU and vit_tiny16 on a CPU."""
    batch_size: Natural = 0
    """Images per device of the CLIP configuration; CatLIP's has four times as many. 0 for 256 on a
    GPU, or fewer if CatLIP's do not fit, and for 32 on a CPU, where the optimizer takes a few
    percent of a step, as on a GPU.
    """
    resolution: Natural = 0
    """Image side in pixels to which the released image sizes are scaled; 0 for the released 224 on
    a GPU and 96 on a CPU.
    """
    num_classes: Count = 24_320
    """Size of CatLIP's vocabulary; the paper's is 24,320."""
    num_rounds: Natural = 0
    """Timed rounds of each pair, each of one step at each image size; 0 for the fewest that give an
    interval (some 20 minutes on a CPU).
    """
    num_sizes: Natural = 0
    """Number of image sizes of each sampler in a round, evenly spaced; 0 for all, as released, on a
    GPU and 3 on a CPU.
    """
    ways: tuple[Literal["release", "further"], ...] = field(
        default=("release", "further"), metadata=LATER
    )
    """release: from the released CLIP to the released CatLIP configuration; further: on to what
    neither release does.
    """
    orders: tuple[Order, ...] = field(default=("forward", "reverse"), metadata=LATER)
    """Orders in which the changes of a way are made."""
    compile: bool | None = None
    """Also compile, which takes minutes for so many image sizes; by default on a GPU only."""
    seed: Seed = 0
    """Seed of the weights and of the synthetic batches."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    out: Path = Path("runs/bench/waterfall")
    """Folder for the record, named by model, batch, ranks, torch and device."""
    quiet: bool = False
    """No progress bar."""


def walk(start: Variant, changes: Sequence[Change]) -> Iterator[tuple[Change, Variant, Variant]]:
    """Each change, with the variant before it and after it."""
    for change in changes:
        after = start if change.not_run else change(start)
        yield change, start, after
        start = after


class Timed:
    """Times pairs of variants, and keeps every sample.

    Args:
        save: called after each pair, when its samples are there.
    Attributes:
        samples: name of the pair -> ms per image of each round, as the record has it.
    """

    def __init__(
        self, config: Waterfall, place: Place, bar: Bar, save: Callable[[], object] = lambda: None
    ):
        self.num_rounds, self.place, self.bar, self.save = config.num_rounds, place, bar, save
        self.samples: dict[str, list[float]] = {}
        self.turns = in_time(itertools.count())

    def way(
        self, name: str, start: Variant, changes: Sequence[Change], orders: Sequence[Order]
    ) -> result.Way:
        """Time the way from `start` through all changes, in each of these orders, and from start to
        end at once.
        """
        turned = {"forward": changes, "reverse": changes[::-1]}
        taken: dict[str, list[result.Step]] = {
            order: self.steps(f"{name} {order}", start, turned[order]) for order in orders
        }
        total = self.pair(f"{name} total", start, apply_all(start, changes))
        return result.Way(orders=taken, total=total)

    def steps(self, name: str, start: Variant, changes: Sequence[Change]) -> list[result.Step]:
        """Time each change; one entry per change, in this order."""
        steps = []
        for change, before, after in walk(start, changes):
            pair = result.Pair(not_run=change.not_run)
            if not change.not_run:
                pair = self.pair(f"{name} {change.factor}", before, after)
            steps.append(
                result.Step(
                    factor=change.factor,
                    before=str(change.before),
                    after=str(change.after),
                    **vars(pair),
                )
            )
        return steps

    def pair(self, name: str, before: Variant, after: Variant) -> result.Pair:
        """The ratio before / after, above 1 where the change pays, and what FLOPs alone would
        give.
        """
        if next(self.turns, None) is None:
            return result.Pair(not_run="out of time")
        self.bar.set_postfix_str(name)
        taken = None
        with suppress(torch.OutOfMemoryError):
            taken = measure((before, after), self.num_rounds, self.place)
        free_memory()
        self.bar.update()
        if taken is None:
            sizes = f"{before.step.batch_size} or {after.step.batch_size}"
            return result.Pair(not_run=f"out of memory at {sizes} images per device")
        self.samples[f"{name} before"], self.samples[f"{name} after"] = taken
        self.save()
        flops = [
            mean_flops_per_sample(v.step, v.sizes(), self.place.world_size, recompute=True)
            for v in (before, after)
        ]
        return result.Pair(
            ratio=ratio(*taken),
            flops_ratio=flops[0] / flops[1],
            ms_per_image_before=summarise(taken[0]),
            ms_per_image=summarise(taken[1]),
        )


def apply_all(start: Variant, changes: Sequence[Change]) -> Variant:
    """The variant at the end of the way."""
    *_, (_, _, end) = walk(start, changes)
    return end


def resolve(config: Waterfall, device: torch.device) -> Waterfall:
    """The config with every default that depends on the device filled in.

    Raises: InputError for an unknown encoder.
    """
    gpu = device.type == "cuda"
    model = config.model or ("vit_b16_conv" if gpu else "vit_tiny16")
    choose("encoder", model, ENCODERS)
    compile = gpu if config.compile is None else config.compile
    return replace(
        config,
        model=model,
        batch_size=config.batch_size or (largest_pair(model, config, device) if gpu else 32),
        resolution=config.resolution or (RESOLUTION if gpu else 96),
        num_rounds=config.num_rounds or ROUNDS["waterfall"],
        num_sizes=config.num_sizes or (0 if gpu else 3),
        compile=compile,
    )


def largest_pair(model: str, config: Waterfall, device: torch.device) -> int:
    """A quarter of the largest batch with which two CatLIP steps without checkpointing fit on a GPU
    at once.
    """
    end = Factors("catlip", model, num_classes=config.num_classes)
    memory = torch.cuda.get_device_properties(device).total_memory
    most = 4 * CLIP[RELEASE].micro_batch
    return max(1, images_that_fit([end, end], memory, most) // 4)


def crop_entry(num_rounds: int) -> result.Step:
    """How long the crops of each release take on the host, over the pictures that this project
    ships. Crops are not part of the timed step.
    """
    pictures = [path.read_bytes() for path in shipped_photographs()]
    clip, catlip = CLIP[RELEASE].augmentation(), CATLIP[RELEASE].augmentation()
    draws = draws_at(0, 0, len(pictures))
    taken: list[list[float]] = [[], []]
    for _ in range(num_rounds + 1):
        for i, augmentation in enumerate((clip, catlip)):
            watch = Stopwatch(torch.device("cpu"))
            watch.mark()
            for picture, row in zip(pictures, draws, strict=True):
                random_crop(picture, RESOLUTION, augmentation, draws=row)
            watch.mark()
            taken[i].append(watch.laps_ms()[0][1])
    host = ratio(taken[0][1:], taken[1][1:])  # the first round warms caches
    times = f"{host.value:.2f}x [{host.low:.2f}, {host.high:.2f}]"
    return result.Step(
        factor="crop",
        before=f"{clip.crop_scale[0]} to 1",
        after=f"{catlip.crop_scale[0]} to 1, flips",
        not_run=f"on the host, not in the step: CLIP's crops take {times} the time of CatLIP's",
        host_ratio=host,
    )


def main(config: Waterfall) -> None:
    """Time every step of the way, both ways, print and write the record."""
    place = find_place(config.device)
    config = resolve(config, place.device)
    gpu = place.device.type == "cuda"
    release = release_changes(config.batch_size, gpu)
    further = further_changes(bool(config.compile))
    start = released_clip(
        config.model,
        config.batch_size,
        config.num_classes,
        gpu=gpu,
        seed=config.seed,
        resolution=config.resolution,
        num_sizes=config.num_sizes,
    )
    middle = apply_all(start, release)
    ways = {"release": (start, release), "further": (middle, further)}
    ranks = f"-n{place.world_size}" if place.world_size > 1 else ""
    stem = f"{config.model}-b{config.batch_size}{ranks}-{build_name(place.device.type)}"
    record = Record(config.out / f"{stem}.json", kind=result.Waterfall, config=config)
    count = sum(
        1 + len(config.orders) * sum(not change.not_run for change in ways[name][1])
        for name in config.ways
    )
    hidden = config.quiet or not place.is_main
    with (
        record if place.is_main else nullcontext(),
        progress(total=count, desc="waterfall", unit="pair", disable=hidden) as bar,
    ):
        timed = Timed(config, place, bar, save=record.save)
        record.samples = timed.samples
        left_out = result.Way(orders={}, total=result.Pair(not_run="left out"))
        taken = dict.fromkeys(ways, left_out) | {
            name: timed.way(name, *ways[name], config.orders) for name in config.ways
        }
        crop = crop_entry(config.num_rounds)
        for steps in taken["release"].orders.values():
            steps.append(crop)
        record.notes += NOTES
        measured = record.measured(
            result.Waterfall(
                world_size=place.world_size,
                published_ratio=PUBLISHED_RATIO,
                unit="ms_per_image",
                release=taken["release"],
                further=taken["further"],
            )
        )
    if place.is_main:
        print_tables(waterfall_tables(measured))
        print(f"wrote {record.path}")


if __name__ == "__main__":
    run(Waterfall, main)
