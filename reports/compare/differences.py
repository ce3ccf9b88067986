"""Compares two JSON trees leaf by leaf, and writes the values of a difference as short texts."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from catlip.table import MISSING, clipped

Place = tuple[str, ...]  # the keys that lead to a leaf

SAME_LEAD = 12  # characters kept before the first difference of two long texts


class Absent:
    """Marks a leaf that one of two trees lacks; None cannot mark it, because None is a value."""


ABSENT = Absent()


def leaves(tree: Any) -> dict[Place, Any]:
    """Every leaf by the keys that lead to it, in the order of the tree.

    A list without lists or dictionaries inside is one leaf; in any other list, the positions are
    keys. An empty dictionary or list inside the tree is a leaf. The walk is not recursive, so the
    tree may be arbitrarily deep.
    """
    by_place: dict[Place, Any] = {}
    ahead: list[tuple[Place, Any]] = [((), tree)]
    while ahead:
        place, value = ahead.pop()
        if below := _below(value):
            ahead += [((*place, key), inner) for key, inner in reversed(below)]
        elif place:
            by_place[place] = value
    return by_place


def _below(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        return [(str(i), inner) for i, inner in enumerate(value)]
    return []


def differing(one: Any, other: Any) -> dict[Place, tuple[Any, Any]]:
    """Both values of every leaf that differs between two trees; ABSENT on a side that lacks it.

    Sorted by place, so that the order does not depend on which tree comes first.
    """
    first, second = leaves(one), leaves(other)
    pairs = {
        place: (first.get(place, ABSENT), second.get(place, ABSENT))
        for place in sorted(first.keys() | second.keys())
    }
    return {place: pair for place, pair in pairs.items() if not same(*pair)}


def same(one: Any, other: Any) -> bool:
    """Whether two leaves are equal: a NaN equals a NaN, and true is not 1."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    return bool(one == other or (one != one and other != other))


def told(one: Sequence[Any], other: Sequence[Any]) -> tuple[str, str]:
    """The values of each side as a short text: the value, `3 values` if there are several, or a
    dash if the side lacks the leaf.
    """
    first, second = _side(one), _side(other)
    short = clipped(first), clipped(second)
    if short[0] != short[1] or first == second:
        return short
    parted = next(i for i in range(len(first) + 1) if first[: i + 1] != second[: i + 1])
    start = max(0, parted - SAME_LEAD)
    one_end, other_end = (f"\N{HORIZONTAL ELLIPSIS}{s[start:]!a}" for s in (first, second))
    return clipped(one_end), clipped(other_end)


def _side(values: Sequence[Any]) -> str:
    distinct = dict.fromkeys(map(as_words, values))
    return next(iter(distinct)) if len(distinct) == 1 else f"{len(distinct)} values"


def as_words(value: Any) -> str:
    """A leaf as text: strings as they are, anything else as JSON writes it."""
    if value is ABSENT:
        return MISSING
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def named(place: Iterable[str]) -> str:
    """A place as `recipe.max_lr`, on one line."""
    return clipped(".".join(place), 80)
