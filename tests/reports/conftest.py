"""Records as a run would write them, and what the committed ones say."""

from pathlib import Path

import pytest
from report_support import COMMITTED, Writer

from reports.page import Page
from reports.reading import read_records


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    return Writer(tmp_path)


@pytest.fixture(scope="session")
def committed() -> Page:
    """The page of the committed records."""
    return Page(read_records([COMMITTED]))
