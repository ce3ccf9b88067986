"""Results of the study of lengths: trainings of several lengths, on several fractions of the data,
with several encoders; and methods compared at equal cost, and by length, data and encoder.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from bench.study.result import ENDS, LABELLED, Studied, mean_and_ends
from catlip.method_style import name_of
from catlip.results.blocks import Block, Section, Text, side_by_side, to_fill
from catlip.results.figures import Figure
from catlip.results.lines import (
    MOST_LINES,
    Line,
    brief,
    draw_lines,
    height_for,
    how_drawn,
    line_of,
    said,
)
from catlip.results.run import Records, Run, Setting, device_of, one_device
from catlip.results.select import by_scale, suffix, with_warning
from catlip.table import Cell, Table, quantity_cell, quantity_of, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LENGTHS = f"python -m bench.study lengths {LABELLED} --probe starter:data/starter"
COSTS = {"images_seen": "images", "flops": "FLOPs", "train_seconds": "seconds"}


@dataclass(frozen=True, kw_only=True)
class Scaling(Studied):
    """One training on a fraction of the shards, and the probe of its encoder. It was asked to see
    `images`, and in whole steps saw `images_seen`; `flops` are those of all its steps.
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


Runs = Sequence[Run[Scaling]]


@dataclass(frozen=True)
class Curve:
    """A method's trainings of several lengths on all of the data, with one encoder.

    Attributes:
        costs: `images_seen` and `flops` -> [lengths], ascending, means over the seeds.
        seconds: device -> [lengths], means over the seeds that ran on it.
        devices: seed -> the device of all its trainings; "" if they ran on several.
        top1: task -> seed -> [lengths] in %; only seeds that every length has.
    """

    method: str
    encoder: str
    costs: dict[str, list[float]]
    seconds: dict[str, list[float]]
    devices: dict[int, str]
    top1: dict[str, dict[int, list[float]]]


def curves(runs: Runs) -> list[Curve]:
    """The curve of each method, with the encoder that has the most lengths; a method has none
    unless one of its seeds has all of at least two lengths.
    """
    whole = [run for run in runs if run.measured.fraction == 1]
    lengths: dict[str, set[int]] = {}
    for run in whole:
        lengths.setdefault(run.measured.encoder, set()).add(run.measured.images)
    encoder = max(lengths, key=lambda name: len(lengths[name]), default="")
    found = []
    for method in dict.fromkeys(run.measured.method for run in whole):
        by_seed: dict[int, dict[int, Run[Scaling]]] = {}
        for run in whole:
            if (run.measured.method, run.measured.encoder) == (method, encoder):
                by_seed.setdefault(run.measured.seed, {})[run.measured.images] = run
        images = sorted({length for row in by_seed.values() for length in row})
        rows = {
            seed: [row[length] for length in images]
            for seed, row in sorted(by_seed.items())
            if len(row) == len(images)
        }
        if len(images) < 2 or not rows:
            continue
        devices = {seed: device_of(row[0]) if one_device(row) else "" for seed, row in rows.items()}
        by_device: dict[str, list[Runs]] = {}
        for seed, device in devices.items():
            by_device.setdefault(device, []).append(rows[seed])
        top1 = {
            task: {
                seed: [100 * run.measured.accuracies[task] for run in row]
                for seed, row in rows.items()
            }
            for task in next(iter(rows.values()))[0].measured.accuracies
        }
        found.append(
            Curve(
                method,
                encoder,
                costs={cost: _means(rows.values(), cost) for cost in ("images_seen", "flops")},
                seconds={name: _means(by, "train_seconds") for name, by in by_device.items()},
                devices=devices,
                top1=top1,
            )
        )
    return found


def _means(rows: Iterable[Runs], cost: str) -> list[float]:
    """The means over [seeds, lengths]."""
    costs = [[getattr(run.measured, cost) for run in row] for row in rows]
    lengths: list[float] = np.mean(costs, axis=0).tolist()
    return lengths


def at_cost(costs: Sequence[float], values: Sequence[float], cost: float) -> float | None:
    """The value at `cost`, interpolated linearly in the logarithm of the ascending `costs`; None
    outside of their range.
    """
    if not costs[0] <= cost <= costs[-1]:
        return None
    return float(np.interp(np.log(cost), np.log(costs), values))


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
    first: Curve, other: Curve, task: str, cost: str
) -> tuple[list[float], list[float | None]]:
    """For each seed whose costs, one of COSTS, can be compared (seconds only on the same device):
    the difference of the two methods in points, at the lower of the two costs of their longest
    trainings; and the cost at which the first reaches the other's final accuracy, over the other's.
    """
    points: list[float] = []
    relative: list[float | None] = []
    for seed in sorted(first.top1[task].keys() & other.top1.get(task, {}).keys()):
        device = first.devices[seed]
        if cost != "train_seconds":
            costs, other_costs = first.costs[cost], other.costs[cost]
        elif device and device == other.devices[seed]:
            costs, other_costs = first.seconds[device], other.seconds[device]
        else:
            continue
        top1, other_top1 = first.top1[task][seed], other.top1[task][seed]
        budget = min(costs[-1], other_costs[-1])
        reached = at_cost(costs, top1, budget), at_cost(other_costs, other_top1, budget)
        if reached[0] is not None and reached[1] is not None:
            points.append(reached[0] - reached[1])
        needed = cost_of(costs, top1, other_top1[-1])
        relative.append(needed / other_costs[-1] if needed else None)
    return points, relative


# Encoder, fraction of the data, and images seen.
How = tuple[str, float, int]


def differences(runs: Runs, first: str, other: str) -> dict[How, dict[str, list[float]]]:
    """Top-1 of one method minus that of another in points: for each task of all these trainings,
    one for each seed that both methods have. An encoder's longer trainings come later.
    """
    by_how: dict[How, dict[tuple[str, int], Scaling]] = {}
    for run in runs:
        one = run.measured
        cells = by_how.setdefault((one.encoder, one.fraction, one.images), {})
        cells[one.method, one.seed] = one
    points: dict[How, dict[str, list[float]]] = {}
    for how, cells in sorted(by_how.items()):
        seeds = sorted(seed for method, seed in cells if method == first and (other, seed) in cells)
        pairs = [(cells[first, seed].accuracies, cells[other, seed].accuracies) for seed in seeds]
        if pairs:
            points[how] = {
                task: [100 * (one[task] - two[task]) for one, two in pairs]
                for task in pairs[0][0]
                if all(task in one and task in two for one, two in pairs)
            }
    return points


def scaling_tables(runs: Iterable[Run[Scaling]], name: str = "scaling") -> list[Table]:
    """All cells; then, if there are several lengths and methods, the comparisons at equal cost, and
    the differences between methods in each cell.
    """
    kept = list(runs)
    of_methods = curves(kept)
    tables = [_cells_table(kept, name)]
    if len(of_methods) > 1:
        first, *others = of_methods
        tables.append(_equal_cost_table(first, others, f"{name}_equal_cost"))
        tables.append(_differences_table(kept, first, others, f"{name}_differences"))
    return [table for table in tables if table.rows]


def _cells_table(runs: Runs, name: str) -> Table:
    tasks = dict.fromkeys(task for run in runs for task in run.measured.accuracies)
    groups: dict[tuple[str, float, int, str], list[Run[Scaling]]] = {}
    for run in runs:
        cell = run.measured
        key = (cell.encoder, cell.fraction, cell.images, cell.method)
        groups.setdefault(key, []).append(run)
    devices = Counter(device for run in runs if (device := device_of(run)))
    # The most frequent one: times of different devices are not averaged.
    device = devices.most_common(1)[0][0] if devices else ""
    rows = []
    for (encoder, fraction, images, method), cells in sorted(groups.items()):
        anchor, tera = cells[0].anchor, cells[0].measured.flops / 1e12
        texts = [encoder, f"{100 * fraction:g} %", f"{images:,}", name_of(method), shown(tera)]
        timed = [run.measured.train_seconds for run in cells if device and device_of(run) == device]
        row = [*map(Cell, texts), quantity_cell(quantity_of(timed), anchor=anchor)]
        for task in tasks:
            top1 = quantity_of(100 * run.measured.accuracies[task] for run in cells)
            row.append(quantity_cell(top1, 1, anchor))
        rows.append(row)
    columns = ["Encoder", "Fraction of the data", "Images seen", "Method", "TFLOPs"]
    columns += ["Training time (s)", *(f"{task}, top-1 (%)" for task in tasks)]
    caption = (
        "Every training ran to the end of its schedule. Mean ± sample standard deviation over n "
        "seeds."
    )
    if len(devices) > 1:
        caption += f" Times: only those on {device}."
    title = "Accuracy against length, data and encoder"
    return Table(name, title, columns, rows=rows, caption=caption)


def _equal_cost_table(first: Curve, others: Sequence[Curve], name: str) -> Table:
    rows = []
    for other in others:
        for task, (cost, unit) in product(first.top1, COSTS.items()):
            points, relative = at_equal_cost(first, other, task, cost)
            if relative:
                row = [_pair(first, other), Cell(task), Cell(unit), mean_and_ends(points)]
                rows.append([*row, mean_and_ends(relative, 2, ratio=True)])
    columns = ["Methods", "Task", "Cost", "Difference at equal cost (points)"]
    columns += ["Relative cost of the same accuracy"]
    caption = (
        f"Paired by seed: mean ({ENDS}). The difference is at the lower of both longest costs, "
        "interpolated linearly between lengths on a logarithmic axis; the relative cost is the one "
        "at which the first method reaches the second's final accuracy, divided by the second's. A "
        "dash: a seed does not reach it, or reaches it already at the shortest length."
    )
    return Table(name, "At equal cost", columns, rows=rows, caption=caption)


def _differences_table(runs: Runs, first: Curve, others: Sequence[Curve], name: str) -> Table:
    rows = []
    for other in others:
        of_cells = differences(runs, first.method, other.method)
        for (encoder, fraction, images), points in of_cells.items():
            how = [encoder, f"{100 * fraction:g} %", f"{images:,}"]
            of_tasks = [mean_and_ends(points.get(task, [])) for task in first.top1]
            rows.append([_pair(first, other), *map(Cell, how), *of_tasks])
    columns = ["Methods", "Encoder", "Fraction of the data", "Images seen"]
    columns += [f"{task}, difference (points)" for task in first.top1]
    caption = (
        f"Paired by seed: mean ({ENDS}). Whether a short training, less data or another encoder "
        "says which method is better."
    )
    title = "Difference of the methods by length, data and encoder"
    return Table(name, title, columns, rows=rows, caption=caption)


def _pair(first: Curve, other: Curve) -> Cell:
    return Cell(f"{name_of(first.method)} and {name_of(other.method)}")


def scaling_figures(
    records: Sequence[Run[Scaling]], suffix: str = "", first: Sequence[str] = ()
) -> list[Figure]:
    """One figure for each task, those of `first` first; none if no method has several lengths."""
    of_methods = curves(records)
    names = [task for curve in of_methods for task in curve.top1]
    tasks = dict.fromkeys([*(task for task in first if task in names), *names])
    return [_figure_of(of_methods, task, f"scaling_{i}{suffix}") for i, task in enumerate(tasks, 1)]


def _figure_of(of_methods: Sequence[Curve], task: str, name: str) -> Figure:
    every, seeds = [], set()
    for curve in of_methods:
        points = [
            (flops / 1e12, str(seed), top1)
            for seed, row in curve.top1.get(task, {}).items()
            for flops, top1 in zip(curve.costs["flops"], row, strict=True)
        ]
        if points:
            every.append(line_of(curve.method, points))
            seeds.add(len(curve.top1[task]))
    lines = every[:MOST_LINES]
    n = " or ".join(map(str, sorted(seeds)))
    return Figure(
        name,
        f"Accuracy on {task} against the operations of a training to the end of its schedule. "
        f"A mark is a training, a line the mean of {n} seeds. {how_drawn(every)}".strip(),
        f"Accuracy on {task} by TFLOPs of training. {said(lines, ' TFLOPs', brief)}.",
        draw=partial(_draw, lines=lines, title=task),
        height=0.82 * height_for(lines),
    )


def _draw(axes: "Axes", lines: Sequence[Line], title: str) -> None:
    from matplotlib.ticker import NullLocator

    points = [point for line in lines for point in line.marks]
    ends = min(x for x, _ in points), max(x for x, _ in points)
    axes.set_xscale("log")
    axes.set_xlim(ends[0] / 1.1, ends[1] * 1.1)
    axes.set_ylim(0, 1.08 * max(y for _, y in points) or 1.0)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks([x for x, _ in lines[0].points], [f"{x:.3g}" for x, _ in lines[0].points])
    axes.set_xlabel("operations of the whole training (10¹² FLOPs, logarithmic)")
    axes.set_ylabel(f"{title}, top-1 (%)")
    draw_lines(axes, lines, lambda x, _: x, leader=":")


def scaling_section(main: Setting | None, records: Records) -> Section:
    words = (
        "Methods that see the same number of images do not cost the same. Each point is a separate "
        "training to the end of its schedule; trainings differ in length, fraction of the data and "
        "encoder."
    )
    blocks: list[Block] = []
    for i, runs in enumerate(by_scale(records, main, Scaling)):
        is_main = main is not None and (runs[0].root, runs[0].scale) == (main.root, main.scale)
        figures = scaling_figures(runs, suffix(i), main.tasks if main and is_main else ())
        if figures and is_main:
            words += " The first task's figure is at the top of the page."
            figures = figures[1:]
        blocks += side_by_side(figures)
        blocks += [with_warning(t, runs) for t in scaling_tables(runs, f"scaling{suffix(i)}")]
    blocks = blocks or to_fill("No trainings of several lengths were compared.", LENGTHS)
    return Section("scaling", "Accuracy at equal cost", [Text(words), *blocks])
