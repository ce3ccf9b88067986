"""A run gives its averaged weights, or the raw ones of its last checkpoint."""

import pytest
import torch

from catlip.categorical import Categorical
from catlip.cli import InputError
from catlip.encoder import build_encoder
from catlip.training.checkpoint import save, save_weights
from catlip.weights.checkpoint import read_run

CONFIG = {"encoder": "vit_tiny16", "resolution": 32, "method": "catlip", "seed": 4}


def weights(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return Categorical(build_encoder("vit_tiny16", 32), torch.full((5,), 0.1)).state_dict()


def test_the_average_and_the_raw_weights_of_the_last_step(tmp_path) -> None:
    raw, averaged = weights(1), weights(2)
    state = {"objective": weights(3), "average": averaged, "optimizer": {}, "scaler": {}}
    save(tmp_path / "checkpoints", 1, state, CONFIG)
    state |= {"objective": raw, "scaler": {"scale": torch.tensor(1.0)}}
    save(tmp_path / "checkpoints", 20, state, CONFIG)
    save_weights(tmp_path / "weights.safetensors", averaged, CONFIG)
    for found, expected in ((read_run(tmp_path, raw=True), raw), (read_run(tmp_path), averaged)):
        assert found.config == CONFIG
        assert torch.equal(found.classifier["weight"], expected["classifier.weight"])
        for name, tensor in found.build().state_dict().items():
            assert torch.equal(tensor, expected[f"image_encoder.{name}"]), name


def test_a_run_that_is_not_there_or_not_as_far_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match=r"weights\.safetensors"):
        read_run(tmp_path)
    with pytest.raises(InputError, match="checkpoints"):
        read_run(tmp_path, raw=True)
