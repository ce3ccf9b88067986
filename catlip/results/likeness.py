"""Selects runs that may be averaged or compared: those with the same recipe, apart from the seed,
and data of the same size.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from catlip.results.kind import Kind
from catlip.results.run import Run
from catlip.table import listed

K = TypeVar("K", bound=Kind)


@dataclass(frozen=True)
class Alike(Generic[K]):
    """Runs that may be averaged, and remarks for the reader on runs that were left out or differ;
    both may be empty.
    """

    records: list[Run[K]]
    remarks: tuple[str, ...] = ()


def alike(own: Sequence[Run[K]], every: Sequence[Run[K]], task: str = "") -> Alike[K]:
    """Select the runs of one method that have the most common recipe of all methods' runs."""
    groups = _groups(every, task)
    if len(groups) < 2 or not own:
        return Alike(list(own))
    common = _largest(groups)
    key = _key(common[0], task)
    kept = [record for record in own if _key(record, task) == key]
    left_out = [record for record in own if _key(record, task) != key]
    if not left_out:
        return Alike(kept)
    fields = listed(unlike([common[0], *left_out], task))
    if kept:
        runs = f"{len(left_out)} run{'s' * (len(left_out) > 1)} of another recipe"
        return Alike(kept, (f"Left out: {runs}, different in {fields}.",))
    return Alike(
        _largest(_groups(own, task)),
        (f"Not comparable: its recipe differs from most here, in {fields}.",),
    )


def unlike(records: Sequence[Run[Kind]], task: str = "") -> list[str]:
    """The fields that differ between runs, among those that must be equal for a comparison."""
    every = [
        record.told | record.measured.sizes(task)
        for record in {_key(r, task): r for r in records}.values()
    ]
    return differing_fields(every)


def differing_fields(recipes: Sequence[dict[str, object]]) -> list[str]:
    """The fields that differ between recipes, other than `seed` and `about`."""
    keys = dict.fromkeys(
        key for recipe in recipes for key in recipe if key not in ("seed", "about")
    )
    return [
        key for key in keys if any(recipe.get(key) != recipes[0].get(key) for recipe in recipes)
    ]


def _groups(records: Sequence[Run[K]], task: str) -> list[list[Run[K]]]:
    """The runs grouped by recipe and size of the data, in the order of each group's first run."""
    groups: dict[Hashable, list[Run[K]]] = {}
    for record in records:
        groups.setdefault(_key(record, task), []).append(record)
    return list(groups.values())


def _key(record: Run[Kind], task: str) -> Hashable:
    return (record.told_key, *record.measured.sizes(task).values())


def _largest(groups: Sequence[list[Run[K]]]) -> list[Run[K]]:
    return max(groups, key=lambda group: len({(record.method, record.seed) for record in group}))
