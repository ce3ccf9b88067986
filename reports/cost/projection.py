"""What many devices would do, computed from one device's step and a link's bandwidth, and checked
where it can be.
"""

from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from catlip.kinds.step_time import SAMPLES_OF_A_TRAINING
from catlip.kinds.steps import MOST_METHODS
from catlip.method_style import name_of, ordered
from catlip.table import Cell, Table, clipped, number_cell, shown
from reports.read.measured import anchor_of
from reports.read.records import Record, drawable, entries, lookup, number, text
from reports.render.figures import (
    Figure,
    colour_of,
    label_points,
    marker_of,
    thinned,
    write_out_powers,
)
from reports.summary.tables import TIMES, median_cell

SCALINGS = {"weak": "the same batch on every device", "strong": "the same batch over all devices"}
MOST_LAYOUTS, MOST_TICKS = 24, 7

Layout = dict[str, Any]
Curve = list[tuple[float, float]]


def layouts(record: Record, name: str) -> list[Layout]:
    """The rows recorded under `layouts`, `paper_layouts` or `validation`."""
    found = lookup(record.metrics, name)
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def projection_tables(record: Record, suffix: str = "") -> list[Table]:
    """What it is computed from, the paper's layouts, what of their ratio is communication, and a
    check.
    """
    return [
        *_basis_table(record, suffix),
        *_paper_table(record, suffix),
        *_ratios_table(record, suffix),
        *_validation_table(record, suffix),
    ]


def _paper_table(record: Record, suffix: str) -> list[Table]:
    rows = [
        _layout_row(record, layout) for layout in layouts(record, "paper_layouts")[:MOST_LAYOUTS]
    ]
    columns = [
        "Method",
        "Layout",
        "Devices",
        "Images per device",
        "Step (ms)",
        "Computing (ms)",
        "Waiting for others (ms)",
    ]
    columns += ["Images/s", "Efficiency (%)", f"Device-hours for {_images(record)}"]
    caption = (
        "Computed, not measured. Efficiency is images a second beside those of as many devices "
        "that never wait."
    )
    return (
        [Table(f"projection{suffix}", "The paper's layouts, projected", columns, rows, caption)]
        if rows
        else []
    )


def _layout_row(record: Record, layout: Layout) -> list[Cell]:
    anchor = anchor_of(record)
    row = [_method(layout), Cell(_named(text(layout, "scaling")))]
    row += [number_cell(number(layout, key), 0, anchor) for key in ("devices", "batch_per_device")]
    times = ("step_ms", "compute_ms", "exposed_ms", "images_per_s")
    row += [number_cell(number(layout, key), None, anchor) for key in times]
    efficiency = number(layout, "efficiency")
    row.append(number_cell(None if efficiency is None else 100 * efficiency, 1, anchor))
    return [*row, number_cell(number(layout, "device_hours"), 0, anchor)]


def _ratios_table(record: Record, suffix: str) -> list[Table]:
    parts = {
        "device_hours": "Device-hours",
        "compute": "Of it, computing",
        "communication": "Of it, communication",
    }
    rows = [
        [Cell(_named(text(row, "layouts"))), *(_ratio_cell(record, row, part) for part in parts)]
        for row in layouts(record, "paper_ratios")[:MOST_LAYOUTS]
    ]
    caption = (
        "The two parts multiply to the ratio of hours, all projected. The paper measured 2.7, of "
        "whole trainings."
    )
    title = "CLIP over CatLIP, projected, on the layouts as published and on equal ones"
    return (
        [Table(f"projection_ratios{suffix}", title, ["Layouts", *parts.values()], rows, caption)]
        if rows
        else []
    )


def _ratio_cell(record: Record, row: Layout, part: str) -> Cell:
    found = number(row, part)
    return Cell() if found is None else Cell(f"{shown(found, 2)}{TIMES}", "", anchor_of(record))


def _validation_table(record: Record, suffix: str) -> list[Table]:
    rows = [_validation_row(record, row) for row in layouts(record, "validation")[:MOST_LAYOUTS]]
    columns = [
        "Method",
        "Ranks",
        "Predicted step (ms)",
        "Measured step (ms)",
        "Prediction is off by (%)",
    ]
    caption = (
        "The same arithmetic for ranks that were there; below a measured step its 5th to 95th "
        "percentile."
    )
    title = f"The projection where it can be checked, on {record.where}"
    return [Table(f"projection_check{suffix}", title, columns, rows, caption)] if rows else []


def _validation_row(record: Record, row: Layout) -> list[Cell]:
    anchor = anchor_of(record)
    predicted, measured = number(row, "predicted_ms"), drawable(row, "measured_ms", "median")
    error = None if predicted is None or measured is None else 100 * (predicted / measured - 1)
    cells = [_method(row), number_cell(number(row, "world_size"), 0, anchor)]
    cells += [number_cell(predicted, None, anchor), median_cell(lookup(row, "measured_ms"), anchor)]
    return [*cells, number_cell(error, 1, anchor)]


def _method(row: Layout) -> Cell:
    return Cell(clipped(name_of(text(row, "method")), 24))


def _named(layout: str) -> str:
    """`as CatLIP` of `as catlip`."""
    return clipped(" ".join(map(name_of, layout.split(" ")[:4])), 32)


def projection_figures(record: Record, suffix: str = "") -> list[Figure]:
    """Efficiency and device-hours against the number of devices, a panel a way of scaling."""
    figures = []
    for scaling, words in SCALINGS.items():
        for key, unit, factor in (
            ("efficiency", "efficiency (%)", 100.0),
            ("device_hours", "device-hours", 1.0),
        ):
            curves = {
                m: c
                for m in _methods(record)
                if len(c := _curve(record, scaling, m, key, factor)) > 1
            }
            figures += (
                [_figure(record, scaling, words, key, unit, curves, suffix)] if curves else []
            )
    return figures


def _methods(record: Record) -> list[str]:
    return ordered(
        method for layout in layouts(record, "layouts") if (method := text(layout, "method"))
    )[:MOST_METHODS]


def _curve(record: Record, scaling: str, method: str, key: str, factor: float) -> Curve:
    own = [
        row
        for row in layouts(record, "layouts")
        if (text(row, "scaling"), text(row, "method")) == (scaling, method)
    ]
    points = [(drawable(row, "devices"), drawable(row, key)) for row in own]
    return sorted((n, factor * y) for n, y in points if n is not None and y is not None)[
        :MOST_LAYOUTS
    ]


def _figure(
    record: Record,
    scaling: str,
    words: str,
    key: str,
    unit: str,
    curves: dict[str, Curve],
    suffix: str,
) -> Figure:
    said = "; ".join(
        f"{clipped(name_of(m))}: {', '.join(f'{shown(y)} at {n:,.0f}' for n, y in curve)}"
        for m, curve in curves.items()
    )
    of = f" for {_images(record)}" if key == "device_hours" else ""
    caption = f"Projected {unit.removesuffix(' (%)')}{of}, {words} ({scaling} scaling)."
    draw = partial(_draw, curves=curves, unit=unit, logarithmic=key == "device_hours")
    return Figure(f"projection_{scaling}_{key}{suffix}", caption, f"Lines. {said}.", draw)


def _draw(axes: Axes, curves: dict[str, Curve], unit: str, logarithmic: bool) -> None:
    for method, curve in curves.items():
        line = "--" if "_" in method else "-"  # a variant of another method, whose colour it wears
        axes.plot(
            *zip(*curve, strict=True),
            f"{marker_of(method)}{line}",
            color=colour_of(method),
            markersize=4,
            linewidth=1.6,
        )
    sizes = [y for curve in curves.values() for _, y in curve]
    axes.set_xscale("log", base=2)
    counts = sorted({n for curve in curves.values() for n, _ in curve})
    axes.set_xticks([counts[i] for i in thinned(len(counts), MOST_TICKS)])
    write_out_powers(axes.xaxis)
    axes.tick_params(axis="x", labelsize=9)
    axes.set_xlim(
        0.9 * min(c[0][0] for c in curves.values()), 1.1 * max(c[-1][0] for c in curves.values())
    )
    axes.set_ylim(0, 1.12 * max(sizes))
    if logarithmic:
        axes.set_yscale("log")
        axes.set_ylim(min(sizes) / 1.3, 1.3 * max(sizes))
        axes.yaxis.set_major_locator(
            LogLocator(subs=(1, 2, 5) if max(sizes) < 1000 * min(sizes) else (1,))
        )
    write_out_powers(axes.yaxis)
    label_points(
        axes,
        [
            (*c[-1], f"{clipped(name_of(m), 24)} {shown(c[-1][1])}", colour_of(m))
            for m, c in curves.items()
        ],
        0.09,
    )
    axes.set_xlabel("devices")
    axes.set_ylabel(unit)


def _basis_table(record: Record, suffix: str) -> list[Table]:
    """What it is computed from: the rate of one device, and the links."""
    computes = entries(record.metrics, "compute").values()
    sources = list(
        dict.fromkeys(source for found in computes if (source := text(found, "source")))
    )[:MOST_METHODS]
    link, cpu = entries(record.metrics, "link"), text(record.environment, "cpu")
    rows = [
        [Cell("One device"), Cell(clipped(source, 160), _caution(source, cpu), anchor_of(record))]
        for source in sources
    ]
    for where, words in (
        ("node", f"A link in a node of {shown(number(link, 'node_devices'), 0)} devices"),
        ("network", "A link between nodes"),
    ):
        speed = (
            f"{shown(number(link, f'{where}_gb_s'))} GB/s, "
            f"{shown(number(link, f'{where}_latency_us'))} µs"
        )
        rows += (
            [[Cell(words), Cell(speed, clipped(text(link, "source"), 160), anchor_of(record))]]
            if link
            else []
        )
    return (
        [Table(f"projection_basis{suffix}", "What is projected from", ["What", "Taken as"], rows)]
        if rows
        else []
    )


def _caution(source: str, cpu: str) -> str:
    is_cpu = source.startswith("measured") and bool(cpu) and cpu in source
    return "a CPU: its hours say nothing of the paper's" if is_cpu else ""


def _images(record: Record) -> str:
    """What the hours are for."""
    samples = number(record.config, "samples")
    return SAMPLES_OF_A_TRAINING if samples is None else f"{shown(samples / 1e9, 1)} billion images"
