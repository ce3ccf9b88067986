"""README and docs: what is said where, links lead somewhere, the notebook runs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from catlip.encoder import ENCODERS, build_encoder
from catlip.records.kind import Interval, Kind, Summary
from reports.figures import render
from reports.kinds import KINDS
from reports.pairs import Comparisons
from reports.paper.claims import verdicts
from reports.reading import read_records
from reports.readme import BLOCK, RECORDS

REPOSITORY = Path(__file__).parent.parent
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


@pytest.fixture(scope="module")
def comparisons() -> Comparisons:
    return Comparisons(read_records([REPOSITORY / RECORDS]))


def test_nothing_is_said_at_the_paper_s_scale(comparisons) -> None:
    """But the parameters of its encoder, a fact anywhere."""
    words = {key: str(verdict) for key, verdict in verdicts(comparisons).items()}
    assert {key for key in words if words[key].endswith("the paper's scale")} <= {"parameters"}


def test_answer_can_be_held_in_mind() -> None:
    answer = BLOCK.search((REPOSITORY / "README.md").read_text())
    assert answer is not None
    prose = [line for line in answer[0].splitlines() if not line.startswith("|")]
    words = [word for line in prose for word in line.split() if re.search(r"\w", word)]
    assert len(words) <= 150
    assert sum(bool(re.search(r"\d", word)) for word in words) <= 30


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text()):
        path = page.parent / target if target else page
        assert target.startswith("https://") or path.exists(), target
        if anchor and path.suffix == ".md":
            headings = re.findall(r"^#+ (.+)", path.read_text().lower(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", each).replace(" ", "-") for each in headings]


def test_notebook_runs_and_agrees_with_the_page(monkeypatch, comparisons) -> None:
    monkeypatch.chdir(REPOSITORY)
    cells = json.loads((REPOSITORY / "docs/results.ipynb").read_text())["cells"]
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    estimates = [one.estimate for one in comparisons.headline]
    assert names["table"].difference.tolist() == estimates
    # The same means from the table of results alone.
    longest = comparisons.headline[0]
    frame = names["lengths"]
    same = frame[(frame.scale == longest.on.scale) & (frame.task == longest.on.task)]
    means = 100 * same[same.images == same.images.max()].groupby("method").value.mean()
    for side, mean in zip((longest.first, longest.second), longest.means, strict=True):
        assert means[side.method] == pytest.approx(mean)


# --- CONTRIBUTING.md: its paths exist, and what it tells to write works.


TEXT = (REPOSITORY / "CONTRIBUTING.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def block(words: str) -> dict[str, object]:
    """The names that the block with these words defines."""
    (code,) = [code for code in BLOCKS if words in code]
    names: dict[str, object] = {"__name__": "contributed"}
    exec(code, names)
    return names


def test_every_path_exists() -> None:
    paths = re.findall(r"`([\w/]+(?:/|\.py|\.md))`", TEXT)
    assert len(paths) > 15
    missing = [path for path in paths if not (REPOSITORY / path).exists()]
    assert missing == [path for path in paths if "NAME" in path]


def test_line_makes_an_encoder(monkeypatch) -> None:
    monkeypatch.setitem(ENCODERS, "vit_mini16", None)
    block("vit_mini16")
    features = build_encoder("vit_mini16", 32)(torch.zeros(2, 3, 32, 32))
    assert features.shape == (2, 64)


def test_kind_is_known_and_read_as_it_was_written(monkeypatch) -> None:
    monkeypatch.setitem(KINDS, "warmth", Kind)
    warmth = block("Warmth(Kind)")["Warmth"]
    temperature = Summary(40.0, 39.0, 41.0, 0.01, 8)
    measured = warmth(idle_celsius=temperature, busy_celsius=temperature, ratio=Interval(1.0))
    assert KINDS["warmth"] is warmth
    assert warmth.read(measured.as_dict()) == measured


def test_figure_is_drawn() -> None:
    assert render(block("squares")["figure"]).png.startswith(b"\x89PNG")
