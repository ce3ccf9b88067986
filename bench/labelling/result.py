"""How fast captions are labelled: on one core, against NLTK and the release; by the whole command;
and extrapolated to 1.3 billion captions.

Ratios are between contenders that took turns in one process on one device. Numbers of different
records are never divided.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

from catlip.results.blocks import Block, Section, Text, side_by_side, to_fill
from catlip.results.figures import MUTED, Figure, hide_rows, write_out_powers
from catlip.results.kind import Interval, Kind, Summary, without_none
from catlip.results.run import TIMES, Records, Run, Setting, interval, summary_cell
from catlip.results.select import MOST, by_scale, rule_rank, rule_style, suffix, with_warning
from catlip.table import Cell, Table, clipped, number_cell, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPEED = "python -m bench.labelling --memory 100000 1000000 10000000"

CONTENDERS = {
    "ours": "ours",
    "nltk": "NLTK, written plainly",
    "nltk_tagged": "NLTK, with tags that it does not use",
    "release": "the released loader's look-up",
}
SHORT = {"ours": "ours", "nltk": "NLTK", "nltk_tagged": "NLTK with tags", "release": "release"}
MAX_RULES, MAX_SIZES = 3, 12
Bar = tuple[str, str, float, Interval | None]  # rule, contender, µs per caption, its ratio to ours
EXTRAPOLATED = (
    "Extrapolated from the measured rate of one core, as if all cores were as fast: 1.3 billion "
    "captions"
)


@dataclass(frozen=True, kw_only=True)
class Captions:
    """The captions that were labelled: how many distinct ones, and their mean number of words."""

    distinct: int
    words: float


@dataclass(frozen=True)
class Contender:
    """A program that labels, with its microseconds per caption."""

    us_per_caption: Summary


@dataclass(frozen=True, kw_only=True)
class Processes:
    """The whole command, by its number of processes; efficiency is relative to linear scaling."""

    captions_per_s: dict[int, float]
    efficiency: dict[int, float]


@dataclass(frozen=True, kw_only=True)
class RuleSpeed:
    """What was timed with one rule: ratios of times per caption such as "nltk/ours", seconds from
    the start of the interpreter to the first label, and peak memory by number of captions.
    """

    ours: Contender
    nltk: Contender | None = None
    nltk_tagged: Contender | None = None
    release: Contender | None = None
    ratios: dict[str, Interval] = field(default_factory=dict)
    captions_per_s_per_core: float
    core_hours_for_1_3e9_captions: float
    start_up_s: dict[str, Summary] = field(default_factory=dict)
    processes: Processes | None = None
    peak_mib: dict[int, float] = field(default_factory=dict)

    @property
    def us_per_caption(self) -> dict[str, Summary]:
        """Contender -> microseconds per caption, ours first."""
        timed = {
            "ours": self.ours,
            "nltk": self.nltk,
            "nltk_tagged": self.nltk_tagged,
            "release": self.release,
        }
        return {name: way.us_per_caption for name, way in timed.items() if way}


@dataclass(frozen=True, kw_only=True)
class LabellingSpeed(Kind):
    """The speed of each rule. In a file, each rule is a metric of its own."""

    kind = "labelling_speed"

    captions: Captions
    rules: dict[str, RuleSpeed]

    @classmethod
    def read(cls, metrics: dict[str, Any]) -> Self:
        rules = {
            name: value
            for name, value in metrics.items()
            if isinstance(value, dict) and "ours" in value
        }
        return super().read({"captions": metrics.get("captions"), "rules": rules})

    def metrics(self) -> dict[str, Any]:
        return {"captions": without_none(self.captions), **without_none(self.rules)}

    @property
    def shown_rules(self) -> list[str]:
        """The rules that were timed, the known ones first."""
        return sorted(self.rules, key=rule_rank)[:MAX_RULES]


def labelling_section(main: Setting | None, records: Records) -> Section:
    words = (
        "The same labels, made in several ways in turns on one core; then the whole command, by "
        "number of processes."
    )
    runs = list(chain.from_iterable(by_scale(records, main, LabellingSpeed)))[:MOST]
    blocks: list[Block] = []
    for i, run in enumerate(runs):
        blocks += side_by_side(speed_figure(run, suffix(i)))
        tables = [*per_core_table(run, suffix(i)), *command_table(run, suffix(i))]
        blocks += [with_warning(table, [run]) for table in tables]
    blocks = blocks or to_fill("Not run.", SPEED)
    return Section("labelling-speed", "How fast captions are labelled", [Text(words), *blocks])


def per_core_table(run: Run[LabellingSpeed], suffix: str = "") -> list[Table]:
    rows: list[list[Cell]] = []
    for rule in run.measured.shown_rules:
        rows.append([Cell(f"Rule {clipped(rule, 24)}")])
        for name, taken in run.measured.rules[rule].us_per_caption.items():
            ratio = run.measured.rules[rule].ratios.get(f"{name}/ours")
            times = f"{shown(ratio.value, 1)}{TIMES}" if ratio else ""
            cells = [
                Cell(CONTENDERS[name]),
                summary_cell(taken, run.anchor),
                number_cell(1e6 / taken.median if taken.median else None, 0, run.anchor),
                Cell(times, interval(run, ratio), run.anchor) if ratio else Cell(),
            ]
            rows.append(cells)
    if not rows:
        return []
    columns = ["Program", "Time per caption (µs)", "Captions per second", "Ratio to ours"]
    caption = (
        "Medians over rounds in turns, in one process and one thread, from text to labels file, "
        "with identical labels; below a time its 5th to 95th percentile, below a ratio its 95 % "
        "interval."
    )
    title = f"Labelling on one core, {run.device}"
    return [Table(f"labelling_speed{suffix}", title, columns, rows=rows, caption=caption)]


def command_table(run: Run[LabellingSpeed], suffix: str = "") -> list[Table]:
    """Start-up, processes and memory, and what 1.3 billion captions would take, by rule."""
    speeds = [run.measured.rules[rule] for rule in run.measured.shown_rules]
    if not speeds:
        return []
    rows: list[list[Cell]] = []

    def row(label: str, values: Iterable[float | None], decimals: int = 0) -> None:
        cells = [number_cell(value, decimals, run.anchor) for value in values]
        rows.append([Cell(label), *cells])

    rows.append([Cell("Start-up to the first label")])
    for name, word in (("ours", "ours"), ("nltk", "NLTK")):
        timed = [speed.start_up_s.get(name) for speed in speeds]
        row(f"{word} (s)", [seconds.median if seconds else None for seconds in timed], 2)
    processes = [speed.processes or Processes(captions_per_s={}, efficiency={}) for speed in speeds]
    if counts := _ascending(each.captions_per_s for each in processes):
        rows.append([Cell("The whole command")])
    for count in counts:
        cells = [Cell(f"{count} process{'es' * (count != 1)} (captions/s)")]
        for each in processes:
            efficiency = each.efficiency.get(count) if count != 1 else None
            small = f"{shown(100 * efficiency, 0)} % of linear" if efficiency else ""
            rate = each.captions_per_s.get(count)
            cells.append(number_cell(rate, 0, run.anchor, small=small))
        rows.append(cells)
    if sizes := _ascending(speed.peak_mib for speed in speeds):
        rows.append([Cell("Memory")])
    for size in sizes:
        row(f"peak, {size:,} captions (MiB)", [speed.peak_mib.get(size) for speed in speeds])
    recorded = [speed.core_hours_for_1_3e9_captions for speed in speeds]
    hours = [value if 0 < value < math.inf else None for value in recorded]
    if any(hours):
        rows.append([Cell(EXTRAPOLATED)])
        row("core-hours", hours, 1)
        row("cores to finish in an hour", [math.ceil(value) if value else None for value in hours])
    columns = ["What", *(f"Rule {clipped(rule, 24)}" for rule in run.measured.shown_rules)]
    title = f"The labelling command, {run.device}"
    return [Table(f"labelling_command{suffix}", title, columns, rows=rows)]


def _ascending(by_size: Iterable[dict[int, float]]) -> list[int]:
    """The sizes at which something was measured."""
    return sorted({size for measured in by_size for size in measured})[:MAX_SIZES]


def speed_figure(run: Run[LabellingSpeed], suffix: str = "") -> list[Figure]:
    bars: list[Bar] = []
    for rule in run.measured.shown_rules:
        speeds = run.measured.rules[rule]
        for name, taken in speeds.us_per_caption.items():
            if 1e-6 < taken.median < 1e12:  # no measurement is smaller or larger
                bars.append((rule, name, taken.median, speeds.ratios.get(f"{name}/ours")))
    if not bars:
        return []
    words = "; ".join(
        f"rule {clipped(rule, 24)}, {CONTENDERS[name]}: {shown(taken)} µs"
        for rule, name, taken, _ in bars
    )
    return [
        Figure(
            f"labelling_speed{suffix}",
            f"Time to label one caption on one core ({run.device}); the axis is logarithmic.",
            f"Bars on a logarithmic axis. {words}.",
            draw=partial(_draw_speed, bars=bars),
            height=1.1 + 0.36 * len(bars),
        )
    ]


def _draw_speed(axes: "Axes", bars: list[Bar]) -> None:
    for y, (rule, name, taken, ratio) in enumerate(bars):
        colour = rule_style(rule)["color"] if name == "ours" else MUTED
        axes.plot(taken, y, "o", color=colour, markersize=8)
        words = f"{shown(taken)} µs" + (f", {shown(ratio.value, 1)}{TIMES}" if ratio else "")
        axes.annotate(
            words, (taken, y), (9, 0), textcoords="offset points", va="center", color=colour
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
