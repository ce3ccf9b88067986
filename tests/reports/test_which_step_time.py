"""The step times that compare most plainly answer what is cheaper."""

import math
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
from report_support import page_in, records_in, step_times

from catlip.records.blocks import Text
from reports.read.setting import settings
from reports.summary.answers import why
from reports.summary.costs import cheaper

CPU = {"device": "CPU", "cpu": "CPU", "device_count": 1}


@pytest.fixture
def write_steps(write_record) -> Callable[..., None]:
    """Write step times with this ratio of CLIP's to CatLIP's."""

    def write(
        name: str, ratio: float, *, scale: str = "starter", device: str = "", **parts: Any
    ) -> None:
        methods = parts.pop("methods", ("catlip", "clip"))
        ratios = {"clip/catlip": ratio} if len(methods) > 1 else {}
        if parts.pop("packed", False):
            ratios["clip:packed/catlip"] = ratio
        metrics = step_times(ratios, methods, world_size=parts.pop("world_size", 1))
        metrics["flops_ratios"] = {"clip/catlip": 1.2}
        environment = CPU | ({"device": device} if device else {})
        environment["started"] = parts.pop("started", "2026-11-30T00:00:00+00:00")
        one = {"metrics": metrics, "environment": environment}
        write_record("step_time", name, scale=scale, config={"model": "vit_b16", **parts}, **one)

    return write


OTHERS = [
    ("largest", {"methods": ("clip",)}),
    ("sharded", {"parallel": "fsdp", "compile": True}),
    ("ranks", {"world_size": 8, "compile": True}),
    ("loader", {"data": "shards", "compile": True}),
]


def test_plainest_comparison_answers_whenever_it_ran(write_steps, read_setting):
    write_steps("plain", 1.3, packed=True)
    for day, (name, parts) in enumerate(OTHERS, 1):
        write_steps(name, 1.8, started=f"2026-12-0{day}T00:00:00+00:00", **parts)
    assert "takes 1.30 times" in cheaper(read_setting()).short
    write_steps("compiled", 1.4, packed=True, compile=True, started="2026-11-01T00:00:00+00:00")
    assert "takes 1.40 times" in cheaper(read_setting()).short


def test_gpu_that_was_timed_elsewhere_is_in_the_answer(write_steps, tmp_path):
    write_steps("cpu", 1.2)
    write_steps("gpu", 1.32, scale="bench", device="NVIDIA H100", packed=True)
    every = settings(records_in(tmp_path))
    for main, *others in permutations(every):
        if main.scale == "starter":
            sentences = cheaper(main, others).sentences
            (on_gpu,) = [sentence for sentence in sentences if "H100" in sentence]
            assert on_gpu.startswith("A step on a GPU, vit_b16")
            assert "1.32 (1.31 to 1.33), 1.32 (1.31 to 1.33) without padding." in on_gpu


@pytest.mark.parametrize("passed", [True, False])
def test_device_whose_self_check_failed_is_named_before_its_numbers(
    write_steps, write_record, tmp_path, passed
):
    write_steps("cpu", 1.2)
    write_steps("gpu", 1.32, scale="bench", device="NVIDIA H100", packed=True)
    for day, is_right in ((1, not passed), (2, passed)):  # the newest counts
        metrics = {"precision": "bf16", "loss_bound": 0.006, "gradient_bound": 0.15}
        wrong = {"passed": is_right, "loss": 2.0, "loss_error": math.nan}
        metrics["checks"] = {"clip": {"eager": {"passed": True}, "compiled": wrong}}
        started = {"started": f"2026-12-0{day}T00:00:00+00:00"}
        environment = CPU | {"device": "NVIDIA H100"} | started
        parts = {"metrics": metrics, "environment": environment}
        write_record("self_check", f"check{day}", scale="bench", **parts)
    page = page_in(tmp_path)
    main, *others = sorted(settings(records_in(tmp_path)), key=lambda one: one.scale == "bench")
    sections = {section.anchor: section for section in page.sections}
    texts = [block.words for block in sections["step-time"].blocks if isinstance(block, Text)]
    for words in (cheaper(main, others).short, " ".join(texts)):
        assert ("NVIDIA H100 (CLIP, compiled)" in words) == (not passed)
    tables = sections["self-check"].blocks
    assert [row[-1].text for table in tables for row in table.rows].count("NO") == 1


def test_operations_that_were_counted_here_answer_why(write_steps, tmp_path):
    write_steps("cpu", 1.5)
    records = records_in(tmp_path)
    (setting,) = settings(records)
    short = why(setting, records).short
    assert all(words in short for words in ("Here", "1.50 times", "of 1.20 for", "of 1.25 for"))
