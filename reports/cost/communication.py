"""What the ranks send each other in a step: bytes by collective, how long they take, and how much
of that a step waits for.
"""

from typing import Any

from catlip.method_style import name_of
from catlip.table import Cell, Table, clipped, number_cell, shown
from reports.cost.step_times import MOST_METHODS
from reports.read.measured import anchor_of, ratio_of, step_methods
from reports.read.records import Record, drawable, entries, lookup, number, text
from reports.render.figures import Figure, Part, bars_figure
from reports.summary.tables import interval, median_cell, step_description

MOST_COLLECTIVES = 12  # of a method


def collectives(record: Record, method: str) -> list[dict[str, Any]]:
    """What a method sends, a row a collective."""
    found = lookup(record.metrics, "methods", method, "collectives")
    return (
        [row for row in found if isinstance(row, dict)][:MOST_COLLECTIVES]
        if isinstance(found, list)
        else []
    )


def communication_tables(record: Record, suffix: str = "") -> list[Table]:
    """A step with and without the exchange, and every collective."""
    return [*_steps_table(record, suffix), *_collectives_table(record, suffix)]


def _steps_table(record: Record, suffix: str) -> list[Table]:
    rows = [_step_row(record, method) for method in step_methods(record)[:MOST_METHODS]]
    columns = [
        "Method",
        "Sent (MB)",
        "Sent an image (kB)",
        "Step (ms)",
        "Step without (ms)",
        "Exposed (ms)",
        "Hidden (ms)",
    ]
    caption = (
        "Sent is what one rank sends in a step, and below it the prediction. A step without does "
        "the same work and keeps its "
        "gradients to itself; exposed is the difference, with its 95 % interval, and hidden the "
        "part of the gradients' time "
        "that passes beside the backward pass. Blocking is what nothing can hide, such as the "
        "exchange of features that the "
        "loss is made of: a step waits for it as well."
    )
    title = f"What exchange costs between {_ranks(record)}, {step_description(record)}"
    return (
        [Table(f"communication{suffix}", title, [*columns, "Blocking (ms)"], rows, caption)]
        if rows
        else []
    )


def _step_row(record: Record, method: str) -> list[Cell]:
    found, anchor = entries(record.metrics, "methods", method), anchor_of(record)
    predicted, exposed = (
        number(found, "predicted_sent_mb"),
        ratio_of(record, lookup(found, "exposed_ms")),
    )
    small = "" if predicted is None else f"predicted {shown(predicted)}"
    row = [
        Cell(clipped(name_of(method), 24)),
        number_cell(number(found, "sent_mb"), None, anchor, small),
    ]
    row.append(number_cell(number(found, "sent_kb_per_image"), None, anchor))
    row += [
        median_cell(lookup(found, key), anchor) for key in ("step_ms", "step_without_exchange_ms")
    ]
    row.append(Cell(shown(exposed.value), interval(exposed, None), anchor) if exposed else Cell())
    return [*row, *(_time_cell(found, key, anchor) for key in ("overlapped_ms", "blocking_ms"))]


def _time_cell(tree: dict[str, Any], key: str, anchor: str) -> Cell:
    """A time that is a spread in one record and a number in another."""
    return (
        number_cell(number(tree, key), None, anchor)
        if number(tree, key) is not None
        else median_cell(tree.get(key), anchor)
    )


def _collectives_table(record: Record, suffix: str) -> list[Table]:
    rows: list[list[Cell]] = []
    for method in step_methods(record)[:MOST_METHODS]:
        own = collectives(record, method)
        rows += [[Cell(clipped(name_of(method), 24))]] * bool(own)
        rows += [_collective_row(record, row) for row in own]
    columns = [
        "Collective",
        "Type",
        "Times a step",
        "Payload (MB)",
        "Sent (MB)",
        "In the step (ms)",
        "Alone (ms)",
    ]
    columns += ["Algorithm (GB/s)", "Bus (GB/s)"]
    caption = (
        "In the step is what the profiler saw, waiting for the other ranks included; alone is the "
        "same collective with nothing "
        "else to do. Algorithm bandwidth is payload by time; bus bandwidth is comparable between "
        "collectives and numbers of "
        "ranks, by nccl-tests' formulas."
    )
    title = f"Every collective of a step between {_ranks(record)}"
    return [Table(f"collectives{suffix}", title, columns, rows, caption)] if rows else []


def _collective_row(record: Record, found: dict[str, Any]) -> list[Cell]:
    anchor = anchor_of(record)
    row = [Cell(_label(found)), Cell(clipped(text(found, "dtype"), 16))]
    row.append(number_cell(number(found, "count"), 0, anchor))
    row += [number_cell(number(found, key), None, anchor) for key in ("mb", "sent_mb")]
    row += [_time_cell(found, key, anchor) for key in ("in_step_ms", "bare_ms")]
    return [*row, *(_time_cell(found, key, anchor) for key in ("algorithm_gb_s", "bus_gb_s"))]


def communication_figure(record: Record, suffix: str = "") -> list[Figure]:
    """Bytes that a rank sends in a step, a bar a method, a piece a kind of collective."""
    bars = {
        method: parts
        for method in step_methods(record)[:MOST_METHODS]
        if (parts := _sent_by_kind(record, method))
    }
    if not bars:
        return []
    caption = f"What a rank sends in a step, by what for and how ({step_description(record)})."
    height = 0.8 + 0.7 * len(bars)
    return [
        bars_figure(
            f"communication{suffix}", caption, bars, "MB", "MB sent by a rank in a step", height
        )
    ]


def _sent_by_kind(record: Record, method: str) -> list[Part]:
    sums: dict[str, float] = {}
    for row in collectives(record, method):
        if (mb := drawable(row, "sent_mb")) is not None:
            sums[_label(row)] = sums.get(_label(row), 0.0) + mb
    return list(sums.items())


def _label(row: dict[str, Any]) -> str:
    """What is sent and how: `gradients by all-reduce`."""
    words = [text(row, "what"), text(row, "kind").replace("_", "-")]
    return clipped(" by ".join(word for word in words if word), 40)


def _ranks(record: Record) -> str:
    """`2 ranks (gloo, ddp)`."""
    how = [
        clipped(word, 16) for key in ("backend", "parallel") if (word := text(record.metrics, key))
    ]
    count = number(record.metrics, "world_size")
    return f"{shown(count, 0)} ranks" + (f" ({', '.join(how)})" if how else "")
