"""Trainings of several lengths, on several fractions of the data, with several encoders, each to
the end of its schedule; and comparisons of methods at equal cost.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from catlip.claims import least_pairs
from catlip.kinds.estimate import of_pairs, of_ratios
from catlip.kinds.run import Run, device_of, one_device
from catlip.kinds.transfer.laws import LEAST_LENGTHS, at_cost, cost_of, fit, leave_one_out
from catlip.kinds.transfer.study import Studied
from catlip.kinds.transfer.transfer import check_fractions
from catlip.method_style import name_of
from catlip.table import Cell, Table, quantity_cell, quantity_of, shown

ENDS = f"95 % interval over n seeds; their range for fewer than {least_pairs()}"
COSTS = {"images": "images", "flops": "FLOPs", "train_seconds": "seconds"}


@dataclass(frozen=True, kw_only=True)
class Scaling(Studied):
    """One training and the probe of its encoder.

    Attributes:
        fraction: of the shards, in (0, 1].
        images: images that the training was asked to see; in whole steps it saw `images_seen`.
        flops: of all its steps, forward and backward.
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

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fractions(fraction=self.fraction)


Runs = Sequence[Run[Scaling]]


@dataclass(frozen=True)
class Curve:
    """A method's trainings of several lengths on all of the data, with one encoder.

    Attributes:
        costs: `images` and `flops` -> [lengths], ascending.
        seconds: device -> [lengths], means over the seeds that ran on it, ascending.
        devices: seed -> the device of all its trainings; "" if they ran on several.
        top1: task -> seed -> [lengths] in %; only seeds that every length has.
    """

    method: str
    costs: dict[str, list[float]]
    seconds: dict[str, list[float]]
    devices: dict[int, str]
    top1: dict[str, dict[int, list[float]]]

    def costs_of(self, cost: str, seed: int) -> list[float] | None:
        """[lengths] of one of COSTS; None for the seconds of a seed that has no single device."""
        if cost == "train_seconds":
            return self.seconds.get(self.devices[seed])
        return self.costs[cost]


def scaling_tables(runs: Iterable[Run[Scaling]], name: str = "scaling") -> list[Table]:
    """All cells; then, if there are several lengths, the laws and the comparisons at equal cost."""
    kept = list(runs)
    of_methods = curves(kept)
    tables = [cells_table(kept, name), _laws_table(of_methods, f"{name}_laws")]
    if len(of_methods) > 1:
        first, *others = of_methods
        tables.append(_equal_cost_table(first, others, f"{name}_equal_cost"))
        tables.append(_decisions_table(first, others, f"{name}_decisions"))
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


def curves(runs: Runs) -> list[Curve]:
    """The curve of each method, with the encoder that has the most lengths."""
    whole = [run for run in runs if run.measured.fraction == 1]
    lengths: dict[str, set[int]] = {}
    for run in whole:
        lengths.setdefault(run.measured.encoder, set()).add(run.measured.images)
    if not lengths:
        return []
    encoder = max(lengths, key=lambda name: len(lengths[name]))
    by_method: dict[str, list[Run[Scaling]]] = {}
    for run in whole:
        of_method = by_method.setdefault(run.measured.method, [])
        if run.measured.encoder == encoder:
            of_method.append(run)
    return [curve for own in by_method.values() if (curve := _curve(own))]


def _curve(runs: Runs) -> Curve | None:
    """The curve of one method's cells; None unless one seed has all of at least two lengths."""
    by_seed: dict[int, dict[int, Run[Scaling]]] = {}
    for run in runs:
        by_seed.setdefault(run.measured.seed, {})[run.measured.images] = run
    images = sorted({run.measured.images for run in runs})
    rows = {
        seed: [of[length] for length in images]
        for seed, of in sorted(by_seed.items())
        if len(of) == len(images)
    }
    if len(images) < 2 or not rows:
        return None
    devices = {seed: device_of(row[0]) if one_device(row) else "" for seed, row in rows.items()}
    seconds = {
        device: _means("train_seconds", [rows[seed] for seed in rows if devices[seed] == device])
        for device in devices.values()
        if device
    }
    costs = {name: _means(name, [*rows.values()]) for name in ("images", "flops")}
    top1: dict[str, dict[int, list[float]]] = {task: {} for task in runs[0].measured.accuracies}
    for task, (seed, row) in product(top1, rows.items()):
        top1[task][seed] = [100 * run.measured.accuracies[task] for run in row]
    return Curve(runs[0].measured.method, costs, seconds, devices=devices, top1=top1)


def _means(cost: str, rows: Sequence[Runs]) -> list[float]:
    """[lengths], means over the seeds."""
    of_seeds = [[getattr(run.measured, cost) for run in row] for row in rows]
    means: list[float] = np.mean(of_seeds, axis=0).tolist()
    return means


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
        row = [Cell(name_of(curve.method)), Cell(task), Cell(shown(law.floor, 1))]
        row += [Cell(shown(law.exponent, 2)), Cell(shown(missed, 1))]
        rows.append(
            [*row, Cell(f"{covered} of {len(held_out)}"), Cell(shown(100 - law(2 * images[-1]), 1))]
        )
    columns = [
        *("Method", "Task", "Error of endless training (%)", "Exponent", "Off by (points)"),
        *("Covered", "Top-1 at twice the longest (%)"),
    ]
    caption = (
        "Error = E + A images^-a, fitted to the means over seeds. Off by: how far a length is, on "
        "average, from the law fitted to the other lengths; covered: how often the measured error "
        "is in 95 % of the laws of resampled seeds. Where few are covered, do not rely on the last "
        "column."
    )
    return Table(name, "Laws of error against images seen", columns, rows=rows, caption=caption)


def _equal_cost_table(first: Curve, others: Sequence[Curve], name: str) -> Table:
    """The first method against each other one: their difference at equal cost, and the relative
    cost at which the first reaches the accuracy that the other ends with.
    """
    rows = []
    for other in others:
        for task, (cost, unit) in product(first.top1, COSTS.items()):
            pairs = [*_seed_pairs(first, other, task, cost=cost)]
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


@dataclass(frozen=True)
class SeedPair:
    """Two methods' trainings with one seed: costs and top-1 in %, all [lengths]."""

    costs: list[float]
    top1: list[float]
    other_costs: list[float]
    other_top1: list[float]


def _seed_pairs(first: Curve, other: Curve, task: str, *, cost: str) -> Iterator[SeedPair]:
    """One pair for each seed whose costs can be compared: seconds only on the same device."""
    for seed in sorted(first.top1[task].keys() & other.top1.get(task, {}).keys()):
        ours, theirs = first.costs_of(cost, seed), other.costs_of(cost, seed)
        is_shared = cost != "train_seconds" or first.devices[seed] == other.devices[seed]
        if ours and theirs and is_shared:
            yield SeedPair(ours, first.top1[task][seed], theirs, other_top1=other.top1[task][seed])


def points_at_equal_cost(first: Curve, other: Curve, task: str, *, cost: str) -> list[float]:
    """The differences of two methods in points, one per seed, at the lower of the two costs of
    their longest trainings; none if they have no such cost in common.

    Args:
        cost: one of COSTS.
    """
    points = []
    for pair in _seed_pairs(first, other, task, cost=cost):
        budget = min(pair.costs[-1], pair.other_costs[-1])
        ours = at_cost(pair.costs, pair.top1, budget)
        theirs = at_cost(pair.other_costs, pair.other_top1, budget)
        if ours is not None and theirs is not None:
            points.append(ours - theirs)
    return points


def _decisions_table(first: Curve, others: Sequence[Curve], name: str) -> Table:
    """How often a short training ranks two methods as the longest does."""
    rows = []
    for other in others:
        if first.costs["images"] != other.costs["images"]:
            continue
        for task in first.top1:
            pairs = [*_seed_pairs(first, other, task, cost="images")]
            if not pairs:
                continue
            differences = np.array([np.subtract(pair.top1, pair.other_top1) for pair in pairs])
            longest = np.sign(differences[:, -1].mean())
            for place, images in enumerate(first.costs["images"][:-1]):
                alike = int((np.sign(differences[:, place]) == longest).sum())
                row = [_pair(first, other), Cell(task), Cell(f"{round(images):,}")]
                row.append(mean_and_ends(differences[:, place].tolist()))
                rows.append([*row, Cell(f"{alike} of {len(differences)}")])
    columns = ["Methods", "Task", "Images seen", "Difference (points)", "Ranked as the longest"]
    caption = (
        "Whether a short training says which method is better after a long one: in how many seeds "
        "the difference has the sign of the mean difference at the longest. Differences: mean "
        f"({ENDS})."
    )
    return Table(name, "What short trainings decide", columns, rows=rows, caption=caption)


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
