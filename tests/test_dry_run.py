"""A dry run says what a run would be and cost, by counting and not by training."""

import re

import pytest

from baselines.subwords import count_subwords
from bench.measuring import methods
from bench.measuring.factors import Factors
from catlip.data.shard_set import open_shards
from catlip.data.shards import expand
from catlip.recipes.dry_run import flops_per_image


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
