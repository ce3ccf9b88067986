"""The memory of a training step by batch size: measured, by part, and its predicted peak."""

from dataclasses import dataclass, field

from bench.step_time.steps import StepKind, step_description
from catlip.records.blocks import Block, Section, Text, command_to_fill
from catlip.records.run import Records, Run, Setting, times_cell
from catlip.records.select import ENCODERS, architecture, unique_runs
from catlip.records.styles import name_of, ordered
from catlip.records.table import Cell, Table, format_number, number_cell

COMMAND = "python -m bench.memory --model vit_b16 --batch-sizes 4 8 16"
WORDS = (
    "The peak memory of a whole training step, and what arithmetic predicts. Memory decides how "
    "many images fit on a device."
)
PARTS = {  # field of MemoryParts -> its name for readers
    "peak_gib": "Peak of the step",
    "parameters_gib": "Weights",
    "gradients_gib": "Gradients",
    "optimizer_gib": "Optimizer state",
    "average_gib": "Averaged weights",
    "activations_image_gib": "Image activations",
    "activations_text_gib": "Text activations",
    "activations_logits_gib": "Logits",
    "other_gib": "Other",
}


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

    @property
    def by_size(self) -> dict[int, BatchMemory]:
        """Batch size -> its metrics, the smallest first."""
        return dict(sorted(self.batches.items()))

    @property
    def methods(self) -> list[str]:
        """Every method that was tried at some batch size."""
        batches = self.by_size.values()
        return ordered(m for batch in batches for m in (*batch.methods, *batch.too_large))


def section(main: Setting | None, records: Records) -> Section:
    """The memory of one record: of an encoder of the paper, if there is one."""
    runs = sorted(
        unique_runs(records, Memory),
        key=lambda run: architecture(run.config.model) not in ENCODERS,
    )
    blocks: list[Block] = [*memory_tables(runs[0])[:1]] if runs else []
    blocks = blocks or command_to_fill("The memory of a step was not measured.", COMMAND)
    return Section("memory", "Memory", [Text(WORDS), *blocks])


def memory_tables(run: Run[Memory]) -> list[Table]:
    return [_peaks_table(run), _parts_table(run)] if run.metrics.methods else []


def _peaks_table(run: Run[Memory]) -> Table:
    metrics, anchor = run.metrics, run.anchor
    methods = metrics.methods
    first, *others = methods
    columns = ["Images per device", *(f"{name_of(method)} (GiB)" for method in methods)]
    columns += [f"{name_of(method)} / {name_of(first)}" for method in others]
    rows = []
    for size, batch in metrics.by_size.items():
        row = [Cell(f"{size:,}")]
        for method in methods:
            if memory := batch.methods.get(method):
                small = _in_words(memory.predicted.peak_gib if memory.predicted else None)
                row.append(number_cell(memory.measured.peak_gib, None, anchor, small=small))
            elif method in batch.too_large:
                small = _in_words(batch.too_large[method])
                row.append(Cell("does not fit", small, anchor))
            else:
                row.append(Cell())
        one = batch.methods.get(first)
        for method in others:
            other, ratio = batch.methods.get(method), None
            if one and other and one.measured.peak_gib:
                ratio = other.measured.peak_gib / one.measured.peak_gib
            row.append(times_cell(ratio, anchor))
        rows.append(row)
    row = [Cell("Largest batch that fits")]
    for method in methods:
        if largest := metrics.largest.get(method):
            small = _in_words(largest.predicted, 0)
            row.append(number_cell(largest.images, 0, anchor, small=small))
        else:
            row.append(Cell("not run"))
    rows.append([*row, *[Cell()] * len(others)])
    counted_by = (
        "the device's allocator counts it"
        if "allocator" in metrics.how
        else "the sum of the storage of tensors that are alive, without what libraries take beside "
        "them"
    )
    caption = (
        f"Peak of a whole step as {counted_by}; below it the prediction. Memory "
        "does not vary between steps, so there is no interval. The largest batch is for this "
        "device's memory."
    )
    title = f"Peak memory of a training step's tensors, {step_description(run)}"
    return Table("memory", title, columns, rows=rows, caption=caption)


def _in_words(predicted: float | None, digits: int | None = None) -> str:
    return "not predicted" if predicted is None else f"predicted {format_number(predicted, digits)}"


def _parts_table(run: Run[Memory]) -> Table:
    methods = run.metrics.methods
    size, batch = list(run.metrics.by_size.items())[-1]
    rows = []
    for part, name in PARTS.items():
        memories = [batch.methods.get(method) for method in methods]
        sizes = [getattr(memory.measured, part) if memory else None for memory in memories]
        rows.append([Cell(name), *(number_cell(size, None, run.anchor) for size in sizes)])
    title = f"Memory by part at {size:,} images, {step_description(run)}"
    caption = "Parts are counted one by one and need not be at their largest at the same moment."
    columns = ["Part", *(f"{name_of(method)} (GiB)" for method in methods)]
    return Table("memory_parts", title, columns, rows=rows, caption=caption)
