"""Results of the studies of tuning, thresholds and lengths, with comparisons of methods at equal
cost; and what was expected of that of losses and words.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from statistics import fmean
from typing import Any, ClassVar, TypeVar

import msgspec
import numpy as np

from bench.downstream.probe.result import (
    IMAGES,
    Classifier,
    TestImages,
    check_fractions,
    other_than_hits,
    score_of,
)
from catlip.records import claims
from catlip.records.estimate import N, Score
from catlip.records.kind import Kind
from catlip.records.run import Run
from catlip.records.styles import name_of
from catlip.records.table import RECORDS, Column, Row, Spec, quantity_of

T = TypeVar("T", bound="Trial")
LABELLED = (
    "--shards data/starter/pretrain --labels-dir runs/starter/labels --vocabulary "
    "runs/starter/vocabulary.json"
)


@dataclass(frozen=True, kw_only=True)
class Studied(Kind):
    """One training of a study, and the top-1 accuracies of probes of its encoder, by task, or by a
    part of a task's test images, such as `concepts, held out`.
    """

    rows: ClassVar = {"runs": Classifier, IMAGES: TestImages}

    method: str
    accuracies: dict[str, float]

    def __post_init__(self) -> None:
        check_fractions(**self.accuracies)

    def faults(self, run: Run[Any]) -> Iterator[str]:
        return other_than_hits(run, self.accuracies)

    @property
    def outcome(self) -> str:
        return ", ".join(f"{task} {100 * top1:.1f} %" for task, top1 in self.accuracies.items())


# --- Tuning ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Trial(Studied):
    """One training by a recipe with drawn fields, on validation data; `failed` if it diverged."""

    kind = "tuning"

    trial: int
    drawn: dict[str, float]
    images_seen: float | None = None
    train_seconds: float | None = None
    failed: str | None = None

    @property
    def outcome(self) -> str:
        return self.failed or super().outcome

    @property
    def score(self) -> float:
        """The mean accuracy over tasks, by which the best trial is chosen; 0 if it diverged."""
        return fmean(self.accuracies.values()) if self.accuracies else 0.0


@dataclass(frozen=True, kw_only=True)
class Finalist(Trial):
    """A training of full length by one of the best trials' recipes, with one of several seeds."""

    kind = "finalist"


def group_by_trial(runs: Iterable[Run[Trial]]) -> dict[str, dict[int, list[Run[Trial]]]]:
    """Method -> trial -> its runs, several if they are finalists."""
    groups: dict[str, dict[int, list[Run[Trial]]]] = {}
    for run in runs:
        groups.setdefault(run.metrics.method, {}).setdefault(run.metrics.trial, []).append(run)
    return groups


def tuned_alike(runs: Iterable[Run[T]]) -> dict[tuple[str, float], list[Run[T]]]:
    """(Encoder, images that a training saw, to two digits) -> trials, the most first. One that
    diverged is with the most trials of its encoder.
    """
    groups: dict[tuple[str, float], list[Run[T]]] = {}
    for run in sorted(runs, key=lambda run: not run.metrics.images_seen):  # diverged last
        encoder, seen = run.config.recipe.encoder, run.metrics.images_seen
        key = (encoder, float(f"{seen or 0:.2g}"))
        if not seen:
            lengths = [group for group in groups if group[0] == encoder]
            key = max(lengths, key=lambda group: len(groups[group]), default=key)
        groups.setdefault(key, []).append(run)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def mean_score(runs: Iterable[Run[Trial]]) -> float:
    return fmean(run.metrics.score for run in runs)


def standard_error(run: Run[Trial]) -> float:
    """That of a trial's score over its validation images, by the hits on each; 0 without these."""
    tasks = [score_of(run, task).by_image for task in run.metrics.accuracies]
    variances = [np.nanvar(hits) / np.isfinite(hits).sum() for hits in tasks if hits is not None]
    return math.sqrt(sum(variances)) / len(variances) / 100 if variances else 0.0


def best_trials(runs: Iterable[Run[Trial]], count: int) -> dict[str, list[int]]:
    """Method -> the numbers of its best trials, the best first."""
    return {
        method: sorted(trials, key=lambda trial: mean_score(trials[trial]), reverse=True)[:count]
        for method, trials in group_by_trial(runs).items()
    }


def trial_rows(runs: Iterable[Run[Trial]]) -> Iterator[Row]:
    """A row for each method, encoder and length: how many trials it had, and the best one."""
    for (encoder, images), alike in sorted(tuned_alike(runs).items()):
        for method, trials in group_by_trial(alike).items():
            best = max(trials.values(), key=mean_score)
            first = best[0]
            yield {
                "encoder": encoder,
                "images": images or None,
                "method": name_of(method),
                "trials": len(trials),
                "score": quantity_of(run.metrics.score for run in best),
                "number": first.metrics.trial,
                **first.metrics.drawn,
                RECORDS: tuple(run.path for run in best),
            }


TRIALS = Spec(
    "trials",
    "Trials of each method's recipe, on validation data",
    "Each method gets the same draws from the same ranges; no other number uses these images.",
    [
        Column("Encoder", "encoder", head=True),
        Column("Images", "images", 0, head=True),
        Column("Method", "method"),
        Column("Trials", "trials", 0),
        Column("Best (%)", "score", 1, factor=100),
        Column("Its number", "number", 0),
        Column("Images a step", "images_per_step", 0),
        Column("Rate", "max_lr"),
        Column("Decay", "weight_decay"),
        Column("Least crop", "least_crop", 2),
    ],
    trial_rows,
    f"python -m bench.study tuning {LABELLED} --probe starter-validation:data/starter",
    [Trial, Finalist],
)


# --- Thresholds -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ThresholdTraining(Studied):
    kind = "threshold_training"

    threshold: int
    seed: int
    train_seconds: float
    images_seen: float


@dataclass(frozen=True, kw_only=True)
class Threshold(Kind):
    """Threshold -> what it leaves of the classes and of the captions' labels, and the means over
    seeds of a training's cost and accuracies with these classes, such as `concepts_top1`.
    """

    kind = "threshold"

    thresholds: dict[int, dict[str, float]]


def threshold_accuracies(run: Run[Threshold]) -> dict[str, dict[float, dict[float, float]]]:
    """Task -> threshold -> seed -> top-1 accuracy in %; repeated runs of a seed are averaged."""
    thresholds, seeds = run.series("threshold"), run.series("seed")
    by_task: dict[str, dict[float, dict[float, float]]] = {}
    for name in (name for name in run.samples if name.endswith("_top1")):
        levels: dict[float, dict[float, list[float]]] = {}
        rows = zip(thresholds, seeds, run.series(name), strict=False)
        for threshold, seed, top1 in sorted(rows):
            if (threshold == 0 or 1 <= threshold < 1e12) and 0 <= top1 <= 1:
                levels.setdefault(threshold, {}).setdefault(seed, []).append(100 * top1)
        if levels:
            by_task[name.removesuffix("_top1")] = {
                threshold: {seed: fmean(repeats) for seed, repeats in by_seed.items()}
                for threshold, by_seed in levels.items()
            }
    return by_task


def threshold_rows(runs: Sequence[Run[Threshold]]) -> Iterator[Row]:
    """A row for each threshold and task: what it leaves, and the probes' accuracies."""
    for run in runs:
        accuracies = threshold_accuracies(run)
        for threshold, left in sorted(run.metrics.thresholds.items()):
            for task, levels in accuracies.items():
                yield {
                    "threshold": threshold,
                    **{name: left.get(name) for name in LEFT},
                    "task": task,
                    "top1": quantity_of(levels.get(threshold, {}).values()),
                    RECORDS: (run.path,),
                }


LEFT = ("classes", "labels_per_caption", "captions_without_label")  # by a threshold, in a record
THRESHOLDS = Spec(
    "thresholds",
    "Where to cut the vocabulary",
    "A low threshold keeps rare synsets as classes; a high one leaves captions without labels.",
    [
        Column("Threshold", "threshold", 0, head=True),
        Column("Classes", "classes", 0, head=True),
        Column("Labels per caption", "labels_per_caption", 2, head=True),
        Column("Captions without a label", "captions_without_label", 0, head=True),
        Column("Tested on", "task"),
        Column("Top-1 (%)", "top1", 1),
    ],
    threshold_rows,
    "python -m bench.study thresholds --shards data/starter/pretrain --labels-dir "
    "runs/starter/labels --probe starter:data/starter --seeds 0 1",
    [Threshold],
)


# --- Lengths --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LengthTraining(Studied):
    """One training on a fraction of the shards, and the probe of its encoder. It was to see
    `images`, and in whole steps saw `images_seen`; `flops` counts all its steps. A method that has
    labels has `classes_per_caption` of these in the mean.
    """

    kind = "scaling"

    encoder: str
    fraction: float
    images: int
    seed: int
    images_seen: float
    flops: float
    train_seconds: float
    final_loss: float
    classes_per_caption: float | None = None


Runs = Sequence[Run[LengthTraining]]


@dataclass(frozen=True)
class Curve:
    """A method's trainings of several lengths on all of the data, with one encoder: seed -> a
    training of each length, ascending. A seed that some length lacks is left out.
    """

    method: str
    encoder: str
    rows: dict[int, Runs]

    @cached_property
    def top1(self) -> dict[str, dict[int, list[Score]]]:
        """Task -> seed -> [lengths] in %, of the tasks that all of these were probed on."""
        tasks: dict[str, dict[int, list[Score]]] = {}
        for seed, row in self.rows.items():
            for task in row[0].metrics.accuracies:
                if all(task in run.metrics.accuracies for run in row):
                    tasks.setdefault(task, {})[seed] = [score_of(run, task) for run in row]
        return tasks

    def costs(self, cost: str) -> list[float]:
        """[lengths], means over the seeds."""
        costs = [[getattr(run.metrics, cost) for run in row] for row in self.rows.values()]
        lengths: list[float] = np.mean(costs, axis=0).tolist()
        return lengths


def curves(runs: Runs) -> list[Curve]:
    """The curve of each method that has one, with the encoder that has the most lengths."""
    whole = [run for run in runs if run.metrics.fraction == 1]
    lengths: dict[str, set[int]] = {}
    for run in whole:
        lengths.setdefault(run.metrics.encoder, set()).add(run.metrics.images)
    encoder = max(lengths, key=lambda name: len(lengths[name]), default="")
    complete = []
    for method in dict.fromkeys(run.metrics.method for run in whole):
        by_seed: dict[int, dict[int, Run[LengthTraining]]] = {}
        for run in whole:
            if (run.metrics.method, run.metrics.encoder) == (method, encoder):
                by_seed.setdefault(run.metrics.seed, {})[run.metrics.images] = run
        images = sorted({length for row in by_seed.values() for length in row})
        rows: dict[int, Runs] = {
            seed: [row[length] for length in images]
            for seed, row in sorted(by_seed.items())
            if len(row) == len(images)
        }
        if len(images) > 1 and rows:
            complete.append(Curve(method, encoder, rows))
    return complete


def at_cost(costs: Sequence[float], values: Sequence[N], cost: float) -> N | None:
    """The value at `cost`, interpolated in the logarithm of `costs`; None outside of these."""
    if not costs[0] <= cost <= costs[-1]:
        return None
    position = float(np.interp(np.log(cost), np.log(costs), range(len(costs))))
    before, after = math.floor(position), math.ceil(position)
    return values[before] + (values[after] - values[before]) * (position - before)


def cost_of(costs: Sequence[float], values: Sequence[float], value: float) -> float | None:
    """The least cost at which `value` is reached, interpolated like `at_cost`. None if no length
    reaches it, or if the shortest does, since a lower cost might then be enough.
    """
    enough = next((n for n, reached in enumerate(values) if reached >= value), 0)
    if enough == 0:
        return None
    ends = slice(enough - 1, enough + 1)
    return float(np.exp(np.interp(value, values[ends], np.log(costs[ends]))))


def at_equal_cost(
    curve: Curve, subtracted: Curve, times: float | None = None
) -> dict[str, list[Score]]:
    """Task -> the first minus the second in points, for each seed, at the cost of the longest
    trainings (the lower one of the two methods'): that in operations or, if an image takes the
    second `times` as long as the first, that in seconds.
    """
    cost = "flops" if times is None else "images_seen"
    costs, second_costs = curve.costs(cost), subtracted.costs(cost)
    second_costs = [(times or 1) * length for length in second_costs]
    budget = min(costs[-1], second_costs[-1])
    points: dict[str, list[Score]] = {}
    for task, by_seed in curve.top1.items():
        for seed, top1 in subtracted.top1.get(task, {}).items():
            if seed not in by_seed:
                continue
            first = at_cost(costs, by_seed[seed], budget)
            second = at_cost(second_costs, top1, budget)
            if first is not None and second is not None:
                points.setdefault(task, []).append(first - second)
    return points


def length_rows(runs: Runs) -> Iterator[Row]:
    """A row for each encoder, fraction, length, method and task, over the seeds."""
    groups: dict[tuple[str, float, int, str], list[Run[LengthTraining]]] = {}
    for run in runs:
        key = run.metrics.encoder, run.metrics.fraction, run.metrics.images, run.metrics.method
        groups.setdefault(key, []).append(run)
    for (encoder, fraction, images, method), seeds in sorted(groups.items()):
        for task in dict.fromkeys(task for run in seeds for task in run.metrics.accuracies):
            yield {
                "encoder": encoder,
                "fraction": fraction,
                "images": images,
                "method": name_of(method),
                "flops": seeds[0].metrics.flops,
                "task": task,
                "top1": quantity_of(run.metrics.accuracies.get(task) for run in seeds),
                RECORDS: tuple(run.path for run in seeds),
            }


LENGTHS = Spec(
    "lengths",
    "Accuracy against length, data and encoder",
    "Each training goes to the end of its own schedule.",
    [
        Column("Encoder", "encoder", head=True),
        Column("Of the data (%)", "fraction", factor=100, head=True),
        Column("Images seen", "images", 0, head=True),
        Column("Method", "method", head=True),
        Column("TFLOPs", "flops", factor=1e-12, head=True),
        Column("Tested on", "task"),
        Column("Top-1 (%)", "top1", 1, factor=100),
    ],
    length_rows,
    f"python -m bench.study lengths {LABELLED} --probe starter:data/starter",
)


# --- Losses and words -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Hypothesis:
    """What was expected of an effect of losses and words before the first training: points, low and
    high.
    """

    data: str
    epochs: int
    task: str
    effect: str
    expected: tuple[float, float]
    because: str
    scale: str
    encoder: str = "hybrid_mini"


@dataclass(frozen=True)
class Factorial:
    """Effects by name, in words, and what was expected of them."""

    effects: dict[str, str]
    hypotheses: tuple[Hypothesis, ...]


@cache
def factorial() -> Factorial:
    return msgspec.convert(claims.factorial(), Factorial)
