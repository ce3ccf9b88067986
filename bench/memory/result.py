"""The memory of a training step, measured and predicted, by batch size and by part."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.step_time.steps import StepKind, shown_methods, step_description
from catlip.method_style import name_of
from catlip.results.cells import times_cell
from catlip.results.run import Run
from catlip.table import Cell, Table, number_cell, shown

MOST_BATCHES = 12
MOST_PAIRS = 3
Parts = dict[str, float | None]  # what the memory is for -> GiB


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
    reserved_gib: float | None = None

    @property
    def activations_gib(self) -> float:
        """The activations of images, of text and of logits together."""
        return self.activations_image_gib + self.activations_text_gib + self.activations_logits_gib

    @property
    def named(self) -> Parts:
        """The parts, without the peak, by their names for readers."""
        return {
            "weights": self.parameters_gib,
            "gradients": self.gradients_gib,
            "optimizer state": self.optimizer_gib,
            "averaged weights": self.average_gib,
            "image activations": self.activations_image_gib,
            "text activations": self.activations_text_gib,
            "logits": self.activations_logits_gib,
            "other": self.other_gib,
        }


@dataclass(frozen=True, kw_only=True)
class MethodMemory:
    """One method's step at one batch size.

    Attributes:
        retries: how often a GPU's allocator had to free its cache to go on.
        largest_batch, largest_batch_predicted: only in older records; see `Memory.largest`.
    """

    measured: MemoryParts
    predicted: MemoryParts
    retries: int | None = None
    largest_batch: int | None = None
    largest_batch_predicted: int | None = None


@dataclass(frozen=True, kw_only=True)
class LargestBatch:
    """The largest batch with which a step fits in memory, found by trying and predicted."""

    images: int
    predicted: int


@dataclass(frozen=True, kw_only=True)
class MemoryRatio:
    """The memory of one method over that of another."""

    peak: float
    activations: float


@dataclass(frozen=True, kw_only=True)
class BatchMemory:
    """Every method at one batch size.

    Attributes:
        ratios: `clip/catlip` -> memory of CLIP over that of CatLIP.
        too_large: method whose step did not fit -> its predicted peak in GiB.
    """

    methods: dict[str, MethodMemory]
    ratios: dict[str, MemoryRatio] = field(default_factory=dict)
    too_large: dict[str, float] = field(default_factory=dict)


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
    def shown_batches(self) -> dict[int, BatchMemory]:
        """The smallest MOST_BATCHES batch sizes, in order."""
        return {size: self.batches[size] for size in sorted(self.batches)[:MOST_BATCHES]}

    @property
    def methods(self) -> list[str]:
        """Every method that was tried at some batch size."""
        batches = self.shown_batches.values()
        return shown_methods(m for batch in batches for m in (*batch.methods, *batch.too_large))

    def largest_batch(self, method: str) -> LargestBatch | None:
        """The largest batch that fits; in older records, from the first batch size that has it."""
        if method in self.largest:
            return self.largest[method]
        for batch in self.shown_batches.values():
            memory = batch.methods.get(method)
            if memory and memory.largest_batch is not None:
                guess = memory.largest_batch_predicted or 0
                return LargestBatch(images=memory.largest_batch, predicted=guess)
        return None


def memory_tables(run: Run[Memory], end: str = "") -> list[Table]:
    """The peak at every batch size, and the parts at the largest; no table without a measurement.

    Args:
        end: ending of the tables' names.
    """
    return [_peaks_table(run, end), _parts_table(run, end)] if run.measured.methods else []


def _peaks_table(run: Run[Memory], end: str) -> Table:
    methods, batches = run.measured.methods, run.measured.shown_batches
    pairs = list(dict.fromkeys(p for batch in batches.values() for p in batch.ratios))[:MOST_PAIRS]
    columns = ["Images per device", *(f"{name_of(method)} (GiB)" for method in methods)]
    columns += [f"{_pair(pair)}, {what}" for pair in pairs for what in ("peak", "activations")]
    rows = [_peaks_row(run, size, pairs) for size in batches]
    largest = [_largest(run, method) for method in methods]
    rows.append([Cell("Largest batch that fits"), *largest, *[Cell()] * (2 * len(pairs))])
    caption = (
        f"Peak of a whole step as {_counted_by(run.measured)}; below it the prediction. Memory "
        "does not vary between steps, so there is no interval. The largest batch is for this "
        "device's memory."
    )
    title = f"Peak memory of a training step's tensors, {step_description(run)}"
    return Table(f"memory{end}", title, columns, rows=rows, caption=caption)


def _peaks_row(run: Run[Memory], size: int, pairs: Sequence[str]) -> list[Cell]:
    batch = run.measured.batches[size]
    row = [Cell(f"{size:,}")]
    for method in run.measured.methods:
        if memory := batch.methods.get(method):
            row.append(_both(memory.measured.peak_gib, memory.predicted.peak_gib, run.anchor))
        elif method in batch.too_large:
            small = f"predicted {shown(batch.too_large[method])}"
            row.append(Cell("does not fit", small, run.anchor))
        else:
            row.append(Cell())
    for pair in pairs:
        if ratio := batch.ratios.get(pair):
            row += [times_cell(ratio.peak, run.anchor), times_cell(ratio.activations, run.anchor)]
        else:
            row += [Cell(), Cell()]
    return row


def _both(measured: float | None, predicted: float | None, anchor: str) -> Cell:
    """The measured GiB, with the predicted GiB below."""
    small = "" if predicted is None else f"predicted {shown(predicted)}"
    if measured is None:
        return Cell(small=small)
    return number_cell(measured, None, anchor, small=small)


def _largest(run: Run[Memory], method: str) -> Cell:
    largest = run.measured.largest_batch(method)
    if largest is None:
        return Cell("not run")
    small = f"predicted {shown(largest.predicted, 0)}"
    return number_cell(largest.images, 0, run.anchor, small=small)


def _parts_table(run: Run[Memory], end: str) -> Table:
    measured = run.measured
    size, batch = list(measured.shown_batches.items())[-1]
    columns = ["Part", *(f"{name_of(method)} (GiB)" for method in measured.methods)]
    parts: list[tuple[Parts, Parts]] = []
    for method in measured.methods:
        if memory := batch.methods.get(method):
            parts.append((_table_parts(memory.measured), _table_parts(memory.predicted)))
        else:
            parts.append(({}, {}))
    rows = []
    for name in dict.fromkeys(name for part, _ in parts for name in part):
        cells = [
            _both(part.get(name), predicted.get(name), run.anchor) for part, predicted in parts
        ]
        rows.append([Cell(name.capitalize()), *cells])
    title = f"Memory by part at {size:,} images, {step_description(run)}"
    caption = (
        "Parts are counted one by one and need not be at their largest at the same moment; below "
        "each the prediction."
    )
    return Table(f"memory_parts{end}", title, columns, rows=rows, caption=caption)


def _table_parts(parts: MemoryParts) -> Parts:
    whole = {"peak of the step": parts.peak_gib, "reserved by the allocator": parts.reserved_gib}
    return whole | parts.named


def _counted_by(measured: Memory) -> str:
    if "allocator" in measured.how:
        return "the device's allocator counts it"
    return (
        "the sum of the storage of tensors that are alive, without what libraries take beside them"
    )


def _pair(pair: str) -> str:
    """`clip/catlip` -> `CLIP / CatLIP`."""
    above, _, below = pair.partition("/")
    return f"{name_of(above)} / {name_of(below)}"
