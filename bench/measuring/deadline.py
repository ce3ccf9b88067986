"""A bench with a time limit starts nothing that would end too late, and keeps what it has."""

import math
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from catlip.records.record import Record

T = TypeVar("T")
MARGIN = 1.5  # how much longer than the fastest round the next one may take

_end = math.inf  # of the time limit, by time.monotonic()


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Limit the rounds of `until_deadline` in the block."""
    global _end
    _end = time.monotonic() + seconds
    try:
        yield
    finally:
        _end = math.inf


def until_deadline(rounds: Iterable[T], record: Record | None = None) -> Iterator[T]:
    """The first round, and those that are expected to end in time; else the record has a note."""
    fastest = 0.0
    for number, each in enumerate(rounds):
        begin = time.monotonic()
        if begin + MARGIN * fastest > _end:
            if record and isinstance(rounds, Sized):
                record.notes.append(f"out of time after {number} of {len(rounds)}")
            return
        yield each
        took = time.monotonic() - begin
        # The first one also warms up: the next is expected to take no longer.
        fastest = min(fastest, took) if number else took / MARGIN
