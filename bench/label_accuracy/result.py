"""How often each labelling rule finds the class that a sentence is about, and why it misses it."""

from dataclasses import dataclass, field
from typing import ClassVar

import msgspec

from catlip.results.cells import low_to_high
from catlip.results.kind import Interval, Kind
from catlip.results.rules import RULES, rule_rank
from catlip.results.run import Run
from catlip.table import Cell, Table, clipped, number_cell, shown

SHARES = {
    "exact": "The class itself",
    "within_1_hop": "Within 1 step",
    "within_2_hops": "Within 2 steps",
}
KINDS_OF_SENTENCE = {
    "description": "descriptions, written by a language model",
    "template": "sentences of CLIP's templates",
}
MOST_RULES, MOST_KINDS = 3, 4
TOP_MISSENSES = 15


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
        return sorted(self.rules, key=rule_rank)[:MOST_RULES]

    @property
    def kinds_of_sentence(self) -> list[str]:
        """The kinds of sentence of all rules, in the order of the first rule."""
        kinds = dict.fromkeys(kind for rule in self.judged_rules for kind in self.rules[rule])
        return list(kinds)[:MOST_KINDS]


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


def missenses_table(run: Run[LabelAccuracy]) -> list[Table]:
    """The words most often taken in another sense, by the first rule that recorded them."""
    rows_of = {rule: run.rows(f"{rule}_missenses", Missense) for rule in run.measured.judged_rules}
    rule, missenses = next(((r, rows) for r, rows in rows_of.items() if rows), ("", []))
    if not missenses:
        return []
    columns = ["Class", "Its word", "Right synset", "Synset taken", "Sentences", "Wrong label in"]
    title = f"Words most often taken in another sense, rule {clipped(rule, 24)}"
    rows = [_missense_row(missense, run.anchor) for missense in missenses[:TOP_MISSENSES]]
    return [Table("missenses", title, columns, rows=rows, folded=True)]


def _missense_row(missense: Missense, anchor: str) -> list[Cell]:
    words = (missense.name, missense.word, missense.right, missense.chosen)
    return [
        *(Cell(clipped(word)) for word in words),
        number_cell(missense.prompts, 0, anchor),
        number_cell(missense.labelled, 0, anchor),
    ]
