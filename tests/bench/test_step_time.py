"""The bench times what it says and writes it down."""

import json

import pytest
import torch

from bench import methods


def test_a_run_writes_every_sample_and_a_ratio_with_its_interval(program, tmp_path) -> None:
    done = program(
        "bench.step_time", "--model", "hybrid_tiny", "--resolution", 32, "--batch-size", 4, "--num-steps", 5, "--num-warmup", 1,
        "--device", "cpu", "--out", tmp_path, "--quiet",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("hybrid_tiny-b4-fp32-torch")
    assert f"wrote {path}" in done.stdout
    record = json.loads(path.read_text())
    for method in ("catlip", "clip"):
        phases = [record["samples"][f"{method}_{phase}_ms"] for phase in ("forward", "loss", "backward", "optimizer")]
        assert [sum(step) for step in zip(*phases, strict=True)] == pytest.approx(record["samples"][f"{method}_total_ms"])
        assert len(phases[0]) == record["metrics"]["methods"][method]["total_ms"]["n"] == 5
    found = record["metrics"]["ratios"]["clip/catlip"]
    assert found["low"] <= found["value"] <= found["high"]
    assert f"clip/catlip = {found['value']:.2f}" in done.stdout


def test_methods_start_from_the_same_encoder() -> None:
    one, other = (
        methods.build(method, "hybrid_tiny", 32, 10, seed=3).image_encoder.state_dict() for method in ("catlip", "clip")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
