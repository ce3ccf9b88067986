"""What differs from the release is told of the recipes that it concerns, and of no others."""

import re
from dataclasses import replace

import pytest
import torch

from baselines.subwords import count_subwords
from bench.downstream.probe.fit import random_head
from bench.measuring import methods
from bench.measuring.factors import Factors
from catlip.data.shard_set import open_shards
from catlip.data.shards import expand
from catlip.encoder import ENCODERS, Architecture, build_encoder
from catlip.pretrain import categorical
from catlip.recipes.dense import DETECTIONS, SEGMENTATIONS
from catlip.recipes.dry_run import flops_per_image
from catlip.recipes.fidelity import differences
from catlip.recipes.pretrain import CATLIP, CLIP
from catlip.recipes.transfer import FINETUNES, MULTILABELS, PROBES

ALL = {
    "catlip": CATLIP,
    "clip": CLIP,
    "probe": PROBES,
    "finetune": FINETUNES,
    "multilabel": MULTILABELS,
    "segmentation": SEGMENTATIONS,
    "detection": DETECTIONS,
}
EACH = [(method, name) for method, recipes in ALL.items() for name in recipes]


@pytest.mark.parametrize(("method", "name"), EACH)
def test_only_this_projects_own_recipes_have_nothing_to_tell(method, name) -> None:
    found = differences(ALL[method][name], method)
    assert bool(found) != name.startswith(("starter", "photos"))
    assert len(set(found)) == len(found)


def test_only_the_releases_class_token_has_no_position() -> None:
    for name, expected in (("datacomp_b16", True), ("datacomp_b16_release", False)):
        with torch.device("meta"):
            encoder = build_encoder(CATLIP[name].encoder, 32)
        has_one = encoder.pos_embed.shape[1] > encoder.patch_embed.num_patches
        words = " ".join(differences(CATLIP[name], "catlip"))
        assert has_one == expected == ("class token" in words)


def test_warm_up_that_is_cut_short_is_told() -> None:
    recipe = FINETUNES["imagenet_release"]
    usual = len(differences(recipe, "finetune", num_steps=5_000))
    assert len(differences(recipe, "finetune", num_steps=1_000)) == usual + 1


@pytest.mark.parametrize(
    ("method", "size", "max_lr", "micro_batch", "num_devices"),
    [  # as the release configures them
        ("catlip", "b16", 1e-3, 1024, 64),
        ("catlip", "l16", 6e-4, 512, 128),
        ("catlip", "h16", 4e-4, 256, 256),
        ("clip", "b16", 1e-3, 256, 256),
        ("clip", "h16", 5e-4, 256, 512),
    ],
)
def test_released_pre_training(method, size, max_lr, micro_batch, num_devices) -> None:
    recipe = ALL[method][f"datacomp_{size}_release"]
    assert recipe == replace(recipe, encoder=f"vit_{size}_conv", max_lr=max_lr)
    assert recipe == replace(recipe, micro_batch=micro_batch, num_devices=num_devices)
    assert recipe == replace(recipe, checkpointing=True, source="release")


@pytest.mark.parametrize(
    "name", ["imagenet_b16_release", "imagenet_release", "places365_release", "release_512"]
)
def test_released_fine_tuning(name) -> None:
    recipe = FINETUNES[name]
    assert recipe.micro_batch * recipe.num_devices == 512
    assert recipe == replace(recipe, epochs=10, max_lr=3e-5, min_lr=3e-6, warmup_iterations=500)
    assert recipe == replace(recipe, weight_decay=0.05, label_smoothing=0.1)
    assert recipe.test_resize == (512 if name == "release_512" else 232)
    assert recipe == replace(recipe, ema_decay=0.9995, ema_rising=False, grad_clip=1.0)
    assert recipe == replace(recipe, per_epoch=True, initialization="release", precision="bf16")
    assert len(recipe.sizes()) == (9 if name == "release_512" else 7)


@pytest.mark.parametrize(("method", "name"), [each for each in EACH if "starter" in each[1]])
def test_starter_recipes_are_in_full_precision(method, name) -> None:
    assert ALL[method][name].precision == "fp32"


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


def test_recipes_of_the_release_start_as_it_does_and_the_papers_do_not() -> None:
    for name, recipe in CATLIP.items():
        assert recipe.initialization == ("release" if name.endswith("_release") else "own")


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
