"""Layouts fit and keep the batch; plans from a measured rate by hand; the program as it is run."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.arithmetic.devices import A100_NODES
from bench.arithmetic.exchanges import step_exchanges
from bench.arithmetic.flops import step_flops
from bench.arithmetic.memory import USABLE, device_bytes
from bench.measuring.factors import Factors
from bench.plan.config import Plan
from bench.plan.layouts import RATES_DIFFER, Rate, exposed_ms, lay_out, layouts
from bench.plan.planning import machines, plan_runs
from bench.plan.result import PLANNED
from bench.plan.result import Plan as PlanKind
from catlip.cli import InputError
from catlip.costs import GIB, Exchange
from catlip.records.kind import Interval
from catlip.records.record import read_record
from catlip.records.run import read_run
from catlip.records.table import TIMES

RECORDS = Path(__file__).parents[2] / "reports/records/starter"
STEP_TIME = (
    RECORDS
    / "step_time/vit_b16-b4-fp32-catlip_clip_bag_clip_siglip_superclass-torch2.15.0-cpu.json"
)
MEMORY = RECORDS / "memory/vit_tiny16-b4-fp32-torch2.15.0-cpu.json"
TWO = ("catlip", "clip")
MB = 1_000_000


def rate(method: str = "catlip", **factors: Any) -> Rate:
    return Rate(Factors(method, **factors), flops_per_ms=124.8e9, source="assumed")


@given(
    method=st.sampled_from(["catlip", "clip", "siglip", "superclass"]),
    devices=st.integers(0, 8).map(lambda power: 2**power),
    memory_gb=st.integers(8, 141),
)
@settings(max_examples=25, deadline=None)
def test_layout_fits_and_keeps_the_global_batch(method, devices, memory_gb) -> None:
    for layout in layouts(
        rate(method), devices, 65_536, link=A100_NODES, memory_bytes=memory_gb * GIB
    ):
        peak = layout.peak_bytes
        assert device_bytes(layout.factors, devices) <= peak <= USABLE * memory_gb * GIB
        assert layout.global_batch == 65_536


@pytest.mark.parametrize(
    ("method", "memory_gb", "shapes"),  # checkpointing, micro-batches
    [
        ("clip", 141, [(False, 1)]),
        ("clip", 80, [(False, 2), (True, 1)]),  # embeds twice, or computes activations again
        ("clip", 12, [(False, 16), (True, 4)]),
        ("catlip", 12, [(False, 8)]),  # pays nothing for micro-batches
        ("clip", 0.3, []),
    ],
)
def test_checkpointing_is_priced_where_micro_batches_embed_twice(method, memory_gb, shapes) -> None:
    found = layouts(rate(method), 64, 65_536, link=A100_NODES, memory_bytes=memory_gb * GIB)
    assert [(one.factors.checkpointing, one.accumulation) for one in found] == shapes


def test_contrastive_method_embeds_once_more_in_micro_batches() -> None:
    for method, times in (("catlip", 1.0), ("clip", 4 / 3)):
        of_one = rate(method)
        whole = replace(of_one.factors, batch_size=512)
        part = replace(of_one.factors, batch_size=128)
        at_once = lay_out(of_one, whole, 8, link=A100_NODES)
        in_four = lay_out(of_one, part, 8, accumulation=4, link=A100_NODES)
        assert in_four.global_batch == at_once.global_batch
        assert in_four.compute_ms == pytest.approx(times * at_once.compute_ms, rel=0.02)
        assert in_four.peak_bytes < at_once.peak_bytes
    # It compares the whole step with the captions of all devices.
    similarities = 4 * 512 * (8 * 512)
    assert in_four.peak_bytes - device_bytes(part, 8) > 0.7 * similarities


def test_gradients_are_exposed_where_the_backward_pass_does_not_cover_them() -> None:
    link = replace(A100_NODES, node_gb_s=100)  # 0.15 ms a bucket, and 0.15 ms for the features
    gradients = Exchange("gradients", "all_reduce", count=4, payload_bytes=32 * MB, world_size=4)
    gather = Exchange("features", "all_gather", count=2, payload_bytes=4 * MB, world_size=4)
    assert exposed_ms([gradients], backward_ms=1.0, link=link) == pytest.approx(0.15)
    assert exposed_ms([gradients], backward_ms=0.2, link=link) == pytest.approx(0.15 + 0.45 - 0.2)
    assert exposed_ms([gradients, gather], backward_ms=1.0, link=link) == pytest.approx(0.30)


def test_gradients_hide_behind_the_last_micro_batch_alone() -> None:
    of_one, link = rate(), replace(A100_NODES, node_gb_s=5)
    whole = replace(of_one.factors, batch_size=256)
    exposed = {}
    for parts in (1, 4):
        factors = replace(whole, batch_size=256 // parts)
        found = lay_out(of_one, factors, 8, accumulation=parts, link=link)
        backward_ms = 2 / 3 * found.compute_ms / parts
        expected = exposed_ms(step_exchanges(whole, 8), backward_ms, link)
        exposed[parts] = found.exposed_ms
        assert found.exposed_ms == pytest.approx(expected)
    assert exposed[4] > 1.2 * exposed[1] > 0


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


def test_hours_are_of_all_devices_and_all_images() -> None:
    config = Plan(methods=TWO, gpus=(8,), global_batch=2048, images=1e6)
    (machine,) = machines(config)
    for run in plan_runs(config, machine, 8):
        assert (run.devices, run.global_batch, run.accumulation * run.micro_batch) == (8, 2048, 256)
        hours = run.step_ms / 3.6e6 * 1e6 / 2048
        assert run.device_hours.value == pytest.approx(8 * hours)
        assert run.sent_mb > 0


def test_slice_of_a_gpu_has_the_memory_that_was_measured(tmp_path) -> None:
    record = json.loads(STEP_TIME.read_text())
    card = {"device": "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "device_memory_gib": 9.5}
    (tmp_path / "slice.json").write_text(json.dumps(record | {"environment": card}))
    (machine,) = machines(Plan(step_time=tmp_path / "slice.json"))
    assert machine.memory_bytes == 9.5 * GIB


def test_assumed_rate_has_the_range_that_was_assumed() -> None:
    config = Plan(methods=TWO, gpus=(1,), global_batch=64, mfu=(0.2, 0.4))
    (machine,) = machines(config)
    catlip, clip = plan_runs(config, machine, 1)
    factors = Factors("catlip", batch_size=64)
    most = step_flops(factors) / 64 * config.images / (0.2 * 989e12) / 3600
    assert catlip.device_hours.high == pytest.approx(most)
    assert catlip.device_hours.low == pytest.approx(most / 2)
    assert clip.ratio.high == pytest.approx(RATES_DIFFER * clip.ratio.value)
    assert (clip.sent_mb, clip.exposed_ms) == (0, 0)


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
        (method, devices) for devices in (8, 64) for method in ("catlip", "clip", "clip")
    ]
    (run,) = (read_run(read_record(path), PlanKind) for path in tmp_path.glob("vit_b16-a100*"))
    rows = PLANNED.fill([run]).rows
    assert [row["hours"].value for row in rows] == [
        one["device_hours"]["value"] for one in plan["runs"]
    ]
    assert [row["price"].value for row in rows] == [2.5 * row["hours"].value for row in rows]


@pytest.mark.parametrize(
    "wrong",
    [
        {"gpu": ("Voodoo2",)},
        {"mfu": (0.5, 0.3)},
        {"mfu": (0.0, 0.3)},
        {"gpu": ("T4",)},  # no bf16
        {"step_time": MEMORY},
        {"step_time": STEP_TIME, "methods": ("batch_nouns",)},
        {"models": ("vit_b17",)},
        {"methods": ("klip",)},
        {"precision": "fp8"},
    ],
)
def test_what_cannot_be_planned_is_refused(wrong) -> None:
    with pytest.raises(InputError):
        list(machines(Plan(**wrong)))
