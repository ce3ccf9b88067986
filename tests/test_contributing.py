"""CONTRIBUTING.md: its paths exist, and what it tells to write works."""

import re
from pathlib import Path

import torch

from catlip.encoder import ENCODERS, build_encoder
from catlip.records.kind import Interval, Kind, Summary
from reports.figures import render
from reports.kinds import KINDS

REPOSITORY = Path(__file__).parent.parent
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
