"""Selects the records of a kind to show, and groups them by device: no table and no ratio mixes
devices.
"""

from collections.abc import Iterable
from typing import TypeVar

from catlip.results.kind import Kind
from catlip.results.run import Records, Run

K = TypeVar("K", bound=Kind)


def measured(records: Records, kind: type[K]) -> list[Run[K]]:
    """The records of a kind, accelerators first."""
    first: dict[tuple[str, str, str], Run[K]] = {}
    for record in records.of(kind):
        first.setdefault((record.scale, record.name, record.where), record)
    return sorted(first.values(), key=lambda record: record.is_cpu)


def by_device(records: Iterable[Run[K]]) -> dict[str, list[Run[K]]]:
    """Device -> its records."""
    devices: dict[str, list[Run[K]]] = {}
    for record in records:
        devices.setdefault(record.where, []).append(record)
    return devices
