"""Encoders at other sizes than they were pre-trained on: what goes through, what does not, and what
is said about it.
"""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from small_data import png

from bench.downstream.encoders.load import load_encoder, open_encoder
from catlip.cli import InputError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("spelling", "resolution", "features", "any_size"),
    [
        ("random:hybrid_mini@48", 0, 128, True),
        ("random:hybrid_mini@48", 64, 128, True),
        ("random:vit_tiny16@32", 96, 192, True),
        ("{run}", 64, 128, True),
        ("random:timm/vit_tiny_patch16_224", 0, 192, True),
        ("random:timm/vit_tiny_patch16_224", 64, 192, True),
        ("random:timm/test_resnet", 100, 96, True),
        ("random:timm/mixer_s32_224", 0, 512, False),
        ("random:timm/vit_small_patch14_dinov2", 56, 384, False),
        ("random:openclip/ViT-S-32", 64, 384, False),
        ("random:openclip/RN50", 96, 1024, False),
    ],
)
def test_an_encoder_takes_images_of_its_size_and_others_where_it_says_so(
    spelling, resolution, features, any_size, make_run
) -> None:
    encoder = load_encoder(spelling.format(run=make_run()), 0, CPU, resolution)
    image = encoder.preprocess(png(100, 0, (300, 260)))
    assert image.shape == (3, encoder.resolution, encoder.resolution)
    if resolution:
        assert encoder.resolution == resolution
        assert f"{resolution}" in str(encoder.preprocess)
    assert encoder.num_features == features
    other = torch.zeros(2, 3, encoder.resolution + 32, encoder.resolution + 32, dtype=torch.uint8)
    with torch.inference_mode():
        assert encoder.module(image[None]).shape == (1, features)
        assert encoder.any_size == any_size
        if any_size:
            assert encoder.module(other).shape == (2, features)
        else:
            with pytest.raises((RuntimeError, AssertionError)):
                encoder.module(other)


@pytest.mark.parametrize(
    ("spelling", "resolution", "says"),
    [
        ("random:vit_tiny16@32", 100, "100 .*vit_tiny16.* 16 "),
        ("{run}", 100, "100 .*hybrid_mini.* 16 "),
        ("random:timm/vit_tiny_patch16_224", 100, "vit_tiny_patch16_224.* 100 "),
        ("random:timm/mixer_s32_224", 96, "mixer_s32_224.* 96 "),
    ],
)
def test_a_size_that_does_not_go_through_is_said_in_one_line(
    spelling, resolution, says, make_run
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        open_encoder(spelling.format(run=make_run()), 0, resolution)
    assert "\n" not in str(caught.value)


def test_trying_the_sizes_leaves_no_trace_in_the_weights() -> None:
    torch.manual_seed(3)
    expected = timm.create_model("test_resnet", num_classes=0).state_dict()
    found = open_encoder("random:timm/test_resnet", 3).module.get_submodule("encoder").state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_the_weights_of_a_file_are_taken_at_another_size_too(tmp_path: Path) -> None:
    torch.manual_seed(7)
    trained = timm.create_model("vit_tiny_patch16_224", num_classes=0, dynamic_img_size=True).eval()
    save_file(trained.state_dict(), tmp_path / "trained.safetensors")
    encoder = open_encoder(f"timm:vit_tiny_patch16_224:{tmp_path / 'trained.safetensors'}", 0, 96)
    image = encoder.preprocess(png(100, 0, (300, 260)))[None]
    assert image.shape[-1] == 96
    with torch.inference_mode():
        mean, std = (
            torch.tensor(values)[:, None, None]
            for values in (encoder.preprocess.mean, encoder.preprocess.std)
        )
        torch.testing.assert_close(encoder.module(image), trained((image / 255 - mean) / std))
