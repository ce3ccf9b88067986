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


def test_what_the_readme_points_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (REPOSITORY / "README.md").read_text()):
        assert (REPOSITORY / target).exists(), target
