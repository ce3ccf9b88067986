"""The memory of a training step by batch size: measured, by part, and its predicted peak."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from bench.step_time.steps import STEP_HEADS, StepKind, step_row
from catlip.records.run import Run
from catlip.records.styles import name_of, ordered
from catlip.records.table import NOTE, Column, Row, Spec


@dataclass(frozen=True, kw_only=True)
class MemoryParts:
    """GiB of memory of a step: its peak, and its parts, which may peak at different moments."""

    peak_gib: float
    parameters_gib: float
    gradients_gib: float
    optimizer_gib: float
    average_gib: float
    activations_image_gib: float
    activations_text_gib: float
    activations_logits_gib: float
    other_gib: float | None = None


@dataclass(frozen=True, kw_only=True)
class PredictedMemory:
    peak_gib: float


@dataclass(frozen=True, kw_only=True)
class LargestBatch:
    """The largest batch with which a step fits in memory, found by trying and predicted (None for
    a user's encoder).
    """

    images: int
    predicted: int | None = None


@dataclass(frozen=True, kw_only=True)
class MethodMemory:
    """One method's step at one batch size; nothing is predicted of a user's encoder."""

    measured: MemoryParts
    predicted: PredictedMemory | None = None


@dataclass(frozen=True, kw_only=True)
class BatchMemory:
    """Every method at one batch size; `too_large`: method whose step did not fit -> its predicted
    peak in GiB.
    """

    methods: dict[str, MethodMemory]
    too_large: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Memory(StepKind):
    """Memory of a step by batch size.

    Attributes:
        how: what the peak was counted by: a GPU's allocator, or the storage of live tensors.
        largest: method -> largest batch, if it was searched for.
    """

    kind = "memory"

    how: str
    batches: dict[int, BatchMemory]
    largest: dict[str, LargestBatch] = field(default_factory=dict)


def memory_rows(runs: Iterable[Run[Memory]]) -> Iterator[Row]:
    """A row for each batch size and method, and one for each largest batch."""
    for run in runs:
        shared = step_row(run)
        for size, batch in sorted(run.metrics.batches.items()):
            for method in ordered((*batch.methods, *batch.too_large)):
                row = shared | {"batch": size, "method": name_of(method)}
                if memory := batch.methods.get(method):
                    predicted = memory.predicted and memory.predicted.peak_gib
                    yield row | vars(memory.measured) | {"predicted": predicted}
                else:
                    predicted = batch.too_large[method]
                    yield row | {"predicted": predicted, NOTE: "The step did not fit."}
        for method, largest in run.metrics.largest.items():
            yield shared | {
                "batch": largest.images,
                "method": name_of(method),
                NOTE: "The largest batch that fits, found by trying.",
            }


MEMORY = Spec(
    "memory",
    "Memory of a step",
    "Peak memory of a whole training step and what arithmetic predicts, in GiB; the parts are "
    "counted one by one and need not be at their largest at the same moment.",
    [
        *STEP_HEADS,
        Column("Images", "batch", 0, head=True),
        Column("Method", "method"),
        Column("Peak", "peak_gib", 2),
        Column("Predicted", "predicted", 2),
        Column("Weights", "parameters_gib", 2),
        Column("Gradients", "gradients_gib", 2),
        Column("Optimizer", "optimizer_gib", 2),
        Column("Average", "average_gib", 2),
        Column("Image activations", "activations_image_gib", 2),
        Column("Text activations", "activations_text_gib", 2),
        Column("Logits", "activations_logits_gib", 2),
        Column("Other", "other_gib", 2),
    ],
    memory_rows,
    "python -m bench.memory --model vit_b16 --batch-sizes 4 8 16",
    [Memory],
)
