"""What ranks send each other in a step: the bytes of each collective, the time it takes, and how
much of that time a step waits.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.measuring.statistics import difference, summarise
from bench.step_time.steps import STEP_HEADS, StepKind, step_row
from catlip.records.kind import Interval, Summary, other_than
from catlip.records.run import Run
from catlip.records.styles import name_of, ordered
from catlip.records.table import NOTE, Column, Row, Spec, clipped


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
    rounds = ("_step_ms",)

    backend: str
    parallel: str
    methods: dict[str, MethodExchange]

    def faults(self, run: Run[Any]) -> Iterator[str]:
        for method, costs in self.methods.items():
            step_ms = self.taken_ms(run, f"{method}_step_ms")
            follows: dict[str, Any] = {"step_ms": summarise(step_ms)}
            follows["sent_mb"] = sum(calls.sent_mb for calls in costs.collectives)
            if costs.step_without_exchange_ms:
                without = self.taken_ms(run, f"{method}_step_without_exchange_ms")
                follows["step_without_exchange_ms"] = summarise(without)
                follows["exposed_ms"] = difference(step_ms, without)
            yield from other_than(method, costs, follows)


def exchange_rows(runs: Iterable[Run[Communication]]) -> Iterator[Row]:
    for run in runs:
        for method in ordered(run.metrics.methods):
            costs = run.metrics.methods[method]
            yield vars(costs) | {
                **_shared(run, method),
                "exposed_ms": costs.exposed_ms and run.trusted(costs.exposed_ms),
                NOTE: run.too_few,
            }


def collective_rows(runs: Iterable[Run[Communication]]) -> Iterator[Row]:
    for run in runs:
        for method in ordered(run.metrics.methods):
            for calls in run.metrics.methods[method].collectives:
                alone = calls.bare_ms.median
                rate = calls.sent_mb / alone if alone else None
                yield vars(calls) | _shared(run, method) | {"calls": calls.label, "rate": rate}


def _shared(run: Run[Communication], method: str) -> dict[str, Any]:
    metrics = run.metrics
    backend, parallel = clipped(metrics.backend, 16), clipped(metrics.parallel, 16)
    ranks = f"{metrics.world_size} ranks, {backend}, {parallel}"
    return step_row(run) | {"ranks": ranks, "method": name_of(method)}


HEADS = (*STEP_HEADS, Column("Ranks", "ranks", head=True))
COMMUNICATION = Spec(
    "communication",
    "What ranks send each other",
    "Sent: by one rank in a step. Exposed: a step minus one that does the same work but sends no "
    "gradients. Blocking: what nothing hides, such as the exchange of features. Bytes carry over "
    "to other machines, milliseconds do not.",
    [
        *HEADS,
        Column("Method", "method"),
        Column("Sent (MB)", "sent_mb"),
        Column("Predicted (MB)", "predicted_sent_mb"),
        Column("Step (ms)", "step_ms"),
        Column("Without exchange (ms)", "step_without_exchange_ms"),
        Column("Exposed (ms)", "exposed_ms"),
        Column("Blocking (ms)", "blocking_ms"),
    ],
    exchange_rows,
    "torchrun --nproc-per-node 2 -m bench.communication",
    [Communication],
)
COLLECTIVES = Spec(
    "collectives",
    "Every collective of a step",
    "Alone: with nothing else running; GB/s are of what is sent.",
    [
        *HEADS,
        Column("Method", "method", head=True),
        Column("Collective", "calls"),
        Column("Type", "dtype"),
        Column("Calls", "count", 0),
        Column("Sent (MB)", "sent_mb"),
        Column("Alone (ms)", "bare_ms"),
        Column("Alone (GB/s)", "rate"),
    ],
    collective_rows,
    kinds=[Communication],
)
