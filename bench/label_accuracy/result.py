"""How often each labelling rule finds the class that a sentence is about, and why it misses it."""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, ClassVar

import msgspec

from catlip.results.blocks import Block, Text, side_by_side, to_fill
from catlip.results.figures import Figure, hide_rows
from catlip.results.kind import Interval, Kind
from catlip.results.run import Records, Run, Setting, low_to_high
from catlip.results.select import MOST, RULES, by_scale, rule_rank, rule_style, suffix
from catlip.table import Cell, Table, clipped, number_cell, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACCURACY = "python -m bench.label_accuracy"

SHARES = {
    "exact": "The class itself",
    "within_1_hop": "Within 1 step",
    "within_2_hops": "Within 2 steps",
}
KINDS_OF_SENTENCE = {
    "description": "descriptions, written by a language model",
    "template": "sentences of CLIP's templates",
}
MAX_RULES, MAX_KINDS = 3, 4
# How many causes are drawn at most, and how frequent each must be, in % of the sentences.
MAX_CAUSES, MIN_CAUSE = 8, 0.05
CAUSE_WIDTH = 30  # characters of a line
Percents = dict[str, dict[str, tuple[float, float, float]]]  # title, rule: value, low, high


@dataclass(frozen=True, kw_only=True)
class Judged:
    """How well one rule labels the sentences of one kind.

    Attributes:
        exact, within_1_hop, within_2_hops: fractions of the sentences whose class is a label, or is
            at most 1 or 2 steps from a label in WordNet's graph.
        classes_never_found: number of classes that are a label of none of their sentences.
        causes: why a class was missed -> number of sentences.
    """

    classes: int | None = None
    prompts: int
    exact: Interval
    within_1_hop: Interval
    within_2_hops: Interval
    labels_per_prompt: float
    without_label: int
    classes_never_found: int
    causes: dict[str, int]


class Missense(msgspec.Struct, frozen=True, rename={"name": "class"}):
    """A class whose word was taken in another sense in `prompts` sentences; `labelled` of these
    have that sense as a label.
    """

    name: str
    word: str
    right: str
    chosen: str
    prompts: int
    labelled: int


@dataclass(frozen=True, kw_only=True)
class LabelAccuracy(Kind):
    """How well each rule labels sentences about known classes.

    Attributes:
        rules: rule -> kind of sentence -> how well it is labelled.
        differences: "corenet - paper" -> kind of sentence -> difference of the exact fractions.
    """

    kind = "label_accuracy"
    rows: ClassVar = {f"{rule}_missenses": Missense for rule in RULES}

    classes: int
    rules: dict[str, dict[str, Judged]]
    differences: dict[str, dict[str, Interval]] = field(default_factory=dict)

    @property
    def by_kind(self) -> dict[str, dict[str, Judged]]:
        """Kind of sentence -> rule, the known ones first -> how well it labels them."""
        kinds: dict[str, dict[str, Judged]] = {}
        for rule in sorted(self.rules, key=rule_rank)[:MAX_RULES]:
            for kind, judged in self.rules[rule].items():
                kinds.setdefault(kind, {})[rule] = judged
        return dict(list(kinds.items())[:MAX_KINDS])


def accuracy_blocks(main: Setting | None, records: Records) -> list[Block]:
    words = (
        "Every rule assumes that a noun is meant in its first sense. Here each rule labels "
        "sentences whose class is known. They are easy sentences: on captions from the web, expect "
        "lower accuracy."
    )
    runs = list(chain.from_iterable(by_scale(records, main, LabelAccuracy)))[:MOST]
    blocks: list[Block] = []
    for i, run in enumerate(runs):
        blocks += side_by_side(accuracy_figures(run, suffix(i)))
        blocks += accuracy_table(run, suffix(i))
    blocks = blocks or to_fill("How often labels are right was not measured.", ACCURACY)
    return [Text(words), *blocks]


ACCURACY_COLUMNS: dict[str, Callable[[Judged, str], Cell]] = {
    "The class itself (%)": lambda row, anchor: _percent_cell(row.exact, anchor),
    "Within 1 step (%)": lambda row, anchor: _percent_cell(row.within_1_hop, anchor),
    "Within 2 steps (%)": lambda row, anchor: _percent_cell(row.within_2_hops, anchor),
    "Labels per sentence": lambda row, anchor: number_cell(row.labels_per_prompt, 2, anchor),
    "Sentences without a label": lambda row, anchor: number_cell(row.without_label, 0, anchor),
    "Classes never found": lambda row, anchor: number_cell(row.classes_never_found, 0, anchor),
}


def accuracy_table(run: Run[LabelAccuracy], suffix: str = "") -> list[Table]:
    measured, rows = run.measured, []
    for kind, by_rule in measured.by_kind.items():
        count = next(iter(by_rule.values())).prompts
        words = KINDS_OF_SENTENCE.get(kind, clipped(kind, 24))
        rows.append([Cell(f"{shown(count, 0)} {words}")])
        for rule, judged in by_rule.items():
            gains = [
                of_pair[kind]
                for pair, of_pair in measured.differences.items()
                if pair.startswith(f"{rule} - ") and kind in of_pair
            ]
            cells = [column(judged, run.anchor) for column in ACCURACY_COLUMNS.values()]
            cells.append(_percent_cell(gains[0], run.anchor) if gains else Cell())
            rows.append([Cell(clipped(rule, 24)), *cells])
    columns = ["Rule", *ACCURACY_COLUMNS, "Against the first rule (points)"]
    caption = (
        "Below each percentage its 95 % interval, by resampling classes. The last column compares "
        "how often a label is the class itself."
    )
    classes = shown(measured.classes, 0)
    title = f"How often the class is among the labels, {classes} ImageNet-1k classes"
    table = Table(f"label_accuracy{suffix}", title, columns, rows=rows, caption=caption)
    return [table] if rows else []


def _percent_cell(share: Interval, anchor: str) -> Cell:
    """`35.7` with its interval below, in % or points."""
    small = low_to_high(share.low, share.high, 1, times=100)
    return number_cell(100 * share.value, 1, anchor, small=small)


def _causes(by_rule: dict[str, Judged]) -> dict[str, dict[str, float]]:
    """Cause -> rule -> the sentences that it makes the rule miss, in %; the most frequent first."""
    causes: dict[str, dict[str, float]] = {}
    for rule, judged in by_rule.items():
        for cause, count in judged.causes.items():
            if judged.prompts and 0 < count <= judged.prompts:
                causes.setdefault(cause, {})[rule] = 100 * count / judged.prompts
    return dict(sorted(causes.items(), key=lambda item: (-max(item[1].values()), item[0])))


def accuracy_figures(run: Run[LabelAccuracy], suffix: str = "") -> list[Figure]:
    """For the first kind of sentence: how often the class is found, and why it is missed."""
    by_rule = next(iter(run.measured.by_kind.values()), {})
    percents: Percents = {title: {} for title in SHARES.values()}
    for rule, judged in by_rule.items():
        for name, title in SHARES.items():
            share: Interval = getattr(judged, name)
            low, high = share.low, share.high
            if low is not None and high is not None and 0 <= low <= share.value <= high <= 1:
                percents[title][rule] = (100 * share.value, 100 * low, 100 * high)
    figures = []
    if any(percents.values()):
        shares = "; ".join(
            f"{title.lower()}: {_in_words({r: of[0] for r, of in by_title.items()})}"
            for title, by_title in percents.items()
        )
        figures.append(
            Figure(
                f"label_accuracy{suffix}",
                "How often the class that a sentence is about is among its labels; bars are 95 % "
                "intervals.",
                f"Marks with intervals. {shares}.",
                draw=partial(_draw_shares, percents=percents),
                height=1.0 + 0.27 * len(SHARES) * (len(by_rule) + 1),
            )
        )
    causes = _causes(by_rule)
    frequent = [cause for cause in causes if max(causes[cause].values()) >= MIN_CAUSE][:MAX_CAUSES]
    if frequent:
        drawn = {
            cause: {rule: causes[cause].get(rule, 0.0) for rule in by_rule} for cause in frequent
        }
        misses = "; ".join(f"{clipped(cause)}: {_in_words(drawn[cause])}" for cause in drawn)
        figures.append(
            Figure(
                f"label_misses{suffix}",
                "Why the class is missed, in % of all sentences; each miss is counted once, under "
                "its nearest cause.",
                f"Bars. {misses}.",
                draw=partial(_draw_causes, causes=drawn, rules=list(by_rule)),
                height=1.0 + len(drawn) * (0.16 + 0.14 * len(by_rule)),
            )
        )
    return figures


def _in_words(by_rule: dict[str, float]) -> str:
    return ", ".join(f"{clipped(rule, 24)} {shown(value, 1)} %" for rule, value in by_rule.items())


def _draw_shares(axes: "Axes", percents: Percents) -> None:
    y, places, names = 0.0, [], []
    for title, by_rule in percents.items():
        axes.text(0, y, title, weight="bold", va="center")
        for rule, (value, low, high) in by_rule.items():
            y -= 1
            places.append(y)
            names.append(clipped(rule, 24))
            style = rule_style(rule)
            ends = [[value - low], [high - value]]
            axes.errorbar(value, y, None, ends, style["marker"], color=style["color"], capsize=3)
            axes.text(high + 1.5, y, shown(value, 1), va="center", color=style["color"])
        y -= 1.2
    axes.set_yticks(places, names)
    axes.set_ylim(y + 0.6, 0.7)
    axes.set_xlim(0, 100)
    axes.set_xlabel("sentences (%)")
    hide_rows(axes)


def _draw_causes(axes: "Axes", causes: dict[str, dict[str, float]], rules: list[str]) -> None:
    width = 0.8 / len(rules)
    top = max(max(by_rule.values()) for by_rule in causes.values())
    for i, rule in enumerate(rules):
        colour = rule_style(rule)["color"]
        places = [y - 0.4 + (i + 0.5) * width for y in range(len(causes))]
        values = [by_rule[rule] for by_rule in causes.values()]
        axes.barh(places, values, 0.9 * width, color=colour)
        for y, value in zip(places, values, strict=True):
            if value:
                x = value + 0.01 * top
                axes.text(x, y, shown(value, 1), va="center", color=colour, fontsize=8)
        axes.annotate(
            clipped(rule, 24),
            (0.97, 0.0),
            (0, 14 * (len(rules) - i)),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="right",
            color=colour,
        )
    names = [textwrap.fill(clipped(cause), CAUSE_WIDTH) for cause in causes]
    axes.set_yticks(range(len(causes)), names, fontsize=9)
    axes.set_xlim(0, 1.12 * top)
    axes.invert_yaxis()
    hide_rows(axes)
    axes.set_xlabel("sentences (%)")
