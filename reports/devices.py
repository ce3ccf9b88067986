"""Which device a record speaks of, and which records are shown: numbers of two devices share no
table and no ratio.
"""

from collections.abc import Iterable

from reports.cells import clipped
from reports.records import Record, Records, text


def is_cpu(record: Record) -> bool:
    """Whether it was measured on a processor, not on an accelerator."""
    device = text(record.environment, "device")
    return text(record.config, "device") == "cpu" or (
        bool(device) and device == text(record.environment, "cpu")
    )


def device_of(record: Record) -> str:
    """The device's name; a processor is called one, and by its own name where the machine has a GPU
    beside it.
    """
    if is_cpu(record):
        return f"{clipped(text(record.environment, 'cpu') or record.device)} (CPU)"
    return clipped(record.device)


def measured(records: Records, kind: str) -> list[Record]:
    """The records of a kind, accelerators first; of the same run under several roots the first
    root's speaks.
    """
    first: dict[tuple[str, str, str], Record] = {}
    for record in records.of(kind):
        first.setdefault((record.scale, record.name, device_of(record)), record)
    return sorted(first.values(), key=is_cpu)


def by_device(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Device -> its records."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(device_of(record), []).append(record)
    return found
