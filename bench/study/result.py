"""Results of the studies of tuning and thresholds (of lengths: lengths_result.py), and what was
expected of that of losses and words.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean
from typing import Any, ClassVar, TypeVar

import msgspec

from bench.downstream.probe.result import (
    IMAGES,
    Classifier,
    TestImages,
    check_fractions,
    other_than_hits,
)
from catlip.records import claims
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


def best_trials(runs: Iterable[Run[Trial]], count: int) -> dict[str, list[int]]:
    """Method -> the numbers of its best trials, the best first."""
    return {
        method: sorted(trials, key=lambda trial: mean_score(trials[trial]), reverse=True)[:count]
        for method, trials in group_by_trial(runs).items()
    }


def trial_rows(runs: Iterable[Run[Trial]]) -> Iterator[Row]:
    """A row for each method, encoder and length: how many trials it had, and the best one."""
    for (encoder, images), alike in tuned_alike(runs).items():
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
