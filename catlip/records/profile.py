"""The longest kernels or operators of profiled steps, as a record holds and a table shows them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from catlip.records.run import Run
from catlip.records.styles import name_of, ordered
from catlip.records.table import RECORDS, Column, Row, Spec, clipped

PROFILE = "profile_"  # and the method, in a record's samples


@dataclass(frozen=True)
class Operation:
    """A kernel of a GPU, or an operator of a CPU: its calls, their time without that of the
    operators that they call, and that as a fraction of the time of all.
    """

    name: str
    calls: int
    total_ms: float
    share: float


def profile_rows(runs: Iterable[Run[Any]]) -> Iterator[Row]:
    for run in runs:
        profiled = (name for name in run.samples if name.startswith(PROFILE))
        for method in ordered(name.removeprefix(PROFILE) for name in profiled):
            for operation in run.rows(f"{PROFILE}{method}", Operation):
                yield {
                    "method": name_of(method),
                    "name": clipped(operation.name),
                    "calls": operation.calls,
                    "ms": operation.total_ms,
                    "share": operation.share,
                    RECORDS: (run.path,),
                }


PROFILES = Spec(
    "step_profile",
    "Profiled steps",
    "Its own time, without that of the operators it calls.",
    [
        Column("Method", "method", head=True),
        Column("Kernel or operator", "name"),
        Column("Calls", "calls", 0),
        Column("Time (ms)", "ms"),
        Column("Of all (%)", "share", 1, factor=100),
    ],
    profile_rows,
)
