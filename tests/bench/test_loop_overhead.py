"""The bench times both sides of the same step and writes every sample down."""

import copy
import json
import shlex

import pytest
import torch

from bench.loop_overhead import NUM_CLASSES, LoopOverhead, bare_step
from bench.measuring import methods
from catlip.cli import InputError
from catlip.training.distributed import Place
from catlip.training.schedule import WARMUP_FROM, Optimization
from catlip.training.trainer import Trainer


def test_a_run_writes_every_sample_and_a_ratio_with_its_interval(succeed, tmp_path) -> None:
    tiny = "--models hybrid_mini --resolution 32 --batch-size 4 --num-steps 4 --device cpu --quiet"
    done = succeed("bench.loop_overhead", *shlex.split(tiny), "--out", tmp_path)
    (path,) = tmp_path.iterdir()
    record = json.loads(path.read_text())
    assert record["kind"] == "loop_overhead"
    counts = {name: len(values) for name, values in record["samples"].items()}
    assert counts == {"loop_ms": 4, "bare_ms": 4, "log_line_ms": 4}
    found = record["metrics"]["step_ratio"]
    assert found["low"] <= found["value"] <= found["high"]
    assert f"{found['value']:.3f}" in done.stdout


def test_both_sides_do_the_same_work() -> None:
    """At the rate that the loop's first step has, they come to the same weights."""
    recipe = Optimization(precision="fp32", max_lr=WARMUP_FROM, min_lr=WARMUP_FROM, ema_decay=0.5)
    place = Place(0, 1, torch.device("cpu"))
    batch = methods.synthetic_batch(4, "hybrid_mini", 32, num_classes=NUM_CLASSES, seed=0)
    one = methods.build("catlip", "hybrid_mini", 32, num_classes=NUM_CLASSES, seed=0)
    other = copy.deepcopy(one)
    trainer, step = Trainer(one, recipe, 100, place=place), bare_step(other, batch, recipe)
    for _ in range(2):
        trainer.train_step(iter([batch]))
        step()
    for ours, theirs in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"precision": "fp16"}, "fp16.*fp32"), ({"models": ("vit_huge",)}, "vit_huge")],
)
def test_what_the_bare_step_lacks_is_refused(wrong, named) -> None:
    with pytest.raises(InputError, match=named):
        LoopOverhead(**wrong)
