"""How fast captions become labels: per core beside NLTK and the release, then the whole command,
then what it adds up to.

Ratios come from contenders that took turns in one process on one device; numbers of different
records are never divided.
"""

import math
from collections.abc import Callable
from functools import partial

from matplotlib.axes import Axes

from catlip.kinds.labelling import rule_rank
from catlip.table import Cell, Table, clipped, number_cell, shown
from reports.read.measured import Ratio, anchor_of, ratio_of
from reports.read.records import Record, entries, number
from reports.read.rules import MOST, rule_style
from reports.render.figures import MUTED, Figure, write_out_powers
from reports.summary.tables import TIMES, interval

CONTENDERS = {
    "ours": "ours",
    "nltk": "NLTK, written plainly",
    "nltk_tagged": "NLTK, with tags it has no use for",
    "release": "the released loader's look-up",
}
SHORT = {"ours": "ours", "nltk": "NLTK", "nltk_tagged": "NLTK with tags", "release": "release"}
DATACOMP = "1.3 billion captions"


def timed_rules(record: Record) -> list[str]:
    """The rules that were timed, the known ones first."""
    return sorted(
        (rule for rule in record.metrics if entries(record.metrics, rule, "ours")), key=rule_rank
    )[:MOST]


def contenders(record: Record, rule: str) -> list[str]:
    """Who was timed on a rule: ours first."""
    return [
        name
        for name in CONTENDERS
        if number(record.metrics, rule, name, "us_per_caption", "median") is not None
    ]


def per_core_table(record: Record, suffix: str = "") -> list[Table]:
    """Every contender of every rule: time, rate and how many times our time."""
    rows: list[list[Cell]] = []
    for rule in timed_rules(record):
        rows.append([Cell(f"Rule {clipped(rule, 24)}")])
        rows += [_contender_row(record, rule, name) for name in contenders(record, rule)]
    columns = ["Who", "Time a caption (µs)", "Captions a second", "Times ours"]
    caption = (
        "Medians over rounds in turns, in one process and one thread, from text to labels file, "
        "with identical labels; below a "
        "time its 5th to 95th percentile, below a ratio its 95 % interval."
    )
    return (
        [
            Table(
                f"labelling_speed{suffix}",
                f"Labelling on one core, {record.device}",
                columns,
                rows,
                caption,
            )
        ]
        if rows
        else []
    )


def _contender_row(record: Record, rule: str, name: str) -> list[Cell]:
    taken, anchor = entries(record.metrics, rule, name, "us_per_caption"), anchor_of(record)
    median, low, high = (number(taken, key) for key in ("median", "p5", "p95"))
    spread = f"{shown(low)} to {shown(high)}" if low is not None and high is not None else ""
    rate = 1e6 / median if median else None
    row = [
        Cell(CONTENDERS[name]),
        number_cell(median, None, anchor, spread),
        number_cell(rate, 0, anchor),
    ]
    ratio = _ratio(record, rule, name)
    return [
        *row,
        Cell(f"{shown(ratio.value, 1)}{TIMES}", interval(ratio), anchor) if ratio else Cell(),
    ]


def _ratio(record: Record, rule: str, name: str) -> Ratio | None:
    return ratio_of(record, entries(record.metrics, rule, "ratios", f"{name}/ours"), "ours")


def speed_figure(record: Record, suffix: str = "") -> list[Figure]:
    """Time a caption of every contender, on a logarithmic axis."""
    bars = [
        (rule, name, _median(record, rule, name))
        for rule in timed_rules(record)
        for name in contenders(record, rule)
    ]
    bars = [bar for bar in bars if 1e-6 < bar[2] < 1e12]  # what is less or more was not measured
    if not bars:
        return []
    said = "; ".join(
        f"rule {clipped(rule, 24)}, {CONTENDERS[name]}: {shown(t)} µs" for rule, name, t in bars
    )
    caption = f"Time to label one caption on one core ({record.device}); the axis is logarithmic."
    draw = partial(
        _draw_speed, bars=bars, ratios={(r, n): _ratio(record, r, n) for r, n, _ in bars}
    )
    return [
        Figure(
            f"labelling_speed{suffix}",
            caption,
            f"Bars on a logarithmic axis. {said}.",
            draw,
            1.1 + 0.36 * len(bars),
        )
    ]


def _median(record: Record, rule: str, name: str) -> float:
    return number(record.metrics, rule, name, "us_per_caption", "median") or 0.0


def _draw_speed(
    axes: Axes, bars: list[tuple[str, str, float]], ratios: dict[tuple[str, str], Ratio | None]
) -> None:
    for y, (rule, name, taken) in enumerate(bars):
        colour, ratio = rule_style(rule)["color"] if name == "ours" else MUTED, ratios[rule, name]
        axes.plot(taken, y, "o", color=colour, markersize=8)
        said = f"{shown(taken)} µs" + (f", {shown(ratio.value, 1)}{TIMES}" if ratio else "")
        axes.annotate(
            said, (taken, y), (9, 0), textcoords="offset points", va="center", color=colour
        )
    axes.set_xscale("log")
    write_out_powers(axes.xaxis)
    low, high = min(taken for *_, taken in bars), max(taken for *_, taken in bars)
    axes.set_xlim(
        low / 2, high * 2 * (2 * high / low) ** 0.6
    )  # room for what is said of the slowest
    axes.set_yticks(
        range(len(bars)), [f"{clipped(rule, 24)}: {SHORT[name]}" for rule, name, _ in bars]
    )
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("time a caption (µs)")


def command_table(record: Record, suffix: str = "") -> list[Table]:
    """Start-up, processes and memory of the whole command, and what 1.3 billion captions would
    take; a column a rule.
    """
    rules = timed_rules(record)
    rows: list[list[Cell]] = []
    for heading, part in {
        "Start-up to the first label": _start_rows,
        "The whole command": _process_rows,
        "Memory": _memory_rows,
    }.items():
        if found := part(record, rules):
            rows += [[Cell(heading)], *found]
    if scaled := _scaled_rows(record, rules):
        rows += [
            [
                Cell(
                    "Extrapolated from the measured rate of one core, as if all were so fast: "
                    f"{DATACOMP}"
                )
            ],
            *scaled,
        ]
    columns = ["What", *(f"Rule {clipped(rule, 24)}" for rule in rules)]
    title = f"The labelling command, {record.device}"
    return [Table(f"labelling_command{suffix}", title, columns, rows)] if rows else []


def _start_rows(record: Record, rules: list[str]) -> list[list[Cell]]:
    def seconds(name: str) -> Callable[[str], Cell]:
        return lambda rule: number_cell(
            number(record.metrics, rule, "start_up_s", name, "median"), 2, anchor_of(record)
        )

    return [
        _row(f"{word} (s)", rules, seconds(name))
        for name, word in (("ours", "ours"), ("nltk", "NLTK"))
    ]


def _process_rows(record: Record, rules: list[str]) -> list[list[Cell]]:
    def rate(count: str) -> Callable[[str], Cell]:
        return lambda rule: _rate_cell(record, rule, count)

    counts = _sizes(record, rules, "processes", "captions_per_s")
    return [_row(f"{n} process{'es' * (n != '1')} (captions/s)", rules, rate(n)) for n in counts]


def _rate_cell(record: Record, rule: str, count: str) -> Cell:
    efficiency = number(record.metrics, rule, "processes", "efficiency", count)
    small = (
        f"{shown(100 * efficiency, 0)} % of linear"
        if efficiency is not None and count != "1"
        else ""
    )
    return number_cell(
        number(record.metrics, rule, "processes", "captions_per_s", count),
        0,
        anchor_of(record),
        small,
    )


def _memory_rows(record: Record, rules: list[str]) -> list[list[Cell]]:
    def peak(size: str) -> Callable[[str], Cell]:
        return lambda rule: number_cell(
            number(record.metrics, rule, "peak_mib", size), 0, anchor_of(record)
        )

    return [
        _row(f"at most, {int(n):,} captions (MiB)", rules, peak(n))
        for n in _sizes(record, rules, "peak_mib")
    ]


def _scaled_rows(record: Record, rules: list[str]) -> list[list[Cell]]:
    """Core-hours, and cores for an hour; only extrapolated, so without a link to more than the
    rate's record.
    """

    def hours(rule: str) -> float | None:
        found = number(record.metrics, rule, "core_hours_for_1_3e9_captions")
        return found if found is not None and 0 < found < math.inf else None

    if not any(hours(rule) for rule in rules):
        return []
    cores = _row(
        "cores to be done in an hour",
        rules,
        lambda r: number_cell(math.ceil(h) if (h := hours(r)) else None, 0, anchor_of(record)),
    )
    return [
        _row("core-hours", rules, lambda rule: number_cell(hours(rule), 1, anchor_of(record))),
        cores,
    ]


def _row(name: str, rules: list[str], cell: Callable[[str], Cell]) -> list[Cell]:
    return [Cell(name), *map(cell, rules)]


def _sizes(record: Record, rules: list[str], *keys: str) -> list[str]:
    """The numbers, as written, at which something was measured, ascending."""
    found = {
        size
        for rule in rules
        for size in entries(record.metrics, rule, *keys)
        if size.isdecimal() and len(size) < 15
    }
    return sorted(found, key=int)[:12]


def memory_figure(record: Record, suffix: str = "") -> list[Figure]:
    """Peak memory against the number of captions, where it was measured at two or more."""
    curves = {rule: curve for rule in timed_rules(record) if len(curve := _peaks(record, rule)) > 1}
    if not curves:
        return []
    said = "; ".join(
        f"rule {clipped(r, 24)}: {', '.join(f'{shown(p, 0)} MiB at {n:,}' for n, p in c)}"
        for r, c in curves.items()
    )
    caption = (
        "Peak memory of the labelling command in one process, against the number of captions "
        f"({record.device})."
    )
    return [
        Figure(
            f"labelling_memory{suffix}",
            caption,
            f"Lines. {said}.",
            partial(_draw_memory, curves=curves),
            2.6,
        )
    ]


def _peaks(record: Record, rule: str) -> list[tuple[int, float]]:
    found = {
        int(size): number(record.metrics, rule, "peak_mib", size)
        for size in _sizes(record, [rule], "peak_mib")
    }
    return [
        (size, peak)
        for size, peak in found.items()
        if size and peak is not None and 0 < peak < 1e12
    ]


def _draw_memory(axes: Axes, curves: dict[str, list[tuple[int, float]]]) -> None:
    for i, (rule, curve) in enumerate(curves.items()):
        style = rule_style(rule)
        axes.plot(*zip(*curve, strict=True), f"{style['marker']}-", color=style["color"])
        axes.text(
            0.03, 0.08 + 0.1 * i, clipped(rule, 24), transform=axes.transAxes, color=style["color"]
        )
    axes.set_xscale("log")
    write_out_powers(axes.xaxis)
    axes.set_ylim(0, 1.15 * max(peak for curve in curves.values() for _, peak in curve))
    axes.set_xlabel("captions")
    axes.set_ylabel("peak memory (MiB)")
