"""What templates look up: numbers of comparisons, and whether a verdict that a sentence states is
still what the records say. A sentence that they contradict ends the build with both sides.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from catlip.cli import InputError
from catlip.records.estimate import Estimate
from catlip.records.kind import Interval
from catlip.records.table import Column, Table, cell_of, format_number, signed
from reports.factorial import crossed
from reports.names import data_of, task_name
from reports.pairs import Comparisons, Difference

POINTS = Column("", "", 1, plus=True)
TIMES = Column("", "", 2)


class Words:
    """Keys are `DATA/TASK`, as the page calls them: `sentences/CIFAR-10`."""

    def __init__(self, comparisons: Comparisons, tables: Mapping[str, Table]):
        self.comparisons = comparisons
        self.tables = tables
        self._crossed = crossed(comparisons)

    def difference(self, key: str, epochs: int | None = None) -> Difference:
        """CatLIP minus its CLIP: after the longest training, or after so many epochs."""
        differences = self.comparisons.headline
        if epochs:
            settings = self.comparisons.settings
            by_length = (self.comparisons.by_length(*place) for place in settings)
            differences = [found for lengths in by_length for found in lengths]
        for found in differences:
            is_long = epochs is None or round(found.epochs or 0) == epochs
            if is_long and key == f"{data_of(*found.place).short}/{task_name(found.on.task)}":
                return found
        raise InputError(f"a sentence is about {key}, {epochs or 'longest'}: no record is")

    def lead(self, key: str, epochs: int | None = None) -> str:
        return signed(self.difference(key, epochs).estimate.value, 1)

    def says(self, key: str, verdict: str, epochs: int | None = None) -> str:
        """Nothing, if the records still say so."""
        return check(f"{key}, {epochs or 'longest'}", verdict, self.difference(key, epochs).verdict)

    def effect(self, key: str, epochs: int, name: str, encoder: str = "hybrid_mini") -> str:
        return cell_of(self._effect(key, epochs, name, encoder), POINTS).full

    def effect_says(
        self, key: str, epochs: int, name: str, side: str, encoder: str = "hybrid_mini"
    ) -> str:
        found = side_of(self._effect(key, epochs, name, encoder), 0)
        return check(f"effect of {name} on {key}, {epochs}, {encoder}", side, found)

    def _effect(self, key: str, epochs: int, name: str, encoder: str) -> Estimate:
        for experiment in self._crossed:
            on = experiment.on
            about = f"{data_of(on.root, on.scale).short}/{task_name(on.task)}"
            length = round(experiment.epochs or 0)
            is_asked = (about, on.encoder, length) == (key, encoder, epochs)
            if is_asked and (effect := experiment.effect(name)):
                return effect
        raise InputError(
            f"a sentence is about the effect of {name} on {key}, {epochs}: no record is"
        )

    def cell(self, table: str, key: str, **where: Any) -> str:
        """A value of the row of a table that has these values: `1.04 (1.00 to 1.06)`."""
        column = next(column for column in self.tables[table].all_columns if column.key == key)
        return cell_of(self._value(table, key, where), replace(column, unit="")).full

    def cell_says(self, table: str, key: str, side: str, **where: Any) -> str:
        return check(f"{key} of {table}, {where}", side, side_of(self._value(table, key, where), 1))

    def _value(self, table: str, key: str, where: Mapping[str, Any]) -> Any:
        for row in self.tables[table].rows:
            is_asked = all(row.get(name) == value for name, value in where.items())
            if is_asked and row.get(key) is not None:
                return row[key]
        raise InputError(f"a sentence is about {key} of {table}, {where}: no record is")

    def times(self, ratio: Interval | Estimate) -> str:
        return cell_of(ratio, TIMES).full

    def number(self, value: float, digits: int | None = None) -> str:
        return format_number(value, digits)


def side_of(found: Interval | Estimate, middle: float) -> str:
    """Where the interval lies: above, below or around."""
    low, high = (middle if end is None else end for end in (found.low, found.high))
    return "above" if low > middle else "below" if high < middle else "around"


def check(what: str, stated: str, found: str) -> str:
    """Raises: InputError with both sides if the records say otherwise."""
    if stated != found:
        raise InputError(
            f"a sentence says of {what}: {stated}; the records say: {found}. Change the sentence "
            "in reports/templates"
        )
    return ""
