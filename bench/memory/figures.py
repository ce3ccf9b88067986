"""A figure of what a training step keeps in memory, against the batch."""

from functools import partial

from matplotlib.axes import Axes

from bench.memory.result import Memory
from bench.step_time.steps import step_description
from catlip.method_style import colour_of, marker_of, name_of
from catlip.results.figures import Figure, is_drawable, label_points
from catlip.results.run import Run
from catlip.table import clipped, shown

Curve = list[tuple[int, float]]  # batch, GiB


def memory_figures(record: Run[Memory], suffix: str = "") -> list[Figure]:
    """Peak memory against the batch, measured and predicted."""
    curves = {method: _curve(record.measured, method) for method in record.measured.methods}
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
    predicted = {m: _curve(record.measured, m, predicted=True) for m in curves}
    draw = partial(_draw_curves, curves=curves, predicted=predicted)
    return [Figure(f"memory{suffix}", caption, f"Lines. {said}.", draw=draw)]


def _curve(measured: Memory, method: str, *, predicted: bool = False) -> Curve:
    curve = []
    for size, batch in measured.shown_batches.items():
        memory = batch.methods.get(method)
        if memory and size > 0:
            peak = (memory.predicted if predicted else memory.measured).peak_gib
            if is_drawable(peak):
                curve.append((size, peak))
    return curve


def _draw_curves(axes: Axes, curves: dict[str, Curve], predicted: dict[str, Curve]) -> None:
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
