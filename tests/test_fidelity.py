"""What differs from the release is told of the recipes that it concerns, and of no others."""

from dataclasses import replace

import pytest
import torch

from catlip.encoder import build_encoder
from catlip.recipes.dense import DETECTIONS, SEGMENTATIONS
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
