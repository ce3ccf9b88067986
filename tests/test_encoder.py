"""Encoders have the paper's shapes, and compute the same whatever saves time or memory."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from catlip.encoder import ENCODERS, Architecture, Shortcut, build_encoder


@pytest.fixture(autouse=True)
def _a_small_encoder_with_the_releases_stem(monkeypatch) -> None:
    monkeypatch.setitem(ENCODERS, "conv_tiny", Architecture(192, 2, 3, stem="conv"))


@pytest.mark.parametrize("name", ["hybrid_mini", "cnn", "vit_tiny16", "conv_tiny"])
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


def test_cnn_pools_its_last_convolution() -> None:
    encoder = build_encoder("cnn", 48).eval()
    images = images_for("cnn")
    pooled = encoder.fc_norm(encoder.patch_embed.proj(images).mean(dim=(2, 3)))
    torch.testing.assert_close(encoder(images), pooled)
    names = [name for name, _ in encoder.named_parameters()]
    assert all(name.startswith(("patch_embed.", "fc_norm.")) for name in names)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 1_208_352


def images_for(name: str, patches: int = 4) -> torch.Tensor:
    side = patches * ENCODERS[name].patch
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def build_twice(name: str, resolution: int, **options) -> list[nn.Module]:
    """The same weights without and with `options`."""
    encoders = []
    for given in ({}, options):
        torch.manual_seed(0)
        encoders.append(build_encoder(name, resolution, **given))
    return encoders


@pytest.mark.parametrize("size", [7, 224])
@pytest.mark.parametrize("channels", [8, 16])
def test_shortcut_has_the_gradients_of_a_strided_convolution(channels: int, size: int) -> None:
    """On a CPU with AVX-512, oneDNN's own of 8 channels and 224 pixels ends the process."""
    images = torch.rand(2, channels, size, size).to(memory_format=torch.channels_last)
    shortcut, plain = Shortcut(channels, 32), nn.Conv2d(channels, 32, 1, stride=2, bias=False)
    plain.load_state_dict(shortcut.state_dict())
    found, expected = images.requires_grad_(), images.detach().double().requires_grad_()
    product, plain_product = shortcut(found), plain.double()(expected)
    product.square().sum().backward()
    plain_product.square().sum().backward()
    for one, other in (
        (product, plain_product),
        (found.grad, expected.grad),
        (shortcut.weight.grad, plain.weight.grad),
    ):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["hybrid_mini", "vit_tiny16"])
def test_naive_attention_computes_what_fused_attention_does(name, monkeypatch) -> None:
    fused, naive = build_twice(name, 4 * ENCODERS[name].patch, attention="naive")
    fused, naive, images = fused.double(), naive.double(), images_for(name).double()
    calls, kernel = [], F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda *a, **k: calls.append(a) or kernel(*a, **k)
    )
    features = [encoder(images) for encoder in (fused, naive)]
    assert len(calls) == ENCODERS[name].depth, "every block of one encoder, and none of the other"
    torch.testing.assert_close(features[1], features[0], rtol=1e-9, atol=1e-9)
    assert_same_gradients(fused, naive, features, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("attention", ["sdpa", "naive"])
def test_checkpointing_changes_no_gradient(attention) -> None:
    how = {"checkpointing": True, "attention": attention}
    plain, other = build_twice("vit_tiny16", 64, drop_path=0.5, **how)
    encoders = [build_encoder("vit_tiny16", 64, drop_path=0.5, attention=attention), other]
    encoders[0].load_state_dict(plain.state_dict())
    features = []
    for encoder in encoders:
        torch.manual_seed(1)  # of the dropped paths
        features.append(encoder(images_for("vit_tiny16")))
    assert torch.equal(*features)
    assert_same_gradients(*encoders, features, rtol=0, atol=0)


def assert_same_gradients(
    one: nn.Module, other: nn.Module, features: list[torch.Tensor], rtol: float, atol: float
) -> None:
    for found in features:
        found.square().sum().backward()
    others = dict(other.named_parameters())
    for name, parameter in one.named_parameters():
        assert parameter.grad is not None, name
        torch.testing.assert_close(others[name].grad, parameter.grad, rtol=rtol, atol=atol)


def test_releases_positions_are_added_in_the_precision_of_the_tokens() -> None:
    torch.manual_seed(0)
    encoder = build_encoder("conv_tiny", 64)
    tokens = torch.randn(1, 4, 4, 192).bfloat16()
    added = encoder._pos_embed(tokens)[:, 1:]
    expected = tokens.flatten(1, 2) + encoder.pos_embed.bfloat16()
    assert torch.equal(added.float(), expected.float())
    assert not torch.equal(expected.float(), tokens.flatten(1, 2) + encoder.pos_embed), (
        "float32 would tell"
    )
