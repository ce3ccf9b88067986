"""The paper's numbers: complete, each with its source, and the same in two readings."""

from pathlib import Path

import pytest

from catlip.records.run import Records
from reports.paper.paper_tables import COUNTERPARTS, OurTransfers, result_table, result_tables
from reports.paper.published import GROUP, TITLES, read_published

NOT_READ_TWICE = {"Image encoder", "Resolution", GROUP}


@pytest.mark.parametrize("name", TITLES)
def test_no_cell_lacks_a_source(name):
    begins = {"paper": "paper", "readme": "release", "config": "release"}
    for cell in read_published(name).cells:
        assert cell.source, cell
        assert cell.source.split()[0] == begins[cell.reading], cell


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
    words = [published.cell(row, column).text for column in columns]
    with_a_digit = [word for word in words if any(map(str.isdigit, word))]
    return [word for word in with_a_digit if not word.startswith(("ViT", "DeepLab"))]


NOTHING = Records((), (), ())


def test_our_columns_wait_for_the_papers_scale():
    for table in result_tables(NOTHING):
        ours = [i for i, column in enumerate(table.columns) if ", ours" in column]
        assert len(ours) == len(COUNTERPARTS[table.name])
        assert {row[i].text for row in table.rows if len(row) > 1 for i in ours} <= {"not run", ""}
    table = result_table("table_2", OurTransfers(NOTHING))
    waiting = [row[0].text for row in table.rows if row[-1].text == "not run"]
    ours = [f"CatLIP ViT {size}/16 (Ours)" for size in "BLHBLH"]
    assert waiting == ["CLIP ViT B/16 (Our repro.)", *ours]
