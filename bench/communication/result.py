"""What ranks send each other in a step: the bytes of each collective, the time it takes, and how
much of that time a step waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.step_time.steps import CPU_CAUTION, StepKind, shown_methods, step_description
from catlip.method_style import name_of
from catlip.results.blocks import Block, Section, Text, side_by_side, to_fill
from catlip.results.figures import Figure, Part, bars_figure, is_drawable
from catlip.results.kind import Interval, Summary
from catlip.results.run import Records, Run, Setting, interval, summary_cell
from catlip.results.select import MOST, suffix, unique_runs, with_warning
from catlip.table import Cell, Table, clipped, number_cell, shown

COMMAND = "torchrun --nproc-per-node 2 -m bench.communication"
WORDS = (
    "What ranks send each other in a step: every method sums gradients, and the contrastive ones "
    "also exchange features. Part of it overlaps with the backward pass; a step waits for the "
    "rest. Times depend on the link between the ranks: bytes carry over to other machines, "
    "milliseconds do not."
)
MAX_COLLECTIVES = 12  # of a method


@dataclass(frozen=True, kw_only=True)
class CollectiveCalls:
    """The calls in one step that have the same purpose, kind and dtype.

    Attributes:
        what: what is sent: gradients, parameters, features, counts, buffers or norm.
        elements: number of elements that one rank passes in, for each call.
        mb: size of the payload as nccl-tests counts it.
        sent_mb: what each rank sends if the ranks form a ring.
        in_step_ms: time in the step, with waiting for other ranks; None if the profile lacks it.
        bare_ms: time of the same calls with nothing else going on; both bandwidths are from it.
    """

    what: str
    kind: str
    dtype: str
    count: int
    elements: list[int] = field(default_factory=list)
    mb: float
    sent_mb: float
    in_step_ms: Summary | None = None
    bare_ms: Summary
    algorithm_gb_s: float
    bus_gb_s: float

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
        overlapped_ms: what the backward pass hides of the bare time of gradients and buffers.
        blocking_ms: the bare time of everything else, which nothing hides.
    """

    collectives: list[CollectiveCalls]
    sent_mb: float
    predicted_sent_mb: float
    sent_kb_per_image: float
    step_ms: Summary
    step_without_exchange_ms: Summary | None = None
    exposed_ms: Interval | None = None
    overlapped_ms: float | None = None
    blocking_ms: Summary | None = None


@dataclass(frozen=True, kw_only=True)
class AllReduce:
    """An all-reduce of one size, with nothing else going on."""

    mb: float
    ms: Summary


@dataclass(frozen=True, kw_only=True)
class LinkFit:
    """Latency and bandwidth of the link between ranks, fitted to all-reduces of several sizes."""

    latency_us: float
    gb_s: float
    all_reduce: list[AllReduce]


@dataclass(frozen=True, kw_only=True)
class Communication(StepKind):
    """What each method sends between `world_size` ranks, and the link between them."""

    kind = "communication"

    backend: str
    parallel: str
    methods: dict[str, MethodExchange]
    link: LinkFit | None = None


def section(main: Setting | None, records: Records) -> Section:
    """What ranks send, from a few records."""
    runs = unique_runs(records, Communication)[:MOST]
    blocks: list[Block] = []
    for i, run in enumerate(runs):
        blocks += side_by_side(communication_figure(run, suffix(i)))
        blocks.append(with_warning(exchange_table(run, suffix(i)), [run]))
    if not blocks:
        blocks = to_fill("What ranks send was not measured.", COMMAND)
    elif any(run.is_cpu for run in runs):
        blocks.insert(0, Text(CPU_CAUTION))
    return Section("communication", "Communication", [Text(WORDS), *blocks])


def communication_figure(run: Run[Communication], end: str = "") -> list[Figure]:
    """MB that a rank sends in a step, by method and kind of collective."""
    bars: dict[str, list[Part]] = {}
    for method in shown_methods(run.measured.methods):
        sums: dict[str, float] = {}
        for calls in run.measured.methods[method].collectives[:MAX_COLLECTIVES]:
            if is_drawable(calls.sent_mb):
                sums[calls.label] = sums.get(calls.label, 0.0) + calls.sent_mb
        if sums:
            bars[method] = list(sums.items())
    if not bars:
        return []
    caption = f"What a rank sends in a step, by purpose and collective ({step_description(run)})."
    axis = "MB sent by a rank in a step"
    return [bars_figure(f"communication{end}", caption, bars, unit="MB", axis=axis)]


def communication_tables(run: Run[Communication]) -> list[Table]:
    return [exchange_table(run), _collectives_table(run)]


def exchange_table(run: Run[Communication], end: str = "") -> Table:
    """A step with and without the exchange."""
    columns = [
        "Method",
        "Sent (MB)",
        "Sent per image (kB)",
        "Step (ms)",
        "Step without exchange (ms)",
        "Exposed (ms)",
        "Hidden (ms)",
        "Blocking (ms)",
    ]
    caption = (
        "Sent is what one rank sends in a step; below it is the prediction. A step without "
        "exchange does the same work, but sends no gradients. Exposed is the difference, with its "
        "95 % interval; hidden is the part of the gradients' time that overlaps the backward pass. "
        "Blocking is what nothing can hide, such as the exchange of features for the loss: a step "
        "waits for it too."
    )
    title = f"What exchange costs between {_ranks(run.measured)}, {step_description(run)}"
    rows = [_step_row(run, method) for method in shown_methods(run.measured.methods)]
    return Table(f"communication{end}", title, columns, rows=rows, caption=caption)


def _step_row(run: Run[Communication], method: str) -> list[Cell]:
    costs, anchor = run.measured.methods[method], run.anchor
    exposed, predicted = costs.exposed_ms, f"predicted {shown(costs.predicted_sent_mb)}"
    return [
        Cell(name_of(method)),
        number_cell(costs.sent_mb, None, anchor, small=predicted),
        number_cell(costs.sent_kb_per_image, None, anchor),
        summary_cell(costs.step_ms, anchor),
        summary_cell(costs.step_without_exchange_ms, anchor),
        Cell(shown(exposed.value), interval(run, exposed, None), anchor) if exposed else Cell(),
        number_cell(costs.overlapped_ms, None, anchor),
        summary_cell(costs.blocking_ms, anchor),
    ]


def _collectives_table(run: Run[Communication]) -> Table:
    columns = [
        "Collective",
        "Type",
        "Calls per step",
        "Payload (MB)",
        "Sent (MB)",
        "In the step (ms)",
        "Alone (ms)",
        "Algorithm (GB/s)",
        "Bus (GB/s)",
    ]
    caption = (
        "In the step is the time that the profiler saw, including waiting for other ranks; alone "
        "is the same collective with nothing else running. Algorithm bandwidth is payload divided "
        "by time; bus bandwidth, by nccl-tests' formulas, is comparable between collectives and "
        "numbers of ranks."
    )
    rows: list[Sequence[Cell]] = []
    for method in shown_methods(run.measured.methods):
        rows.append([Cell(name_of(method))])
        for calls in run.measured.methods[method].collectives[:MAX_COLLECTIVES]:
            rows.append(_collective_row(calls, run.anchor))
    title = f"Every collective of a step between {_ranks(run.measured)}"
    return Table("collectives", title, columns, rows=rows, caption=caption)


def _collective_row(calls: CollectiveCalls, anchor: str) -> list[Cell]:
    return [
        Cell(calls.label),
        Cell(clipped(calls.dtype, 16)),
        number_cell(calls.count, 0, anchor),
        number_cell(calls.mb, None, anchor),
        number_cell(calls.sent_mb, None, anchor),
        summary_cell(calls.in_step_ms, anchor),
        summary_cell(calls.bare_ms, anchor),
        number_cell(calls.algorithm_gb_s, None, anchor),
        number_cell(calls.bus_gb_s, None, anchor),
    ]


def _ranks(measured: Communication) -> str:
    """`2 ranks (gloo, ddp)`."""
    how = f"{clipped(measured.backend, 16)}, {clipped(measured.parallel, 16)}"
    return f"{shown(measured.world_size, 0)} ranks ({how})"
