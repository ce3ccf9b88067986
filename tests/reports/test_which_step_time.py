"""Of several step times, those that compare most plainly answer what is cheaper."""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
from report_support import records_in, steps

from reports.read.setting import Setting, settings
from reports.render.provenance import date_and_revision
from reports.summary.answers import cheaper, why

CPU = {"device": "CPU", "cpu": "CPU", "device_count": 1}


@pytest.fixture
def timed(write_record) -> Callable[..., None]:
    """Write step times with this ratio of CLIP's to CatLIP's."""

    def write(
        name: str, ratio: float, *, scale: str = "starter", device: str = "", **parts: Any
    ) -> None:
        methods = parts.pop("methods", ("catlip", "clip"))
        ends = {"value": ratio, "low": ratio - 0.01, "high": ratio + 0.01}
        metrics = {"methods": {method: steps() for method in methods}}
        metrics["world_size"] = parts.pop("world_size", 1)
        metrics["ratios"] = {"clip/catlip": ends} if len(methods) > 1 else {}
        metrics["flops_ratios"] = {"clip/catlip": 1.2}
        if parts.pop("packed", False):
            metrics["ratios"]["clip:packed/catlip"] = ends
        environment = CPU | ({"device": device} if device else {})
        environment["started"] = parts.pop("started", "2026-11-30T00:00:00+00:00")
        config = {"model": "vit_b16", **parts}
        write_record(
            "step_time", name, scale=scale, metrics=metrics, config=config, environment=environment
        )

    return write


def main_of(tmp_path) -> tuple[Setting, list[Setting]]:
    first, *others = settings(records_in(tmp_path))
    return first, others


OTHERS = [
    ("largest", {"methods": ("clip",)}),
    ("sharded", {"parallel": "fsdp", "compile": True}),
    ("ranks", {"world_size": 8, "compile": True}),
    ("loader", {"data": "shards", "compile": True}),
]


def test_the_plainest_comparison_answers_whenever_it_ran(timed, tmp_path):
    timed("plain", 1.3, packed=True)
    for day, (name, parts) in enumerate(OTHERS, 1):
        timed(name, 1.8, started=f"2026-12-0{day}T00:00:00+00:00", **parts)
    assert "Yes: 1.3 times" in cheaper(main_of(tmp_path)[0]).short
    timed("compiled", 1.4, packed=True, compile=True, started="2026-11-01T00:00:00+00:00")
    assert "Yes: 1.4 times" in cheaper(main_of(tmp_path)[0]).short


def test_a_gpu_that_was_timed_elsewhere_is_in_the_answer(timed, tmp_path):
    timed("cpu", 1.2)
    timed("gpu", 1.32, scale="bench", device="NVIDIA H100", packed=True)
    every = settings(records_in(tmp_path))
    for main, *others in permutations(every):
        if main.scale == "starter":
            sentences = cheaper(main, others).sentences
            (said,) = [sentence for sentence in sentences if "H100" in sentence]
            assert said.startswith("A step on a GPU, vit_b16")
            assert "1.32 (1.31 to 1.33), 1.32 (1.31 to 1.33) without padding." in said


def test_operations_that_were_counted_here_answer_why(timed, tmp_path):
    timed("cpu", 1.5)
    records = records_in(tmp_path)
    (setting,) = settings(records)
    assert why(setting, records).short.startswith("Here a step of CLIP has 1.20 times")


def test_the_revision_of_the_last_record_is_named(write_record, tmp_path):
    for hour, revision in ((1, "fff"), (2, "aaa")):
        started = f"2026-11-30T0{hour}:00:00+00:00"
        environment = CPU | {"started": started, "revision": revision}
        write_record("step_time", revision, environment=environment)
    assert date_and_revision(records_in(tmp_path)) == "Last record: 2026-11-30, revision aaa"
