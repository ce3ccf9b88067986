"""`python -m catlip.data.audit RECIPE`: shows which samples the sampler gives to each rank."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import tyro

from catlip.cli import InputError, choose, run
from catlip.data.audit import COMPARED, Epoch, Layout, crossings, epochs_seen, moved
from catlip.data.sampler import SampleOrder
from catlip.data.shard_set import open_shards
from catlip.data.shards import expand
from catlip.program.ranges import Count, Natural, Seed
from catlip.recipes.pretrain import CATLIP, CLIP, Recipe
from catlip.table import Cell, Table, number_cell, print_tables, shown

MOST_ROWS, ENDS = 48, 8  # shows all rows up to MOST_ROWS, else the first and the last ENDS
# Shows all samples of a row up to MOST_SAMPLES, else the first ones and the last one.
MOST_SAMPLES, FIRST_SAMPLES = 6, 3


@dataclass(frozen=True)
class AuditSampler:
    """Show which samples each rank sees at which step, and how much another number of ranks would
    change. Exits with 1 if a sample is missing or doubled in an epoch.

    python -m catlip.data.audit datacomp_h16 --ranks 256

    python -m catlip.data.audit cc3m_b16 --ranks 4 --shards '/data/cc3m/{00000..00331}.tar'

    python -m catlip.data.audit starter --samples 70 --samples-per-shard 20 --micro-batch 4 \\
        --num-devices 2 --ranks 2 --iterations 10
    """

    recipe: tyro.conf.Positional[str]
    """A recipe of catlip.pretrain."""
    ranks: Count = 1
    """Processes of the training, one per GPU."""
    against: tuple[Count, ...] = ()
    """Other numbers of ranks to compare with; by default half and twice as many."""
    method: Literal["catlip", "clip"] = "catlip"
    """The method whose recipe of this name is used."""
    shards: tuple[str, ...] = ()
    """Image-caption shards: paths, folders, globs or braces; by default made-up ones."""
    samples: Count = 1_000_000
    """Number of made-up samples."""
    samples_per_shard: Count = 10_000
    """Samples in each made-up shard."""
    seed: Seed = 0
    """Seed of the training."""
    num_devices: Count | None = None
    """Number of devices in place of the recipe's; see catlip.pretrain."""
    micro_batch: Count | None = None
    """Images per device and micro-step in place of the recipe's."""
    iterations: Natural = 0
    """Number of steps in place of the recipe's length; 0 keeps the recipe's."""
    check_epochs: Count = 2
    """How many epochs are checked, from the first on."""
    step: Natural | None = None
    """Show all ranks of this step, counted from 0, in place of the run's first and last rows."""


def main(config: AuditSampler) -> None:
    """Print the tables, and exit with 1 if a sample is missing or doubled."""
    recipe = recipe_of(config)
    order = SampleOrder(counts_of(config), config.seed)
    layout = layout_of(recipe, config.ranks, order)
    epochs = epochs_seen(layout, order, config.check_epochs)
    print("\n".join(sentences(config, recipe, layout, order)), end="\n\n")
    others = config.against or (max(1, config.ranks // 2), 2 * config.ranks)
    print_tables(
        [
            samples_table(layout, order, config.step),
            epochs_table(epochs),
            ranks_table(recipe, layout, order, others=others),
        ]
    )
    if any(epoch.missing or epoch.doubled for epoch in epochs):
        print("samples are missing or doubled", file=sys.stderr)
        sys.exit(1)


def recipe_of(config: AuditSampler) -> Recipe:
    """The recipe, with the values that the command line sets."""
    recipe = choose("recipe", config.recipe, CATLIP if config.method == "catlip" else CLIP)
    if config.iterations:
        recipe = replace(recipe, iterations=config.iterations, epochs=0.0)
    return replace(
        recipe,
        num_devices=config.num_devices or recipe.num_devices,
        micro_batch=config.micro_batch or recipe.micro_batch,
    )


def counts_of(config: AuditSampler) -> list[int]:
    """The number of samples in each shard."""
    if config.shards:
        counts: list[int] = open_shards(expand(config.shards)).counts.tolist()
        return counts
    whole, rest = divmod(config.samples, config.samples_per_shard)
    return [config.samples_per_shard] * whole + [rest] * (rest > 0)


def layout_of(recipe: Recipe, ranks: int, order: SampleOrder) -> Layout:
    """The steps of a training on `ranks` ranks, with the seed of the order.

    Raises: InputError when `ranks` does not divide the recipe's devices.
    """
    return Layout(recipe.plan(order.total, order.seed), ranks, recipe.accumulation(ranks))


def sentences(
    config: AuditSampler, recipe: Recipe, layout: Layout, order: SampleOrder
) -> Iterator[str]:
    """Sentences on what the sampler does, also at the ends of epochs and of the run."""
    plan, total, a_step = layout.plan, order.total, np.diff(layout.plan.starts)
    yield (
        f"{'Samples' if config.shards else 'Made-up samples'}: {total:,} in {len(order.counts):,} "
        f"shard{'s' * (len(order.counts) != 1)}. Steps: {len(plan):,}. Ranks: {layout.ranks:,}. "
        f"Micro-steps per step: {layout.accumulation:,}."
    )
    images = _range([size.batch for size in plan.sizes])
    yield (
        f"Image sizes that steps draw from: {len(plan.sizes)}, of "
        f"{_range([size.resolution for size in plan.sizes])} pixels. Images per rank and "
        f"micro-step: {images}. Samples per step: {_range(a_step.tolist())}."
    )
    across = crossings(plan, order)
    yield (
        "Epochs follow each other without a pause: no sample is dropped and no batch is cut. Steps "
        f"with samples of several epochs: {across.count:,}."
    )
    if across.first is not None:
        yield (
            f"The first of them is step {across.first:,}: {across.of_next:,} of its "
            f"{a_step[across.first]:,} samples are of a later epoch, and {across.repeated:,} "
            "repeat another of its samples."
        )
    end, epochs = int(plan.starts[-1]), f"{plan.starts[-1] / total:,.4f}"
    asked = f" (the recipe asks for {recipe.epochs:g})" if recipe.epochs else ""
    yield f"The run ends after {epochs} epochs{asked}, with a full batch."
    if end % total:
        yield (
            f"Epoch {end // total:,} ends after {end % total:,} of its samples: the other "
            f"{total - end % total:,} are not seen in it."
        )
    yield (
        "In training, an image that cannot be read is replaced by another of its batch, and the "
        "record counts it."
    )


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def samples_table(layout: Layout, order: SampleOrder, step: int | None) -> Table:
    """Which samples each rank sees: all rows, the first and last ones, or those of a step."""
    a_step = layout.ranks * layout.accumulation
    numbers: Sequence[int] = range(len(layout.plan) * a_step)
    left_out = 0
    if step is not None:
        if step >= len(layout.plan):
            raise InputError(f"--step {step}: the last step of this run is {len(layout.plan) - 1}")
        numbers = numbers[step * a_step : (step + 1) * a_step]
    elif len(numbers) > MOST_ROWS:
        left_out = len(numbers) - 2 * ENDS
        numbers = [*numbers[:ENDS], *numbers[-ENDS:]]
    rows = [_row(layout, order, number) for number in numbers]
    if left_out:
        rows.insert(ENDS, [Cell(f"... {left_out:,} rows")])
    columns = (
        "Step",
        "Micro-step",
        "Rank",
        "Pixels",
        "Epoch",
        "Positions",
        "Samples, SHARD:SAMPLE",
    )
    return Table("samples", "What each rank sees; all numbers start at 0", columns, rows=rows)


def _row(layout: Layout, order: SampleOrder, number: int) -> list[Cell]:
    number, rank = divmod(number, layout.ranks)
    number, micro_step = divmod(number, layout.accumulation)
    step = layout.plan[number]
    begin = int(layout.begins(number)[micro_step, rank])
    shards, numbers = order(np.arange(begin, begin + step.batch))
    samples = [f"{shard}:{sample}" for shard, sample in zip(shards, numbers, strict=True)]
    if len(samples) > MOST_SAMPLES:
        samples = [*samples[:FIRST_SAMPLES], "...", samples[-1]]
    epochs = dict.fromkeys((begin // order.total, (begin + step.batch - 1) // order.total))
    return [
        number_cell(number, 0),
        number_cell(micro_step, 0),
        number_cell(rank, 0),
        number_cell(step.resolution, 0),
        Cell(" to ".join(map(str, epochs))),
        Cell(f"{begin:,} to {begin + step.batch - 1:,}"),
        Cell(" ".join(samples)),
    ]


def epochs_table(epochs: list[Epoch]) -> Table:
    """What is missing and doubled in each epoch that was checked."""
    rows = []
    for epoch in epochs:
        counts = (epoch.number, epoch.planned, epoch.missing, epoch.doubled)
        rows.append([*(number_cell(count, 0) for count in counts), Cell(" ".join(epoch.examples))])
    columns = ("Epoch", "Samples planned", "Missing", "Doubled", "Examples")
    return Table("epochs", "Missing and doubled samples of each epoch", columns, rows=rows)


def ranks_table(recipe: Recipe, layout: Layout, order: SampleOrder, others: Sequence[int]) -> Table:
    """What other numbers of ranks change.

    A number of ranks that does not divide the recipe's devices is also the number of devices.
    """
    rows = []
    for ranks in others:
        divides = recipe.num_devices % ranks == 0
        theirs = recipe if divides else replace(recipe, num_devices=ranks)
        other = layout_of(theirs, ranks, order)
        differs = moved(layout, other, order.total)
        rows.append(
            [
                number_cell(ranks, 0),
                Cell("as here" if divides else f"--num-devices {ranks}, another batch"),
                number_cell(other.accumulation, 0),
                Cell(f"{shown(100 * differs.step, 1)} %"),
                Cell(f"{shown(100 * differs.rank, 1)} %"),
            ]
        )
    columns = ("Ranks", "Images a step", "Micro-steps", "In another step", "On another rank")
    compared = min(COMPARED, order.total)
    title = f"Fraction of the first {compared:,} samples that another number of ranks moves"
    return Table("ranks", title, columns, rows=rows)


if __name__ == "__main__":
    run(AuditSampler, main)
