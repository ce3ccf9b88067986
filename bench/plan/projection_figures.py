"""Figures of the projection to many devices."""

from collections.abc import Callable
from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from bench.plan.projection_result import MOST_LAYOUTS, Layout, Projection, samples_words
from bench.step_time.steps import shown_methods
from catlip.method_style import colour_of, marker_of, name_of
from catlip.results.figures import Figure, is_drawable, label_points, thinned, write_out_powers
from catlip.results.run import Run
from catlip.table import clipped, shown

MOST_TICKS = 7

Curve = list[tuple[float, float]]


def projection_figures(record: Run[Projection], suffix: str = "") -> list[Figure]:
    """Efficiency and device-hours against the number of devices, with the same batch on each."""
    layouts = [row for row in record.measured.layouts if row.scaling == "weak"]
    same = "the same batch on every device (weak scaling)."
    figures = []
    if curves := _curves(layouts, lambda layout: 100 * layout.efficiency):
        caption = f"Projected efficiency, {same}"
        draw = partial(_draw, curves=curves, unit="efficiency (%)", logarithmic=False)
        figures.append(Figure(f"projection_efficiency{suffix}", caption, _alt(curves), draw=draw))
    if curves := _curves(layouts, lambda layout: layout.device_hours):
        caption = f"Projected device-hours for {samples_words(record)}, {same}"
        draw = partial(_draw, curves=curves, unit="device-hours", logarithmic=True)
        figures.append(Figure(f"projection_device_hours{suffix}", caption, _alt(curves), draw=draw))
    return figures


def _curves(layouts: list[Layout], size: Callable[[Layout], float]) -> dict[str, Curve]:
    """Method -> its points (devices, size); only methods with at least two points."""
    curves: dict[str, Curve] = {}
    for method in shown_methods(layout.method for layout in layouts):
        own = [layout for layout in layouts if layout.method == method]
        points = [(float(layout.devices), size(layout)) for layout in own]
        curve = sorted(point for point in points if all(map(is_drawable, point)))
        if len(curve) > 1:
            curves[method] = curve[:MOST_LAYOUTS]
    return curves


def _alt(curves: dict[str, Curve]) -> str:
    said = "; ".join(
        f"{clipped(name_of(m))}: {', '.join(f'{shown(y)} at {n:,.0f}' for n, y in curve)}"
        for m, curve in curves.items()
    )
    return f"Lines. {said}."


def _draw(axes: Axes, curves: dict[str, Curve], unit: str, logarithmic: bool) -> None:
    for method, curve in curves.items():
        line = "--" if "_" in method else "-"  # dashed for a variant, which has its method's colour
        style = f"{marker_of(method)}{line}"
        axes.plot(
            *zip(*curve, strict=True), style, color=colour_of(method), markersize=4, linewidth=1.6
        )
    sizes = [y for curve in curves.values() for _, y in curve]
    axes.set_xscale("log", base=2)
    counts = sorted({n for curve in curves.values() for n, _ in curve})
    axes.set_xticks([counts[i] for i in thinned(len(counts), MOST_TICKS)])
    write_out_powers(axes.xaxis)
    axes.tick_params(axis="x", labelsize=9)
    axes.set_xlim(0.9 * counts[0], 1.1 * counts[-1])
    axes.set_ylim(0, 1.12 * max(sizes))
    if logarithmic:
        axes.set_yscale("log")
        axes.set_ylim(min(sizes) / 1.3, 1.3 * max(sizes))
        axes.yaxis.set_major_locator(
            LogLocator(subs=(1, 2, 5) if max(sizes) < 1000 * min(sizes) else (1,))
        )
    write_out_powers(axes.yaxis)
    ends = [
        (*curve[-1], f"{clipped(name_of(m), 24)} {shown(curve[-1][1])}", colour_of(m))
        for m, curve in curves.items()
    ]
    label_points(axes, ends, gap=0.09)
    axes.set_xlabel("devices")
    axes.set_ylabel(unit)
