"""How often each labelling rule finds the class that a sentence is about, and why it misses it."""

import textwrap
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, ClassVar

import msgspec

from catlip.label.result import RULES, rule_rank
from catlip.results.blocks import Block, Text, side_by_side, to_fill
from catlip.results.cells import low_to_high
from catlip.results.figures import MUTED, Figure, hide_rows
from catlip.results.kind import Interval, Kind
from catlip.results.rules import MOST, by_scale, rule_style, suffix
from catlip.results.run import Records, Run, Setting
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
Percent = tuple[float, float, float]  # value, low, high


@dataclass(frozen=True, kw_only=True)
class Judged:
    """How well one rule labels the sentences of one kind.

    Attributes:
        exact, within_1_hop, within_2_hops: fractions of the sentences whose class is a label, or is
            at most 1 or 2 steps from a label in WordNet's graph.
        classes_never_found, classes_found_in_half: number of classes that are a label of none of
            their sentences, and of at least half of them.
        causes: why a class was missed -> number of sentences.
        other_sense_labelled: number of sentences in which another sense of the class's word is a
            label.
    """

    classes: int | None = None
    prompts: int
    exact: Interval
    within_1_hop: Interval
    within_2_hops: Interval
    labels_per_prompt: float
    without_label: int
    classes_never_found: int
    classes_found_in_half: int
    causes: dict[str, int]
    other_sense_labelled: int | None = None

    @property
    def shares(self) -> dict[str, Interval]:
        """The three fractions by name."""
        return {
            "exact": self.exact,
            "within_1_hop": self.within_1_hop,
            "within_2_hops": self.within_2_hops,
        }


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
    def judged_rules(self) -> list[str]:
        """The rules that were judged, the known ones first."""
        return sorted(self.rules, key=rule_rank)[:MAX_RULES]

    @property
    def kinds_of_sentence(self) -> list[str]:
        """The kinds of sentence of all rules, in the order of the first rule."""
        kinds = dict.fromkeys(kind for rule in self.judged_rules for kind in self.rules[rule])
        return list(kinds)[:MAX_KINDS]


def accuracy_blocks(main: Setting | None, records: Records) -> list[Block]:
    """What the page shows of each scale: figures, and the table of accuracy."""
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


def accuracy_table(run: Run[LabelAccuracy], suffix: str = "") -> list[Table]:
    """Rules side by side: fractions of sentences with their intervals, with one group of rows per
    kind of sentence.
    """
    measured, rows = run.measured, []
    for kind in measured.kinds_of_sentence:
        judged = {
            rule: measured.rules[rule][kind]
            for rule in measured.judged_rules
            if kind in measured.rules[rule]
        }
        count = next(iter(judged.values())).prompts
        words = KINDS_OF_SENTENCE.get(kind, clipped(kind, 24))
        rows.append([Cell(f"{shown(count, 0)} {words}")])
        rows += [_accuracy_row(run, rule, kind, judged=of_rule) for rule, of_rule in judged.items()]
    if not rows:
        return []
    columns = [
        "Rule",
        *(f"{title} (%)" for title in SHARES.values()),
        "Labels per sentence",
        "Sentences without a label",
        "Classes never found",
        "Against the first rule (points)",
    ]
    caption = (
        "Below each percentage its 95 % interval, by resampling classes. The last column compares "
        "how often a label is the class itself."
    )
    title = (
        f"How often the class is among the labels, {shown(measured.classes, 0)} ImageNet-1k classes"
    )
    return [Table(f"label_accuracy{suffix}", title, columns, rows=rows, caption=caption)]


def _accuracy_row(run: Run[LabelAccuracy], rule: str, kind: str, judged: Judged) -> list[Cell]:
    differences = (
        by_kind.get(kind)
        for pair, by_kind in run.measured.differences.items()
        if pair.startswith(f"{rule} - ")
    )
    return [
        Cell(clipped(rule, 24)),
        *(_percent_cell(share, run.anchor) for share in judged.shares.values()),
        number_cell(judged.labels_per_prompt, 2, run.anchor),
        number_cell(judged.without_label, 0, run.anchor),
        number_cell(judged.classes_never_found, 0, run.anchor),
        _percent_cell(next(differences, None), run.anchor),
    ]


def _percent_cell(share: Interval | None, anchor: str) -> Cell:
    """`35.7` with its interval below, in % or points."""
    if share is None:
        return Cell()
    small = low_to_high(share.low, share.high, 1, times=100)
    return number_cell(100 * share.value, 1, anchor, small=small)


def causes_table(run: Run[LabelAccuracy]) -> list[Table]:
    """Why the class is missed, in % of the sentences of the first kind, one column per rule."""
    measured = run.measured
    kind = next(iter(measured.kinds_of_sentence), "")
    judged = [measured.rules[rule].get(kind) for rule in measured.judged_rules]
    causes = dict.fromkeys(cause for each in judged if each for cause in each.causes)
    rows = []
    for cause in causes:
        percents = [100 * each.causes.get(cause, 0) / each.prompts for each in judged if each]
        if any(percents):
            rows.append([Cell(clipped(cause)), *(number_cell(percent, 1) for percent in percents)])
    also = [
        100 * each.other_sense_labelled / each.prompts
        for each in judged
        if each and each.other_sense_labelled is not None
    ]
    if any(also):
        words = "(missed, and the other synset of its word is a label)"
        rows.append([Cell(words), *(number_cell(percent, 1) for percent in also)])
    columns = [f"Why the class is missed, % of the {kind}s", *measured.judged_rules]
    return [Table("label_misses", "Why the class is missed", columns, rows=rows)] if rows else []


def accuracy_figures(run: Run[LabelAccuracy], suffix: str = "") -> list[Figure]:
    """Two figures for the first kind of sentence: how often the class is found, with intervals, and
    the causes of the misses.
    """
    kind = next(iter(run.measured.kinds_of_sentence), "")
    shares = _shares_figure(run.measured, kind, suffix)
    return shares + _causes_figure(run.measured, kind, suffix)


def _shares_figure(measured: LabelAccuracy, kind: str, suffix: str) -> list[Figure]:
    rules = measured.judged_rules
    percents = {
        (share, rule): _percent(measured.rules[rule][kind].shares[share])
        for share in SHARES
        for rule in rules
        if kind in measured.rules[rule]
    }
    if not any(percents.values()):
        return []
    said = "; ".join(_said(percents, share, rules) for share in SHARES)
    caption = (
        "How often the class that a sentence is about is among its labels; bars are 95 % intervals."
    )
    alt = f"Marks with intervals. {said}."
    draw = partial(_draw_shares, rules=rules, percents=percents)
    height = 1.0 + 0.27 * len(SHARES) * (len(rules) + 1)
    return [Figure(f"label_accuracy{suffix}", caption, alt, draw=draw, height=height)]


def _said(percents: dict[tuple[str, str], Percent | None], share: str, rules: list[str]) -> str:
    of_rules = [(rule, percents.get((share, rule))) for rule in rules]
    values = [f"{clipped(rule, 24)} {shown(of[0], 1)} %" for rule, of in of_rules if of]
    return f"{SHARES[share].lower()}: {', '.join(values)}"


def _percent(share: Interval) -> Percent | None:
    """Value, low and high in %; None where an end is missing or they are out of order."""
    value, low, high = share.value, share.low, share.high
    if low is None or high is None or not 0 <= low <= value <= high <= 1:
        return None
    return (100 * value, 100 * low, 100 * high)


def _draw_shares(
    axes: "Axes", rules: list[str], percents: dict[tuple[str, str], Percent | None]
) -> None:
    y, places, names = 0.0, [], []
    for share, title in SHARES.items():
        axes.text(0, y, title, weight="bold", va="center")
        for rule in rules:
            y -= 1
            places.append(y)
            names.append(clipped(rule, 24))
            _draw_interval(axes, y, percents.get((share, rule)), **rule_style(rule))
        y -= 1.2
    axes.set_yticks(places, names)
    axes.set_ylim(y + 0.6, 0.7)
    axes.set_xlim(0, 100)
    axes.set_xlabel("sentences (%)")
    hide_rows(axes)


def _draw_interval(
    axes: "Axes", y: float, percent: Percent | None, color: str, marker: str
) -> None:
    if percent is None:
        axes.text(0.5, y, "not recorded", color=MUTED, va="center")
        return
    value, low, high = percent
    axes.errorbar(value, y, None, [[value - low], [high - value]], marker, color=color, capsize=3)
    axes.text(high + 1.5, y, shown(value, 1), va="center", color=color)


def _causes_figure(measured: LabelAccuracy, kind: str, suffix: str) -> list[Figure]:
    rules = measured.judged_rules
    shares = {rule: _causes(measured, rule, kind) for rule in rules}
    largest: dict[str, float] = {}
    for by_cause in shares.values():
        for cause, share in by_cause.items():
            largest[cause] = max(share, largest.get(cause, 0))
    frequent = [cause for cause in largest if largest[cause] >= MIN_CAUSE]
    causes = sorted(frequent, key=lambda cause: (-largest[cause], cause))[:MAX_CAUSES]
    if not causes:
        return []
    said = "; ".join(_said_of_cause(cause, shares) for cause in causes)
    caption = (
        "Why the class is missed, in % of all sentences; each miss is counted once, under its "
        "nearest cause."
    )
    draw = partial(_draw_causes, causes=causes, shares=shares)
    height = 1.0 + len(causes) * (0.16 + 0.14 * len(rules))
    return [Figure(f"label_misses{suffix}", caption, f"Bars. {said}.", draw=draw, height=height)]


def _said_of_cause(cause: str, shares: dict[str, dict[str, float]]) -> str:
    of_rules = [f"{clipped(r, 24)} {shown(own.get(cause, 0), 1)} %" for r, own in shares.items()]
    return f"{clipped(cause)}: {', '.join(of_rules)}"


def _causes(measured: LabelAccuracy, rule: str, kind: str) -> dict[str, float]:
    """Cause -> the sentences that it makes a rule miss, in %."""
    judged = measured.rules[rule].get(kind)
    if judged is None:
        return {}
    return {
        cause: 100 * n / judged.prompts
        for cause, n in judged.causes.items()
        if 0 <= n <= judged.prompts and judged.prompts
    }


def _draw_causes(axes: "Axes", causes: list[str], shares: dict[str, dict[str, float]]) -> None:
    width = 0.8 / len(shares)
    top = max(max(by_cause.values(), default=0) for by_cause in shares.values())
    for i, (rule, by_cause) in enumerate(shares.items()):
        colour = rule_style(rule)["color"]
        places = [y - 0.4 + (i + 0.5) * width for y in range(len(causes))]
        values = [by_cause.get(cause, 0) for cause in causes]
        axes.barh(places, values, 0.9 * width, color=colour)
        for y, value in zip(places, values, strict=True):
            if value:
                x = value + 0.01 * top
                axes.text(x, y, shown(value, 1), va="center", color=colour, fontsize=8)
        axes.annotate(
            clipped(rule, 24),
            (0.97, 0.0),
            (0, 14 * (len(shares) - i)),
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
