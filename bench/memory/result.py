"""The memory of a training step, measured and predicted, by batch size and by part."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from bench.step_time.steps import StepKind, shown_methods, step_description
from catlip.method_style import colour_of, marker_of, name_of
from catlip.results.blocks import Block, Section, Text, side_by_side, to_fill
from catlip.results.figures import Figure, is_drawable, label_points
from catlip.results.run import Records, Run, Setting, times_cell
from catlip.results.select import ENCODERS, architecture, unique_runs
from catlip.table import Cell, Table, clipped, number_cell, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COMMAND = "python -m bench.memory --model vit_b16 --batch-sizes 4 8 16"
WORDS = (
    "The peak memory of a whole training step, what uses it, and what arithmetic predicts. Memory "
    "decides how many images fit on a device. The parts do not include what libraries take for "
    "themselves outside of tensors."
)
Curve = list[tuple[int, float]]  # batch, GiB


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
        return self.activations_image_gib + self.activations_text_gib + self.activations_logits_gib

    @property
    def named(self) -> dict[str, float | None]:
        """All of it by its names for readers."""
        return {
            "peak of the step": self.peak_gib,
            "reserved by the allocator": self.reserved_gib,
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
    def by_size(self) -> dict[int, BatchMemory]:
        """Batch size -> its metrics, the smallest first."""
        return dict(sorted(self.batches.items()))

    @property
    def methods(self) -> list[str]:
        """Every method that was tried at some batch size."""
        batches = self.by_size.values()
        return shown_methods(m for batch in batches for m in (*batch.methods, *batch.too_large))

    def largest_batch(self, method: str) -> LargestBatch | None:
        """The largest batch that fits; in older records, from the first batch size that has it."""
        for batch in self.by_size.values():
            memory = batch.methods.get(method)
            if memory and memory.largest_batch is not None:
                guess = memory.largest_batch_predicted or 0
                return LargestBatch(images=memory.largest_batch, predicted=guess)
        return self.largest.get(method)


def section(main: Setting | None, records: Records) -> Section:
    """The memory of one record: of an encoder of the paper, if there is one."""
    runs = sorted(
        unique_runs(records, Memory),
        key=lambda run: architecture(run.setup.model) not in ENCODERS,
    )
    blocks: list[Block] = []
    if runs:
        blocks = [*side_by_side(memory_figures(runs[0])), *memory_tables(runs[0])]
    blocks = blocks or to_fill("The memory of a step was not measured.", COMMAND)
    return Section("memory", "Memory", [Text(WORDS), *blocks])


def memory_figures(run: Run[Memory]) -> list[Figure]:
    """Peak memory against the batch, measured and predicted."""
    curves = {method: _curve(run.measured, method) for method in run.measured.methods}
    curves = {method: curve for method, curve in curves.items() if len(curve) > 1}
    if not curves:
        return []
    words = "; ".join(
        f"{clipped(name_of(m))}: {', '.join(f'{shown(peak, 2)} GiB at {n:,}' for n, peak in curve)}"
        for m, curve in curves.items()
    )
    caption = (
        f"Peak memory of a step against the batch ({step_description(run)}): marks are measured, "
        "dashed lines predicted."
    )
    predicted = {m: _curve(run.measured, m, predicted=True) for m in curves}
    draw = partial(_draw_curves, curves=curves, predicted=predicted)
    return [Figure("memory", caption, f"Lines. {words}.", draw=draw)]


def _curve(measured: Memory, method: str, *, predicted: bool = False) -> Curve:
    curve = []
    for size, batch in measured.by_size.items():
        memory = batch.methods.get(method)
        if memory and size > 0:
            peak = (memory.predicted if predicted else memory.measured).peak_gib
            if is_drawable(peak):
                curve.append((size, peak))
    return curve


def _draw_curves(axes: "Axes", curves: dict[str, Curve], predicted: dict[str, Curve]) -> None:
    for method, curve in curves.items():
        colour = colour_of(method)
        axes.plot(*zip(*curve, strict=True), f"{marker_of(method)}-", color=colour, markersize=6)
        if guess := predicted[method]:
            axes.plot(*zip(*guess, strict=True), "--", color=colour, linewidth=1.3)
    axes.set_xlim(0, 1.02 * max(curve[-1][0] for curve in curves.values()))
    peaks = [peak for m, curve in curves.items() for _, peak in [*curve, *predicted[m]]]
    axes.set_ylim(0, 1.12 * max(peaks))
    ends = [
        (*curve[-1], f"{clipped(name_of(m), 24)}\n{shown(curve[-1][1])} GiB", colour_of(m))
        for m, curve in curves.items()
    ]
    label_points(axes, ends, gap=0.17)
    axes.set_xlabel("images per device and step")
    axes.set_ylabel("peak memory (GiB)")


def memory_tables(run: Run[Memory]) -> list[Table]:
    return [_peaks_table(run), _parts_table(run)] if run.measured.methods else []


def _peaks_table(run: Run[Memory]) -> Table:
    methods, batches = run.measured.methods, run.measured.by_size
    pairs = list(dict.fromkeys(pair for batch in batches.values() for pair in batch.ratios))
    columns = ["Images per device", *(f"{name_of(method)} (GiB)" for method in methods)]
    for above, _, below in (pair.partition("/") for pair in pairs):
        ratio = f"{name_of(above)} / {name_of(below)}"
        columns += [f"{ratio}, peak", f"{ratio}, activations"]
    rows = [_peaks_row(run, size, pairs) for size in batches]
    largest = [_largest(run, method) for method in methods]
    rows.append([Cell("Largest batch that fits"), *largest, *[Cell()] * (2 * len(pairs))])
    counted_by = (
        "the device's allocator counts it"
        if "allocator" in run.measured.how
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
        ratio = batch.ratios.get(pair)
        row.append(times_cell(ratio.peak if ratio else None, run.anchor))
        row.append(times_cell(ratio.activations if ratio else None, run.anchor))
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


def _parts_table(run: Run[Memory]) -> Table:
    measured = run.measured
    size, batch = list(measured.by_size.items())[-1]
    columns = ["Part", *(f"{name_of(method)} (GiB)" for method in measured.methods)]
    memories = [batch.methods.get(method) for method in measured.methods]
    both = [(m.measured.named, m.predicted.named) if m else ({}, {}) for m in memories]
    rows = []
    for name in dict.fromkeys(name for parts, _ in both for name in parts):
        cells = [
            _both(found.get(name), predicted.get(name), run.anchor) for found, predicted in both
        ]
        rows.append([Cell(name.capitalize()), *cells])
    title = f"Memory by part at {size:,} images, {step_description(run)}"
    caption = (
        "Parts are counted one by one and need not be at their largest at the same moment; below "
        "each the prediction."
    )
    return Table("memory_parts", title, columns, rows=rows, caption=caption)
