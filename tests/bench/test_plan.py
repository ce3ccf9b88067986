"""Layouts that fit and keep the batch, plans from a measured rate by hand, and trainings they are
held against.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.arithmetic.exchanges import sent
from bench.arithmetic.fitting import USABLE, device_bytes
from bench.arithmetic.flops import recomputed_flops, step_flops
from bench.arithmetic.layouts import best_layout, computing_ms, laid_out
from bench.arithmetic.link import PRESETS
from bench.arithmetic.scaling import BACKWARD_SHARE, Compute, exposed_ms
from bench.measuring.training_step import Factors
from bench.plan.config import Plan
from bench.plan.rates import RATES_DIFFER, fastest_record, machines
from bench.plan.runs import check, planned
from catlip.cli import InputError
from catlip.costs import GIB
from catlip.results.kind import Interval

LINK = PRESETS["a100_8x_nvlink_200gbit"]
RECORDS = Path(__file__).parents[2] / "reports/records/starter"
STEP_TIME = RECORDS / "step_time/vit_b16-b4-fp32-torch2.15.0-cpu.json"
TWO = ("catlip", "clip")


def compute(method: str = "catlip", **factors: Any) -> Compute:
    return Compute(Factors(method, **factors), flops_per_ms=124.8e9, source="assumed")


def written(folder: Path, name: str, path: Path = STEP_TIME, **changes: Any) -> Path:
    """A committed record with other values, by `part.field`."""
    record = json.loads(path.read_text())
    for dotted, value in changes.items():
        *parts, last = dotted.split("__")
        at = record
        for part in parts:
            at = at[part]
        at[last] = value
    out = folder / "step_time" / f"{name}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(record))
    return out


@given(
    method=st.sampled_from(["catlip", "clip", "siglip", "superclass"]),
    devices=st.integers(0, 8).map(lambda power: 2**power),
    memory_gb=st.integers(8, 141),
)
@settings(max_examples=25, deadline=None)
def test_a_layout_fits_and_keeps_the_global_batch(method, devices, memory_gb) -> None:
    laid = best_layout(compute(method), devices, 65_536, link=LINK, memory_bytes=memory_gb * GIB)
    if laid is not None:
        assert device_bytes(laid.factors, devices) <= laid.peak_bytes <= USABLE * memory_gb * GIB
        assert laid.global_batch == 65_536
        share = laid.factors.batch_size * laid.accumulation
        assert share * devices == 65_536


def test_with_less_memory_a_contrastive_method_checkpoints_then_takes_micro_batches() -> None:
    def laid(memory_gb: float):
        return best_layout(compute("clip"), 64, 65_536, link=LINK, memory_bytes=memory_gb * GIB)

    roomy, tight, small = laid(141), laid(80), laid(12)
    assert (roomy.factors.checkpointing, roomy.accumulation) == (False, 1)
    assert (tight.factors.checkpointing, tight.accumulation) == (True, 1)
    assert small.accumulation > 1
    assert roomy.images_per_s > tight.images_per_s > small.images_per_s
    assert laid(0.3) is None


def test_in_micro_batches_a_contrastive_method_embeds_once_more_and_another_pays_nothing() -> None:
    for method, times in (("catlip", 1.0), ("clip", 4 / 3)):
        of_one = compute(method)
        whole = replace(of_one.factors, batch_size=512)
        part = replace(of_one.factors, batch_size=128)
        at_once = laid_out(of_one, whole, 8, accumulation=1, link=LINK)
        in_four = laid_out(of_one, part, 8, accumulation=4, link=LINK)
        assert in_four.global_batch == at_once.global_batch
        assert in_four.compute_ms == pytest.approx(times * at_once.compute_ms, rel=0.02)
        assert in_four.peak_bytes < at_once.peak_bytes
    # Its similarities are those of the whole step, to the captions of all devices.
    similarities = 4 * 512 * (8 * 512)
    assert in_four.peak_bytes - device_bytes(part, 8) > 0.7 * similarities


def test_sharded_parameters_are_fetched_in_each_micro_batch() -> None:
    factors = Factors("catlip", "vit_h16", batch_size=16, parallel="fsdp")
    once, twice = (
        laid_out(compute(model="vit_h16"), factors, 8, accumulation=n, link=LINK) for n in (1, 2)
    )
    parameters = sum(each.sent_bytes for each in sent(factors, 8) if each.what == "parameters")
    assert twice.sent_bytes - once.sent_bytes == pytest.approx(parameters)


def test_state_that_no_device_holds_alone_is_sharded() -> None:
    huge = compute("clip", model="vit_h16")
    memory = 14 * GIB
    assert device_bytes(replace(huge.factors, batch_size=1, checkpointing=True), 64) > memory
    laid = best_layout(huge, 64, 64, link=LINK, memory_bytes=memory)
    assert laid is not None
    assert laid.factors.parallel == "fsdp"


def test_what_is_computed_again_takes_its_time() -> None:
    timed = compute()
    again = replace(timed.factors, checkpointing=True)
    extra = recomputed_flops(again) - recomputed_flops(timed.factors)
    longer = timed.step_ms(256, 1) + extra / timed.flops_per_ms
    assert computing_ms(timed, again, 1) == pytest.approx(longer)
    assert computing_ms(timed, timed.factors, 1) == timed.step_ms(256, 1)


def test_sharded_parameters_are_fetched_while_the_device_computes() -> None:
    factors = Factors("catlip", "vit_h16", parallel="fsdp")
    parameters = [each for each in sent(factors, 64) if each.what == "parameters"]
    waits = [exposed_ms(parameters, BACKWARD_SHARE * ms, LINK) for ms in (0.0, 1e9)]
    assert waits[0] == pytest.approx(parameters[0].count * waits[1])


def test_a_measured_rate_gives_its_own_step_and_the_records_interval() -> None:
    config = Plan(step_time=(STEP_TIME,), methods=TWO, gpus=(1,), global_batch=4, images=4e6)
    (machine,) = machines(config)
    catlip, clip = planned(config, machine, 1)
    timed = json.loads(STEP_TIME.read_text())["metrics"]
    ms, hours = timed["methods"]["clip"]["total_ms"], clip.device_hours
    assert clip.step_ms == pytest.approx(ms["median"])
    expected = [1e6 * ms[name] / 3.6e6 for name in ("median", "p5", "p95")]
    assert [hours.value, hours.low, hours.high] == pytest.approx(expected)
    ratio, found = timed["ratios"]["clip/catlip"], clip.ratio
    scale = clip.step_ms / catlip.step_ms / ratio["value"]
    assert (found.low, found.high) == pytest.approx((scale * ratio["low"], scale * ratio["high"]))
    assert catlip.ratio == Interval(1.0)


def test_an_assumed_rate_has_the_range_that_was_assumed() -> None:
    config = Plan(methods=TWO, gpus=(1,), global_batch=64, mfu=(0.2, 0.4), records=())
    (machine,) = machines(config)
    catlip, clip = planned(config, machine, 1)
    factors = Factors("catlip", batch_size=64)
    most = step_flops(factors) / 64 * config.images / (0.2 * 989e12) / 3600
    assert catlip.device_hours.high == pytest.approx(most)
    assert catlip.device_hours.low == pytest.approx(most / 2)
    assert clip.ratio.high == pytest.approx(RATES_DIFFER * clip.ratio.value)
    assert (clip.sent_mb, clip.exposed_ms) == (0, 0)


def test_the_fastest_record_of_such_a_gpu_is_taken(tmp_path) -> None:
    gpu = {"environment__device": "NVIDIA H100 80GB HBM3", "config__precision": "bf16"}
    fast, slow = 1.0, 2.0
    written(tmp_path, "slow", **gpu, metrics__methods__catlip__total_ms={"median": slow})
    wanted = written(tmp_path, "fast", **gpu, metrics__methods__catlip__total_ms={"median": fast})
    others = {"environment__device": "NVIDIA A100", "config__resolution": 96, "config__model": "x"}
    for name, value in others.items():
        changes = gpu | {name: value, "metrics__methods__catlip__total_ms": {"median": 0.1}}
        written(tmp_path, name, **changes)
    (tmp_path / "step_time" / "damaged.json").write_text("{")
    config = Plan(methods=TWO, records=(tmp_path,))
    assert fastest_record(config, "h100", "vit_b16") == wanted
    assert fastest_record(config, "h200", "vit_b16") is None
    assert fastest_record(replace(config, methods=("superclip",)), "h100", "vit_b16") is None
    (machine,) = machines(config)
    assert machine.rates["catlip"].compute.source.startswith("measured: 1.0 ms")


@pytest.mark.parametrize(("method", "batch"), [("clip", 64), ("catlip", 32)])
def test_a_training_is_held_against_the_steps_of_its_batch(tmp_path, method, batch) -> None:
    steps = RECORDS / "step_time/hybrid_mini-b64-fp32-48px-torch2.15.0-cpu.json"
    median = f"metrics__methods__{method}__total_ms__median"
    small = written(tmp_path, "small", path=steps, config__batch_size=32, **{median: 40.0})
    every = list(machines(Plan(step_time=(steps, small), methods=TWO)))
    trained = RECORDS / f"pretrain/{method}-seed0.json"
    found, metrics = check(trained, every), json.loads(trained.read_text())["metrics"]
    timed = json.loads((steps if batch == 64 else small).read_text())["metrics"]["methods"]
    ms = timed[method]["total_ms"]["median"]
    assert found.predicted_s == pytest.approx(metrics["images_seen"] / batch * ms / 1e3)
    assert found.measured_s == metrics["train_seconds"]
    assert found.error == pytest.approx(found.predicted_s / found.measured_s - 1)


def test_a_record_of_other_methods_is_planned_with_what_it_has(tmp_path) -> None:
    path = written(tmp_path, "reversed", metrics__ratios={"catlip/clip": {"value": 0.8}})
    (machine,) = machines(Plan(step_time=(path,)))
    assert list(machine.rates) == list(json.loads(path.read_text())["metrics"]["methods"])
    rate = machine.rates["clip"]  # the record has no interval of this ratio
    assert (rate.ratio_low, rate.ratio_high) == (1 / RATES_DIFFER, RATES_DIFFER)


def test_what_cannot_be_planned_is_refused() -> None:
    for wrong in ({"gpu": ("Voodoo2",)}, {"mfu": (0.5, 0.3)}, {"against": (STEP_TIME,)}):
        with pytest.raises(InputError):
            Plan(**wrong)
    with pytest.raises(InputError):
        list(machines(Plan(gpu=("T4",), records=())))  # no bf16
    (machine,) = machines(Plan(step_time=(STEP_TIME,), methods=TWO))
    with pytest.raises(InputError):  # of another encoder
        check(RECORDS / "pretrain/clip-seed0.json", [machine])
