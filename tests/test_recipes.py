"""What differs from the release is told of the recipes that it concerns, and of no others."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from golden import expect

from baselines.subwords import count_subwords
from bench.downstream.probe.sweep import random_head
from bench.measuring import methods
from bench.measuring.factors import Factors
from catlip.data.shard_set import open_shards
from catlip.data.shards import expand
from catlip.encoder import ENCODERS, Architecture
from catlip.pretrain import categorical
from catlip.recipes.dense import DETECTIONS, SEGMENTATIONS
from catlip.recipes.dry_run import flops_per_image
from catlip.recipes.fidelity import differences
from catlip.recipes.pretrain import CATLIP, CLIP
from catlip.recipes.transfer import FINETUNES, MULTILABELS, PROBES
from catlip.records.record import plain

ALL = {
    "catlip": CATLIP,
    "clip": CLIP,
    "probe": PROBES,
    "finetune": FINETUNES,
    "multilabel": MULTILABELS,
    "segmentation": SEGMENTATIONS,
    "detection": DETECTIONS,
}


def test_recipes_and_their_differences_from_the_release_are_the_expected_ones() -> None:
    """Every number of every recipe; the first of a kind whole, of others what differs from it."""
    lines = []
    for method, recipes in ALL.items():
        first: dict[str, object] = {}
        for name, recipe in recipes.items():
            fields = plain(recipe) | {
                "sizes": [f"{size.resolution}x{size.batch}" for size in recipe.sizes()]
            }
            told = differences(recipe, method)
            assert bool(told) != name.startswith(("starter", "photos"))
            assert len({*told}) == len(told)
            other = {key: value for key, value in fields.items() if first.get(key, 0) != value}
            lines += [f"{method} {name}", *(f"  {key}: {other[key]}" for key in other)]
            lines += [f"  without {key}" for key in sorted(first.keys() - fields.keys())]
            lines += [f"  {line}" for line in told]
            first = first or fields
    expect(Path(__file__).parent / "recipes.txt", "\n".join([*lines, ""]))


def test_warm_up_that_is_cut_short_is_told() -> None:
    recipe = FINETUNES["imagenet_release"]
    usual = len(differences(recipe, "finetune", num_steps=5_000))
    assert len(differences(recipe, "finetune", num_steps=1_000)) == usual + 1


# --- `--initialization release` draws weights as widely as the release was seen to.


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


# --- A dry run says what a run would be and cost, by counting and not by training.


def test_dry_run_counts_steps_parameters_and_flops(succeed, starter, tmp_path) -> None:
    paths = ("--shards", starter.shards, "--out", tmp_path / "run")
    flags = "--method clip --encoder vit_tiny16 --iterations 50 --num-devices 8 --micro-batch 4"
    done = succeed("baselines.pretrain", *flags.split(), *paths, "--dry-run")
    assert not (tmp_path / "run").exists()
    lines = [line for line in done.stdout.splitlines() if re.match(r"\w[^\"]*: ", line)]
    printed = dict(line.split(": ", 1) for line in lines)
    objective = methods.build(Factors("clip", "vit_tiny16", 48, num_classes=1, seed=0))
    subwords = count_subwords(open_shards(expand(str(starter.shards))), context=77)
    objective.share_rows(subwords.rows)
    parameters = sum(p.numel() for p in objective.parameters())
    assert printed["parameters"].startswith(f"{parameters:,}")
    assert re.findall(r"\d+", printed["steps"])[:2] == ["50", "32"]
    assert printed["layout"].startswith("1 on cpu, each with 8 micro-steps")
    assert printed["model and optimizer state"].startswith(f"{4 * 5 * parameters / 2**30:.2f} GiB")
    batch = methods.synthetic_batch(Factors("catlip", "vit_tiny16", 48, 2, num_classes=1), seed=0)
    found = float(printed["FLOPs a step"].split(",")[0])
    # The plain formula of attention is counted; the kernel of a CPU or GPU computes one of five
    # products twice, 1 % here.
    assert found == pytest.approx(32 * flops_per_image(objective, batch), rel=0.02)
    assert "40%" in printed["expected time"]
