"""The arithmetic of a step is what PyTorch counts and keeps; of collectives, cases by hand."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import nn

from baselines.openclip import text_tower
from bench.arithmetic.devices import Link
from bench.arithmetic.exchanges import exchange_ms, step_exchanges
from bench.arithmetic.flops import image_flops, step_flops, text_flops
from bench.arithmetic.memory import (
    USABLE,
    activation_bytes,
    device_bytes,
    images_that_fit,
    interleaved_bytes,
    parameters,
    peak_bytes,
    state_bytes,
)
from bench.measuring import methods
from bench.measuring.factors import Factors
from bench.measuring.training_step import batch_of, build
from bench.memory.tensors import saved_bytes
from catlip.costs import GIB, Exchange
from catlip.recipes.pretrain import CATLIP, CLIP
from catlip.system.flops import count_flops
from catlip.training.distributed import init_distributed

SMALL = Factors("catlip", "hybrid_mini", 48, 3, "fp32", num_classes=500)
ALL_AND_A_PLAIN_ONE = [
    *(("hybrid_mini", method) for method in methods.METHODS),
    *(("vit_tiny16", method) for method in ("catlip", "clip", "clip_catlip")),
    *(("cnn", method) for method in ("catlip", "clip")),
]
FORMS = [("sdpa", False), ("naive", False), ("sdpa", True)]  # attention, checkpointing
# Forms are of the encoder: each method has one, and the first methods of both kinds have all.
FORM_OF_METHOD = [
    *product(("catlip", "clip"), FORMS),
    *((method, FORMS[i % 3]) for i, method in enumerate(methods.METHODS)),
]
CPU = init_distributed("cpu")
MB = 1_000_000
NODE = {"node_devices": 8, "node_gb_s": 100, "node_latency_us": 5}
LINK = Link(**NODE, network_gb_s=10, network_latency_us=20)


def counted_flops(factors: Factors) -> int:
    trainer, batch = build(factors, CPU), batch_of(factors, CPU)
    return count_flops(lambda: trainer.loss(batch).backward())


@pytest.mark.parametrize(
    "factors",
    [
        *(
            {"method": method, "attention": attention, "checkpointing": checkpointing}
            for method, (attention, checkpointing) in FORM_OF_METHOD
        ),
        {"model": "vit_tiny16", "resolution": 32},
        {"model": "vit_tiny16", "resolution": 64, "checkpointing": True},
        {"model": "vit_tiny16", "resolution": 64, "checkpointing": True, "patch_drop_rate": 0.3},
        {"model": "vit_b16_conv", "resolution": 32},
        {"resolution": 64, "checkpointing": True, "patch_drop_rate": 0.3},
        {"model": "cnn", "resolution": 64},
    ],
    ids=str,
)
def test_operations_are_those_that_pytorch_counts(factors) -> None:
    factors = replace(SMALL, **factors)
    assert step_flops(factors, recompute=True) == counted_flops(factors)


def test_operations_without_padding_are_of_captions_alone() -> None:
    for method in ("clip", "clip_catlip"):
        shortest = replace(SMALL, method=method, packed_captions=True, caption_tokens=2.0)
        assert step_flops(shortest, recompute=True) == counted_flops(shortest)
    # The captions of one batch differ in length; attention alone pads them, to the longest.
    mixed = replace(SMALL, method="clip", packed_captions=True, caption_tokens=8.0)
    assert step_flops(mixed, recompute=True) == pytest.approx(counted_flops(mixed), rel=0.005)
    catlip, clip = Factors("catlip"), Factors("clip", caption_tokens=14.0)
    ratio = step_flops(replace(clip, packed_captions=True), 256) / step_flops(catlip, 256)
    assert ratio == pytest.approx(1.033, abs=0.001)
    assert step_flops(clip) == step_flops(replace(clip, caption_tokens=0.0))


@pytest.mark.parametrize(
    ("layer", "forward"),
    [
        (nn.Conv2d(8, 16, 3, padding=1, groups=8), 2 * 64 * 9 * 16),
        (nn.Conv2d(8, 8, 3, padding=1, groups=2), 2 * 64 * 9 * 8 * 4),
        (nn.Conv2d(8, 8, 3, padding=1), 2 * 64 * 9 * 8 * 8),
        (nn.Conv2d(8, 8, 2, stride=2, groups=8), 2 * 16 * 4 * 8),
        (nn.ConvTranspose2d(8, 16, 2, stride=2, groups=8), 2 * 64 * 4 * 16),
    ],
)
def test_backward_of_a_grouped_convolution_takes_two_forward_passes(layer, forward) -> None:
    images = torch.zeros(1, 8, 8, 8, requires_grad=True)
    assert count_flops(lambda: layer(images)) == forward
    assert count_flops(lambda: layer(images).sum().backward()) == 3 * forward
    assert count_flops(lambda: layer(images.detach()).sum().backward()) == 2 * forward


@pytest.mark.parametrize("method", ["catlip", "clip"])
@pytest.mark.parametrize(
    ("model", "spelling"),
    [
        ("vit_tiny16", "random:timm/vit_tiny_patch16_224"),
        ("vit_small16", "random:vit_small16@32"),
        ("vit_tiny16", "FILE"),
        ("hybrid_mini", "random:hybrid_mini@32"),
    ],
)
def test_operations_of_a_users_encoder_are_those_of_its_architecture(
    model, spelling, method, tmp_path
) -> None:
    if spelling == "FILE":
        lines = "from timm import create_model\n\n\ndef build():\n    return create_model("
        lines += '"vit_tiny_patch16_224", num_classes=0, img_size=32), {"size": 32}\n'
        (tmp_path / "mine.py").write_text(lines)
        spelling = f"{tmp_path / 'mine.py'}:build"
    users = replace(SMALL, method=method, model=spelling, resolution=32)
    if (model, method) == ("hybrid_mini", "clip"):  # which has a smaller text tower than any ViT
        assert step_flops(users) > step_flops(replace(users, model=model))
    else:
        assert step_flops(users) == step_flops(replace(users, model=model))


def test_published_costs() -> None:
    published = {"vit_b16": 35.13, "vit_l16": 123.11, "vit_h16": 254.63}
    forward = {model: image_flops(Factors(model=model)) / 1e9 for model in published}
    assert forward == pytest.approx(published, abs=0.005)
    text = {model: text_flops(text_tower(model)) for model in published}
    assert text["vit_b16"] / 1e9 == pytest.approx(5.96, abs=0.005)
    assert text["vit_l16"] == text["vit_h16"] == pytest.approx(13.30e9, rel=1e-3)
    for model, ratio in (("vit_b16", 1.172), ("vit_l16", 1.109), ("vit_h16", 1.05)):
        clip = step_flops(Factors("clip", model), world_size=256)
        catlip = step_flops(Factors("catlip", model), world_size=256)
        assert clip / catlip == pytest.approx(ratio, rel=3e-3)
    assert sum(parameters(Factors("clip")).values()) == pytest.approx(149.6e6, rel=1e-3)
    assert sum(parameters(Factors("catlip")).values()) == pytest.approx(104.5e6, rel=1e-3)


@pytest.mark.parametrize(("model", "method"), ALL_AND_A_PLAIN_ONE)
def test_state_is_that_of_the_real_step(method, model) -> None:
    factors = replace(SMALL, method=method, model=model, resolution=32, tokens_in_use=500)
    before = torch.get_rng_state()
    counts, state = parameters(factors), state_bytes(factors)
    assert torch.equal(before, torch.get_rng_state())  # counting draws no random numbers
    trainer = build(factors, CPU)
    trainer.train_step(iter([batch_of(factors, CPU)]))
    objective = trainer.objective
    assert sum(counts.values()) == sum(p.numel() for p in objective.parameters())
    assert counts["image_encoder"] == sum(p.numel() for p in objective.image_encoder.parameters())
    states = trainer.optimizer.state.values()
    moments = [state[name] for state in states for name in ("exp_avg", "exp_avg_sq")]
    assert state == {
        "parameters": sum(p.nbytes for p in objective.parameters()),
        "gradients": sum(p.grad.nbytes for p in objective.parameters()),
        "optimizer": sum(moment.nbytes for moment in moments),
        "average": sum(tensor.nbytes for tensor in trainer.weights().values()),
        "buffers": sum(buffer.nbytes for buffer in objective.buffers()),
    }


# Patch dropping occurs with each form, and so does each precision.
@pytest.mark.parametrize(
    ("model", "method", "form", "precision", "patch_drop_rate"),
    [
        *(
            ("hybrid_mini", *one, ("fp32", "bf16")[i % 2], 0.0)
            for i, one in enumerate(FORM_OF_METHOD)
        ),
        *(
            (*one, FORMS[i % 3], ("bf16", "fp32")[i % 2], 0.0)
            for i, one in enumerate(ALL_AND_A_PLAIN_ONE[len(methods.METHODS) :])
        ),
        ("hybrid_mini", "catlip", FORMS[0], "fp32", 0.6),
        ("vit_tiny16", "catlip", FORMS[1], "fp32", 0.6),
        ("hybrid_mini", "clip_catlip", FORMS[2], "fp32", 0.6),
    ],
)
def test_activations_are_what_autograd_keeps(model, method, form, precision, patch_drop_rate):
    resolution = 64 if patch_drop_rate else 48
    factors = Factors(
        *(method, model, resolution, 4, precision, *form, patch_drop_rate), num_classes=2_000
    )
    kept = saved_bytes(build(factors, CPU), batch_of(factors, CPU))
    predicted = activation_bytes(factors, device_type="cpu")
    assert kept.keys() == predicted.keys()
    for part in kept:  # labels and subwords, left out, are the larger part of what is a few kB
        assert predicted[part] == pytest.approx(kept[part], rel=0.01, abs=2_000), part


@pytest.mark.parametrize(
    ("method", "name"), [("catlip", n) for n in CATLIP] + [("clip", n) for n in CLIP]
)
def test_every_recipe_fits_a_device_of_80_gb(method: str, name: str) -> None:
    recipe = (CATLIP if method == "catlip" else CLIP)[name]
    for size in (recipe.sizes()[0], recipe.sizes()[-1]):
        factors = Factors(
            *(method, recipe.encoder, size.resolution, size.batch, recipe.precision),
            attention=recipe.attention,
            checkpointing=recipe.checkpointing,
        )
        assert device_bytes(factors, 1) <= USABLE * 80 * GIB


@pytest.mark.parametrize(
    ("model", "memory_gb", "images"),
    [("vit_b16", 80, 256), ("vit_b16", 24, 128), ("vit_h16", 80, 128), ("vit_h16", 1, 1)],
)
def test_bench_takes_256_images_or_as_many_as_fit(model, memory_gb, images) -> None:
    steps = [Factors(method, model) for method in ("catlip", "clip")]
    assert images_that_fit(steps, memory_gb * GIB) == images


def test_embeddings_are_sent_as_wide_as_autocast_leaves_them() -> None:
    on_gpu, on_cpu = (step_exchanges(Factors("clip"), 256, device) for device in ("cuda", "cpu"))
    # 2 * 133.7 MB is what a 16-bit implementation sends.
    for found, back, megabytes in (
        (on_cpu, "all_to_all", 2 * 133.7),
        (on_gpu, "reduce_scatter", 4 * 133.7),
    ):
        features = [exchange for exchange in found if exchange.what == "features"]
        assert [exchange.kind for exchange in features] == ["all_gather", back]
        sent = sum(exchange.sent_bytes for exchange in features)
        assert sent == pytest.approx(1e6 * megabytes, rel=1e-3)


def test_devices_share_the_state_of_a_sharded_training_and_steps_in_turns_do_not() -> None:
    factors = Factors("catlip", "vit_tiny16", 32, 4, "fp32", num_classes=100, parallel="fsdp")
    state = state_bytes(factors)
    sharded = sum(state[part] for part in ("parameters", "optimizer", "average"))
    for devices in (1, 4):
        saved = peak_bytes(factors, devices) - device_bytes(factors, devices)
        assert saved == pytest.approx(sharded * (devices - 1) / devices)
    more = interleaved_bytes([factors] * 3) - interleaved_bytes([factors])
    assert more == 2 * sum(state.values())


@pytest.mark.parametrize(
    ("kind", "megabytes", "devices", "milliseconds"),
    [
        ("all_reduce", 8, 4, 6 * 0.025),  # messages of 2 MB: 5 us and 20 us each
        # 14 messages of 2 MB in the node (5 + 20 us) and 2 of 1 MB between nodes (20 + 100 us).
        ("all_reduce", 16, 16, 14 * 0.025 + 2 * 0.120),
        ("reduce_scatter", 16, 16, 7 * 0.025 + 0.120),
        ("all_gather", 1, 16, 7 * 0.025 + 0.120),
        ("all_to_all", 16, 16, 7 * (0.005 + 0.010) + 8 * (0.020 + 0.100)),
        ("broadcast", 1, 4, 3 * 0.005 + 0.010),
        ("broadcast", 1, 16, 14 * 0.005 + 0.020 + 0.100),
        ("neighbour_exchange", 2, 2, 2 * 0.005 + 0.020),  # there and back
        ("neighbour_exchange", 8, 5, 4 * 0.005 + 0.080),  # two rounds each way
        ("neighbour_exchange", 30, 16, 16 * 0.020 + 3.0),
    ],
)
def test_collective_by_hand(kind, megabytes, devices, milliseconds) -> None:
    exchange = Exchange("", kind, 1, payload_bytes=megabytes * MB, world_size=devices)
    assert exchange_ms(exchange, LINK) == pytest.approx(milliseconds)
