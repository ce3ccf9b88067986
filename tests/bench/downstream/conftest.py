"""Small inputs of the transfer benches: pictures, recipes of seconds, runs to transfer."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_data import vocabulary_of, write_folders

from baselines.methods import BASELINES
from baselines.openclip import text_tower
from catlip.categorical import Categorical
from catlip.encoder import ENCODERS, Architecture, build_encoder
from catlip.recipes.transfer import STARTER_FINETUNE, TransferRecipe
from catlip.training.checkpoint import save_weights
from catlip.vocabulary import vocabulary_identity

SIZE: dict[str, Any] = {"resolution": 32, "min_resolution": 32, "max_resolution": 32}
STEPS: dict[str, Any] = {
    "iterations": 4,
    "epochs": 0,
    "micro_batch": 4,
    "warmup_iterations": 1,
    "precision": "fp32",
}
CLASSES = ("dog", "cat", "violin", "guitar", "boat", "car")


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
    """Makes a run that was never trained, with its vocabulary and its record."""

    def make(
        name: str = "run",
        synsets: tuple[str, ...] = tuple(f"{name}.n.01" for name in CLASSES),
        seed: int = 0,
    ) -> Path:
        vocabulary = tmp_path / f"{name}-vocabulary.json"
        vocabulary_of(*synsets).save(vocabulary)
        torch.manual_seed(seed)
        objective = Categorical(build_encoder("hybrid_mini", 32), torch.full((len(synsets),), 0.1))
        config = {"encoder": "hybrid_mini", "resolution": 32, "method": "catlip", "seed": seed}
        (tmp_path / name).mkdir()
        path = tmp_path / name / "weights.safetensors"
        save_weights(
            path, objective.state_dict(), config | {"vocabulary": vocabulary_identity(vocabulary)}
        )
        record = {"kind": "pretrain", "metrics": {}, "config": {"vocabulary": str(vocabulary)}}
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
        return tmp_path / name

    return make


@pytest.fixture
def untrained(tmp_path: Path) -> Callable[..., Path]:
    """Makes a run of a baseline that was never trained."""

    def make(method: str, context: int = 24) -> Path:
        torch.manual_seed(0)
        encoder = build_encoder("hybrid_mini", 32)
        objective: Any = BASELINES[method].build(encoder, "hybrid_mini", base_rates=None)
        if context != 24:
            torch.manual_seed(0)
            text = replace(text_tower("hybrid_mini"), context=context)
            objective = BASELINES[method](build_encoder("hybrid_mini", 32), text)
        config = {"encoder": "hybrid_mini", "resolution": 32, "method": method, "seed": 0}
        config["text_context"] = context
        (tmp_path / method).mkdir()
        save_weights(tmp_path / method / "weights.safetensors", objective.state_dict(), config)
        (tmp_path / f"{method}.json").write_text('{"kind": "pretrain", "metrics": {}}')
        return tmp_path / method

    return make
