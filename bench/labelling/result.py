"""How fast captions are labelled: on one core, against NLTK and the release; by the whole command;
and extrapolated to 1.3 billion captions.

Ratios are between contenders that took turns in one process on one device. Numbers of different
records are never divided.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from catlip.results.cells import TIMES, interval, summary_cell
from catlip.results.kind import Interval, Kind, Summary, without_none
from catlip.results.rules import rule_rank
from catlip.results.run import Run
from catlip.table import Cell, Table, clipped, number_cell, shown

CONTENDERS = {
    "ours": "ours",
    "nltk": "NLTK, written plainly",
    "nltk_tagged": "NLTK, with tags that it does not use",
    "release": "the released loader's look-up",
}
MOST_RULES, MOST_SIZES = 3, 12
DATACOMP = "1.3 billion captions"


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
    """The whole command, by its number of processes. Efficiency is the rate as a fraction of linear
    scaling.
    """

    captions_per_s: dict[int, float]
    efficiency: dict[int, float]


@dataclass(frozen=True, kw_only=True)
class RuleSpeed:
    """What was timed with one rule.

    Attributes:
        ratios: "nltk/ours" -> time per caption of NLTK over ours.
        start_up_s: contender -> seconds from the start of the interpreter to the first label.
        peak_mib: number of captions -> peak memory of the command.
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
        return sorted(self.rules, key=rule_rank)[:MOST_RULES]


def per_core_table(run: Run[LabellingSpeed], suffix: str = "") -> list[Table]:
    """Every contender of every rule: its time, its rate, and the ratio of its time to ours."""
    rows: list[list[Cell]] = []
    for rule in run.measured.shown_rules:
        rows.append([Cell(f"Rule {clipped(rule, 24)}")])
        for name, taken in run.measured.rules[rule].us_per_caption.items():
            ratio = run.measured.rules[rule].ratios.get(f"{name}/ours")
            rows.append([Cell(CONTENDERS[name]), *_time_cells(run, taken), _ratio_cell(run, ratio)])
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


def _time_cells(run: Run[LabellingSpeed], taken: Summary) -> list[Cell]:
    rate = 1e6 / taken.median if taken.median else None
    return [summary_cell(taken, run.anchor), number_cell(rate, 0, run.anchor)]


def _ratio_cell(run: Run[LabellingSpeed], ratio: Interval | None) -> Cell:
    if ratio is None:
        return Cell()
    return Cell(f"{shown(ratio.value, 1)}{TIMES}", interval(run, ratio), run.anchor)


def command_table(run: Run[LabellingSpeed], suffix: str = "") -> list[Table]:
    """Start-up, processes and memory of the whole command, and what 1.3 billion captions would
    take, one column per rule.
    """
    rules = run.measured.shown_rules
    if not rules:
        return []
    speeds = [run.measured.rules[rule] for rule in rules]
    extrapolated = (
        f"Extrapolated from the measured rate of one core, as if all cores were as fast: {DATACOMP}"
    )
    rows: list[list[Cell]] = []
    for heading, part in {
        "Start-up to the first label": _start_rows,
        "The whole command": _process_rows,
        "Memory": _memory_rows,
        extrapolated: _scaled_rows,
    }.items():
        if of_part := part(run, speeds):
            rows += [[Cell(heading)], *of_part]
    columns = ["What", *(f"Rule {clipped(rule, 24)}" for rule in rules)]
    title = f"The labelling command, {run.device}"
    return [Table(f"labelling_command{suffix}", title, columns, rows=rows)]


def _start_rows(run: Run[LabellingSpeed], speeds: list[RuleSpeed]) -> list[list[Cell]]:
    rows = []
    for name, word in (("ours", "ours"), ("nltk", "NLTK")):
        timed = [speed.start_up_s.get(name) for speed in speeds]
        medians = [seconds.median if seconds else None for seconds in timed]
        cells = [number_cell(median, 2, run.anchor) for median in medians]
        rows.append([Cell(f"{word} (s)"), *cells])
    return rows


def _process_rows(run: Run[LabellingSpeed], speeds: list[RuleSpeed]) -> list[list[Cell]]:
    rows = []
    for count in _ascending(speed.processes.captions_per_s for speed in speeds if speed.processes):
        cells = [_rate_cell(run, speed.processes, count) for speed in speeds]
        rows.append([Cell(f"{count} process{'es' * (count != 1)} (captions/s)"), *cells])
    return rows


def _rate_cell(run: Run[LabellingSpeed], processes: Processes | None, count: int) -> Cell:
    if processes is None:
        return Cell()
    efficiency = processes.efficiency.get(count)
    small = ""
    if efficiency is not None and count != 1:
        small = f"{shown(100 * efficiency, 0)} % of linear"
    return number_cell(processes.captions_per_s.get(count), 0, run.anchor, small=small)


def _memory_rows(run: Run[LabellingSpeed], speeds: list[RuleSpeed]) -> list[list[Cell]]:
    rows = []
    for size in _ascending(speed.peak_mib for speed in speeds):
        cells = [number_cell(speed.peak_mib.get(size), 0, run.anchor) for speed in speeds]
        rows.append([Cell(f"peak, {size:,} captions (MiB)"), *cells])
    return rows


def _scaled_rows(run: Run[LabellingSpeed], speeds: list[RuleSpeed]) -> list[list[Cell]]:
    """Core-hours, and the cores that would finish in one hour; both are extrapolated, and link to
    the record of the rate.
    """
    recorded = [speed.core_hours_for_1_3e9_captions for speed in speeds]
    hours = [value if 0 < value < math.inf else None for value in recorded]
    if not any(hours):
        return []
    cores = [math.ceil(value) if value else None for value in hours]
    return [
        [Cell("core-hours"), *(number_cell(value, 1, run.anchor) for value in hours)],
        [
            Cell("cores to finish in an hour"),
            *(number_cell(value, 0, run.anchor) for value in cores),
        ],
    ]


def _ascending(by_size: Iterable[dict[int, float]]) -> list[int]:
    """The sizes at which something was measured."""
    return sorted({size for measured in by_size for size in measured})[:MOST_SIZES]
