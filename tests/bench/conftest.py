"""A small encoder and its text tower."""

import pytest

from baselines.openclip import TEXT_TOWERS, TextTower
from catlip.architectures import ENCODERS, Architecture


@pytest.fixture
def vit_mini16(monkeypatch: pytest.MonkeyPatch) -> str:
    """A ViT and a text tower of two narrow blocks each."""
    monkeypatch.setitem(ENCODERS, "vit_mini16", Architecture(width=64, depth=2, heads=1))
    monkeypatch.setitem(TEXT_TOWERS, "vit_mini16", TextTower(64, depth=2, heads=1, joint=64))
    return "vit_mini16"
