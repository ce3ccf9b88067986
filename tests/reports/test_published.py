"""The paper's numbers: complete, each with its source, and the same in two readings."""

from pathlib import Path

import pytest

from catlip.records.run import Records
from reports.paper.paper_tables import COUNTERPARTS, OurTransfers, result_table, result_tables
from reports.paper.published import GROUP, TITLES, read_published

# Rows, and columns beside the row's label, of each table in the paper.
SHAPES = {
    "table_1": (2, 5),
    "table_2": (27, 6),
    "table_3": (5, 2),
    "table_4": (8, 5),
    "table_5": (6, 3),
    "table_6a": (11, 2),
    "table_6b": (11, 4),
    "table_7a": (10, 1),
    "table_7b": (10, 1),
    "table_7c": (10, 1),
    "table_7d": (11, 1),
    "table_7e": (14, 1),
}
NOT_READ_TWICE = {"Image encoder", "Resolution", GROUP}


@pytest.mark.parametrize("name", TITLES)
def test_no_cell_lacks_a_source(name):
    begins = {"paper": "paper", "readme": "release", "config": "release"}
    for cell in read_published(name).cells:
        assert cell.source, cell
        assert cell.source.split()[0] == begins[cell.reading], cell


@pytest.mark.parametrize("name", SHAPES)
def test_a_table_has_the_rows_and_columns_of_the_paper_and_no_hole(name):
    published = read_published(name)
    assert (len(published.rows), len(published.columns)) == SHAPES[name]
    assert list(published.rows) == list(range(1, len(published.rows) + 1))
    for row in published.rows:
        for column in published.columns:
            assert published.cell(row, column), (row, column)


def test_every_digit_is_the_same_in_a_second_reading():
    lines = (Path(__file__).parent / "second_reading.txt").read_text().splitlines()
    second: dict[str, list[list[str]]] = {}
    for name, *cells in (line.split(" | ") for line in lines if not line.startswith("#")):
        kept = [cell for cell in cells if not cell.startswith("DeepLab")]
        second.setdefault(name, []).append(kept)
    for name, rows in second.items():
        assert [with_digits(name, row) for row in read_published(name).rows] == rows, name


def with_digits(name: str, row: int) -> list[str]:
    published = read_published(name)
    columns = [column for column in published.columns if column not in NOT_READ_TWICE]
    shown = [published.cell(row, column).text for column in columns]
    with_a_digit = [word for word in shown if any(map(str.isdigit, word))]
    return [word for word in with_a_digit if not word.startswith(("ViT", "DeepLab"))]


NOTHING = Records((), (), ())


def test_our_columns_wait_for_the_papers_scale_and_leave_other_peoples_systems_empty():
    for table in result_tables(NOTHING):
        ours = [i for i, column in enumerate(table.columns) if ", ours" in column]
        assert len(ours) == len(COUNTERPARTS[table.name])
        assert {row[i].text for row in table.rows if len(row) > 1 for i in ours} <= {"not run", ""}
    table = result_table("table_2", OurTransfers(NOTHING))
    waiting = [row[0].text for row in table.rows if row[-1].text == "not run"]
    ours = [f"CatLIP ViT {size}/16 (Ours)" for size in "BLHBLH"]
    assert waiting == ["CLIP ViT B/16 (Our repro.)", *ours]
