"""The README's numbers are those of the committed records."""

import re
from pathlib import Path

from catlip.table import as_text
from reports.read.records import read_records
from reports.sections import build_page

REPOSITORY = Path(__file__).parent.parent


def test_the_first_results_are_the_headline_of_the_committed_records() -> None:
    page = build_page(read_records([REPOSITORY / "reports" / "records"]))
    assert page.headline is not None
    assert as_text(page.headline) in (REPOSITORY / "README.md").read_text()


def test_the_results_on_scenes_are_those_of_the_committed_records() -> None:
    page, readme = (
        build_page(read_records([REPOSITORY / "reports" / "records"])),
        (REPOSITORY / "README.md").read_text(),
    )
    (table,) = [table for table in page.tables if table.name == "dense"]
    columns = [
        table.columns.index(name)
        for name in ("Labels, mAP (%)", "Segmentation, mIoU (%)", "Boxes, AP (%)")
    ]
    cells = [row[column].text for row in table.rows for column in columns if row[column].quantity]
    assert len(cells) == 10
    assert all(text in readme for text in cells)


def test_what_the_readme_points_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (REPOSITORY / "README.md").read_text()):
        assert (REPOSITORY / target).exists(), target
