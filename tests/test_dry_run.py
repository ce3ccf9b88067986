"""A dry run says what a run would be and cost, by counting and not by training."""

import re

import pytest

from baselines.methods import BASELINES
from baselines.openclip import text_tower
from bench.measuring import methods
from catlip.dry_run import flops_per_image
from catlip.encoder import build_encoder


@pytest.fixture(scope="module")
def said(succeed, starter, tmp_path_factory) -> dict[str, str]:
    """What a dry run of CLIP prints, by the words before the colon."""
    out = tmp_path_factory.mktemp("dry") / "run"
    paths = ("--shards", starter.shards, "--out", out)
    flags = "--method clip --encoder vit_tiny16 --iterations 50 --num-devices 8 --micro-batch 4"
    done = succeed("baselines.pretrain", *flags.split(), *paths, "--dry-run")
    assert not out.exists()
    return dict(
        line.split(": ", 1) for line in done.stdout.splitlines() if re.match(r"\w[^\"]*: ", line)
    )


def test_it_counts_steps_images_and_parameters(said) -> None:
    objective = BASELINES["clip"](build_encoder("vit_tiny16", 48), text_tower("vit_tiny16"))
    parameters = sum(p.numel() for p in objective.parameters())
    assert said["parameters"].startswith(f"{parameters:,}")
    assert re.findall(r"\d+", said["steps"])[:2] == ["50", "32"]
    assert said["layout"].startswith("1 on cpu, each with 8 micro-steps")
    assert said["model and optimizer state"].startswith(f"{4 * 5 * parameters / 2**30:.2f} GiB")


def test_its_flops_are_those_of_the_whole_step(said) -> None:
    objective = methods.build("clip", "vit_tiny16", 48, num_classes=1, seed=0)
    each = flops_per_image(
        objective, methods.synthetic_batch(2, "vit_tiny16", 48, num_classes=1, seed=0)
    )
    found = float(said["FLOPs a step"].split(",")[0])
    # By the plain formula of attention; the kernel of a CPU or GPU computes one product of five
    # twice, 1 % here.
    assert found == pytest.approx(32 * each, rel=0.02)
    assert "40%" in said["expected time"]
