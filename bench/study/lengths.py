"""Accuracy against the length of training, the size of the data and the size of the encoder: each
training goes to the end of its own schedule. Vary one factor per command, all into the same folder.
"""

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from bench.measuring.factors import factors_of
from bench.study.engine import StudyOfMethods, Training, run_trainings, train_and_probe
from bench.study.result import LENGTHS, LengthTraining
from catlip.architectures import ENCODERS
from catlip.cli import choose
from catlip.data.shards import expand
from catlip.program.ranges import Count, PositiveFraction, Seed
from catlip.records.table import print_tables
from catlip.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class Lengths(StudyOfMethods):
    """Train at several lengths, on several fractions of the data, with several encoders; run the
    same command again to go on.

    python -m bench.study lengths --shards data/starter/pretrain --labels-dir runs/starter/labels \\
        --vocabulary runs/starter/vocabulary.json --probe starter:data/starter
    """

    images: tuple[Count, ...] = (8_000, 16_000, 32_000, 64_000, 128_000)
    """How many images the trainings see."""
    fractions: tuple[PositiveFraction, ...] = (1.0,)
    """Fractions of the shards to train on; those used are evenly spaced among all."""
    encoders: tuple[str, ...] = ()
    """Image encoders; by default the recipe's. Each is trained by the recipe of its size, if there
    is one, such as datacomp_l16 beside datacomp_b16; else by --recipe.
    """
    seeds: tuple[Seed, ...] = (0, 1, 2)
    """Seeds of the trainings and their probes."""
    out: Path = Path("runs/starter/scaling")
    """Folder for the records, one per training."""


@dataclass(frozen=True)
class SizedTraining(Training):
    images: int
    fraction: float

    @property
    def name(self) -> str:
        fraction = "" if self.fraction == 1 else f"-of-{self.fraction:g}"
        return f"{self.method}-{self.recipe.encoder}-{self.images}{fraction}-seed{self.seed}"


def main(config: Lengths) -> None:
    config.check()
    runs = run_trainings(config, list_trainings(config), LengthTraining, measure)
    print_tables([LENGTHS.fill(runs)])


def measure(config: Lengths, training: SizedTraining, folder: Path) -> LengthTraining:
    from bench.arithmetic.flops import step_flops  # torch takes seconds to load

    pretrain, accuracies = train_and_probe(config, training, folder)
    batch_size = training.recipe.micro_batch * training.recipe.num_devices
    classes = pretrain.num_classes or len(Vocabulary.load(training.vocabulary))
    step = factors_of(training.method, training.recipe)
    step = replace(step, batch_size=batch_size, num_classes=classes)
    return LengthTraining(
        method=training.method,
        encoder=training.recipe.encoder,
        fraction=training.fraction,
        images=training.images,
        seed=training.seed,
        images_seen=pretrain.images_seen,
        flops=step_flops(step) * pretrain.iterations,
        train_seconds=pretrain.train_seconds,
        final_loss=pretrain.final_loss,
        classes_per_caption=pretrain.classes_per_caption,
        accuracies=accuracies,
    )


def list_trainings(config: Lengths) -> list[SizedTraining]:
    """All combinations, the shortest trainings first. Raises: InputError."""
    trainings = []
    for images, fraction, encoder, method, seed in product(
        sorted(config.images),
        config.fractions,
        config.encoders or ("",),
        config.methods,
        config.seeds,
    ):
        base = config.base_recipe(method)
        if encoder:
            choose("encoder", encoder, ENCODERS)
            base = config.recipe_of_encoder(method, encoder) or replace(base, encoder=encoder)
        training = config.training(
            SizedTraining,
            method=method,
            recipe=config.recipe_of_length(base, images),
            seed=seed,
            vocabulary=config.vocabulary,
            shards=spread(config.shards, fraction),
            images=images,
            fraction=fraction,
        )
        trainings.append(training)
    return trainings


def spread(shards: tuple[str, ...], fraction: float) -> tuple[str, ...]:
    """That fraction of the shards, evenly spaced; if all, the patterns as the user wrote them."""
    if fraction == 1:
        return shards
    paths = [str(path) for path in expand(shards)]
    count = max(1, round(fraction * len(paths)))
    rows = np.linspace(0, len(paths), count, endpoint=False, dtype=int)
    return tuple(paths[row] for row in rows)
