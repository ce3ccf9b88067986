"""`--initialization release` draws weights as widely as the release was seen to."""

from dataclasses import replace

import pytest
import torch

from bench.downstream.probe.fit import random_head
from catlip.encoder import ENCODERS, Architecture
from catlip.pretrain import categorical
from catlip.recipes.pretrain import CATLIP

# Deviations of a ViT-B/16 of the release; the class token is the configuration's.
SEEN = {
    "image_encoder.blocks.0.attn.qkv.weight": 0.0255,
    "image_encoder.blocks.0.attn.proj.weight": 0.0361,
    "image_encoder.pos_embed": 0.0361,
    "image_encoder.cls_token": 0.02,
    "image_encoder.patch_embed.proj.0.weight": 0.0834,
    "image_encoder.patch_embed.proj.6.weight": 0.0208,
    "classifier.weight": 0.0089,
}


def test_pre_training_starts_as_the_release_does(monkeypatch) -> None:
    monkeypatch.setitem(ENCODERS, "one_block_conv", Architecture(768, 1, 12, stem="conv"))
    torch.manual_seed(0)
    recipe = replace(CATLIP["datacomp_b16_release"], encoder="one_block_conv")
    released = dict(categorical(recipe, torch.full((24_320,), 1e-4)).named_parameters())
    for name, deviation in SEEN.items():
        tolerance = 0.06 if name.endswith("cls_token") else 0.02
        found = float(released[name].detach().std())
        assert found == pytest.approx(deviation, rel=tolerance), name
    linear = "image_encoder.blocks.0.mlp.fc1"
    bound = (6 / (768 + 3072)) ** 0.5  # Xavier's, of a uniform distribution
    assert float(released[f"{linear}.weight"].abs().max()) == pytest.approx(bound, rel=1e-3)
    assert not released[f"{linear}.bias"].any()
    assert not released["classifier.bias"].any()


def test_released_fine_tuning_starts_its_head_so_too() -> None:
    head = random_head(768, 1000, seed=0, initialization="release")
    assert float(head.weight.std()) == pytest.approx((2 / 1768) ** 0.5, rel=0.01)
    assert not head.bias.any()
    torch.manual_seed(3)
    own = torch.nn.Linear(768, 10)
    assert torch.equal(random_head(768, 10, seed=3).weight, own.weight)
    assert torch.equal(random_head(768, 10, seed=3).bias, own.bias)


def test_recipes_of_the_release_start_as_it_does_and_the_papers_do_not() -> None:
    for name, recipe in CATLIP.items():
        assert recipe.initialization == ("release" if name.endswith("_release") else "own")
