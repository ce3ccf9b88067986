"""What each option of Transfer Init changes: gains over a random head, one option at a time from
the defaults.
"""

from collections.abc import Sequence

from catlip.table import Cell, Quantity, Table, clipped, quantity_cell
from reports.read.measured import anchor_of
from reports.read.records import Record, entries, number

MOST_VARIANTS = 24


def option_tables(records: Sequence[Record], suffix: str = "") -> list[Table]:
    """A table a record: a row an option, a column a task with the fewest images and with all."""
    return [
        table
        for i, record in enumerate(records)
        if (table := _table(record, f"{suffix}_{i + 1}" if i else suffix))
    ]


def _table(record: Record, suffix: str) -> Table | None:
    gains = entries(record.metrics, "gains")
    places = list(dict.fromkeys(place for variant in gains for place in entries(gains, variant)))
    if not places:
        return None
    columns = ["Option", *(f"{clipped(place, 40)} (points)" for place in places)]
    anchor = anchor_of(record)
    rows = [
        [
            Cell(clipped(variant, 24)),
            *(quantity_cell(_gain(gains, variant, place), 1, anchor) for place in places),
        ]
        for variant in list(gains)[:MOST_VARIANTS]
    ]
    epochs = number(record.config, "recipe", "epochs")
    length = f", probes of {epochs:g} epochs" if epochs is not None else ""
    caption = (
        "Top-1 accuracy beyond that from a random head: mean ± sample standard deviation over "
        "encoders. Least is one image of "
        "each class. A probe that is trained until it has converged forgets where it started."
    )
    return Table(
        f"transfer_options{suffix}",
        f"The options of Transfer Init, {record.scale} scale{length}",
        columns,
        rows,
        caption,
    )


def _gain(gains: object, variant: str, place: str) -> Quantity | None:
    mean, spread, n = (number(gains, variant, place, name) for name in ("mean", "spread", "n"))
    if mean is None or n is None or not 1 <= n < 1e6:
        return None
    return Quantity(100 * mean, None if spread is None or n < 2 else 100 * spread, int(n))
