"""What a terminal shows of a table."""

import pytest

from catlip.records.table import Cell, Table, as_text, format_number


def test_remarks_of_cells_are_numbered_and_stand_below_the_table() -> None:
    rows = [[Cell("a", remarks=("Beware.",)), Cell("1")], [Cell("b"), Cell("2", "±1")]]
    rows += [[Cell("c", remarks=("Too few.", "Beware.")), Cell("3")]]
    lines = as_text(Table("name", "Title", ["Name", "Value"], rows=rows)).splitlines()
    assert [line.split() for line in lines[:5]] == [
        ["Name", "Value"],
        ["-" * len("c [2] [1]"), "-" * len("2 (±1)")],
        ["a", "[1]", "1"],
        ["b", "2", "(±1)"],
        ["c", "[2]", "[1]", "3"],
    ]
    assert lines[5:] == ["[1] Beware.", "[2] Too few."]


@pytest.mark.parametrize(
    ("value", "words"),
    [(2_560_052.0, "2,560,000"), (999.6, "1,000"), (79.04, "79.0"), (0.08384, "0.0838"), (0, "0")],
)
def test_number_has_three_significant_digits(value, words) -> None:
    assert format_number(value) == words
    assert format_number(123_456, 0) == "123,456"
