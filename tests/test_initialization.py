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
    "blocks.0.attn.qkv.weight": 0.0255,
    "blocks.0.attn.proj.weight": 0.0361,
    "pos_embed": 0.0361,
    "cls_token": 0.02,
    "patch_embed.proj.0.weight": 0.0834,
    "patch_embed.proj.6.weight": 0.0208,
}


@pytest.fixture(scope="module")
def released() -> torch.nn.Module:
    """ViT-B/16 but for its number of blocks, and its classifier."""
    ENCODERS["one_block_conv"] = Architecture(768, 1, 12, stem="conv")
    try:
        torch.manual_seed(0)
        recipe = replace(CATLIP["datacomp_b16_release"], encoder="one_block_conv")
        return categorical(recipe, torch.full((24_320,), 1e-4))
    finally:
        del ENCODERS["one_block_conv"]


@pytest.mark.parametrize("name", SEEN)
def test_the_encoder_starts_as_wide_as_the_releases(released, name) -> None:
    found = dict(released.image_encoder.named_parameters())[name]
    assert float(found.detach().std()) == pytest.approx(
        SEEN[name], rel=0.06 if name == "cls_token" else 0.02
    )


def test_linear_layers_start_uniform_and_without_bias(released) -> None:
    linear = released.image_encoder.blocks[0].mlp.fc1
    bound = (6 / (768 + 3072)) ** 0.5
    assert float(linear.weight.abs().max()) == pytest.approx(bound, rel=1e-3)
    for layer in (linear, released.classifier):
        assert not layer.bias.any()


def test_the_classifier_starts_as_narrow_as_the_releases(released) -> None:
    assert float(released.classifier.weight.std()) == pytest.approx(0.0089, abs=5e-5)


def test_a_released_fine_tuning_starts_its_head_so_too() -> None:
    head = random_head(768, 1000, seed=0, initialization="release")
    assert float(head.weight.std()) == pytest.approx((2 / 1768) ** 0.5, rel=0.01)
    assert not head.bias.any()
    assert random_head(768, 1000, seed=0).bias.any()


def test_recipes_of_the_release_start_as_it_does_and_the_papers_do_not() -> None:
    for name, recipe in CATLIP.items():
        assert recipe.initialization == ("release" if name.endswith("_release") else "own")
