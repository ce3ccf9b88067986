"""Ways to train, between the two configurations of the reference release, and how to time any of
them.

A `Variant` is one way to train; a `Change` makes another of it. `release_changes` lead from the
released CLIP configuration to the released CatLIP one, `further_changes` to what either could do
better.
"""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

from bench.measuring.training_step import Factors, Stopwatch, batch_of, build
from catlip.data.sampler import ImageSize
from catlip.recipes.pretrain import CATLIP, CLIP, Recipe
from catlip.training.distributed import Place, barrier

RELEASE = "datacomp_b16_release"
RESOLUTION = CLIP[RELEASE].resolution
NO_FP16 = "fp16 needs a GPU; fp32 throughout"
NO_COMPILE = "not asked for: --compile takes minutes"


@dataclass(frozen=True)
class Variant:
    """A way to train: the factors of a step, and the recipe whose image sizes it draws.

    Attributes:
        num_sizes: how many of the sizes are used, evenly spaced; 0 for all.
    """

    step: Factors
    sampler: Recipe
    num_sizes: int = 0

    def sizes(self) -> list[ImageSize]:
        """The image sizes, with the batch size at each; if the recipe is for another resolution,
        all sizes are scaled to this one.
        """
        scale = self.step.resolution / self.sampler.resolution
        sampler = replace(
            self.sampler,
            resolution=self.step.resolution,
            min_resolution=round(scale * self.sampler.min_resolution),
            max_resolution=round(scale * self.sampler.max_resolution),
            micro_batch=self.step.batch_size,
        )
        sizes = sampler.sizes()
        count = min(self.num_sizes, len(sizes)) or len(sizes)
        return [sizes[number * len(sizes) // count] for number in range(count)]


@dataclass(frozen=True)
class Change:
    """One factor, and what it is before and after."""

    factor: str
    _: KW_ONLY
    before: Any
    after: Any
    apply: Callable[[Variant, Any], Variant]
    not_run: str = ""
    """Why it cannot be timed here, if so."""

    def __call__(self, variant: Variant) -> Variant:
        return self.apply(variant, self.after)


def of_step(factor: str, field: str = "", *, before: Any, after: Any, not_run: str = "") -> Change:
    """A change of one of the fields of Factors, by default of the one called `factor`."""

    def apply(variant: Variant, value: Any) -> Variant:
        return replace(variant, step=replace(variant.step, **{field or factor: value}))

    return Change(factor, before=before, after=after, apply=apply, not_run=not_run)


def released_clip(
    model: str,
    batch_size: int,
    num_classes: int,
    *,
    gpu: bool,
    seed: int,
    resolution: int = RESOLUTION,
    num_sizes: int = 0,
) -> Variant:
    """The released CLIP configuration, where the changes begin; on a CPU in fp32, because fp16 is
    no option there.
    """
    released = CLIP[RELEASE]
    factors = Factors(
        "clip",
        model,
        resolution,
        batch_size=batch_size,
        precision=released.precision if gpu else "fp32",
        attention=released.attention,
        checkpointing=released.checkpointing,
        optimizer="foreach",
        grad_norm="loop",
        num_classes=num_classes,
        seed=seed,
    )
    return Variant(factors, released, num_sizes)


def release_changes(batch_size: int, gpu: bool) -> list[Change]:
    """From the released CLIP to the released CatLIP configuration."""
    clip, catlip = CLIP[RELEASE], CATLIP[RELEASE]
    samplers = {
        f"{len(recipe.sizes())}, {recipe.min_resolution} to {recipe.max_resolution} px": recipe
        for recipe in (clip, catlip)
    }
    few, many = samplers
    return [
        of_step("attention", before=clip.attention, after=catlip.attention),
        of_step(
            "precision",
            before=clip.precision,
            after=catlip.precision,
            not_run="" if gpu else NO_FP16,
        ),
        Change(
            "image sizes",
            before=few,
            after=many,
            apply=lambda variant, name: replace(variant, sampler=samplers[name]),
        ),
        of_step(
            "images per device",
            "batch_size",
            before=batch_size,
            after=batch_size * catlip.micro_batch // clip.micro_batch,
        ),
        of_step("method", before="clip", after="catlip_dense"),
    ]


def further_changes(compile: bool) -> list[Change]:
    """What neither release does, and both could; of them, only the target is CatLIP's alone."""
    return [
        of_step("gradient norm", "grad_norm", before="loop", after="foreach"),
        of_step("optimizer", before="foreach", after="fused"),
        of_step("target", "method", before="catlip_dense", after="catlip"),
        of_step("checkpointing", before=True, after=False),
        of_step("compile", before=False, after=True, not_run="" if compile else NO_COMPILE),
    ]


def measure(pair: Sequence[Variant], num_rounds: int, place: Place) -> list[list[float]]:
    """Milliseconds per image of each of two variants, one number per round; a round is a step at
    each of its sizes.

    Raises: torch.OutOfMemoryError.
    """
    sweeps = [Sweep(variant, place) for variant in pair]
    for sweep in sweeps:
        sweep.warm_up()
    barrier()
    taken: list[list[float]] = [[], []]
    for number in range(num_rounds):
        for i in (0, 1) if number % 2 else (1, 0):  # each goes first in half of the rounds
            taken[i].append(sweeps[i]())
    return taken


class Sweep:
    """One training step at each image size of a variant; returns milliseconds per image."""

    def __init__(self, variant: Variant, place: Place):
        self.device = place.device
        self.trainer = build(variant.step, place)
        self.batches = []
        for size in variant.sizes():
            factors = replace(variant.step, batch_size=size.batch, resolution=size.resolution)
            self.batches.append(batch_of(factors, place))

    def warm_up(self) -> None:
        """Steps that are not counted. On a GPU kernels are chosen, and blocks compiled, for each
        size.
        """
        for batch in self.batches if self.device.type == "cuda" else self.batches[:1]:
            self.trainer.train_step(iter([batch]))

    def __call__(self) -> float:
        watch = Stopwatch(self.device)
        watch.mark()
        for batch in self.batches:
            self.trainer.train_step(iter([batch]))
        watch.mark()
        return watch.laps_ms()[0][1] / sum(map(len, self.batches))
