"""What all kinds of record share: how metrics become JSON, and JSON becomes metrics again."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import msgspec

KINDS: dict[str, type["Kind"]] = {}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """The metrics of a record. A subclass is one kind; its fields are the metrics by name.

    A field that an older record lacks, or that a run may not have measured, has a default; None is
    left out of the file.
    """

    kind: ClassVar[str] = ""
    rows: ClassVar[dict[str, type]] = {}
    """What the rows of a run's samples are, by the beginning of the samples' name."""

    broken: dict[str, int] = field(default_factory=dict)
    """Images that could not be read and were left out, by cause."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.kind:
            KINDS[cls.kind] = cls

    @classmethod
    def read(cls, metrics: dict[str, Any]) -> Self:
        """The metrics of a record file. Fields that the kind does not know are ignored.

        Raises: ValueError that names the first field that is missing or of another type.
        """
        return msgspec.convert(metrics, cls, str_keys=True)

    def metrics(self) -> dict[str, Any]:
        """The metrics as the file holds them."""
        return without_none(self)

    def sizes(self, task: str = "") -> dict[str, int | None]:
        """Sizes of the data (of a task) by name; only runs that have the same are averaged."""
        return {}


@dataclass(frozen=True)
class Summary:
    """Repeated measurements in short: median, 5th and 95th percentile in their unit, coefficient of
    variation, and how many there were.
    """

    median: float
    p5: float | None = None
    p95: float | None = None
    cv: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % bootstrap interval; without ends where there were too few rounds."""

    value: float
    low: float | None = None
    high: float | None = None


def without_none(value: Any) -> Any:
    """Dataclasses as dictionaries, without the fields that are None or empty by default."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: without_none(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if not _is_left_out(field, getattr(value, field.name))
        }
    if isinstance(value, dict):
        return {str(key): without_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_none(item) for item in value]
    return value


def _is_left_out(field: "dataclasses.Field[Any]", value: Any) -> bool:
    if field.default_factory is not dataclasses.MISSING:
        return bool(value == field.default_factory())
    return value is None and field.default is None
