"""The way from one release's configuration to the other's is whole, in both orders, and each step
changes one thing.
"""

import gc
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from types import SimpleNamespace

import pytest

from bench.measuring.factors import Factors
from bench.waterfall import measure
from bench.waterfall.config import Waterfall as Config
from bench.waterfall.measure import (
    Change,
    PairTimer,
    Variant,
    apply_all,
    release_changes,
    released_clip,
    released_flops_ratio,
    time_in_turns,
)
from bench.waterfall.result import Pair, Waterfall, waterfall_rows
from catlip.data.loader import Batch
from catlip.program.progress import progress
from catlip.recipes.pretrain import CATLIP, CLIP
from catlip.records.kind import Interval
from catlip.records.record import Record
from catlip.training import stopwatch
from catlip.training.distributed import Rank, init_distributed
from catlip.training.trainer import Trainer

MODEL = "hybrid_mini"
RELEASE = release_changes(256, gpu=True)
START = released_clip(Config(MODEL, 256, 224, num_classes=50), gpu=True)


def test_way_begins_and_ends_at_the_released_configurations() -> None:
    end = apply_all(START, RELEASE)
    assert end == apply_all(START, RELEASE[::-1])
    for variant, recipe, method in ((START, CLIP, "clip"), (end, CATLIP, "catlip_dense")):
        released = recipe["datacomp_b16_release"]
        assert (variant.method, variant.batch_size) == (method, released.micro_batch)
        assert variant.range_augment
        for name in ("attention", "precision", "checkpointing"):
            assert getattr(variant, name) == getattr(released, name)
        assert variant.sizes() == released.sizes()


@pytest.mark.parametrize("changes", [RELEASE, RELEASE[::-1]])
def test_each_step_changes_one_thing(changes: list[Change]) -> None:
    before = START
    for change in changes:
        after = change(before)
        steps = [vars(variant) for variant in (before, after)]
        changed = sum(steps[0][name] != steps[1][name] for name in steps[0])
        assert changed == (not change.not_run), change.factor
        before = after


def test_precision_stays_on_a_cpu() -> None:
    config = Config(MODEL, 32, 96, num_classes=50)
    small = released_clip(config, gpu=False)
    assert apply_all(small, release_changes(32, gpu=False)).precision == "fp32"
    sizes = [(size.resolution, size.batch) for size in small.sizes()]
    assert sizes == [(64, 72), (96, 32), (128, 18)]
    assert released_flops_ratio(replace(config, num_classes=24_320)) == pytest.approx(
        1.405, abs=5e-4
    )


def test_orders_and_the_whole_way_are_timed_alike(tmp_path, vit_mini16, monkeypatch) -> None:
    monkeypatch.setitem(measure.SAMPLERS, "starter", CATLIP["starter"])
    options = {"checkpointing": True, "num_classes": 50, "range_augment": True}
    start = Variant("clip", vit_mini16, 48, 2, "fp32", **options, sampler="starter")
    changes = [
        Change("RangeAugment", "range_augment", True, False),
        Change("checkpointing", "checkpointing", True, False),
        Change("method", "method", "clip", "catlip"),
        Change("precision", "precision", "fp32", "fp16", not_run="not here"),
    ]
    record = Record(tmp_path / "way.json", Waterfall, {})
    with progress(disable=True) as bar:
        timer = PairTimer(Config(num_rounds=2), init_distributed("cpu"), record, bar)
        way = timer.time_series(start, changes)
    assert not [found for found in gc.get_objects() if isinstance(found, Trainer)]
    forward, reverse = way.orders["forward"], way.orders["reverse"]
    assert [step.factor for step in forward] == [step.factor for step in reverse[::-1]]
    assert forward[3].not_run == reverse[0].not_run == "not here"
    for order in (forward[:3], reverse[1:]):
        assert math.prod(step.flops_ratio for step in order) == pytest.approx(way.total.flops_ratio)
    # A text tower as large as the image's, and a third of a step computed again.
    assert way.total.flops_ratio > 1.5
    assert len(record.samples) == 14
    assert all(len(samples) == 2 for samples in record.samples.values())

    whole = {"world_size": 1, "published_ratio": 2.7, "released_flops_ratio": 1.4}
    measured = Waterfall(**whole, release=way)
    written = json.loads(json.dumps(measured.as_dict()))
    assert written["release"]["orders"]["forward"][2]["before"] == "clip"
    assert Waterfall.read(written) == measured
    with record:
        run = record.finish(measured)
    assert not [*measured.faults(run)]  # each ratio is its samples'
    rows = {row["factor"]: row for row in waterfall_rows([run])}
    row = rows["RangeAugment"]
    assert (row["change"], row["flops"]) == ("on to off", 1)
    assert row["forward"].value == forward[0].ratio.value
    assert row["reverse"].value == reverse[-1].ratio.value


def test_pair_that_waits_for_the_host_is_said() -> None:
    pairs = [Pair(ratio=Interval(1.5), busy_before=0.95, busy=busy) for busy in (0.55, 0.9, None)]
    pairs.append(Pair(ratio=Interval(1.5), busy_before=0.7, busy=0.95))
    assert [pair.launch_bound for pair in pairs] == ["55 %", "", "", "70 %"]


def test_sides_take_turns_to_go_first_and_their_times_are_of_an_image(monkeypatch) -> None:
    """On a clock that the steps move: 2 ms an image on one side, 3 on the other."""
    now_s, order = 0.0, list[str]()

    class Side:
        def __init__(self, step: Factors, rank: Rank):
            self.method, self.ms = step.method, 2 if step.method == "clip" else 3

        def train_step(self, batches: Iterator[Batch]) -> None:
            nonlocal now_s
            order.append(self.method)
            now_s += self.ms * len(next(batches)) / 1e3

    clock = SimpleNamespace(perf_counter=lambda: now_s)
    monkeypatch.setattr(stopwatch, "time", clock)
    monkeypatch.setattr(measure, "build", Side)
    of_three = replace(CLIP["starter"], min_resolution=32, max_resolution=64, num_scales=3)
    monkeypatch.setattr(measure, "SAMPLERS", {"several": of_three, "one": CATLIP["starter"]})
    several = Variant("clip", MODEL, 48, 4, "fp32", num_classes=50, sampler="several")
    one = replace(several, method="catlip", batch_size=8, sampler="one")
    assert len(several.sizes()) > 1
    taken, _ = time_in_turns((several, one), 4, init_distributed("cpu"))
    assert taken == [pytest.approx([2] * 4), pytest.approx([3] * 4)]
    rounds = [method for method, _ in groupby(order[2:])]  # the first two warm up
    assert rounds == ["catlip", "clip", "catlip", "clip", "catlip"]
    assert order[2:].count("clip") == 4 * len(several.sizes())
