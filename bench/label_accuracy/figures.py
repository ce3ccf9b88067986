"""How often each labelling rule finds the class that a sentence is about, and why it misses it."""

import textwrap
from functools import partial

from matplotlib.axes import Axes

from bench.label_accuracy.result import SHARES, LabelAccuracy
from catlip.results.figures import MUTED, Figure, hide_rows
from catlip.results.kind import Interval
from catlip.results.rules import rule_style
from catlip.results.run import Run
from catlip.table import clipped, shown

# How many causes are drawn at most, and how frequent each must be, in % of the sentences.
MOST_CAUSES, LEAST_CAUSE = 8, 0.05
CAUSE_WIDTH = 30  # characters of a line

Percent = tuple[float, float, float]  # value, low, high


def accuracy_figures(record: Run[LabelAccuracy], suffix: str = "") -> list[Figure]:
    """Two figures for the first kind of sentence: how often the class is found, with intervals, and
    the causes of the misses.
    """
    kind = next(iter(record.measured.kinds_of_sentence), "")
    shares = _shares_figure(record.measured, kind, suffix)
    return shares + _causes_figure(record.measured, kind, suffix)


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
    axes: Axes, rules: list[str], percents: dict[tuple[str, str], Percent | None]
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


def _draw_interval(axes: Axes, y: float, percent: Percent | None, color: str, marker: str) -> None:
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
    frequent = [cause for cause in largest if largest[cause] >= LEAST_CAUSE]
    causes = sorted(frequent, key=lambda cause: (-largest[cause], cause))[:MOST_CAUSES]
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


def _draw_causes(axes: Axes, causes: list[str], shares: dict[str, dict[str, float]]) -> None:
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
