"""Losses and words: which words of a caption are read, and what is asked of them, crossed. The
effects are means of differences between cells, paired by seed, over seeds and test images; what was
expected of them stands in claims.toml, written before the new cells were trained.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from itertools import product
from statistics import fmean

from bench.study.result import Hypothesis, LengthTraining, factorial
from catlip.program.methods import BINARY, CONTRAST, LOSSES, NOUNS, SOFTMAX, WORDS, crossed_methods
from catlip.records.claims import min_pairs
from catlip.records.estimate import Estimate, Score, mean_difference, mean_of
from catlip.records.run import Run
from catlip.records.table import RECORDS, TIMES, Column, Row, Spec, quantity_of
from reports.names import data_of, data_sets, task_name
from reports.pairs import Comparisons, Experiment, Side

CELLS = crossed_methods()
Scores = Mapping[tuple[str, str], Mapping[float, Score]]  # cell -> seed -> accuracy in %
Weights = Mapping[tuple[str, str], float]  # cell -> how much of it is in an effect


@dataclass(frozen=True)
class Crossed:
    """The cells of one experiment that were trained, with the accuracies of each; `operations` are
    those of the costliest training over those of the cheapest.
    """

    on: Experiment
    epochs: float | None
    operations: float | None
    scores: Scores
    records: tuple[str, ...]

    @property
    def whole(self) -> frozenset[tuple[str, str]]:
        return frozenset(cell for cell, seeds in self.scores.items() if len(seeds) >= min_pairs())

    def effect(self, name: str) -> Estimate | None:
        """None where a cell that it needs has fewer seeds than an interval needs."""
        weights = effect_weights(self.whole).get(name, {})
        return combined([(self.scores, weights)]) if weights else None


def crossed_losses(cells: Set[tuple[str, str]]) -> list[str]:
    """Those of which both cells are there."""
    return [loss for loss in LOSSES if {(loss, NOUNS), (loss, WORDS)} <= cells]


@cache
def effect_weights(cells: frozenset[tuple[str, str]]) -> dict[str, Weights]:
    """Effect -> the weights of the cells, of those that are there."""
    losses = crossed_losses(cells)
    classify = [loss for loss in losses if loss != CONTRAST]

    def of_words(some: Sequence[str]) -> dict[tuple[str, str], float]:
        sign = {WORDS: 1 / len(some), NOUNS: -1 / len(some)}
        return {(loss, words): sign[words] for loss, words in product(some, sign)}

    def against(some: Sequence[str], other: str) -> dict[tuple[str, str], float]:
        weights = {loss: 0.5 / len(some) for loss in some} | {other: -0.5}
        return {(loss, words): weights[loss] for loss, words in product(weights, (NOUNS, WORDS))}

    found: dict[str, Weights] = {"words": of_words(losses)} if losses else {}
    if CONTRAST in losses and classify:
        contrast = {cell: -weight for cell, weight in of_words([CONTRAST]).items()}
        found |= {
            "classify": against(classify, CONTRAST),
            "together": of_words(classify) | contrast,
        }
    if {CONTRAST, BINARY} <= {*losses}:
        found["all_words"] = {(BINARY, WORDS): 1.0, (CONTRAST, WORDS): -1.0}
    if {SOFTMAX, BINARY} <= {*losses}:
        found["binary"] = against([BINARY], SOFTMAX)
    return found


def combined(parts: Sequence[tuple[Scores, Weights]]) -> Estimate | None:
    """The mean over seeds of a weighted sum of cells; None with fewer than the least pairs."""
    seeds = set.intersection(*({*scores[cell]} for scores, weights in parts for cell in weights))
    sums = []
    for seed in sorted(seeds):
        scaled = [
            weight * scores[cell][seed]
            for scores, weights in parts
            for cell, weight in weights.items()
        ]
        sums.append(mean_of(scaled) * len(scaled))
    estimate = mean_difference(sums)
    return estimate if estimate and (estimate.pairs or 0) >= min_pairs() else None


def crossed(comparisons: Comparisons) -> list[Crossed]:
    """Of each data set, encoder and length the tasks on which at least two losses were crossed with
    both choices of words; the longest first.
    """
    found = []
    for on, sides in comparisons.cells.items():
        if on.kind != LengthTraining.kind or on.fraction < 1 or on.metric != "top1":
            continue
        methods = {cell: Side(method) for cell, method in CELLS.items() if Side(method) in sides}
        rows = [sides[side] for side in methods.values()]
        scores = {cell: comparisons.scores(on, side) for cell, side in methods.items()}
        epochs = [n for cell in rows for n in cell.epochs.dropna()]
        flops = [n for cell in rows for n in cell.flops.dropna()]
        experiment = Crossed(
            on,
            float(epochs[0]) if epochs else None,
            max(flops) / min(flops) if flops and min(flops) else None,
            scores,
            tuple(path for cell in rows for path in cell.record),
        )
        if len(crossed_losses({*scores})) > 1:
            found.append(experiment)
    places = comparisons.settings
    return sorted(
        found,
        key=lambda experiment: (
            places.index((experiment.on.root, experiment.on.scale)),
            experiment.on.encoder,
            -experiment.on.images,
            -comparisons.share_of_classes(experiment.on),
        ),
    )


def words_per_caption(comparisons: Comparisons, root: str, scale: str) -> dict[str, float]:
    """NOUNS and WORDS -> how many of these a caption has in the mean that are classes."""
    runs: list[Run[LengthTraining]] = comparisons.records.of(LengthTraining)
    words_of = {method: words for (loss, words), method in CELLS.items() if loss != SOFTMAX}
    return {
        words_of[run.method]: run.metrics.classes_per_caption
        for run in runs
        if (run.root, run.scale) == (root, scale) and run.method in words_of
        if run.metrics.classes_per_caption is not None
    }


# --- Tables ---------------------------------------------------------------------------------------


def cell_rows(comparisons: Comparisons) -> Iterator[Row]:
    """A row for each task and words, a column for each loss."""
    for experiment in crossed(comparisons):
        untrained = [*comparisons.untrained(experiment.on).values()]
        for words in (NOUNS, WORDS):
            row = _shared(experiment) | {
                "words": words,
                "untrained": fmean(untrained) if untrained else None,
                "operations": experiment.operations,
            }
            for loss in LOSSES:
                if scores := experiment.scores.get((loss, words)):
                    row[loss] = quantity_of(score.value for score in scores.values())
            yield row


def effect_rows(comparisons: Comparisons) -> Iterator[Row]:
    for experiment in crossed(comparisons):
        for name, words in factorial().effects.items():
            if estimate := experiment.effect(name):
                yield _shared(experiment) | {"effect": words, "estimate": estimate}


def _shared(experiment: Crossed) -> dict[str, object]:
    return {
        "data": data_of(experiment.on.root, experiment.on.scale).name,
        "encoder": experiment.on.encoder,
        "epochs": experiment.epochs,
        "task": task_name(experiment.on.task),
        RECORDS: experiment.records,
    }


def hypothesis_rows(comparisons: Comparisons) -> Iterator[Row]:
    """What was expected, and what came, where something was run."""
    experiments = crossed(comparisons)
    for hypothesis in factorial().hypotheses if experiments else ():
        came = outcome_of(hypothesis, experiments)
        low, high = hypothesis.expected
        word = "not run"
        if came and came.low is not None and came.high is not None:
            refuted = came.high < low or came.low > high
            word = "refuted" if refuted else "as expected" if low <= came.value <= high else "open"
        yield {
            "data": hypothesis.data,
            "epochs": hypothesis.epochs,
            "task": hypothesis.task,
            "effect": factorial().effects[hypothesis.effect],
            "low": low,
            "high": high,
            "because": hypothesis.because,
            "came": came,
            "outcome": word,
        }


def outcome_of(hypothesis: Hypothesis, experiments: Sequence[Crossed]) -> Estimate | None:
    by_length = {
        round(experiment.epochs or 0): experiment
        for experiment in experiments
        if data_of(experiment.on.root, experiment.on.scale) == data_sets()[hypothesis.scale]
        and hypothesis.task == task_name(experiment.on.task)
        and hypothesis.encoder == experiment.on.encoder
    }
    asked, shorter = by_length.get(hypothesis.epochs), min(by_length, default=0)
    if asked is None:
        return None
    if hypothesis.effect != "epochs":
        return asked.effect(hypothesis.effect)
    if shorter == hypothesis.epochs:
        return None
    before = by_length[shorter]
    weights = effect_weights(asked.whole & before.whole).get("words", {})
    minus = {cell: -weight for cell, weight in weights.items()}
    return combined([(asked.scores, weights), (before.scores, minus)]) if weights else None


HEADS = [
    Column("Trained on", "data", head=True),
    Column("Encoder", "encoder", head=True),
    Column("Epochs", "epochs", 0, head=True),
    Column("Tested on", "task", head=True),
]
CELLS_TABLE = Spec(
    "losses_and_words",
    "Losses and words",
    "Linear-probe accuracy in %, mean and standard deviation over seeds. Each cell has the best of "
    "four to six recipes at its length, on validation images.",
    [
        *HEADS,
        Column("Operations, most over least", "operations", 2, unit=TIMES, head=True),
        Column("Untrained", "untrained", 1, head=True),
        Column("Reads", "words"),
        *(Column(loss.capitalize(), loss, 1) for loss in LOSSES),
    ],
    cell_rows,
)
EFFECTS = Spec(
    "effects",
    "Effects of losses and words",
    "In points, with 95 % intervals over seeds and test images; without a loss where one of its "
    "cells has fewer seeds than an interval needs.",
    [*HEADS, Column("Effect", "effect"), Column("Points", "estimate", 1, plus=True)],
    effect_rows,
)
HYPOTHESES = Spec(
    "hypotheses",
    "What was expected, and what came",
    "Written after CLIP's, CatLIP's and a pilot's cells; recipes were chosen by another rule then. "
    "Refuted: the 95 % interval lies outside of what was expected; open: only the mean does.",
    [
        Column("Trained on", "data", head=True),
        Column("Epochs", "epochs", 0, head=True),
        Column("Tested on", "task", head=True),
        Column("Effect", "effect"),
        Column("From", "low", 1, plus=True),
        Column("To", "high", 1, plus=True),
        Column("Because", "because"),
        Column("Came", "came", 1, plus=True),
        Column("Outcome", "outcome"),
    ],
    hypothesis_rows,
)
