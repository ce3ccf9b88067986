"""Results of the study of lengths: trainings of several lengths, on several fractions of the data,
with several encoders; and comparisons of methods at equal cost.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bench.downstream.probe.result import score_of
from bench.study.result import LABELLED, Studied
from catlip.records.estimate import N, Score
from catlip.records.run import Run
from catlip.records.styles import name_of
from catlip.records.table import RECORDS, Column, Row, Spec, quantity_of


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
