"""Tables of trainings of several lengths, on fractions of the data, and with several encoders."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np

from bench.studies.laws import LEAST_LENGTHS, cost_of, fit, leave_one_out
from bench.studies.scaling_result import (
    COSTS,
    Curve,
    Runs,
    Scaling,
    curves,
    differences,
    points_at_equal_cost,
    seed_pairs,
)
from catlip.claims import least_pairs
from catlip.method_style import name_of
from catlip.results.estimate import of_pairs, of_ratios
from catlip.results.run import Run, device_of
from catlip.table import Cell, Table, quantity_cell, quantity_of, shown

LEAST_COVERED = 0.8  # fraction of the lengths left out; below, a law predicts nothing
ENDS = f"95 % interval over n seeds; their range for fewer than {least_pairs()}"


def scaling_tables(runs: Iterable[Run[Scaling]], name: str = "scaling") -> list[Table]:
    """All cells; then, if there are several lengths, the laws, the comparisons at equal cost, and
    the differences between methods in each cell.
    """
    kept = list(runs)
    of_methods = curves(kept)
    tables = [cells_table(kept, name), _laws_table(of_methods, f"{name}_laws")]
    if len(of_methods) > 1:
        first, *others = of_methods
        tables.append(_equal_cost_table(first, others, f"{name}_equal_cost"))
        tables.append(_differences_table(kept, first, others, name=f"{name}_differences"))
    return [table for table in tables if table.rows]


def cells_table(runs: Runs, name: str) -> Table:
    """One row per encoder, fraction, length and method: cost and accuracy, over the seeds. Times
    are those of the device that most trainings ran on.
    """
    tasks = dict.fromkeys(task for run in runs for task in run.measured.accuracies)
    groups: dict[tuple[str, float, int, str], list[Run[Scaling]]] = {}
    for run in runs:
        cell = run.measured
        key = (cell.encoder, cell.fraction, cell.images, cell.method)
        groups.setdefault(key, []).append(run)
    devices = Counter(device for run in runs if (device := device_of(run)))
    # A mean over the times of several devices would be the time of none.
    device = devices.most_common(1)[0][0] if devices else ""
    rows = []
    for (encoder, fraction, images, method), cells in sorted(groups.items()):
        anchor = cells[0].anchor
        row = [Cell(encoder), Cell(f"{100 * fraction:g} %"), Cell(f"{images:,}")]
        row += [Cell(name_of(method)), Cell(shown(cells[0].measured.flops / 1e12))]
        timed = [run.measured.train_seconds for run in cells if device and device_of(run) == device]
        row.append(quantity_cell(quantity_of(timed), anchor=anchor))
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


def _laws_table(of_methods: Sequence[Curve], name: str) -> Table:
    rows = []
    every = [(curve, task) for curve in of_methods for task in curve.top1]
    for curve, task in every:
        images = curve.costs["images"]
        if len(images) < LEAST_LENGTHS:
            continue
        errors = 100 - np.array([*curve.top1[task].values()])
        law, held_out = fit(images, errors.mean(axis=0)), leave_one_out(images, errors)
        missed = float(np.mean([abs(one.predicted - one.measured) for one in held_out]))
        covered = sum(one.covered for one in held_out)
        row = [Cell(name_of(curve.method)), Cell(task), Cell(shown(law.exponent, 2))]
        row += [Cell(shown(missed, 1)), Cell(f"{covered} of {len(held_out)}")]
        if covered >= LEAST_COVERED * len(held_out):
            row += [Cell(shown(law.floor, 1)), Cell(shown(100 - law(2 * images[-1]), 1))]
        else:
            row += [Cell(), Cell()]
        rows.append(row)
    columns = [
        *("Method", "Task", "Exponent", "Off by (points)", "Covered"),
        *("Error of endless training (%)", "Top-1 at twice the longest (%)"),
    ]
    caption = (
        "Error = E + A images^-a, fitted to the means over seeds. Off by: how far a length is, on "
        "average, from the law fitted to the other lengths; covered: how often the measured error "
        "is in 95 % of the laws of resampled seeds. A law that covers fewer than four of five does "
        "not even predict the lengths that were run, so its limit and what lies beyond are dashes."
    )
    return Table(name, "Laws of error against images seen", columns, rows=rows, caption=caption)


def _equal_cost_table(first: Curve, others: Sequence[Curve], name: str) -> Table:
    """The first method against each other one: their difference at equal cost, and the relative
    cost at which the first reaches the accuracy that the other ends with.
    """
    rows = []
    for other in others:
        for task, (cost, unit) in product(first.top1, COSTS.items()):
            pairs = [*seed_pairs(first, other, task, cost=cost)]
            if not pairs:
                continue
            needed = [
                (cost_of(pair.costs, pair.top1, pair.other_top1[-1]), pair.other_costs[-1])
                for pair in pairs
            ]
            row = [_pair(first, other), Cell(task), Cell(unit)]
            row.append(mean_and_ends(points_at_equal_cost(first, other, task, cost=cost)))
            row.append(mean_and_ends([n / of if n else None for n, of in needed], 2, ratio=True))
            rows.append(row)
    columns = [
        "Methods",
        "Task",
        "Cost",
        "Difference at equal cost (points)",
        "Relative cost of the same accuracy",
    ]
    caption = (
        f"Paired by seed: mean ({ENDS}). The difference is at the lower of both longest costs, "
        "interpolated linearly between lengths on a logarithmic axis; the relative cost is the one "
        "at which the first method reaches the second's final accuracy, divided by the second's. A "
        "dash: a seed does not reach it, or reaches it already at the shortest length."
    )
    return Table(name, "At equal cost", columns, rows=rows, caption=caption)


def _differences_table(runs: Runs, first: Curve, others: Sequence[Curve], *, name: str) -> Table:
    """The difference of two methods in each cell, and in how many seeds it has the sign that the
    mean has after the longest training.
    """
    tasks = list(first.top1)
    rows = []
    for other in others:
        of_cells = differences(runs, first.method, other.method)
        whole = [points for how, points in of_cells.items() if how[:2] == (first.encoder, 1.0)]
        longest = whole[-1] if whole else {}
        for (encoder, fraction, images), points in of_cells.items():
            row = [_pair(first, other), Cell(encoder), Cell(f"{100 * fraction:g} %")]
            row.append(Cell(f"{images:,}"))
            for task in tasks:
                row.append(mean_and_ends(points.get(task, [])))
                row.append(_ranked_alike(points.get(task, []), longest.get(task, [])))
            rows.append(row)
    columns = ["Methods", "Encoder", "Fraction of the data", "Images seen"]
    for task in tasks:
        columns += [f"{task}, difference (points)", f"{task}, ranked alike"]
    caption = (
        f"Paired by seed: mean ({ENDS}). Ranked alike: in how many seeds the difference has the "
        f"sign of its mean after the longest training of {first.encoder} on all data. Whether a "
        "short training, less data or another encoder says which method is better."
    )
    title = "Difference of the methods by length, data and encoder"
    return Table(name, title, columns, rows=rows, caption=caption)


def _ranked_alike(points: Sequence[float], longest: Sequence[float]) -> Cell:
    if not points or not longest:
        return Cell()
    alike = int((np.sign(points) == np.sign(np.mean(longest))).sum())
    return Cell(f"{alike} of {len(points)}")


def _pair(first: Curve, other: Curve) -> Cell:
    return Cell(f"{name_of(first.method)} and {name_of(other.method)}")


def mean_and_ends(
    values: Sequence[float | None], decimals: int = 1, *, ratio: bool = False
) -> Cell:
    """The mean (for ratios the geometric mean) with its 95 % interval, or with the range of the
    values if they are few; a dash if one is missing.
    """
    known = [value for value in values if value is not None]
    mean = (of_ratios if ratio else of_pairs)(known) if len(known) == len(values) else None
    if mean is None:
        return Cell()
    low, high = (min(known), max(known)) if mean.low is None else (mean.low, mean.high)
    ends = f"n = {len(known)}"
    if len(known) > 1:
        ends = f"{shown(low, decimals)} to {shown(high, decimals)}, {ends}"
    return Cell(shown(mean.value, decimals), ends)
