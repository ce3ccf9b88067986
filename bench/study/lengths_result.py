"""Results of the study of lengths: trainings of several lengths, on several fractions of the data,
with several encoders; and comparisons of methods at equal cost.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from bench.downstream.probe.result import score_of
from bench.study.result import LABELLED, Studied, draw_accuracies
from catlip.records.blocks import Block, side_by_side
from catlip.records.estimate import N, Score
from catlip.records.figures import MUTED, Axes, Figure, write_out_powers
from catlip.records.lines import Line, bars_in_words, brief, height_for, line_of, means_in_words
from catlip.records.run import Run
from catlip.records.styles import name_of
from catlip.records.table import Cell, Table, format_number, quantity_cell, quantity_of

LENGTHS = f"python -m bench.study lengths {LABELLED} --probe starter:data/starter"


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


def at_equal_cost(one: Curve, other: Curve, times: float | None = None) -> dict[str, list[Score]]:
    """Task -> the first minus the second in points, for each seed, at the cost of the longest
    trainings (the lower one of the two methods'): that in operations or, if an image takes the
    second `times` as long as the first, that in seconds.
    """
    cost = "flops" if times is None else "images_seen"
    costs = one.costs(cost)
    other_costs = [(times or 1) * each for each in other.costs(cost)]
    budget = min(costs[-1], other_costs[-1])
    points: dict[str, list[Score]] = {}
    for task, by_seed in one.top1.items():
        other_by_seed = other.top1.get(task, {})
        for seed in (seed for seed in other_by_seed if seed in by_seed):
            first = at_cost(costs, by_seed[seed], budget)
            second = at_cost(other_costs, other_by_seed[seed], budget)
            if first is not None and second is not None:
                points.setdefault(task, []).append(first - second)
    return points


def lengths_table(runs: Runs) -> Table:
    """One row per encoder, fraction, length and method, over the seeds."""
    tasks = dict.fromkeys(task for run in runs for task in run.metrics.accuracies)
    groups: dict[tuple[str, float, int, str], list[LengthTraining]] = {}
    for one in (run.metrics for run in runs):
        groups.setdefault((one.encoder, one.fraction, one.images, one.method), []).append(one)
    rows = []
    for (encoder, fraction, images, method), same in sorted(groups.items()):
        texts = [encoder, f"{100 * fraction:g} %", f"{images:,}", name_of(method)]
        row = [*map(Cell, texts), Cell(format_number(same[0].flops / 1e12))]
        for task in tasks:
            row.append(quantity_cell(quantity_of(100 * one.accuracies[task] for one in same), 1))
        rows.append(row)
    columns = ["Encoder", "Fraction of the data", "Images seen", "Method", "TFLOPs"]
    columns += [f"{task}, top-1 (%)" for task in tasks]
    return Table("scaling", "Accuracy against length, data and encoder", columns, rows=rows)


def cost_panels(runs: Runs, first: Sequence[str], floor: dict[str, float]) -> list[Block]:
    """Accuracy against the operations of a training: a panel for each task, the tasks in `first`
    first; nothing if no method has several lengths. `floor`: task -> accuracy of random init, in %.
    """
    by_method = curves(runs)
    names = [task for curve in by_method for task in curve.top1]
    tasks = dict.fromkeys([*(task for task in first if task in names), *names])
    panels, how = list[Figure](), ""
    for i, task in enumerate(tasks, 1):
        lines = _lines(by_method, task)
        how = bars_in_words(lines)
        panels.append(
            Figure(
                f"scaling_{i}",
                "",
                f"Accuracy on {task} by TFLOPs of training. "
                f"{means_in_words(lines, ' TFLOPs', brief)}.",
                draw=partial(_draw, lines=lines, title=task, floor=floor.get(task)),
                height=0.82 * height_for(lines),
            )
        )
    n = " or ".join(map(str, sorted({len(curve.rows) for curve in by_method})))
    caption = f"Each mark is a whole training, each line the mean of {n} seeds. {how}"
    return side_by_side(panels, caption.strip())


def _lines(by_method: Sequence[Curve], task: str) -> list[Line]:
    lines = []
    for curve in by_method:
        points = [
            (flops / 1e12, str(seed), top1)
            for seed, row in curve.top1.get(task, {}).items()
            for flops, top1 in zip(curve.costs("flops"), row, strict=True)
        ]
        if points:
            lines.append(line_of(curve.method, points))
    return lines


def _draw(axes: Axes, lines: Sequence[Line], title: str, floor: float | None) -> None:
    points = [point for line in lines for point in line.marks]
    axes.set_xscale("log")
    axes.set_xlim(min(x for x, _ in points) / 1.1, max(x for x, _ in points) * 1.1)
    write_out_powers(axes.xaxis)
    axes.set_xlabel("10¹² FLOPs of a training (logarithmic)")
    axes.set_ylabel(f"{title}, top-1 (%)")
    if floor is not None and math.isfinite(floor):
        axes.axhline(floor, color=MUTED, linestyle=":", linewidth=1.4)
        axes.annotate(
            "random init",
            (axes.get_xlim()[1], floor),
            (-4, 2),
            textcoords="offset points",
            va="bottom",
            ha="right",
            color=MUTED,
            fontsize=9,
        )
    draw_accuracies(axes, lines)
