"""A table as text, markdown and CSV: every number in its column, every note at its row."""

import csv
import io
import math
import re

import pytest

from catlip.records.estimate import Estimate
from catlip.records.kind import Interval, Summary
from catlip.records.table import (
    MISSING,
    NOTE,
    Column,
    Quantity,
    Share,
    Table,
    as_csv,
    as_text,
    cell_of,
    format_number,
)

TABLE = Table(
    "name",
    "Title",
    "",
    [
        Column("Data", "data", head=True),
        Column("Method", "method", head=True),
        Column("Top-1 (%)", "top1", 1, factor=100),
        Column("Lead", "lead", 1, plus=True),
        Column("Never", "never"),
    ],
    [
        {
            "data": "d",
            "method": "a|b",
            "top1": 0.25,
            "lead": Interval(1.0, -0.5, 2.5),
            NOTE: "Few.",
        },
        {"data": "d", "method": "a|b", "top1": Quantity(0.5, 0.1, 3), "lead": None},
        {"data": "d", "method": "c", "top1": math.nan, "lead": Interval(-2.0), NOTE: "Busy."},
        {"data": "d", "method": "c", "top1": None, "lead": (3.0, "=x"), NOTE: "Few."},
    ],
)


def test_text_has_aligned_columns_and_numbered_notes() -> None:
    lines = as_text(TABLE).splitlines()
    assert [re.split("  +", line) for line in lines] == [
        ["Method", "Top-1 (%)", "Lead"],
        ["-" * len("a|b [1]"), "-" * len("50.0 ± 10.0 (n = 3)"), "-" * len("+1.0 (−0.5 to 2.5)")],  # noqa: RUF001
        ["a|b [1]", "25.0", "+1.0 (−0.5 to 2.5)"],  # noqa: RUF001
        ["", "50.0 ± 10.0 (n = 3)", MISSING],
        ["c [2]", "NaN", "−2.0"],  # noqa: RUF001
        [" [1]", MISSING, "+3.0 (=x)"],
        ["[1] Few."],
        ["[2] Busy."],
    ]


def test_csv_has_a_column_for_each_number_of_each_row() -> None:
    rows = [*csv.DictReader(io.StringIO(as_csv(TABLE)))]
    assert [row["Data"] + row["Method"] for row in rows] == ["da|b", "da|b", "dc", "dc"]
    names = ("", ", spread", ", n")
    assert [[row[f"Top-1 (%){name}"] for name in names] for row in rows] == [
        *(["25", "", ""], ["50", "10", "3"], ["nan", "", ""], ["", "", ""])
    ]
    assert [[row[f"Lead{name}"] for name in ("", ", low", ", high")] for row in rows] == [
        *(["1", "-0.5", "2.5"], ["", "", ""], ["-2", "", ""], ["3", "", ""])
    ]
    assert [row["Note"] for row in rows] == ["Few.", "", "Busy.", "Few."]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, MISSING),
        (0.5, "50.0x"),
        (True, "yes"),
        (Interval(0.5, 0.4, 0.6), "50.0x (40.0 to 60.0)"),
        (Estimate(0.5, 0.4, 0.6), "50.0x (40.0 to 60.0)"),
        (Estimate(0.5), "50.0x"),
        (Summary(0.5, 0.4, 0.6), "50.0x (40.0x to 60.0x)"),
        (Quantity(0.5, None, 1), "50.0 (n = 1)"),
        (Share(0.5, 2), "50.0x (25.0 %)"),
        (Share(0.5, 0), "50.0x"),
        ("as it is", "as it is"),
    ],
)
def test_type_of_a_value_says_how_it_is_shown(value, words) -> None:
    assert cell_of(value, Column("", "", 1, factor=100, unit="x")).full == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(2_560_052.0, "2,560,000"), (999.6, "1,000"), (79.04, "79.0"), (0.08384, "0.0838"), (0, "0")],
)
def test_number_has_three_significant_digits(value, words) -> None:
    assert format_number(value) == words
    assert format_number(123_456, 0) == "123,456"
    assert format_number(-1.25, 1) == "\N{MINUS SIGN}1.2"
