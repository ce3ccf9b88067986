"""The numbers that fields of a config may have: stated at the field, checked in one place.

    flip: Annotated[float, Range(at_least=0, at_most=1)] = 0.5

Every number of a config must be finite, also without a range.
"""

import dataclasses
import functools
import math
import operator
import re
import typing
from collections.abc import Iterator
from typing import Annotated, Any

from catlip.program.errors import InputError

LIMITS = {
    "at_least": operator.ge,
    "above": operator.gt,
    "at_most": operator.le,
    "below": operator.lt,
}


class Range:
    """An interval, `Range(at_least=0, below=1)`; if a field holds several numbers, of each."""

    def __init__(self, **limits: float):
        self.limits = limits

    def __contains__(self, number: float) -> bool:
        return all(LIMITS[name](number, limit) for name, limit in self.limits.items())

    def __str__(self) -> str:
        limits = self.limits.items()
        return " and ".join(f"{name.replace('_', ' ')} {limit}" for name, limit in limits)


Natural = Annotated[int, Range(at_least=0)]
Count = Annotated[int, Range(at_least=1)]
Seed = Annotated[int, Range(at_least=0, below=2**32)]  # what NumPy takes
Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(at_least=0)]
Fraction = Annotated[float, Range(at_least=0, at_most=1)]
PartialFraction = Annotated[float, Range(at_least=0, below=1)]
PositiveFraction = Annotated[float, Range(above=0, at_most=1)]


def checkpoint_seconds(every: str) -> float:
    """600 of `10min`. Raises: InputError."""
    if not re.fullmatch(r"\d+(\.\d+)?min", every):
        raise InputError(f"--checkpoint-every {every}: give steps, or minutes such as 10min")
    return 60 * float(every.removesuffix("min"))


def check_ranges(config: Any) -> None:
    """Check that every number of a config, and of the configs in it, is finite and in its range."""
    kind: type = type(config)
    for name, ranges in _field_ranges(kind).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            check_ranges(value)
        for number in _numbers(value):
            if not math.isfinite(number) or not all(number in allowed for allowed in ranges):
                limits = f"a number {'; '.join(map(str, ranges))}" if ranges else "a finite number"
                raise InputError(f"--{name.replace('_', '-')} {number}: give {limits}")


@functools.cache
def _field_ranges(config: type) -> dict[str, list[Range]]:
    hints = typing.get_type_hints(config, include_extras=True)
    return {
        field.name: list(_find_ranges(hints[field.name])) for field in dataclasses.fields(config)
    }


def _find_ranges(hint: Any) -> Iterator[Range]:
    yield from (item for item in getattr(hint, "__metadata__", ()) if isinstance(item, Range))
    for part in typing.get_args(hint):
        yield from _find_ranges(part)


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, tuple):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value
