"""How often each labelling rule finds the class that a sentence is about, and why it misses it."""

import math
import textwrap
from functools import partial

from matplotlib.axes import Axes

from catlip.kinds.labelling import rule_rank
from catlip.table import MISSING, Cell, Table, clipped, number_cell, shown
from reports.read.measured import anchor_of
from reports.read.records import Record, entries, number, text
from reports.read.rules import MOST, rule_style
from reports.render.figures import MUTED, Figure

SHARES = {
    "exact": "The class itself",
    "within_1_hop": "Within 1 step",
    "within_2_hops": "Within 2 steps",
}
KINDS = {
    "description": "descriptions, written by a language model",
    "template": "sentences of CLIP's templates",
}
TOP_MISSENSES = 15
MOST_CAUSES, LEAST_CAUSE = (
    8,
    0.05,
)  # how many causes are drawn, and of what share of the sentences, in %
MOST_KINDS = 4
CAUSE_WIDTH = 30  # characters of a line


Interval = tuple[float, float, float]


def judged_rules(record: Record) -> list[str]:
    """The rules that the record judges, the known ones first."""
    return sorted(entries(record.metrics, "rules"), key=rule_rank)[:MOST]


def accuracy_table(record: Record, suffix: str = "") -> list[Table]:
    """Rules side by side: shares of sentences with their intervals, a group of rows a kind of
    sentence.
    """
    rules = judged_rules(record)
    kinds = list(
        dict.fromkeys(kind for rule in rules for kind in entries(record.metrics, "rules", rule))
    )[:MOST_KINDS]
    rows: list[list[Cell]] = []
    for kind in kinds:
        count = next(
            (n for rule in rules if (n := number(record.metrics, "rules", rule, kind, "prompts"))),
            None,
        )
        rows.append([Cell(f"{shown(count, 0)} {KINDS.get(kind, clipped(kind, 24))}")])
        rows += [_accuracy_row(record, rule, kind) for rule in rules]
    if not rows:
        return []
    columns = ["Rule", *(f"{title} (%)" for title in SHARES.values())]
    columns += [
        "Labels a sentence",
        "Sentences without a label",
        "Classes never found",
        "Against the first rule (points)",
    ]
    caption = (
        "Below each share its 95 % interval, by resampling classes. The last column compares how "
        "often it is the class itself."
    )
    title = (
        f"How often the class is among the labels, {shown(number(record.metrics, 'classes'), 0)} "
        "ImageNet-1k classes"
    )
    return [Table(f"label_accuracy{suffix}", title, columns, rows, caption)]


def _accuracy_row(record: Record, rule: str, kind: str) -> list[Cell]:
    found, anchor = entries(record.metrics, "rules", rule, kind), anchor_of(record)
    row = [
        Cell(clipped(rule, 24)),
        *(_share(record, "rules", rule, kind, share) for share in SHARES),
    ]
    row += [
        number_cell(number(found, "labels_per_prompt"), 2, anchor),
        number_cell(number(found, "without_label"), 0, anchor),
    ]
    row.append(number_cell(number(found, "classes_never_found"), 0, anchor))
    pairs = [
        pair for pair in entries(record.metrics, "differences") if pair.startswith(f"{rule} - ")
    ]
    return [*row, _share(record, "differences", pairs[0], kind) if pairs else Cell()]


def _share(record: Record, *keys: str) -> Cell:
    """`35.7` with its interval below, in % or points."""
    value, low, high = (
        _percent(number(record.metrics, *keys, key)) for key in ("value", "low", "high")
    )
    small = f"{shown(low, 1)} to {shown(high, 1)}" if low is not None and high is not None else ""
    return number_cell(value, 1, anchor_of(record), small)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def accuracy_figures(record: Record, suffix: str = "") -> list[Figure]:
    """The shares with their intervals, and the causes of the misses, both of the first kind of
    sentence.
    """
    rules = judged_rules(record)
    kind = next((kind for rule in rules for kind in entries(record.metrics, "rules", rule)), "")
    return _shares_figure(record, rules, kind, suffix) + _causes_figure(record, rules, kind, suffix)


def _shares_figure(record: Record, rules: list[str], kind: str, suffix: str) -> list[Figure]:
    found = {
        (share, rule): _interval(record, rule, kind, share) for share in SHARES for rule in rules
    }
    if not any(found.values()):
        return []
    said = "; ".join(
        f"{SHARES[share].lower()}: "
        + ", ".join(
            f"{clipped(r, 24)} {shown(of[0], 1)} %" for r in rules if (of := found[share, r])
        )
        for share in SHARES
    )
    caption = (
        "How often the class that a sentence is about is among its labels; bars are 95 % intervals."
    )
    draw = partial(_draw_shares, rules=rules, found=found)
    height = 1.0 + 0.27 * len(SHARES) * (len(rules) + 1)
    return [
        Figure(f"label_accuracy{suffix}", caption, f"Marks with intervals. {said}.", draw, height)
    ]


def _interval(record: Record, rule: str, kind: str, share: str) -> Interval | None:
    """Value, low and high in %; None where one is missing or out of order."""
    value, low, high = (
        number(record.metrics, "rules", rule, kind, share, key) for key in ("value", "low", "high")
    )
    if value is None or low is None or high is None or not 0 <= low <= value <= high <= 1:
        return None
    return (100 * value, 100 * low, 100 * high)


def _draw_shares(
    axes: Axes, rules: list[str], found: dict[tuple[str, str], Interval | None]
) -> None:
    y, places, names = 0.0, [], []
    for share, title in SHARES.items():
        axes.text(0, y, title, weight="bold", va="center")
        for rule in rules:
            y -= 1
            places.append(y)
            names.append(clipped(rule, 24))
            _draw_interval(axes, y, found[share, rule], **rule_style(rule))
        y -= 1.2
    axes.set_yticks(places, names)
    axes.set_ylim(y + 0.6, 0.7)
    axes.set_xlim(0, 100)
    axes.set_xlabel("sentences (%)")
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def _draw_interval(axes: Axes, y: float, found: Interval | None, color: str, marker: str) -> None:
    if found is None:
        axes.text(0.5, y, "not recorded", color=MUTED, va="center")
        return
    value, low, high = found
    axes.errorbar(value, y, None, [[value - low], [high - value]], marker, color=color, capsize=3)
    axes.text(high + 1.5, y, shown(value, 1), va="center", color=color)


def _causes_figure(record: Record, rules: list[str], kind: str, suffix: str) -> list[Figure]:
    shares = {rule: _causes(record, rule, kind) for rule in rules}
    largest = {
        cause: max(found.get(cause, 0) for found in shares.values())
        for found in shares.values()
        for cause in found
    }
    causes = sorted(
        (cause for cause in largest if largest[cause] >= LEAST_CAUSE),
        key=lambda cause: (-largest[cause], cause),
    )[:MOST_CAUSES]
    if not causes:
        return []
    said = "; ".join(
        (
            f"{clipped(cause)}: "
            f"{', '.join(f'{clipped(r, 24)} {shown(shares[r].get(cause, 0), 1)} %' for r in rules)}"
        )
        for cause in causes
    )
    caption = (
        "Why the class is missed, as a share of all sentences; each miss is counted once, under "
        "its nearest cause."
    )
    draw = partial(_draw_causes, causes=causes, shares=shares)
    height = 1.0 + len(causes) * (0.16 + 0.14 * len(rules))
    return [Figure(f"label_misses{suffix}", caption, f"Bars. {said}.", draw, height)]


def _causes(record: Record, rule: str, kind: str) -> dict[str, float]:
    """Cause -> share of the sentences, in %."""
    found = entries(record.metrics, "rules", rule, kind)
    prompts, causes = number(found, "prompts"), entries(found, "causes")
    counts = {cause: number(causes, cause) for cause in causes}
    return {
        cause: 100 * n / prompts
        for cause, n in counts.items()
        if n is not None and prompts and 0 <= n <= prompts < math.inf
    }


def _draw_causes(axes: Axes, causes: list[str], shares: dict[str, dict[str, float]]) -> None:
    width = 0.8 / len(shares)
    top = max(max(found.values(), default=0) for found in shares.values())
    for i, (rule, found) in enumerate(shares.items()):
        colour = rule_style(rule)["color"]
        places = [y - 0.4 + (i + 0.5) * width for y in range(len(causes))]
        values = [found.get(cause, 0) for cause in causes]
        axes.barh(places, values, 0.9 * width, color=colour)
        for y, value in [(y, value) for y, value in zip(places, values, strict=True) if value]:
            axes.text(value + 0.01 * top, y, shown(value, 1), va="center", color=colour, fontsize=8)
        place = ((0.97, 0.0), (0, 14 * (len(shares) - i)))
        axes.annotate(
            clipped(rule, 24), *place, "axes fraction", "offset points", ha="right", color=colour
        )
    axes.set_yticks(
        range(len(causes)),
        [textwrap.fill(clipped(cause), CAUSE_WIDTH) for cause in causes],
        fontsize=9,
    )
    axes.set_xlim(0, 1.12 * top)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("sentences (%)")


def missenses_table(record: Record, suffix: str = "") -> list[Table]:
    """The words most often taken in another sense, by the first rule that recorded them."""
    rule = next((rule for rule in judged_rules(record) if record.rows(f"{rule}_missenses")), "")
    rows = [_missense_row(record, row) for row in record.rows(f"{rule}_missenses")[:TOP_MISSENSES]]
    if not rows:
        return []
    columns = ["Class", "Its word", "Right synset", "Synset taken", "Sentences", "Wrong label in"]
    title = f"Words most often taken in another sense, rule {clipped(rule, 24)}"
    return [Table(f"missenses{suffix}", title, columns, rows, folded=True)]


def _missense_row(record: Record, row: dict[str, object]) -> list[Cell]:
    words = [
        Cell(clipped(text(row, key)) if text(row, key) else MISSING)
        for key in ("class", "word", "right", "chosen")
    ]
    return [
        *words,
        *(number_cell(number(row, key), 0, anchor_of(record)) for key in ("prompts", "labelled")),
    ]
