"""How often each labelling rule finds the class that a sentence is about."""

from dataclasses import dataclass, field

from catlip.results.blocks import Block, Section, Text, to_fill
from catlip.results.kind import Interval, Kind
from catlip.results.run import Records, Run, Setting, low_to_high
from catlip.results.select import by_scale, rule_rank
from catlip.table import Cell, Table, clipped, number_cell, shown

ACCURACY = "python -m bench.label_accuracy"
SHARES = {
    "exact": "The class itself (%)",
    "within_1_hop": "Within 1 step (%)",
    "within_2_hops": "Within 2 steps (%)",
}
KINDS_OF_SENTENCE = {
    "description": "descriptions, written by a language model",
    "template": "sentences of CLIP's templates",
}


@dataclass(frozen=True, kw_only=True)
class Judged:
    """How well one rule labels the sentences of one kind.

    Attributes:
        exact, within_1_hop, within_2_hops: fractions of the sentences whose class is a label, or is
            at most 1 or 2 steps from a label in WordNet's graph.
        classes_never_found: number of classes that are a label of none of their sentences.
    """

    prompts: int
    exact: Interval
    within_1_hop: Interval
    within_2_hops: Interval
    classes_never_found: int


@dataclass(frozen=True, kw_only=True)
class LabelAccuracy(Kind):
    """How well each rule labels sentences about known classes.

    Attributes:
        rules: rule -> kind of sentence -> how well it is labelled.
        differences: "corenet - paper" -> kind of sentence -> difference of the exact fractions.
    """

    kind = "label_accuracy"

    classes: int
    rules: dict[str, dict[str, Judged]]
    differences: dict[str, dict[str, Interval]] = field(default_factory=dict)


def section(main: Setting | None, records: Records) -> Section:
    words = (
        "Every rule assumes that a noun is meant in its first sense. Here each rule labels "
        "sentences whose class is known. They are easy sentences: on captions from the web, expect "
        "lower accuracy."
    )
    blocks: list[Block] = []
    for runs in by_scale(records, main, LabelAccuracy)[:1]:  # the sentences are always the same
        blocks += accuracy_table(runs[0])
    blocks = blocks or to_fill("How often labels are right was not measured.", ACCURACY)
    return Section("labels", "Are the labels right?", [Text(words), *blocks])


def accuracy_table(run: Run[LabelAccuracy]) -> list[Table]:
    """How often the class is among the labels, by kind of sentence and rule."""
    measured, rows = run.measured, []

    def percent_cell(share: Interval) -> Cell:
        small = low_to_high(share.low, share.high, 1, times=100)
        return number_cell(100 * share.value, 1, run.anchor, small=small)

    rules = sorted(measured.rules, key=rule_rank)
    for kind in dict.fromkeys(kind for by_kind in measured.rules.values() for kind in by_kind):
        by_rule = {r: measured.rules[r][kind] for r in rules if kind in measured.rules[r]}
        count = next(iter(by_rule.values())).prompts
        words = KINDS_OF_SENTENCE.get(kind, clipped(kind, 24))
        rows.append([Cell(f"{shown(count, 0)} {words}")])
        for rule, judged in by_rule.items():
            gains = [
                percent_cell(by_kind[kind])
                for pair, by_kind in measured.differences.items()
                if pair.startswith(f"{rule} - ") and kind in by_kind
            ]
            shares = [percent_cell(getattr(judged, name)) for name in SHARES]
            never_found = number_cell(judged.classes_never_found, 0, run.anchor)
            rows.append([Cell(clipped(rule, 24)), *shares, never_found, *(gains or [Cell()])])
    columns = ["Rule", *SHARES.values(), "Classes never found", "Against the first rule (points)"]
    caption = (
        "Below each percentage its 95 % interval, by resampling classes. The last column compares "
        "how often a label is the class itself."
    )
    classes = shown(measured.classes, 0)
    title = f"How often the class is among the labels, {classes} ImageNet-1k classes"
    table = Table("label_accuracy", title, columns, rows=rows, caption=caption)
    return [table] if rows else []
