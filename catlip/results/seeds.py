"""Values of runs by their seed of pre-training, and links to the records of a number."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from catlip.results.kind import Kind
from catlip.results.run import Run, slug
from catlip.table import Quantity, quantity_of

K = TypeVar("K")
OfKind = TypeVar("OfKind", bound=Kind)


def over_seeds(
    records: Iterable[Run[OfKind]], value: Callable[[Run[OfKind]], float | None]
) -> Quantity | None:
    """A value over the seeds of pre-training: n is the number of seeds, not that of runs."""
    return quantity_of(by_seed(records, value).values())


def by_seed(
    records: Iterable[Run[OfKind]], value: Callable[[Run[OfKind]], float | None]
) -> dict[int | None, float]:
    """Seed -> the mean of a value over its runs. Runs that do not name their seed count as one."""
    return means_by((record.seed, value(record)) for record in records)


def seed_differences(
    one: Iterable[Run[OfKind]],
    other: Iterable[Run[OfKind]],
    value: Callable[[Run[OfKind]], float | None],
) -> list[float]:
    """`one` - `other` of a value, for each seed that both have; runs of a seed are averaged."""
    first, second = by_seed(one, value), by_seed(other, value)
    return [first[seed] - second[seed] for seed in first if seed is not None and seed in second]


def means_by(values: Iterable[tuple[K, float | None]]) -> dict[K, float]:
    """Key -> the mean of its values; None is left out."""
    groups: dict[K, list[float]] = {}
    for key, value in values:
        if value is not None:
            groups.setdefault(key, []).append(value)
    return {key: sum(own) / len(own) for key, own in groups.items()}


def alike_in_images(one: float, other: float) -> bool:
    """Whether two trainings saw the same number of images, up to rounding to whole steps."""
    return math.isclose(one, other, rel_tol=1e-3)


def group_anchor(record: Run) -> str:
    """The anchor of all records of the same root, scale, kind and method."""
    return "records-" + slug(f"{record.root}/{record.scale}/{record.kind}/{record.method}")


def link(records: Sequence[Run]) -> str:
    """The anchor of one record, or of the group that several form."""
    if not records:
        return ""
    return records[0].anchor if len(records) == 1 else group_anchor(records[0])
