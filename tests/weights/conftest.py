"""A small encoder with the release's stem, and a file of it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import release
import torch

from catlip.encoder import ENCODERS, Architecture


@pytest.fixture(autouse=True)
def _a_small_encoder_with_the_releases_stem(monkeypatch) -> None:
    monkeypatch.setitem(ENCODERS, "conv_tiny", Architecture(*release.TINY, 2, stem="conv"))


@pytest.fixture
def released_file(tmp_path: Path) -> Callable[..., Path]:
    """Saves a checkpoint of that encoder as the release does; `change` may spoil it first."""

    def save(
        task: str = "classification",
        change: Callable[[dict], object] = lambda weights: None,
        **options,
    ) -> Path:
        weights = release.checkpoint(task, *release.TINY, **options)
        change(weights)
        path = tmp_path / f"{task}.pt"
        torch.save(weights, path)
        return path

    return save
