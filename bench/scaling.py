"""Accuracy against the length of training, the size of the data and of the encoder.

Each cell is a training to the end of its schedule and a linear probe, and writes one record; a
finished cell is not done again. Vary one factor per command, all into the same folder: give several
lengths first, then several fractions of the data, then several encoders.
"""

from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np

from bench.arithmetic.flops import step_flops
from bench.measuring.factors import Factors
from bench.studies import scaling_result as result
from bench.studies.scaling_tables import scaling_tables
from bench.studies.training import (
    METHODS,
    Study,
    Training,
    base_recipe,
    check,
    every_one,
    of_length,
    recipe_of_encoder,
    say_where,
    train_and_probe,
)
from catlip.cli import one_of, run
from catlip.data.shards import expand
from catlip.encoder import ENCODERS
from catlip.program.ranges import Count, PositiveFraction, Seed
from catlip.table import print_tables
from catlip.vocabulary import Vocabulary


@dataclass(frozen=True)
class Scaling(Study):
    """Train at several lengths, on several fractions of the data, with several encoders; run the
    same command again to go on.

    python -m bench.scaling --shards data/starter/pretrain --labels-dir runs/starter/labels \\
        --vocabulary runs/starter/vocabulary.json --probe starter:data/starter
    python -m bench.scaling --images 64000 --fractions 0.125 0.25 0.5 \\
        --shards data/starter/pretrain --labels-dir runs/starter/labels \\
        --vocabulary runs/starter/vocabulary.json --probe starter:data/starter
    python -m bench.scaling --recipe cc3m_b16 --images 72500000 145000000 290000000 --seeds 0 \\
        --shards 'cc3m/{00000..00331}.tar' --labels-dir runs/cc3m/labels \\
        --vocabulary runs/cc3m/vocabulary.json --probe imagenet:/data/imagenet \\
        --probe-recipe table_7a --out runs/cc3m/scaling
    """

    methods: tuple[Annotated[str, one_of(METHODS)], ...] = ("catlip", "clip")
    """Methods to train with."""
    images: tuple[Count, ...] = (8_000, 16_000, 32_000, 64_000, 128_000)
    """How many images the trainings see."""
    fractions: tuple[PositiveFraction, ...] = (1.0,)
    """Fractions of the shards to train on; those used are evenly spaced among all."""
    encoders: tuple[Annotated[str, one_of(ENCODERS)], ...] = ()
    """Image encoders; by default the recipe's. Each is trained by the recipe of its size, if there
    is one, as datacomp_l16 beside datacomp_b16; else by --recipe.
    """
    seeds: tuple[Seed, ...] = (0, 1, 2)
    """Seeds of the trainings and their probes."""
    out: Path = Path("runs/starter/scaling")
    """Folder for the records, one per cell."""


@dataclass(frozen=True)
class OneCell(Training):
    """What determines one cell."""

    images: int
    fraction: float

    @property
    def name(self) -> str:
        fraction = "" if self.fraction == 1 else f"-of-{self.fraction:g}"
        return f"{self.method}-{self.recipe.encoder}-{self.images}{fraction}-seed{self.seed}"


def main(config: Scaling) -> None:
    """Train and probe, write a record of each cell, and print what was found."""
    check(config)
    trainings = cells(config)
    for method, encoder in product(config.methods, config.encoders):
        if not recipe_of_encoder(config, method, encoder):
            print(f"{method}: {encoder} has no recipe of its own: it keeps {config.recipe}'s")
    done = every_one(config, trainings, result.Scaling, measure=partial(_measure, config))
    print_tables(scaling_tables(done))
    say_where(config.out, done)


def cells(config: Scaling) -> list[OneCell]:
    """All combinations, the shortest trainings first, the seeds of a cell one after the other."""
    made = []
    every = product(sorted(config.images), config.fractions, config.encoders or ("",))
    for (images, fraction, encoder), method, seed in product(every, config.methods, config.seeds):
        base = base_recipe(config, method)
        if encoder:
            base = recipe_of_encoder(config, method, encoder) or replace(base, encoder=encoder)
        training = replace(
            config.training(method, of_length(base, images), seed),
            shards=spread(config.shards, fraction),
        )
        made.append(OneCell(**vars(training), images=images, fraction=fraction))
    return made


def spread(shards: tuple[str, ...], fraction: float) -> tuple[str, ...]:
    """That fraction of the shards, at least one, evenly spaced; if all, the patterns as the user
    wrote them.
    """
    if fraction == 1:
        return shards
    paths = [str(path) for path in expand(shards)]
    count = max(1, round(fraction * len(paths)))
    rows = np.linspace(0, len(paths), count, endpoint=False, dtype=int)
    return tuple(paths[row] for row in rows)


def _measure(config: Scaling, cell: OneCell, folder: Path) -> result.Scaling:
    outcome = train_and_probe(config, cell, folder)
    seen = outcome.pretrain
    recipe = cell.recipe
    factors = Factors(
        method=cell.method,
        model=recipe.encoder,
        resolution=recipe.resolution,
        batch_size=recipe.micro_batch * recipe.num_devices,
        num_classes=len(Vocabulary.load(cell.vocabulary)),
    )
    return result.Scaling(
        method=cell.method,
        encoder=recipe.encoder,
        fraction=cell.fraction,
        images=cell.images,
        seed=cell.seed,
        images_seen=seen.images_seen,
        flops=step_flops(factors) * seen.iterations,
        train_seconds=seen.train_seconds,
        final_loss=seen.final_loss,
        accuracies=outcome.accuracies,
    )


if __name__ == "__main__":
    run(Scaling, main)
