"""The feature map: the encoder's tokens, at its stride or half of it, globally or in windows."""

import pytest
import torch

from bench.downstream.dense.feature_map import FeatureMap
from catlip.encoders.load import open_encoder

VIT = "random:vit_tiny16@64"


def images(side: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def features(spelling: str, pixels: torch.Tensor, **options) -> torch.Tensor:
    return FeatureMap(open_encoder(spelling), **options).eval()(pixels)


@torch.inference_mode()
def test_features_are_those_of_the_encoder_without_its_class_token():
    encoder = open_encoder(VIT)
    vit = encoder.module
    grid = vit.patch_embed(images())
    tokens = grid.flatten(1, 2) + vit.pos_embed[:, 1:]
    expected = vit.norm(vit.blocks(tokens)).transpose(1, 2).reshape(2, 192, 4, 4)
    torch.testing.assert_close(FeatureMap(encoder).eval()(images()), expected)


@pytest.mark.parametrize(
    ("spelling", "stride", "channels"),
    [
        (VIT, 16, 192),
        (VIT, 8, 192),
        ("random:hybrid_mini@48", 16, 128),
        ("random:timm/vit_tiny_patch16_224", 8, 192),
        ("random:vit_b16_conv@64", 8, 768),
    ],
)
def test_map_has_a_vector_for_each_stride_of_an_image_of_any_size(spelling, stride, channels):
    pixels = torch.rand(1, 3, 96, 64)
    found = features(spelling, pixels, output_stride=stride)
    assert found.shape == (1, channels, 96 // stride, 64 // stride)


@torch.inference_mode()
def test_halved_stride_has_the_weights_of_the_whole_one():
    """Every second token sees what one of the whole stride does, shifted by a quarter."""
    plain, halved = (
        FeatureMap(open_encoder(VIT), output_stride=stride).vit.patch_embed for stride in (16, 8)
    )
    shifted = torch.zeros(2, 3, 64, 64)
    shifted[:, :, 4:, 4:] = images()[:, :, :-4, :-4]
    torch.testing.assert_close(halved(images())[:, ::2, ::2], plain(shifted))


@torch.inference_mode()
def test_one_window_over_everything_is_global_attention():
    torch.testing.assert_close(features(VIT, images(), window=4), features(VIT, images()))


@torch.inference_mode()
def test_windows_keep_apart_what_global_blocks_bring_together():
    changed = images()
    changed[:, :, 48:, 48:] += 1  # the last token of 4 x 4
    model = FeatureMap(open_encoder(VIT), window=2).eval()
    assert [number for number, window in enumerate(model.windows) if not window] == [2, 5, 8, 11]
    model.windows = [2] * 12
    far = (model(changed) - model(images())).abs().amax(dim=(0, 1)) == 0
    assert far.tolist() == [[True] * 4] * 2 + [[True, True, False, False]] * 2
