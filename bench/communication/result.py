"""What ranks send each other in a step: the bytes of each collective, the time it takes, and how
much of that time a step waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.step_time.steps import CPU_CAUTION, StepKind, step_description
from catlip.records.blocks import Block, Section, Text, command_to_fill
from catlip.records.kind import Interval, Summary
from catlip.records.run import Records, Run, Setting, interval, summary_cell
from catlip.records.select import MAX_SHOWN, suffix, unique_runs
from catlip.records.styles import name_of, ordered
from catlip.records.table import Cell, Table, clipped, format_number, number_cell

COMMAND = "torchrun --nproc-per-node 2 -m bench.communication"
WORDS = (
    "What ranks send each other in a step: every method sums gradients, and the contrastive ones "
    "also exchange features. Part of it overlaps with the backward pass; a step waits for the "
    "rest. Times depend on the link between the ranks: bytes carry over to other machines, "
    "milliseconds do not."
)


@dataclass(frozen=True, kw_only=True)
class CollectiveCalls:
    """The calls in one step that have the same purpose (gradients, parameters, features, counts,
    buffers or norm), kind and dtype.

    Attributes:
        sent_mb: what each rank sends if the ranks form a ring.
        bare_ms: time of the same calls with nothing else going on.
    """

    what: str
    kind: str
    dtype: str
    count: int
    sent_mb: float
    bare_ms: Summary

    @property
    def label(self) -> str:
        """`gradients by all-reduce`."""
        words = [self.what, self.kind.replace("_", "-")]
        return clipped(" by ".join(word for word in words if word), 40)


@dataclass(frozen=True, kw_only=True)
class MethodExchange:
    """What one rank sends in a step of one method, and how long the step waits for it.

    Attributes:
        step_without_exchange_ms: of a step that does the same work without exchanging gradients and
            buffers. FSDP cannot do so, and lacks this field and those below.
        exposed_ms: step_ms less step_without_exchange_ms.
        blocking_ms: the bare time of everything but gradients and buffers, which nothing hides.
    """

    collectives: list[CollectiveCalls]
    sent_mb: float
    predicted_sent_mb: float
    step_ms: Summary
    step_without_exchange_ms: Summary | None = None
    exposed_ms: Interval | None = None
    blocking_ms: Summary | None = None


@dataclass(frozen=True, kw_only=True)
class Communication(StepKind):
    """What each method sends between `world_size` ranks."""

    kind = "communication"

    backend: str
    parallel: str
    methods: dict[str, MethodExchange]


def section(main: Setting | None, records: Records) -> Section:
    runs = unique_runs(records, Communication)[:MAX_SHOWN]
    blocks: list[Block] = []
    for i, run in enumerate(runs):
        if run.metrics.methods:
            blocks += [exchange_table(run, suffix(i)), collectives_table(run, suffix(i))]
    if not blocks:
        blocks = command_to_fill("What ranks send was not measured.", COMMAND)
    elif any(run.is_cpu for run in runs):
        blocks.insert(0, Text(CPU_CAUTION))
    return Section("communication", "Communication", [Text(WORDS), *blocks])


def exchange_table(run: Run[Communication], end: str = "") -> Table:
    columns = [
        "Method",
        "Sent (MB)",
        "Step (ms)",
        "Step without exchange (ms)",
        "Exposed (ms)",
        "Blocking (ms)",
    ]
    caption = (
        "Sent is what one rank sends in a step; below it is the prediction. A step without "
        "exchange does the same work, but sends no gradients. Exposed is the difference, with its "
        "95 % interval. Blocking is what nothing can hide, such as the exchange of features for "
        "the loss: a step waits for it too."
    )
    title = f"What exchange costs between {_ranks(run.metrics)}, {step_description(run)}"
    rows = []
    for method in ordered(run.metrics.methods):
        costs, anchor = run.metrics.methods[method], run.anchor
        exposed, predicted = costs.exposed_ms, f"predicted {format_number(costs.predicted_sent_mb)}"
        waited = Cell()
        if exposed:
            waited = Cell(format_number(exposed.value), interval(run, exposed, None), anchor)
        row = [
            Cell(name_of(method)),
            number_cell(costs.sent_mb, None, anchor, small=predicted),
            summary_cell(costs.step_ms, anchor),
            summary_cell(costs.step_without_exchange_ms, anchor),
            waited,
            summary_cell(costs.blocking_ms, anchor),
        ]
        rows.append(row)
    return Table(f"communication{end}", title, columns, rows=rows, caption=caption)


def collectives_table(run: Run[Communication], end: str = "") -> Table:
    columns = ["Collective", "Type", "Calls per step", "Sent (MB)", "Alone (ms)", "Alone (GB/s)"]
    caption = "Alone is the same collective with nothing else running; GB/s are of what is sent."
    rows: list[Sequence[Cell]] = []
    for method in ordered(run.metrics.methods):
        rows.append([Cell(name_of(method))])
        for calls in run.metrics.methods[method].collectives:
            row = [
                Cell(calls.label),
                Cell(calls.dtype),
                number_cell(calls.count, 0),
                number_cell(calls.sent_mb),
                summary_cell(calls.bare_ms),
                number_cell(calls.sent_mb / alone if (alone := calls.bare_ms.median) else None),
            ]
            rows.append(row)
    title = f"Every collective of a step between {_ranks(run.metrics)}"
    return Table(f"collectives{end}", title, columns, rows=rows, caption=caption, folded=True)


def _ranks(metrics: Communication) -> str:
    """`2 ranks (gloo, ddp)`."""
    how = f"{clipped(metrics.backend, 16)}, {clipped(metrics.parallel, 16)}"
    return f"{format_number(metrics.world_size, 0)} ranks ({how})"
