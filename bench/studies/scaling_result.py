"""Trainings of several lengths, on several fractions of the data, with several encoders, each to
the end of its schedule; and comparisons of methods at equal cost, and by length, data and encoder.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from bench.downstream.probe.result import check_fractions
from bench.studies.laws import at_cost
from bench.studies.result import Studied
from catlip.results.run import Run, device_of, one_device

COSTS = {"images": "images", "flops": "FLOPs", "train_seconds": "seconds"}


@dataclass(frozen=True, kw_only=True)
class Scaling(Studied):
    """One training and the probe of its encoder.

    Attributes:
        fraction: of the shards, in (0, 1].
        images: images that the training was asked to see; in whole steps, of the sizes that were
            drawn, it saw `images_seen`.
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
        costs: `images` (those seen) and `flops` -> [lengths], ascending, means over the seeds.
        seconds: device -> [lengths], means over the seeds that ran on it, ascending.
        devices: seed -> the device of all its trainings; "" if they ran on several.
        top1: task -> seed -> [lengths] in %; only seeds that every length has.
    """

    method: str
    encoder: str
    costs: dict[str, list[float]]
    seconds: dict[str, list[float]]
    devices: dict[int, str]
    top1: dict[str, dict[int, list[float]]]

    def costs_of(self, cost: str, seed: int) -> list[float] | None:
        """[lengths] of one of COSTS; None for the seconds of a seed that has no single device."""
        if cost == "train_seconds":
            return self.seconds.get(self.devices[seed])
        return self.costs[cost]


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
    costs = {
        cost: _means(metric, [*rows.values()])
        for cost, metric in (("images", "images_seen"), ("flops", "flops"))
    }
    top1: dict[str, dict[int, list[float]]] = {task: {} for task in runs[0].measured.accuracies}
    for task, (seed, row) in product(top1, rows.items()):
        top1[task][seed] = [100 * run.measured.accuracies[task] for run in row]
    one = runs[0].measured
    return Curve(one.method, one.encoder, costs, seconds=seconds, devices=devices, top1=top1)


def _means(cost: str, rows: Sequence[Runs]) -> list[float]:
    """[lengths], means over the seeds."""
    of_seeds = [[getattr(run.measured, cost) for run in row] for row in rows]
    means: list[float] = np.mean(of_seeds, axis=0).tolist()
    return means


@dataclass(frozen=True)
class SeedPair:
    """Two methods' trainings with one seed: costs and top-1 in %, all [lengths]."""

    costs: list[float]
    top1: list[float]
    other_costs: list[float]
    other_top1: list[float]


def seed_pairs(first: Curve, other: Curve, task: str, *, cost: str) -> Iterator[SeedPair]:
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
    for pair in seed_pairs(first, other, task, cost=cost):
        budget = min(pair.costs[-1], pair.other_costs[-1])
        ours = at_cost(pair.costs, pair.top1, budget)
        theirs = at_cost(pair.other_costs, pair.other_top1, budget)
        if ours is not None and theirs is not None:
            points.append(ours - theirs)
    return points


# Encoder, fraction of the data, and images seen.
How = tuple[str, float, int]


def differences(runs: Runs, first: str, other: str) -> dict[How, dict[str, list[float]]]:
    """Top-1 of one method minus that of another in points: for each task of all these trainings,
    one for each seed that both methods have. An encoder's longer trainings come later.
    """
    by_how: dict[How, dict[tuple[str, int], Scaling]] = {}
    for run in runs:
        one = run.measured
        of = by_how.setdefault((one.encoder, one.fraction, one.images), {})
        of[one.method, one.seed] = one
    points_of = {}
    for how, of in sorted(by_how.items()):
        seeds = sorted(seed for method, seed in of if method == first and (other, seed) in of)
        pairs = [(of[first, seed].accuracies, of[other, seed].accuracies) for seed in seeds]
        if pairs:
            points_of[how] = {
                task: [100 * (ours[task] - theirs[task]) for ours, theirs in pairs]
                for task in pairs[0][0]
                if all(task in ours and task in theirs for ours, theirs in pairs)
            }
    return points_of
