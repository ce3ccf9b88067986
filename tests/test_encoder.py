"""Encoders have the paper's shapes and read pictures as the release does."""

import pytest
import torch

from catlip.cli import InputError
from catlip.encoder import ENCODERS, build_encoder

VOCABULARY, RANGE_AUGMENT_SCALARS = 24_320, 6


@pytest.mark.parametrize(
    ("name", "published"), [("vit_b16_conv", 104_657_414), ("vit_l16_conv", 328_766_214), ("vit_h16_conv", 663_152_646)]
)
def test_parameters_with_the_classifier_are_those_of_the_release(name, published) -> None:
    with torch.device("meta"):
        encoder = build_encoder(name, 224)
    ours = sum(parameter.numel() for parameter in encoder.parameters())
    assert ours + VOCABULARY * (encoder.num_features + 1) + RANGE_AUGMENT_SCALARS == published


@pytest.mark.parametrize("name", ["hybrid_tiny", "vit_tiny16", "vit_b16_conv"])
def test_bytes_are_read_as_shares_of_one(name) -> None:
    patch = ENCODERS[name].patch
    torch.manual_seed(0)
    encoder = build_encoder(name, 4 * patch).eval()
    images = torch.randint(256, (2, 3, 4 * patch, 4 * patch), dtype=torch.uint8)
    with torch.inference_mode():
        features = encoder(images)
        assert features.shape == (2, encoder.num_features)
        torch.testing.assert_close(encoder(images.float() / 255), features)
        assert encoder(images[..., : 2 * patch, : 2 * patch]).shape == features.shape


def test_a_resolution_that_is_no_multiple_of_the_patch_is_refused() -> None:
    with pytest.raises(InputError, match="multiple"):
        build_encoder("vit_b16", 230)
