"""A figure of how fast captions become labels: the time per caption of each contender."""

from functools import partial

from matplotlib.axes import Axes

from bench.labelling.result import CONTENDERS, LabellingSpeed
from catlip.results.cells import TIMES
from catlip.results.figures import MUTED, Figure, hide_rows, write_out_powers
from catlip.results.kind import Interval
from catlip.results.rules import rule_style
from catlip.results.run import Run
from catlip.table import clipped, shown

Bar = tuple[str, str, float, Interval | None]  # rule, contender, µs per caption, its ratio to ours
SHORT = {"ours": "ours", "nltk": "NLTK", "nltk_tagged": "NLTK with tags", "release": "release"}


def speed_figure(record: Run[LabellingSpeed], suffix: str = "") -> list[Figure]:
    """Time per caption of every contender, on a logarithmic axis."""
    bars: list[Bar] = []
    for rule in record.measured.shown_rules:
        speeds = record.measured.rules[rule]
        for name, taken in speeds.us_per_caption.items():
            if 1e-6 < taken.median < 1e12:  # no measurement is smaller or larger
                bars.append((rule, name, taken.median, speeds.ratios.get(f"{name}/ours")))
    if not bars:
        return []
    said = "; ".join(
        f"rule {clipped(rule, 24)}, {CONTENDERS[name]}: {shown(taken)} µs"
        for rule, name, taken, _ in bars
    )
    return [
        Figure(
            f"labelling_speed{suffix}",
            f"Time to label one caption on one core ({record.device}); the axis is logarithmic.",
            f"Bars on a logarithmic axis. {said}.",
            draw=partial(_draw_speed, bars=bars),
            height=1.1 + 0.36 * len(bars),
        )
    ]


def _draw_speed(axes: Axes, bars: list[Bar]) -> None:
    for y, (rule, name, taken, ratio) in enumerate(bars):
        colour = rule_style(rule)["color"] if name == "ours" else MUTED
        axes.plot(taken, y, "o", color=colour, markersize=8)
        said = f"{shown(taken)} µs" + (f", {shown(ratio.value, 1)}{TIMES}" if ratio else "")
        axes.annotate(
            said, (taken, y), (9, 0), textcoords="offset points", va="center", color=colour
        )
    axes.set_xscale("log")
    write_out_powers(axes.xaxis)
    times = [taken for _, _, taken, _ in bars]
    low, high = min(times), max(times)
    # Leaves room for the label of the slowest.
    axes.set_xlim(low / 2, high * 2 * (2 * high / low) ** 0.6)
    names = [f"{clipped(rule, 24)}: {SHORT[name]}" for rule, name, _, _ in bars]
    axes.set_yticks(range(len(bars)), names)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    hide_rows(axes)
    axes.set_xlabel("time per caption (µs)")
