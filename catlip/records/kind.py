"""What all kinds of record share: how metrics are converted to JSON and back."""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import msgspec

if TYPE_CHECKING:
    from catlip.records.run import Run

ROUNDING = 1e-3  # of a number, between what a record states and what follows from the rest of it
# Metadata of a config's field that was added later. Earlier records lack it, and describe the same
# run as a record in which it has its default.
OMIT_DEFAULT = {"later": True}
KINDS: dict[str, type["Kind"]] = {}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """The metrics of a record. Each subclass is one kind, and its fields are the metrics; those
    that are None are left out of the file, and those that a record may lack have a default.
    """

    kind: ClassVar[str] = ""
    rows: ClassVar[dict[str, type]] = {}
    """Prefix of a name in a record's `samples` -> type of the rows under that name."""

    rounds: ClassVar[tuple[str, ...]] = ()
    """Endings of the names in a record's `samples` that hold one value per round."""

    broken: dict[str, int] = field(default_factory=dict)
    """Images that could not be read and were left out, by cause."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.kind:
            KINDS[cls.kind] = cls

    @classmethod
    def read(cls, metrics: dict[str, Any]) -> Self:
        return msgspec.convert(metrics, cls, str_keys=True)

    def as_dict(self) -> dict[str, Any]:
        return plain(self, is_sparse=True)

    def faults(self, run: "Run[Any]") -> Iterator[str]:
        """Numbers that are not what follows from the rest of their record, as sentences. May raise
        any error for a record of others.
        """
        yield from ()


@dataclass(frozen=True, kw_only=True)
class ByRule(Kind):
    """Metrics of labels that one rule made. Older records name the rule only in their config."""

    rule: str | None = None


@dataclass(frozen=True)
class Summary:
    """Measurements: median, 5th and 95th percentile, coefficient of variation, number."""

    median: float
    p5: float | None = None
    p95: float | None = None
    cv: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval; both ends are None after too few rounds."""

    value: float
    low: float | None = None
    high: float | None = None


def other_than(name: str, stated: Any, expected: Any) -> Iterator[str]:
    """A sentence for each number, of dataclasses and dictionaries too, that is not the expected
    one. What is not stated is no fault.
    """
    if isinstance(expected, float | int):
        if stated is not None and not math.isclose(stated, expected, rel_tol=ROUNDING):
            yield f"{name} is {stated:.4g}, but the rest of the record gives {expected:.4g}"
    elif stated is not None:
        there, parts = (one if isinstance(one, dict) else vars(one) for one in (stated, expected))
        for key, part in parts.items():
            yield from other_than(f"{name}.{key}", there.get(key), part)


def plain(value: Any, is_sparse: bool = False) -> Any:
    """Dataclasses, paths, sets and numpy scalars as JSON's types, without OMIT_DEFAULT fields that
    have their default; if sparse, without those that hold a None or empty default.
    """
    convert = partial(plain, is_sparse=is_sparse)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        stated = [(field, getattr(value, field.name)) for field in dataclasses.fields(value)]
        return {
            field.name: convert(part)
            for field, part in stated
            if not _is_left_out(field, part, is_sparse)
        }
    if isinstance(value, dict):
        return {str(key): convert(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(convert, value))
    if isinstance(value, list | tuple):
        return [*map(convert, value)]
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value) if isinstance(value, Path) else value


def _is_left_out(field: "dataclasses.Field[Any]", value: Any, is_sparse: bool) -> bool:
    if not is_sparse:
        return field.metadata == OMIT_DEFAULT and bool(value == field.default)
    if field.default_factory is not dataclasses.MISSING:
        return bool(value == field.default_factory())
    return value is None and field.default is None


# The fewest samples for which a median has an interval. For n paired samples that all have one
# sign, a sign test gives p = 2 / 2**n: 0.06 for five, 0.03 for six. With fewer than six samples,
# not even their whole range contains the median 95 times in 100. The same minimum applies to the
# rounds of a ratio.
FEWEST = 6
