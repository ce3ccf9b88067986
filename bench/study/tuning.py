"""Tune every method with the same number of trials, over the same ranges, judged on validation
data: the learning rate can decide which of two methods is better. The trials of all methods are the
same points of a Sobol sequence, in the same order.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from pprint import pformat
from typing import Any, TypeVar

from bench.study.engine import (
    StudyOfMethods,
    Training,
    run_trainings,
    train_and_probe,
)
from bench.study.result import (
    TRIALS,
    Finalist,
    Trial,
    best_trials,
    group_by_trial,
    standard_error,
)
from catlip.cli import InputError
from catlip.data.layout import VALIDATION, find_layout
from catlip.data.sampler import images_per_step, steps_for
from catlip.program.ranges import Count, Natural, NotNegative, Seed
from catlip.recipes.pretrain import Recipe
from catlip.records.run import Run
from catlip.records.table import Table, print_tables
from catlip.system.files import write_atomically

T = TypeVar("T", bound=Trial)


def _log(low: float, high: float) -> Callable[[float], float]:
    return lambda position: math.exp(math.log(low) + position * (math.log(high) - math.log(low)))


def _linear(low: float, high: float) -> Callable[[float], float]:
    return lambda position: low + position * (high - low)


# Setting -> its value for a number in [0, 1); the same for every method that has the setting.
RANGES: dict[str, Callable[[float], float]] = {
    "max_lr": _log(2.5e-4, 8e-3),
    "weight_decay": _log(0.01, 0.5),
    "warmup_share": _linear(0.02, 0.2),
    "images_per_step": lambda position: 2 ** (5 + int(3 * position)),
    "least_crop": _linear(0.3, 0.9),
    "temperature": _log(0.02, 0.2),
    "logit_bias": _linear(-12, 0),
}
TUNED = "tuned"  # the name of a recipe in the file of a method's best one
LOGITS = {"temperature", "logit_bias"}  # not every method has them


@dataclass(frozen=True, kw_only=True)
class Tuning(StudyOfMethods):
    """Try several recipes for each method, the same number for all; run the same command again to
    go on. Each method's best recipe is written to OUT/METHOD.py.

    python -m bench.study tuning --shards data/starter/pretrain --labels-dir runs/starter/labels \\
        --vocabulary runs/starter/vocabulary.json --probe starter-validation:data/starter

    python -m bench.study tuning --shards '/data/mine/*.tar' --labels-dir runs/photos/labels \\
        --vocabulary runs/photos/vocabulary.json --probe folder-validation:/data/pets \\
        --recipe photos --finalists 4

    --probe holds validation data, never what the methods are compared on in the end.
    """

    trials: Count = 16
    """Number of trials of each method."""
    images: Count = 48_000
    """Images that each trial is trained on."""
    encoder: str = ""
    """Image encoder; by default the recipe's."""
    finalists: Natural = 0
    """How many of each method's best trials are trained once more, with --final-images."""
    points: tuple[Natural, ...] = ()
    """Numbers of trials that are the finalists of every method, in place of the best: short trials
    choose badly for long trainings."""
    final_images: Natural = 0
    """Images that a finalist is trained on; 0: those of its epochs."""
    epochs: NotNegative = 0.0
    """Epochs that the best recipe is to train for, if not those of --recipe."""
    final_seeds: tuple[Seed, ...] = (0, 1)
    """Seeds of the trainings of finalists; those within one standard error of their method's best
    with the first seed are trained with the others too, and their means decide."""
    seed: Seed = 0
    """Seed of the Sobol points, and of all trials."""
    out: Path = Path("runs/starter/tuning")
    """Folder for the records, one per trial."""


@dataclass(frozen=True)
class TrialTraining(Training):
    trial: int
    drawn: dict[str, float]

    @property
    def name(self) -> str:
        return f"{self.method}-{self.trial:02d}"


@dataclass(frozen=True)
class FinalTraining(TrialTraining):
    @property
    def name(self) -> str:
        return f"{super().name}-final-seed{self.seed}"


def main(config: Tuning) -> None:
    for data in config.probe:
        if not find_layout(data).validation:
            raise InputError(
                f"--probe {data} holds the test images: tune on validation data, as "
                f"starter{VALIDATION}:DIR or folder{VALIDATION}:DIR"
            )
    config.check()
    tables: list[Table] = []
    best: list[Run[Trial]] = []
    numbers = {method: [*config.points] for method in config.methods}
    if not config.points:
        trials = [
            trial_of(config, method, number)
            for number in range(config.trials)
            for method in config.methods
        ]
        best = run_trainings(config, trials, Trial, partial(measure, Trial))
        numbers = best_trials(best, config.finalists)
        tables.append(TRIALS.fill(best))
    if any(numbers.values()):
        finals, best = run_finals(config, numbers)
        tables.append(TRIALS.fill(finals))
    print_tables(tables)
    for method, (number,) in best_trials(best, 1).items():
        path = config.out / f"{method}.py"
        write_atomically(path, recipe_file(config, method, number).encode())
        print(f"the best recipe of {method}: --recipe {path}:{TUNED}")


def run_finals(
    config: Tuning, numbers: Mapping[str, Sequence[int]]
) -> tuple[list[Run[Trial]], list[Run[Trial]]]:
    """Trains these trials of each method at full length.

    Returns: all trainings, and those among which the means over seeds choose.
    """

    def run(numbers: Mapping[str, Sequence[int]], seeds: Sequence[int]) -> list[Run[Trial]]:
        finalists = [
            final_of(config, method, number, seed)
            for method, chosen in numbers.items()
            for number in chosen
            for seed in seeds
        ]
        return run_trainings(config, finalists, Finalist, partial(measure, Finalist))

    first, *further = config.final_seeds
    finals = run(numbers, [first])
    close = close_to_best(finals)
    if further:
        finals += run({method: near for method, near in close.items() if len(near) > 1}, further)
    return finals, [run for run in finals if run.metrics.trial in close[run.metrics.method]]


def close_to_best(runs: Iterable[Run[Trial]]) -> dict[str, list[int]]:
    """Method -> its trials within a standard error of its best: one seed cannot tell them apart."""
    close = {}
    for method, trials in group_by_trial(runs).items():
        firsts = {number: its_runs[0] for number, its_runs in trials.items()}
        best = max(firsts.values(), key=lambda run: run.metrics.score)
        least = best.metrics.score - standard_error(best)
        close[method] = [number for number, run in firsts.items() if run.metrics.score >= least]
    return close


def recipe_file(config: Tuning, method: str, number: int) -> str:
    """The text of a file whose dict `tuned` is a trial's recipe of its final length, for
    `--recipe FILE.py:tuned`.
    """
    base = config.base_recipe(method)
    recipe = final_of(replace(config, final_images=0), method, number, config.seed).recipe
    differs = {
        field.name: getattr(recipe, field.name)
        for field in fields(recipe)
        if field.name not in recipe.ALTERNATIVES
        and getattr(recipe, field.name) != getattr(base, field.name)
    }
    if config.epochs:
        differs["epochs"] = config.epochs
    probes = " and ".join(config.probe)
    about = f"{method}: trial {number} of {config.trials}, by its accuracy on {probes}."
    tuned = pformat({"recipe": config.recipe, **differs}, sort_dicts=False)
    return f'"""{about}"""\n\n{TUNED} = {tuned}\n'


def measure(kind: type[T], config: Tuning, trial: TrialTraining, folder: Path) -> T:
    """A training that diverges is an outcome, not an error."""
    settings: dict[str, Any] = {"method": trial.method, "trial": trial.trial, "drawn": trial.drawn}
    try:
        pretrain, accuracies = train_and_probe(config, trial, folder)
    except InputError as error:
        if "finite" not in str(error):
            raise
        return kind(**settings, accuracies={}, failed=str(error))
    seen, seconds = pretrain.images_seen, pretrain.train_seconds
    return kind(**settings, accuracies=accuracies, images_seen=seen, train_seconds=seconds)


def final_of(config: Tuning, method: str, number: int, seed: int) -> FinalTraining:
    """A trial's recipe over more images: the warm-up is the same share of these."""
    base = config.base_recipe(method)
    if config.epochs:
        base = replace(base, epochs=config.epochs, iterations=0)
    steps = base.num_steps(config.num_samples)
    whole = round(steps * images_per_step(base.sizes(), base.num_devices))
    images = config.final_images or whole
    trial = trial_of(replace(config, images=images), method, number)
    return FinalTraining(**{**vars(trial), "seed": seed})


def trial_of(config: Tuning, method: str, number: int) -> TrialTraining:
    """The trial of a method with that number. Raises: InputError."""
    from torch.quasirandom import SobolEngine

    from baselines.methods import METHODS

    base = config.base_recipe(method)
    sobol = SobolEngine(len(RANGES), scramble=True, seed=config.seed)
    point = sobol.draw(number + 1)[number].tolist()
    drawn = {
        name: value_at(position)
        for (name, value_at), position in zip(RANGES.items(), point, strict=True)
        if name in METHODS[method].starts or name not in LOGITS
    }
    if config.encoder:
        base = replace(base, encoder=config.encoder)
    return config.training(
        TrialTraining,
        method=method,
        recipe=recipe_of(base, drawn, config.images),
        seed=config.seed,
        vocabulary=config.vocabulary,
        trial=number,
        drawn=drawn,
    )


def recipe_of(base: Recipe, drawn: Mapping[str, float], images: int) -> Recipe:
    """The recipe with what a trial has drawn, over so many images."""
    recipe = replace(
        base,
        max_lr=drawn["max_lr"],
        min_lr=drawn["max_lr"] / 100,
        weight_decay=drawn["weight_decay"],
        micro_batch=int(drawn["images_per_step"]) // base.num_devices,
        crop_scale=(drawn["least_crop"], base.crop_scale[1]),
        temperature=drawn.get("temperature"),
        logit_bias=drawn.get("logit_bias"),
    )
    steps = steps_for(images, recipe.sizes(), recipe.num_devices)
    warmup = round(drawn["warmup_share"] * steps)
    return replace(recipe, epochs=0.0, iterations=steps, warmup_iterations=warmup)
