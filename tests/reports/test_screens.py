"""The first screen is true of the records that one has: of a bench, a GPU, own photographs, a
cluster.

After an intended change, `python tests/reports/write_golden.py` writes the expected ones again.
"""

from pathlib import Path

import pytest
from report_support import GOLDEN
from screens import SCREENS, screen_of


@pytest.mark.parametrize("name", SCREENS)
def test_first_screen_is_the_expected_one(name: str, tmp_path: Path) -> None:
    expected = (GOLDEN / "screens" / f"{name}.md").read_text()
    assert screen_of(name, tmp_path) == expected, "see this file's docstring"
