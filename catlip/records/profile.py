"""The longest kernels or operators of profiled steps, as a record holds and a table shows them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from catlip.records.run import Run
from catlip.records.table import RECORDS, Column, Row, Spec, clipped

PROFILE = "profile"  # the name of these rows in a record's samples, or its beginning


@dataclass(frozen=True)
class Operation:
    """A kernel of a GPU, or an operator of a CPU: its calls, their time without that of the
    operators that they call, and that as a fraction of the time of all.
    """

    name: str
    calls: int
    total_ms: float
    share: float


def operation_rows(
    operations: Sequence[Operation], run: Run[Any], method: str | None = None
) -> Iterator[Row]:
    for one in operations:
        row = {"method": method, "name": clipped(one.name), "calls": one.calls}
        yield row | {"ms": one.total_ms, "share": one.share, RECORDS: (run.path,)}


def profile_spec(name: str, title: str, rows: Callable[[Any], Iterable[Row]]) -> Spec:
    columns = [
        Column("Method", "method", head=True),
        Column("Kernel or operator", "name"),
        Column("Calls", "calls", 0),
        Column("Time (ms)", "ms"),
        Column("Of all (%)", "share", 1, factor=100),
    ]
    return Spec(name, title, "Its own time, without that of the operators it calls.", columns, rows)
