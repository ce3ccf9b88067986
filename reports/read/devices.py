"""Selects the records of a kind to show, and groups them by device: no table and no ratio mixes
devices.
"""

from collections.abc import Iterable
from typing import TypeVar

from catlip.kinds import Kind
from reports.read.records import Record, Records

K = TypeVar("K", bound=Kind)


def measured(records: Records, kind: type[K]) -> list[Record[K]]:
    """The records of a kind, accelerators first. If several roots hold the same run, only the
    record of the first root is kept.
    """
    first: dict[tuple[str, str, str], Record[K]] = {}
    for record in records.of(kind):
        first.setdefault((record.scale, record.name, record.where), record)
    return sorted(first.values(), key=lambda record: record.is_cpu)


def by_device(records: Iterable[Record[K]]) -> dict[str, list[Record[K]]]:
    """Device -> its records."""
    devices: dict[str, list[Record[K]]] = {}
    for record in records:
        devices.setdefault(record.where, []).append(record)
    return devices
