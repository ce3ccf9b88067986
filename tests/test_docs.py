"""README and docs: their numbers are the records', links lead somewhere, the notebook runs."""

import json
import re
from pathlib import Path

import pytest

from reports.paper.claims import verdicts
from reports.read.records import read_records
from reports.read.setting import settings
from reports.readme import BLOCK, filled
from reports.summary.answers import compared_tasks

REPOSITORY = Path(__file__).parent.parent
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def test_results_are_those_of_the_committed_records() -> None:
    records = read_records([REPOSITORY / "reports" / "records"])
    for name in ("README.md", "docs/results.md"):
        text = (REPOSITORY / name).read_text()
        assert text == filled(text, records), "python -m reports readme"
    # Nothing is said at the paper's scale, but the parameters of its encoder, a fact anywhere.
    words = {key: str(verdict) for key, verdict in verdicts(records).items()}
    assert {key for key in words if words[key].endswith("the paper's scale")} <= {"parameters"}


def test_tables_of_results_fit_the_width_of_a_page() -> None:
    lines = (REPOSITORY / "docs/results.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert max(line.count(" | ") for line in rows) + 1 <= 6
    assert max(map(len, rows)) <= 150


def test_answer_can_be_held_in_mind() -> None:
    answer = BLOCK.search((REPOSITORY / "README.md").read_text())
    assert answer is not None
    words = [word for word in answer.group(0).split() if re.search(r"\w", word)]
    assert len(words) <= 280
    assert len(re.findall(r"\d[\d,.]*", answer.group(0))) <= 75


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_notebook_runs_and_agrees_with_the_page(monkeypatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    cells = json.loads((REPOSITORY / "docs/results.ipynb").read_text())["cells"]
    names: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    every = settings(read_records([Path("reports/records")]))
    page = {
        (setting.scale, one.task): one.estimate
        for setting in every
        if setting.clip == "clip_bag"
        for one in compared_tasks(setting)
    }
    rows = {(row.scale, row.task): row for row in names["table"].itertuples()}
    assert rows.keys() == page.keys()
    for key, row in rows.items():
        assert (row.difference, row.low, row.high) == pytest.approx(
            (page[key].value, page[key].low, page[key].high)
        )


def test_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 150
