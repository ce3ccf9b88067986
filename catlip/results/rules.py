"""Selects the records to show for each labelling rule, and gives each rule its style.

Numbers of different scales are never put side by side. For each scale, only the first root that has
it is used, and of that root only the first record of each rule.
"""

from collections.abc import Sequence
from typing import TypeVar

from catlip.label.result import ByRule, rule_of, rule_rank
from catlip.results.figures import series_style
from catlip.results.kind import Kind
from catlip.results.run import Records, Run, Setting

K = TypeVar("K", bound=Kind)
R = TypeVar("R", bound=ByRule)
# The most scales, rules of a scale, and records of a bench that are shown; the list of records
# holds the rest.
MOST = 3


def by_scale(records: Records, main: Setting | None, *kinds: type[K]) -> list[list[Run[K]]]:
    """The records of these kinds, one list for each scale; the main setting's scale and root come
    first.
    """
    chosen = [record for kind in kinds for record in records.of(kind)]
    if main:
        chosen.sort(
            key=lambda record: (
                (record.root, record.scale) != (main.root, main.scale),
                record.scale != main.scale,
            )
        )
    scales: dict[str, list[Run[K]]] = {}
    for record in chosen:
        own = scales.setdefault(record.scale, [])
        if not own or own[0].root == record.root:
            own.append(record)
    return list(scales.values())[:MOST]


def by_rule(records: Sequence[Run[R]]) -> dict[str, Run[R]]:
    """Rule -> its first record, for at most MOST rules, known rules first."""
    first: dict[str, Run[R]] = {}
    for record in records:
        first.setdefault(rule_of(record), record)
    return {rule: first[rule] for rule in sorted(first, key=rule_rank)[:MOST]}


def rule_style(rule: str) -> dict[str, str]:
    """The colour and marker of a rule, the same in every figure."""
    return series_style(rule_rank(rule)[0])


def suffix(index: int) -> str:
    """The ending that distinguishes the names of several tables or figures."""
    return f"_{index + 1}" if index else ""
