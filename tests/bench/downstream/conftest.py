"""Small inputs of the transfer benches: pictures, recipes of seconds, runs to transfer."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from small_data import write_folders, write_run, write_untrained

from catlip.encoder import ENCODERS, Architecture
from catlip.recipes.transfer import STARTER_FINETUNE, TransferRecipe

SIZE: dict[str, Any] = {"resolution": 32, "min_resolution": 32, "max_resolution": 32}
STEPS: dict[str, Any] = {
    "iterations": 4,
    "epochs": 0,
    "micro_batch": 4,
    "warmup_iterations": 1,
    "precision": "fp32",
}


@pytest.fixture(scope="session")
def tiny_recipe() -> TransferRecipe:
    """A few steps at 32 pixels."""
    return replace(STARTER_FINETUNE, **SIZE, **STEPS, layer_decay=1.0)


@pytest.fixture
def vit_two(monkeypatch: pytest.MonkeyPatch) -> str:
    """The spelling of a ViT of two narrow blocks, without batch norm."""
    monkeypatch.setitem(ENCODERS, "vit_two", Architecture(64, 2, 2))
    return "random:vit_two@32"


@pytest.fixture(scope="session")
def cats_and_dogs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two classes of eight images each, half of them to train on."""
    return write_folders(tmp_path_factory.mktemp("animals") / "data", ("cat", "dog"))


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    return partial(write_run, tmp_path)


@pytest.fixture
def untrained(tmp_path: Path) -> Callable[..., Path]:
    return partial(write_untrained, tmp_path)
