"""Warnings that a reader needs beside a run's numbers: the machine was busy, or images could not be
read.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from catlip.claims import least_pairs
from catlip.results.kind import Kind
from catlip.results.run import Run
from catlip.table import Table, clipped, listed, shown

R = TypeVar("R", bound=Run[Any])
MOST_NAMED = 3  # records named in a sentence; the list of records marks every one


def undisturbed(records: Iterable[R]) -> list[R]:
    """The records whose times are not in doubt."""
    return [record for record in records if not record.machine.busy]


def are_enough(kept: Sequence[object], every: Sequence[object]) -> bool:
    """Whether the undisturbed records `kept` are enough for a comparison."""
    return len(kept) >= min(len(every), least_pairs())


def broken_words(record: Run[Kind]) -> str:
    """`Broken images, left out: 3 cut off, 1 empty.`; empty if no image was broken."""
    broken = record.measured.broken
    said = [f"{shown(count, 0)} {clipped(cause)}" for cause, count in broken.items() if count]
    return f"Broken images, left out: {listed(said)}." if said else ""


def caveats(record: Run[Kind]) -> list[str]:
    """All warnings about a record."""
    return [words for words in (record.machine.busy, broken_words(record)) if words]


def busy_machines(records: Iterable[Run[Kind]], called: str = "records") -> str:
    """A sentence on the records whose times are in doubt; empty if there are none."""
    unique = {record.path: record for record in records}.values()
    busy = [record.name for record in unique if record.machine.busy]
    if not busy:
        return ""
    names = f" ({listed(busy)})" if len(busy) <= MOST_NAMED else ""
    where = f"in {len(busy)} of {len(unique)} {called}{names}"
    if len(unique) == 1:
        where = "while this was measured"
    return f"Beware: other programs were busy {where}; only times and rates are in doubt."


def broken_images(records: Iterable[Run[Kind]]) -> str:
    """A sentence on the records that left images out; empty if there are none."""
    unique = {record.path: record for record in records}.values()
    broken = [record.name for record in unique if broken_words(record)]
    if not broken:
        return ""
    return f"Images could not be read in {len(broken)} of {len(unique)} records ({listed(broken)})."


def with_warning(table: Table, records: Sequence[Run[Kind]], called: str = "records") -> Table:
    """The table, with a warning where the machine was busy while its numbers were measured."""
    warning = busy_machines(records, called)
    return replace(table, caption=f"{table.caption} {warning}".strip()) if warning else table
