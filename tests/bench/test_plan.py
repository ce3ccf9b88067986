"""Plans keep the batch; those from a measured rate by hand; the program as it is run."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.arithmetic.devices import A100_NODES
from bench.arithmetic.exchanges import step_exchanges
from bench.arithmetic.flops import step_flops
from bench.arithmetic.memory import device_bytes
from bench.measuring.factors import Factors
from bench.plan.config import Plan
from bench.plan.planning import (
    RATES_DIFFER,
    Machine,
    exposed_ms,
    machines,
    plan_run,
    plan_runs,
    step_bytes,
)
from bench.plan.result import PLANNED, PlannedRun
from bench.plan.result import Plan as PlanKind
from catlip.costs import Exchange
from catlip.recipes.pretrain import CATLIP
from catlip.records.kind import Interval
from catlip.records.record import read_record
from catlip.records.run import read_run
from catlip.records.table import NOTE, TIMES

RECORDS = Path(__file__).parents[2] / "reports/records/starter"
STEP_TIME = (
    RECORDS
    / "step_time/vit_b16-b4-fp32-catlip_clip_bag_clip_siglip_superclass-torch2.15.0-cpu.json"
)
TWO = ("catlip", "clip")
MB = 1_000_000


def planned(method: str, devices: int, **options: Any) -> PlannedRun:
    """The plan of one method on A100s."""
    config = Plan(gpu=("a100",), methods=(method,), **options)
    (machine,) = machines(config)
    return plan_run(config, machine, method, devices)


@pytest.mark.parametrize(
    ("devices", "images", "layout"),  # micro-batches, and images in each
    [(64, 256, (4, 256)), (64, 2048, (1, 1024)), (256, 256, (1, 256)), (100_000, 256, (1, 1))],
)
def test_device_takes_its_part_of_the_global_batch(devices, images, layout) -> None:
    run = planned("clip", devices, batch_size=images)
    assert (run.accumulation, run.micro_batch) == layout
    assert run.global_batch == devices * run.accumulation * run.micro_batch


@pytest.mark.parametrize(("method", "times"), [("catlip", 1.0), ("clip", 4 / 3)])
def test_contrastive_method_embeds_once_more_in_micro_batches(method, times) -> None:
    at_once = planned(method, 8, global_batch=4096, batch_size=512)
    in_four = planned(method, 8, global_batch=4096, batch_size=128)
    assert in_four.global_batch == at_once.global_batch
    assert in_four.step_ms == pytest.approx(times * at_once.step_ms, rel=0.02)
    assert in_four.memory_gib < at_once.memory_gib


def test_contrastive_method_compares_the_whole_step_in_micro_batches() -> None:
    part = Factors("clip", batch_size=128)
    similarities = 4 * 512 * (8 * 512)
    assert step_bytes(part, 8, accumulation=4) - device_bytes(part, 8) > 0.7 * similarities


def test_checkpointing_costs_a_forward_pass_of_the_image_blocks() -> None:
    without, run = planned("catlip", 256), planned("catlip", 256, checkpointing=True)
    assert run.checkpointing
    assert 1.2 < run.step_ms / without.step_ms < 4 / 3
    assert run.memory_gib < 0.6 * without.memory_gib


@pytest.mark.parametrize("name", ["datacomp_l16", "datacomp_h16"])
def test_recipe_of_a_large_encoder_fits_an_a100_and_is_what_is_planned(name) -> None:
    recipe = CATLIP[name]
    run = planned("catlip", 64, models=(recipe.encoder,), batch_size=recipe.micro_batch)
    assert (run.accumulation, run.checkpointing) == (recipe.accumulation(64), recipe.checkpointing)
    assert run.global_batch == recipe.micro_batch * recipe.num_devices == 65_536
    assert run.memory_gib < 50
    assert run.device_hours.value == pytest.approx(64 * run.step_ms / 3.6e6 * 13.1e9 / 65_536)


@pytest.mark.parametrize(
    ("covering_ms", "expected"), [(0.0, 0.6), (0.2, 0.15 + 0.45 - 0.2), (1.0, 0.15)]
)
def test_gradients_are_exposed_where_computing_does_not_cover_them(covering_ms, expected) -> None:
    link = replace(A100_NODES, node_gb_s=100)  # 0.15 ms a bucket
    gradients = Exchange("gradients", "all_reduce", count=4, payload_bytes=32 * MB, world_size=4)
    assert exposed_ms(gradients, covering_ms, link) == pytest.approx(expected)


def test_gradients_hide_behind_the_last_micro_batch_alone(monkeypatch) -> None:
    monkeypatch.setattr(Machine, "link", replace(A100_NODES, node_gb_s=1))
    (gradients,) = (e for e in step_exchanges(Factors(), 8) if e.what == "gradients")
    waited = {}
    for parts in (1, 4):
        run = planned("catlip", 8, global_batch=8 * 256, batch_size=256 // parts)
        backward_ms = 2 / 3 * (run.step_ms - run.exposed_ms) / parts
        waited[parts] = exposed_ms(gradients, backward_ms, Machine.link)
        assert run.exposed_ms == pytest.approx(waited[parts], rel=0.01)  # buffers are small
    assert waited[4] > 1.2 * waited[1] > 0


def test_measured_rate_gives_its_own_step_and_the_records_interval() -> None:
    config = Plan(*(("vit_b16",), TWO), gpus=(1,), global_batch=4, images=4e6, step_time=STEP_TIME)
    (machine,) = machines(config)
    catlip, clip = plan_runs(config, machine, 1)
    recorded = json.loads(STEP_TIME.read_text())["metrics"]
    ms, hours = recorded["methods"]["clip"]["total_ms"], clip.device_hours
    assert clip.step_ms == pytest.approx(ms["median"])
    expected = [1e6 * ms[name] / 3.6e6 for name in ("median", "p5", "p95")]
    assert [hours.value, hours.low, hours.high] == pytest.approx(expected)
    ratio, found = recorded["ratios"]["clip/catlip"], clip.ratio
    scale = clip.step_ms / catlip.step_ms / ratio["value"]
    assert (found.low, found.high) == pytest.approx((scale * ratio["low"], scale * ratio["high"]))
    assert catlip.ratio == Interval(1.0)


def test_what_does_not_fit_is_said() -> None:
    runs = [planned("catlip", 8), planned("catlip", 8, batch_size=2048)]
    plan = PlanKind(images=1, runs=runs)
    rows = PLANNED.fill([SimpleNamespace(metrics=plan, path="")]).rows
    assert [bool(row[NOTE]) for row in rows] == [False, True]


def test_assumed_rate_has_the_range_that_was_assumed() -> None:
    config = Plan(methods=TWO, gpus=(1,), global_batch=64, mfu=(0.2, 0.4))
    (machine,) = machines(config)
    catlip, clip = plan_runs(config, machine, 1)
    factors = Factors("catlip", batch_size=64)
    most = step_flops(factors) / 64 * config.images / (0.2 * 989e12) / 3600
    assert catlip.device_hours.high == pytest.approx(most)
    assert catlip.device_hours.low == pytest.approx(most / 2)
    assert catlip.device_hours.value == pytest.approx(most / 2**0.5)
    assert clip.ratio.high == pytest.approx(RATES_DIFFER * clip.ratio.value)
    assert (clip.sent_mb, clip.exposed_ms) == (0, 0)


def test_waiting_takes_as_long_at_any_rate() -> None:
    run = planned("clip", 64)
    hours, share = run.device_hours, run.exposed_ms / run.step_ms
    low, middle, high = (h - share * hours.value for h in (hours.low, hours.value, hours.high))
    assert share > 0
    assert high / middle == pytest.approx(middle / low)


def test_step_devices_and_run_are_printed_and_recorded(succeed, tmp_path) -> None:
    options = ("--methods", *TWO, "--gpu", "a100", "--gpus", 8, 64, "--price", 2.5)
    done = succeed("bench.plan", *options, "--out", tmp_path)
    records = [json.loads(path.read_text()) for path in tmp_path.iterdir()]
    metrics = {record["kind"]: record["metrics"] for record in records}
    assert metrics.keys() == {"analytic", "plan"}
    assert [line for line in done.stdout.splitlines() if line.startswith("wrote")] == [
        f"wrote {tmp_path}/{name}.json"
        for name in ("step-vit_b16-b256x256-bf16", "vit_b16-a100-8_64")
    ]
    step, plan = metrics["analytic"], metrics["plan"]
    sent_mb = step["methods"]["clip"]["sent_mb"]
    assert sent_mb.pop("total") == pytest.approx(sum(sent_mb.values()))
    assert step["flops_ratios"]["clip/catlip"] == pytest.approx(1.172, abs=2e-3)
    assert f"1.173{TIMES}" in done.stdout
    assert [(run["method"], run["devices"]) for run in plan["runs"]] == [
        (method, devices) for devices in (8, 64) for method in TWO
    ]
    (run,) = (read_run(read_record(path), PlanKind) for path in tmp_path.glob("vit_b16-a100*"))
    prices = [row["price"].value for row in PLANNED.fill([run]).rows]
    assert prices == [2.5 * planned["device_hours"]["value"] for planned in plan["runs"]]
