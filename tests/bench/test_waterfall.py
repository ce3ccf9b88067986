"""The way from one release's configuration to the other's is whole, in both orders, and each step
changes one thing.
"""

import dataclasses
import gc
import json
import math
import shlex
from dataclasses import replace

import pytest

from bench.measuring.factors import Factors
from bench.measuring.statistics import summarise
from bench.waterfall.__main__ import Waterfall as Config
from bench.waterfall.measure import (
    Change,
    PairTimer,
    Variant,
    apply_all,
    further_changes,
    release_changes,
    released_clip,
    walk,
)
from bench.waterfall.result import Factor, Pair, Step, Waterfall, Way
from catlip.program.progress import progress
from catlip.recipes.pretrain import CATLIP, CLIP
from catlip.record import Record
from catlip.results.kind import Interval
from catlip.training.distributed import find_place
from catlip.training.trainer import Trainer

MODEL = "hybrid_mini"
TINY = shlex.split("--batch-size 1 --num-rounds 1 --num-classes 50 --device cpu --quiet")
RELEASE = release_changes(256, gpu=True)
START = released_clip(Config(MODEL, 256, 224, num_classes=50), gpu=True)


def test_the_way_begins_and_ends_at_the_released_configurations() -> None:
    end = apply_all(START, RELEASE)
    for variant, recipe, method in ((START, CLIP, "clip"), (end, CATLIP, "catlip_dense")):
        released = recipe["datacomp_b16_release"]
        step = variant.step
        assert (step.method, step.batch_size) == (method, released.micro_batch)
        for name in ("attention", "precision", "checkpointing"):
            assert getattr(step, name) == getattr(released, name)
        assert variant.sizes() == released.sizes()


@pytest.mark.parametrize(
    "changes",
    [RELEASE, RELEASE[::-1], further_changes(compile=True)],
    ids=["forward", "reverse", "further"],
)
def test_each_step_changes_one_thing(changes: list[Change]) -> None:
    start = START if changes[0] in RELEASE else apply_all(START, RELEASE)
    for change, before, after in walk(start, changes):
        steps = [dataclasses.asdict(v.step) | {"sampler": v.sampler} for v in (before, after)]
        changed = sum(steps[0][name] != steps[1][name] for name in steps[0])
        assert changed == (not change.not_run), change.factor


def test_both_orders_end_alike_and_what_cannot_run_is_left_as_it_was() -> None:
    assert apply_all(START, RELEASE) == apply_all(START, RELEASE[::-1])
    start = released_clip(Config(MODEL, 4, 224, num_classes=50), gpu=False)
    on_a_cpu = apply_all(start, release_changes(4, gpu=False))
    assert on_a_cpu.step.precision == "fp32"
    assert on_a_cpu.step.batch_size == 16


def test_the_released_sizes_are_scaled_to_another_resolution() -> None:
    small = released_clip(Config(MODEL, 32, 96, num_classes=50), gpu=False)
    sizes = [(size.resolution, size.batch) for size in small.sizes()]
    assert sizes == [(64, 72), (96, 32), (128, 18)]
    assert START.sizes() == replace(CLIP["datacomp_b16_release"], micro_batch=256).sizes()


def timed(before: float, after: float) -> Step:
    """A step of a way whose images took so many ms."""
    taken = {"ms_per_image_before": summarise([before]), "ms_per_image": summarise([after])}
    return Step(factor="factor", before="a", after="b", ratio=Interval(before / after), **taken)


def test_a_large_factor_that_its_operations_do_not_explain_is_beyond_arithmetic() -> None:
    def beyond(measured: float, flops: float) -> bool:
        ratios: dict[str, Interval | None] = {"forward": Interval(measured)}
        return Factor("factor", "a to b", ratios, flops=flops, not_run="").is_beyond_arithmetic

    assert [beyond(2.1, 1.0), beyond(2.1, 1.9), beyond(1.2, 1.0)] == [True, False, False]


def test_a_machine_that_slows_down_between_pairs_shows_as_drift() -> None:
    steady = [timed(400, 200), timed(200, 100)]
    slower = [timed(400, 200), timed(250, 125)]
    way = Way(orders={"forward": steady, "reverse": slower}, total=Pair(ratio=Interval(3.0)))
    assert way.drift("forward") == 1
    assert way.drift("reverse") == 1.25
    assert way.left_over("forward") == pytest.approx(3 / 4)


def test_both_orders_and_the_whole_way_are_timed_alike_and_no_step_stays(tmp_path) -> None:
    factors = Factors("clip", "vit_tiny16", 48, 2, "fp32", checkpointing=True, num_classes=50)
    start = Variant(factors, CATLIP["starter"])
    changes = [
        Change("checkpointing", "checkpointing", True, False),
        Change("method", "method", "clip", "catlip"),
        Change("precision", "precision", "fp32", "fp16", not_run="not here"),
    ]
    record = Record(tmp_path / "way.json", Waterfall, {})
    with progress(disable=True) as bar:
        timer = PairTimer(Config(num_rounds=2), find_place("cpu"), record, bar)
        way = timer.way("way", start, changes)
    assert not [found for found in gc.get_objects() if isinstance(found, Trainer)]
    forward, reverse = way.orders["forward"], way.orders["reverse"]
    assert [step.factor for step in forward] == [step.factor for step in reverse[::-1]]
    assert forward[2].not_run == reverse[0].not_run == "not here"
    for pair in (*forward[:2], *reverse[1:], way.total):
        assert pair.ratio.low <= pair.ratio.value <= pair.ratio.high
    for order in (forward[:2], reverse[1:]):
        assert math.prod(step.flops_ratio for step in order) == pytest.approx(way.total.flops_ratio)
    # A text tower as large as the image's, and a third of a step computed again.
    assert way.total.flops_ratio > 1.5
    assert len(record.samples) == 10
    assert all(len(samples) == 2 for samples in record.samples.values())


def test_a_run_times_every_factor_in_the_order_that_is_asked_for(succeed, tmp_path) -> None:
    options = "--model hybrid_mini --num-sizes 1 --orders reverse"
    done = succeed("bench.waterfall", *TINY, *shlex.split(options), "--out", tmp_path)
    (path,) = tmp_path.iterdir()
    assert f"wrote {path}" in done.stdout
    metrics = json.loads(path.read_text())["metrics"]
    measured = Waterfall.read(metrics)
    assert measured.metrics() == metrics
    for way in (measured.release, measured.further):
        assert list(way.orders) == ["reverse"]
        steps = way.orders["reverse"]
        assert all((step.ratio is None) != (step.not_run is None) for step in steps)
        product = math.prod(step.flops_ratio or 1.0 for step in steps)
        assert product == pytest.approx(way.total.flops_ratio)
    not_run = {step.factor for step in measured.release.orders["reverse"] if step.not_run}
    assert not_run == {"precision", "crop"}
