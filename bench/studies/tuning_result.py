"""Trials of one method's recipe, judged on validation data, and how good the best of a number of
trials can be expected to be.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.studies.result import Studied
from catlip.method_style import name_of
from catlip.results.run import Run
from catlip.table import Cell, Table

RESAMPLES = 2_000
LEAST_TRIALS = 6  # fewer give no interval


@dataclass(frozen=True, kw_only=True)
class Trial(Studied):
    """One training by a randomly drawn recipe, and the accuracies of its probe on validation data.

    Attributes:
        trial: its number among the trials of the method, from 0.
        drawn: the fields of the recipe that were drawn, and their values.
        failed: if the training diverged, why there is no accuracy.
    """

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
        values = list(self.accuracies.values())
        return sum(values) / len(values) if values else 0.0


def expected_best(scores: Sequence[float], trials: int) -> float:
    """The expected score of the best of `trials` trials, each drawn from `scores` (Dodge et al.
    2019).
    """
    ordered = np.sort(np.asarray(scores, dtype=float))
    below = np.arange(len(ordered) + 1) / len(ordered)
    return float(ordered @ np.diff(below**trials))


def expected_best_interval(scores: Sequence[float], trials: int) -> tuple[float, float] | None:
    """The 95 % bootstrap interval of `expected_best` over `scores`; None for fewer than
    LEAST_TRIALS scores.
    """
    if len(scores) < LEAST_TRIALS:
        return None
    draws: NDArray[np.float64] = np.random.default_rng(0).choice(
        np.asarray(scores, dtype=float), (RESAMPLES, len(scores))
    )
    low, high = np.percentile([expected_best(draw, trials) for draw in draws], (2.5, 97.5))
    return float(low), float(high)


def tuning_table(trials: Iterable[Run[Trial]], name: str, title: str) -> Table:
    """One row per method: its trials, the best one, and what fewer trials would have found."""
    by_method: dict[str, list[Run[Trial]]] = {}
    for run in trials:
        by_method.setdefault(run.measured.method, []).append(run)
    rows = []
    for method, runs in by_method.items():
        best = max(runs, key=lambda run: run.measured.score)
        scores = [run.measured.score for run in runs]
        drawn = ", ".join(f"{name} {value:.3g}" for name, value in best.measured.drawn.items())
        budgets = [_expected(scores, share) for share in (4, 1)]
        rows.append(
            [
                Cell(name_of(method)),
                Cell(str(len(runs))),
                Cell(f"{100 * best.measured.score:.1f}", anchor=best.anchor),
                *map(Cell, budgets),
                Cell(drawn),
            ]
        )
    columns = [
        "Method",
        "Trials",
        "Best, validation (%)",
        "Expected best of a quarter of them (%)",
        "Expected best of this many (%)",
        "Recipe of the best",
    ]
    return Table(name, title, columns, rows=rows)


def _expected(scores: Sequence[float], share: int) -> str:
    trials = max(1, len(scores) // share)
    value, ends = expected_best(scores, trials), expected_best_interval(scores, trials)
    if ends is None:
        return f"{100 * value:.1f}"
    return f"{100 * value:.1f} ({100 * ends[0]:.1f} to {100 * ends[1]:.1f})"
