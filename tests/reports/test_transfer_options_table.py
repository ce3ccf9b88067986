"""The table of Transfer Init's options: gains in points, and nothing where a record has none."""

import pytest
from report_support import page_in

GAIN = {"mean": 0.039, "spread": 0.004, "n": 3}
GAINS = {
    "default": {"concepts, least": GAIN},
    "scale unit": {"concepts, least": GAIN | {"mean": -0.02, "n": 1}},
}


@pytest.fixture
def tables_of(write_record, tmp_path):
    """The tables of one record with these metrics."""

    def build(metrics: object):
        config = {"recipe": {"epochs": 30}}
        write_record("transfer_options", "options", metrics=metrics, config=config)
        page = page_in(tmp_path)
        return [table for table in page.tables if table.name.startswith("transfer_options")]

    return build


def test_a_row_an_option_with_its_gain_in_points(tables_of):
    (table,) = tables_of({"gains": GAINS})
    assert table.columns == ["Option", "concepts, least (points)"]
    assert "30 epochs" in table.title
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["default", "3.9 ± 0.4"],
        ["scale unit", "\N{MINUS SIGN}2.0"],
    ]
    assert [row[1].small for row in table.rows] == ["n = 3", "n = 1"]


@pytest.mark.parametrize("metrics", [{}, {"gains": None}, {"gains": {"default": 3}}])
def test_a_record_without_gains_makes_no_table(metrics, tables_of):
    assert tables_of(metrics) == []
