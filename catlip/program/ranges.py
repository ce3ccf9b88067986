"""The numbers that fields of a config may have: stated at the field, checked in one place.

    flip: Annotated[float, Range(at_least=0, at_most=1)] = 0.5

Every number of a config must be finite, also without a range.
"""

import dataclasses
import functools
import math
import typing
from collections.abc import Iterator
from typing import Annotated, Any

from catlip.program.errors import InputError


@dataclasses.dataclass(frozen=True)
class Range:
    """An interval; if a field holds several numbers, each must be in it."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def __contains__(self, number: float) -> bool:
        return (
            (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
        )

    def __str__(self) -> str:
        return " and ".join(
            f"{name.replace('_', ' ')} {limit}"
            for name, limit in vars(self).items()
            if limit is not None
        )


Natural = Annotated[int, Range(at_least=0)]
Count = Annotated[int, Range(at_least=1)]
Seed = Annotated[int, Range(at_least=0, below=2**32)]  # what NumPy takes
Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(at_least=0)]
Fraction = Annotated[float, Range(at_least=0, at_most=1)]
PartialFraction = Annotated[float, Range(at_least=0, below=1)]
PositiveFraction = Annotated[float, Range(above=0, at_most=1)]


def check_ranges(config: Any) -> None:
    """Check every number of a config, and of the configs in it.

    Raises: InputError for the first number that is not finite or out of its range.
    """
    kind: type = config.__class__
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        ranges = _ranges_of(kind)[field.name]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            check_ranges(value)
        for number in _numbers(value):
            is_allowed = all(number in allowed for allowed in ranges)
            if not math.isfinite(number) or not is_allowed:
                limits = "; ".join(map(str, ranges))
                wanted = f"a number {limits}" if limits else "a finite number"
                raise InputError(f"--{field.name.replace('_', '-')} {number}: give {wanted}")


@functools.cache
def _ranges_of(config: type) -> dict[str, list[Range]]:
    return {
        name: list(_ranges_in(hint))
        for name, hint in typing.get_type_hints(config, include_extras=True).items()
    }


def _ranges_in(hint: Any) -> Iterator[Range]:
    yield from (item for item in getattr(hint, "__metadata__", ()) if isinstance(item, Range))
    for part in typing.get_args(hint):
        yield from _ranges_in(part)


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, tuple):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value
