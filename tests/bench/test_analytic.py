"""The arithmetic of a step agrees with what PyTorch counts, holds and keeps on real objectives."""

import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from baselines.openclip import TwoTowers, text_tower
from bench.analytic import Analytic, main
from bench.arithmetic.activations import activation_bytes
from bench.arithmetic.exchanges import sent
from bench.arithmetic.flops import (
    image_flops,
    mean_flops_per_sample,
    recomputed_flops,
    step_flops,
    text_flops,
)
from bench.arithmetic.state import parameters, state_bytes
from bench.measuring import methods
from bench.measuring.factors import Factors
from bench.measuring.training_step import batch_of, build
from bench.memory.tensors import saved_bytes
from catlip.cli import InputError
from catlip.costs import Exchange
from catlip.dry_run import CPU_ATTENTION
from catlip.recipes.pretrain import CATLIP, CLIP
from catlip.training.distributed import find_place

SMALL = Factors("catlip", "hybrid_mini", 48, 3, "fp32", num_classes=500)
EVERY_METHOD = pytest.mark.parametrize("method", methods.METHODS)
ALL_AND_A_PLAIN_ONE = [
    *(("hybrid_mini", method) for method in methods.METHODS),
    *(("vit_tiny16", method) for method in ("catlip", "clip", "superclip")),
]
EVERY_FORM = pytest.mark.parametrize(
    ("attention", "checkpointing"), [("sdpa", False), ("naive", False), ("sdpa", True)]
)


CPU = find_place("cpu")


def counted_flops(factors: Factors) -> int:
    trainer, batch = build(factors, CPU), batch_of(factors, CPU)
    with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
        trainer.loss(batch).backward()
    return counter.get_total_flops()


@EVERY_METHOD
@EVERY_FORM
def test_operations_are_those_that_pytorch_counts(method, attention, checkpointing) -> None:
    factors = replace(SMALL, method=method, attention=attention, checkpointing=checkpointing)
    assert step_flops(factors, recompute=True) == counted_flops(factors)


@pytest.mark.parametrize(
    ("model", "resolution"),
    [("vit_tiny16", 32), ("vit_tiny16", 64), ("vit_b16_conv", 32), ("hybrid_mini", 64)],
)
@pytest.mark.parametrize(
    ("checkpointing", "patch_drop_rate"), [(False, 0.0), (True, 0.0), (True, 0.3)]
)
def test_operations_are_counted_for_every_stem_and_size(
    model, resolution, checkpointing, patch_drop_rate
) -> None:
    how = {"checkpointing": checkpointing, "patch_drop_rate": patch_drop_rate}
    factors = replace(SMALL, model=model, resolution=resolution, **how)
    assert step_flops(factors, recompute=True) == counted_flops(factors)


def test_without_what_is_computed_twice_attention_and_checkpointing_cost_the_same() -> None:
    naive = replace(SMALL, attention="naive")
    for factors in (SMALL, naive, replace(SMALL, checkpointing=True)):
        assert step_flops(factors) == counted_flops(naive)
    assert recomputed_flops(naive) == 0


def test_the_published_sketch_of_costs() -> None:
    published = {"vit_b16": 35.13, "vit_l16": 123.11, "vit_h16": 254.63}
    forward = {model: image_flops(model, 224) / 1e9 for model in published}
    assert forward == pytest.approx(published, abs=0.005)
    text = {model: text_flops(text_tower(model)) for model in ("vit_b16", "vit_l16", "vit_h16")}
    assert text["vit_b16"] / 1e9 == pytest.approx(5.96, abs=0.005)
    assert text["vit_l16"] == text["vit_h16"] == pytest.approx(13.30e9, rel=1e-3)
    for model, ratio in (("vit_b16", 1.172), ("vit_l16", 1.109), ("vit_h16", 1.05)):
        clip = step_flops(Factors("clip", model), world_size=256)
        catlip = step_flops(Factors("catlip", model), world_size=256)
        assert clip / catlip == pytest.approx(ratio, rel=3e-3)
    nonlocal_loss = step_flops(Factors("clip_nonlocal"), world_size=256)
    assert nonlocal_loss / step_flops(Factors("catlip")) == pytest.approx(1.66, rel=2e-3)


def test_the_published_samplers_make_clip_cost_more_per_image() -> None:
    sizes, of_clip = CATLIP["datacomp_b16"].sizes(), CLIP["datacomp_b16_release"].sizes()
    catlip = mean_flops_per_sample(Factors("catlip"), sizes, world_size=64)
    clip = mean_flops_per_sample(Factors("clip"), of_clip, world_size=256)
    assert clip / catlip == pytest.approx(1.457, rel=3e-3)
    size = sizes[7]
    alone = Factors("catlip", resolution=size.resolution, batch_size=size.batch)
    assert mean_flops_per_sample(Factors("catlip"), [size]) == step_flops(alone) / size.batch


@pytest.mark.parametrize(("model", "method"), ALL_AND_A_PLAIN_ONE)
def test_the_state_is_that_of_the_real_step(method, model) -> None:
    factors = replace(SMALL, method=method, model=model, resolution=32)
    trainer = build(factors, CPU)
    trainer.train_step(iter([batch_of(factors, CPU)]))
    objective, counts = trainer.objective, parameters(factors)
    assert sum(counts.values()) == sum(p.numel() for p in objective.parameters())
    assert counts["image_encoder"] == sum(p.numel() for p in objective.image_encoder.parameters())
    states = trainer.optimizer.state.values()
    moments = [state[name] for state in states for name in ("exp_avg", "exp_avg_sq")]
    assert state_bytes(factors) == {
        "parameters": sum(p.nbytes for p in objective.parameters()),
        "gradients": sum(p.grad.nbytes for p in objective.parameters()),
        "optimizer": sum(moment.nbytes for moment in moments),
        "average": sum(tensor.nbytes for tensor in trainer.weights().values()),
        "buffers": sum(buffer.nbytes for buffer in objective.buffers()),
    }


def test_parameters_are_the_published_ones() -> None:
    assert sum(parameters(Factors("clip")).values()) == pytest.approx(149.6e6, rel=1e-3)
    assert sum(parameters(Factors("catlip")).values()) == pytest.approx(104.5e6, rel=1e-3)
    before = torch.get_rng_state()
    state_bytes(Factors("siglip", "vit_small16"))
    assert torch.equal(before, torch.get_rng_state())  # counting draws no random numbers


@pytest.mark.parametrize(("model", "method"), ALL_AND_A_PLAIN_ONE)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@EVERY_FORM
def test_what_autograd_keeps_is_predicted_by_part(
    model, method, precision, attention, checkpointing
) -> None:
    factors = Factors(method, model, 48, 4, precision, attention, checkpointing, num_classes=2_000)
    assert_kept_as_predicted(factors)


@pytest.mark.parametrize("model", ["hybrid_mini", "vit_tiny16"])
@pytest.mark.parametrize("method", ["catlip", "superclip"])
@EVERY_FORM
def test_what_is_kept_of_an_image_without_most_of_its_patches_is_predicted(
    model, method, attention, checkpointing
) -> None:
    factors = Factors(method, model, 64, 4, "fp32", attention, checkpointing, num_classes=2_000)
    assert_kept_as_predicted(replace(factors, patch_drop_rate=0.6))


def assert_kept_as_predicted(factors: Factors) -> None:
    kept = saved_bytes(build(factors, CPU), batch_of(factors, CPU))
    predicted = activation_bytes(factors, device_type="cpu")
    assert kept.keys() == predicted.keys()
    for part in kept:  # labels and subwords, left out, are the larger part of what is a few kB
        assert predicted[part] == pytest.approx(kept[part], rel=0.01, abs=2_000), part


def test_a_checkpointed_naive_encoder_keeps_no_more_than_another() -> None:
    deep = replace(SMALL, model="vit_tiny16")
    kept = [
        activation_bytes(replace(deep, attention=attention, checkpointing=True))["image_encoder"]
        for attention in ("sdpa", "naive")
    ]
    assert kept[0] == kept[1] < activation_bytes(deep)["image_encoder"] / 2


def total_mb(factors: Factors, world_size: int, what: str) -> float:
    return sum(found.sent_bytes for found in sent(factors, world_size) if found.what == what) / 1e6


@pytest.mark.parametrize(
    ("method", "batch_size", "world_size", "gradients_mb"),
    [
        ("clip", 256, 256, 1192),
        ("clip", 1024, 64, 1178),
        ("catlip", 1024, 64, 823),
        ("catlip", 256, 256, 833),
    ],
)
def test_bytes_sent_for_gradients_are_the_published_ones(
    method, batch_size, world_size, gradients_mb
) -> None:
    found = total_mb(Factors(method, batch_size=batch_size), world_size, "gradients")
    assert found == pytest.approx(gradients_mb, abs=0.5)


def test_embeddings_are_sent_as_wide_as_autocast_leaves_them() -> None:
    on_gpu, on_cpu = (sent(Factors("clip"), 256, device) for device in ("cuda", "cpu"))
    narrow = sum(found.sent_bytes for found in on_cpu if found.what == "features") / 1e6
    assert narrow == pytest.approx(2 * 133.7, rel=1e-3)  # what a 16-bit implementation sends
    assert total_mb(Factors("clip"), 256, "features") == pytest.approx(2 * narrow)
    for found, back in ((on_gpu, "reduce_scatter"), (on_cpu, "all_to_all")):
        kinds = [exchange.kind for exchange in found if exchange.what == "features"]
        assert kinds == ["all_gather", back]


@pytest.mark.parametrize(
    ("kind", "sent_bytes"),
    [("all_reduce", 150), ("all_gather", 300), ("reduce_scatter", 75), ("broadcast", 75)],
)
def test_a_ring_sends(kind, sent_bytes) -> None:
    exchange = Exchange("gradients", kind, count=1, payload_bytes=100, world_size=4)
    assert exchange.sent_bytes == sent_bytes


@EVERY_METHOD
def test_one_process_sends_nothing_and_who_only_classifies_no_embeddings(method) -> None:
    assert sent(Factors(method), world_size=1) == []
    what = {found.what for found in sent(Factors(method), world_size=4)}
    assert ("features" in what) == issubclass(methods.METHODS[method], TwoTowers)
    assert ("counts" in what) == (method in ("superclass", "superclip", "catlip_softmax"))


def test_the_table_is_printed_and_recorded(succeed: Callable, tmp_path) -> None:
    options = ("--model", "hybrid_mini", "--resolution", 48, "--out", tmp_path)
    done = succeed("bench.analytic", *options)
    (path,) = tmp_path.iterdir()
    assert done.stdout.splitlines()[-1] == f"wrote {path}"
    record = json.loads(path.read_text())
    assert record["kind"] == "analytic"
    assert set(record["metrics"]["methods"]) == set(methods.METHODS)
    sent_mb = record["metrics"]["methods"]["clip"]["sent_mb"]
    assert sent_mb.pop("total") == pytest.approx(sum(sent_mb.values()))
    assert record["metrics"]["flops_ratios"]["clip/catlip"] > 1


@pytest.mark.parametrize(
    "wrong",
    [{"model": "vit_b17"}, {"methods": ("klip",)}, {"precision": "fp8"}, {"resolution": 50}],
)
def test_what_is_unknown_is_named_before_anything_is_written(tmp_path, wrong) -> None:
    with pytest.raises(InputError, match=re.escape(str(next(iter(wrong.values()))).strip("()',"))):
        main(replace(Analytic(model="hybrid_mini", out=tmp_path), **wrong))
    assert not list(tmp_path.iterdir())
