"""The longest kernels or operators of profiled steps, as a record holds and a table shows them."""

from collections.abc import Sequence
from dataclasses import dataclass

from catlip.records.table import Cell, Table, clipped, number_cell

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


def profile_table(name: str, title: str, operations: Sequence[Operation], anchor: str) -> Table:
    rows = [
        [
            Cell(clipped(operation.name)),
            number_cell(operation.calls, 0, anchor),
            number_cell(operation.total_ms, None, anchor),
            number_cell(100 * operation.share, 1, anchor),
        ]
        for operation in operations
    ]
    columns = ["Kernel or operator", "Calls", "Time (ms)", "Of all (%)"]
    return Table(name, title, columns, rows, folded=True)
