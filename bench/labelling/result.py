"""How fast captions are labelled on one core, against NLTK, and extrapolated to 1.3 billion
captions.

Ratios are between contenders that took turns in one process on one device. Numbers of different
records are never divided.
"""

from dataclasses import dataclass, field
from typing import Any, Self

from catlip.results.kind import Interval, Kind, Summary, without_none
from catlip.results.run import TIMES, Run, interval, summary_cell
from catlip.results.select import MAX_SHOWN, rule_rank
from catlip.table import Cell, Table, clipped, number_cell, shown

CONTENDERS = {"ours": "ours", "nltk": "NLTK, written plainly"}


@dataclass(frozen=True)
class Contender:
    """A program that labels, with its microseconds per caption."""

    us_per_caption: Summary


@dataclass(frozen=True, kw_only=True)
class RuleSpeed:
    """What was timed with one rule; ratios of times are named as in "nltk/ours"."""

    ours: Contender
    nltk: Contender | None = None
    ratios: dict[str, Interval] = field(default_factory=dict)
    captions_per_s_per_core: float
    core_hours_for_1_3e9_captions: float


@dataclass(frozen=True, kw_only=True)
class LabellingSpeed(Kind):
    """The speed of each rule. In a file, each rule is a metric of its own."""

    kind = "labelling_speed"

    rules: dict[str, RuleSpeed]

    @classmethod
    def read(cls, metrics: dict[str, Any]) -> Self:
        rules = {
            name: value
            for name, value in metrics.items()
            if isinstance(value, dict) and "ours" in value
        }
        return super().read({"rules": rules})

    def metrics(self) -> dict[str, Any]:
        rules: dict[str, Any] = without_none(self.rules)
        return rules


def speed_table(run: Run[LabellingSpeed]) -> list[Table]:
    anchor, rows = run.anchor, list[list[Cell]]()
    for rule in sorted(run.measured.rules, key=rule_rank)[:MAX_SHOWN]:
        speed = run.measured.rules[rule]
        hours = shown(speed.core_hours_for_1_3e9_captions, 1)
        rows.append(
            [Cell(f"Rule {clipped(rule, 24)}: {hours} core-hours for 1.3 billion captions")]
        )
        for name, program in CONTENDERS.items():
            contender: Contender | None = getattr(speed, name)
            if not contender:
                continue
            taken, ratio = contender.us_per_caption, speed.ratios.get(f"{name}/ours")
            times = f"{shown(ratio.value, 1)}{TIMES}" if ratio else ""
            rows.append(
                [
                    Cell(program),
                    summary_cell(taken, anchor),
                    number_cell(1e6 / taken.median if taken.median else None, 0, anchor),
                    Cell(times, interval(run, ratio), anchor) if ratio else Cell(),
                ]
            )
    if not rows:
        return []
    columns = ["Program", "Time per caption (µs)", "Captions per second", "Ratio to ours"]
    caption = (
        "Medians over rounds in turns, in one process and one thread, from text to labels file, "
        "with identical labels; below a time its 5th to 95th percentile, below a ratio its 95 % "
        "interval. Core-hours are extrapolated from the rate of one core, as if all cores were as "
        "fast."
    )
    title = f"Labelling captions, {run.device}"
    return [Table("labelling_speed", title, columns, rows=rows, caption=caption)]
