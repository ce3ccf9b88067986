"""What a training step keeps in memory, measured beside predicted: against the batch, and by
part.
"""

from collections.abc import Callable, Sequence
from functools import partial

from matplotlib.axes import Axes

from catlip.method_style import name_of, ordered
from catlip.table import MISSING, Cell, Table, clipped, number_cell, shown
from reports.cost.step_times import MOST_METHODS
from reports.read.measured import anchor_of
from reports.read.records import Record, drawable, entries, number, text
from reports.render.figures import Figure, Part, bars_figure, colour_of, label_points, marker_of
from reports.summary.tables import TIMES, step_description

PARTS = {
    "parameters": "weights",
    "gradients": "gradients",
    "optimizer": "optimizer state",
    "average": "averaged weights",
    "activations_image": "image activations",
    "activations_text": "text activations",
    "activations_logits": "logits",
    "other": "other",
}
MOST_BATCHES = 12
Curve = list[tuple[int, float]]  # batch, GiB


def batches(record: Record) -> list[str]:
    """The batch sizes, as written, at which something was measured, ascending."""
    found = [
        size for size in entries(record.metrics, "batches") if size.isdecimal() and len(size) < 9
    ]
    return sorted(found, key=int)[:MOST_BATCHES]


def methods(record: Record) -> list[str]:
    """Every method that was measured at some batch size."""
    return ordered(
        m for size in batches(record) for m in entries(record.metrics, "batches", size, "methods")
    )[:MOST_METHODS]


def memory_tables(record: Record, suffix: str = "") -> list[Table]:
    """The peak at every batch size, and the parts at the largest."""
    return [*_peaks_table(record, suffix), *_parts_table(record, suffix)]


def _peaks_table(record: Record, suffix: str) -> list[Table]:
    own, sizes = methods(record), batches(record)
    if not own:
        return []
    pairs = list(
        dict.fromkeys(
            pair for size in sizes for pair in entries(record.metrics, "batches", size, "ratios")
        )
    )[:3]
    columns = ["Images per device", *(f"{clipped(name_of(method), 24)} (GiB)" for method in own)]
    columns += [f"{_pair(pair)}, {what}" for pair in pairs for what in ("peak", "activations")]
    rows = [_peaks_row(record, size, own, pairs) for size in sizes]
    rows.append([Cell("Largest batch that fits"), *(_largest(record, method) for method in own)])
    rows[-1] += [Cell()] * (len(columns) - len(rows[-1]))
    caption = (
        f"Peak of a whole step as {_counted_by(record)}; below it the prediction. Memory does not "
        "vary between steps, so there "
        "is no interval. The largest batch is that of this device's memory."
    )
    return [
        Table(
            f"memory{suffix}",
            f"Peak memory of a training step, {step_description(record)}",
            columns,
            rows,
            caption,
        )
    ]


def _peaks_row(record: Record, size: str, own: Sequence[str], pairs: Sequence[str]) -> list[Cell]:
    row = [Cell(f"{int(size):,}"), *(_both(record, size, method, "peak") for method in own)]
    for pair in pairs:
        found = (
            number(record.metrics, "batches", size, "ratios", pair, what)
            for what in ("peak", "activations")
        )
        row += [
            Cell() if r is None else Cell(f"{shown(r, 2)}{TIMES}", "", anchor_of(record))
            for r in found
        ]
    return row


def _both(record: Record, size: str, method: str, part: str) -> Cell:
    """What was measured, and below it what was predicted."""
    measured, predicted = (
        number(record.metrics, *_at(size, method, kind, part)) for kind in ("measured", "predicted")
    )
    small = "" if predicted is None else f"predicted {shown(predicted)}"
    return (
        number_cell(measured, None, anchor_of(record), small)
        if measured is not None
        else Cell(MISSING, small)
    )


def _largest(record: Record, method: str) -> Cell:
    """The first batch size that says which is the largest speaks."""
    found = [
        entries(record.metrics, "batches", size, "methods", method) for size in batches(record)
    ]
    keys = ("largest_batch", "largest_batch_predicted")
    measured, predicted = (
        next((n for tree in found if (n := number(tree, key)) is not None), None) for key in keys
    )
    small = "" if predicted is None else f"predicted {shown(predicted, 0)}"
    return (
        number_cell(measured, 0, anchor_of(record), small)
        if measured is not None
        else Cell("not run", small)
    )


def _parts_table(record: Record, suffix: str) -> list[Table]:
    own, size = methods(record), next(reversed(batches(record)), "")
    if not own:
        return []
    named = {"peak": "peak of the step", "reserved": "reserved by the allocator"} | PARTS
    rows = [
        [Cell(word.capitalize()), *(_both(record, size, m, part) for m in own)]
        for part, word in named.items()
    ]
    columns = ["Part", *(f"{clipped(name_of(method), 24)} (GiB)" for method in own)]
    title = f"Memory by part at {int(size):,} images, {step_description(record)}"
    caption = (
        "Parts are counted one by one and need not be at their largest at the same moment; below "
        "each the prediction."
    )
    return [Table(f"memory_parts{suffix}", title, columns, rows, caption)]


def memory_figures(record: Record, suffix: str = "") -> list[Figure]:
    """Peak memory against batch, and a bar a method by part at the largest batch."""
    return _curves_figure(record, suffix) + _bars_figure(record, suffix)


def _curves_figure(record: Record, suffix: str) -> list[Figure]:
    curves = {method: _curve(record, method, "measured") for method in methods(record)}
    curves = {method: curve for method, curve in curves.items() if len(curve) > 1}
    if not curves:
        return []
    said = "; ".join(
        f"{clipped(name_of(m))}: {', '.join(f'{shown(peak, 2)} GiB at {n:,}' for n, peak in curve)}"
        for m, curve in curves.items()
    )
    caption = (
        f"Peak memory of a step against the batch ({step_description(record)}): marks are "
        "measured, dashed lines predicted."
    )
    draw = partial(
        _draw_curves, curves=curves, predicted=lambda method: _curve(record, method, "predicted")
    )
    return [Figure(f"memory{suffix}", caption, f"Lines. {said}.", draw)]


def _curve(record: Record, method: str, kind: str) -> Curve:
    peaks = {
        int(size): drawable(record.metrics, *_at(size, method, kind, "peak"))
        for size in batches(record)
    }
    return [(size, peak) for size, peak in peaks.items() if size and peak is not None]


def _draw_curves(axes: Axes, curves: dict[str, Curve], predicted: Callable[[str], Curve]) -> None:
    for method, curve in curves.items():
        axes.plot(
            *zip(*curve, strict=True),
            f"{marker_of(method)}-",
            color=colour_of(method),
            markersize=6,
        )
        if guess := predicted(method):
            axes.plot(*zip(*guess, strict=True), "--", color=colour_of(method), linewidth=1.3)
    axes.set_xlim(0, 1.02 * max(curve[-1][0] for curve in curves.values()))
    axes.set_ylim(
        0, 1.12 * max(peak for m, curve in curves.items() for _, peak in [*curve, *predicted(m)])
    )
    ends = [
        (*curve[-1], f"{clipped(name_of(m), 24)}\n{shown(curve[-1][1])} GiB", colour_of(m))
        for m, curve in curves.items()
    ]
    label_points(axes, ends, gap=0.17)
    axes.set_xlabel("images per device and step")
    axes.set_ylabel("peak memory (GiB)")


def _bars_figure(record: Record, suffix: str) -> list[Figure]:
    size = next(reversed(batches(record)), "")
    bars = {method: parts for method in methods(record) if (parts := _parts(record, size, method))}
    if not bars:
        return []
    caption = (
        f"What memory is used for at {int(size):,} images ({step_description(record)}), measured."
    )
    return [
        bars_figure(f"memory_parts{suffix}", caption, bars, "GiB", "GiB", 0.7 + 0.95 * len(bars))
    ]


def _parts(record: Record, size: str, method: str) -> list[Part]:
    found = [
        (word, drawable(record.metrics, *_at(size, method, "measured", part)))
        for part, word in PARTS.items()
    ]
    return [(word, gib) for word, gib in found if gib is not None]


def _at(size: str, method: str, kind: str, part: str) -> tuple[str, ...]:
    return ("batches", size, "methods", method, kind, f"{part}_gib")


def _counted_by(record: Record) -> str:
    if "allocator" in text(record.metrics, "how"):
        return "the device's allocator counts it"
    return (
        "the storage of tensors that are alive adds up to: what libraries take beside them is not "
        "in it"
    )


def _pair(pair: str) -> str:
    """`CLIP / CatLIP` of `clip/catlip`."""
    above, _, below = pair.partition("/")
    return f"{clipped(name_of(above), 24)} / {clipped(name_of(below), 24)}"
