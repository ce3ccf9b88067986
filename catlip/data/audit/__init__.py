"""Finds which samples each rank sees at which step, and whether an epoch has each sample once.

The answers come from the code that a training uses: `StepPlan`, `Step.begins` and `SampleOrder`.
Memory does not grow with the number of samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from catlip.data.sampler import SampleOrder, StepPlan

CHUNK = 2**18  # samples that are checked together
COMPARED = 2**22  # stream positions at which two layouts are compared
FIRST_NAMED = 3  # samples that are named as examples


@dataclass(frozen=True)
class Layout:
    """A run's steps; each is split over micro-steps, and each micro-step over ranks."""

    plan: StepPlan
    ranks: int
    accumulation: int

    def begins(self, number: int) -> NDArray[np.int64]:
        """[accumulation, ranks], see `Step.begins`."""
        return self.plan[number].begins(self.accumulation, self.ranks)

    def positions(self, number: int) -> NDArray[np.int64]:
        """[n], the positions that all ranks take in a step, by micro-step and then by rank."""
        within = np.arange(self.plan[number].batch)
        return (self.begins(number)[..., None] + within).ravel()


@dataclass
class Seen:
    """The samples of one epoch that were seen.

    A shard takes memory only while some, and not all, of its samples were seen.

    Attributes:
        counts: [S] samples in each shard.
        distinct: samples that were seen.
        doubled: how often a sample was seen again.
        first_doubled: the first samples that were seen again, as "SHARD:SAMPLE".
    """

    counts: NDArray[np.int64]
    distinct: int = 0
    doubled: int = 0
    first_doubled: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._whole = self.counts == 0
        self._begun: dict[int, NDArray[np.bool_]] = {}

    def add(self, shards: NDArray[np.int64], numbers: NDArray[np.int64]) -> None:
        """Add samples, given as shard and sample numbers, [n] each."""
        by_shard = np.argsort(shards, kind="stable")
        present, begins = np.unique(shards[by_shard], return_index=True)
        parts = np.split(numbers[by_shard], begins[1:])
        for shard, part in zip(present.tolist(), parts, strict=True):
            self._add(shard, part)

    def first_missing(self) -> list[str]:
        """The first samples that were not seen, as "SHARD:SAMPLE"."""
        names: list[str] = []
        for shard in np.flatnonzero(~self._whole).tolist():
            seen = self._begun.get(shard, np.zeros(self.counts[shard], dtype=bool))
            unseen = np.flatnonzero(~seen)[:FIRST_NAMED]
            names += [f"{shard}:{number}" for number in unseen.tolist()]
            if len(names) >= FIRST_NAMED:
                break
        return names[:FIRST_NAMED]

    def _add(self, shard: int, numbers: NDArray[np.int64]) -> None:
        if self._whole[shard]:
            seen = np.ones(self.counts[shard], dtype=bool)
        else:
            seen = self._begun.setdefault(shard, np.zeros(self.counts[shard], dtype=bool))
        once, first = np.unique(numbers, return_index=True)
        again = np.ones(len(numbers), dtype=bool)
        again[first] = seen[once]
        seen[once] = True
        self.distinct += len(numbers) - int(np.count_nonzero(again))
        self.doubled += int(np.count_nonzero(again))
        for number in numbers[again][: FIRST_NAMED - len(self.first_doubled)].tolist():
            self.first_doubled.append(f"{shard}:{number}")
        if seen.all():
            self._whole[shard] = True
            self._begun.pop(shard, None)


@dataclass(frozen=True)
class Epoch:
    """How many samples of an epoch are missing or doubled.

    Attributes:
        number: the epoch's, from 0.
        planned: how many samples the run's steps take: all, unless the run ends in this epoch.
        missing: how many of the planned samples no rank sees.
        doubled: how often a rank sees a sample that was seen before in this epoch.
        examples: some doubled and missing samples, as "SHARD:SAMPLE".
    """

    number: int
    planned: int
    missing: int
    doubled: int
    examples: tuple[str, ...] = ()


def epochs_seen(layout: Layout, order: SampleOrder, most: int) -> list[Epoch]:
    """The missing and doubled samples in each of the run's first `most` epochs."""
    total, end = order.total, min(int(layout.plan.starts[-1]), most * order.total)
    seen: dict[int, Seen] = {}
    for positions in _chunks(layout, end):
        for epoch in np.unique(positions // total).tolist():
            here = positions[positions // total == epoch]
            seen.setdefault(epoch, Seen(order.counts)).add(*order(here))
    epochs = []
    for number in range(-(-end // total)):
        samples = seen.get(number, Seen(order.counts))
        planned = min(total, end - number * total)
        missing = max(0, planned - samples.distinct)
        named = samples.first_doubled + (samples.first_missing() if missing else [])
        epochs.append(
            Epoch(number, planned, missing, doubled=samples.doubled, examples=tuple(named))
        )
    return epochs


def _chunks(layout: Layout, end: int) -> Iterator[NDArray[np.int64]]:
    """The positions below `end` that the ranks take, step after step, about CHUNK at a time."""
    steps = range(int(np.searchsorted(layout.plan.starts[:-1], end)))
    waiting: list[NDArray[np.int64]] = []
    for number in steps:
        waiting.append(layout.positions(number))
        if sum(map(len, waiting)) >= CHUNK or number == steps[-1]:
            chunk = np.concatenate(waiting)
            yield chunk[chunk < end]
            waiting = []


@dataclass(frozen=True)
class Moved:
    """The fractions of samples that another layout gives to another step, and to another rank."""

    step: float
    rank: float


def moved(one: Layout, other: Layout, end: int) -> Moved:
    """Compare two layouts at the first COMPARED positions that are below `end` and in both runs."""
    count = min(end, COMPARED, int(one.plan.starts[-1]), int(other.plan.starts[-1]))
    steps, ranks = _placed(one, count)
    other_steps, other_ranks = _placed(other, count)
    return Moved(float(np.mean(steps != other_steps)), float(np.mean(ranks != other_ranks)))


def _placed(layout: Layout, count: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The step and the rank, [count] each, that take each of the first positions; -1 for none."""
    steps, ranks = np.full(count, -1, dtype=np.int32), np.full(count, -1, dtype=np.int32)
    for number in range(int(np.searchsorted(layout.plan.starts[:-1], count))):
        batch = layout.plan[number].batch
        for begins in layout.begins(number).tolist():
            for rank, begin in enumerate(begins):
                steps[begin : begin + batch] = number
                ranks[begin : begin + batch] = rank
    return steps, ranks


@dataclass(frozen=True)
class Crossings:
    """The steps that take samples of two epochs or more.

    Attributes:
        count: how many such steps the run has.
        first: number of the first such step; None if there is none.
        of_next: how many samples of the first step are of a later epoch.
        repeated: how many samples of the first step are already in it.
    """

    count: int
    first: int | None = None
    of_next: int = 0
    repeated: int = 0


def crossings(plan: StepPlan, order: SampleOrder) -> Crossings:
    """The steps of the run that cross the end of an epoch."""
    first_epochs = plan.starts[:-1] // order.total
    crossing = np.flatnonzero(first_epochs != (plan.starts[1:] - 1) // order.total)
    if not len(crossing):
        return Crossings(0)
    number = int(crossing[0])
    begin, end = plan.starts[number : number + 2].tolist()
    of_next = end - (begin // order.total + 1) * order.total
    samples = np.stack(order(np.arange(begin, end)))
    repeated = end - begin - np.unique(samples, axis=1).shape[1]
    return Crossings(len(crossing), number, of_next, repeated=repeated)
