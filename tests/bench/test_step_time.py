"""The bench times what it says and writes it down."""

import itertools
import json
import shlex
import time
from dataclasses import replace
from itertools import groupby, islice, repeat
from typing import Any

import pytest
import torch
from one_line import one_line_error

import bench.step_time.__main__ as step_time
from bench.arithmetic.devices import datasheet_tflops
from bench.measuring import methods
from bench.measuring.ceiling import measure_ceiling
from bench.measuring.training_step import PHASES, Factors, Stopwatch, batch_of, build, norm_by_loop
from bench.step_time.__main__ import PARTS, StepTime, steps_ms, ways
from catlip.cli import InputError
from catlip.results.cells import TIMES
from catlip.system import machine
from catlip.training.distributed import find_place
from catlip.training.parallel import gradient_norm
from catlip.training.trainer import Trainer

TINY = shlex.split(
    "--model hybrid_mini --resolution 32 --batch-size 4 --num-classes 50 --num-steps 6 "
    "--num-warmup 1 --device cpu --quiet"
)


@pytest.fixture
def timed(succeed, tmp_path):
    """Runs the bench; its record and what was printed."""

    def run(*options: object, ranks: int = 1) -> tuple[dict[str, Any], str]:
        done = succeed("bench.step_time", *TINY, "--out", tmp_path, *options, ranks=ranks)
        (path,) = tmp_path.iterdir()
        assert f"wrote {path}" in done.stdout
        return json.loads(path.read_text()), done.stdout

    return run


def test_a_run_writes_every_sample_and_a_ratio_with_its_interval(timed, tmp_path) -> None:
    record, printed = timed()
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("hybrid_mini-b4-fp32-32px-torch")
    for method in ("catlip", "clip"):
        phases = [record["samples"][f"{method}_{phase}_ms"] for phase in PARTS]
        steps = [sum(step) for step in zip(*phases, strict=True)]
        assert steps == pytest.approx(record["samples"][f"{method}_total_ms"])
        found = record["metrics"]["methods"][method]
        assert len(steps) == found["total_ms"]["n"] == 6
        assert found["images_per_s"] == pytest.approx(4e3 / found["total_ms"]["median"])
        assert found["device_hours"] == pytest.approx(13.1e9 / found["images_per_s"] / 3600)
        assert found["first_ms"] > 0
        ceiling = record["metrics"]["ceiling"]["tflops"]["median"]
        assert found["mfu"] == pytest.approx(found["tflops"] / ceiling)
    found = record["metrics"]["ratios"]["clip/catlip"]
    assert found["low"] <= found["value"] <= found["high"]
    assert f"{found['value']:.2f}{TIMES}" in printed


def test_what_was_timed_before_the_time_was_over_is_kept(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(step_time, "in_time", lambda rounds: islice(rounds, 4))
    config = StepTime("hybrid_mini", 32, batch_size=4, num_classes=50, device="cpu", quiet=True)
    step_time.main(replace(config, num_warmup=1, num_steps=100, out=tmp_path))
    (path,) = tmp_path.iterdir()
    record = json.loads(path.read_text())
    assert [len(record["samples"][f"{m}_total_ms"]) for m in ("catlip", "clip")] == [3, 3]
    assert "out of time after 3 of 100 timed steps" in record["notes"]


@pytest.mark.parametrize("others", [0, 2])
def test_times_beside_other_programs_are_in_doubt(monkeypatch, capsys, tmp_path, others) -> None:
    taken = itertools.count(0, 1000 * others)  # seconds of all programs, at each look
    monkeypatch.setattr(machine, "busy_s", lambda: float(next(taken)))
    config = StepTime("hybrid_mini", 32, batch_size=4, num_classes=50, device="cpu", quiet=True)
    step_time.main(replace(config, num_warmup=1, num_steps=1, out=tmp_path))
    assert ("warning: hybrid_mini" in capsys.readouterr().out) == bool(others)


def test_a_gpu_is_timed_eager_and_compiled_unless_one_is_asked_for() -> None:
    assert ways(StepTime(), "cuda") == [False, True]
    assert ways(StepTime(), "cpu") == [False]
    for device_type in ("cuda", "cpu"):
        assert ways(StepTime(compile=True), device_type) == [True]
        assert ways(StepTime(eager=True), device_type) == [False]
    with pytest.raises(InputError):
        ways(StepTime(compile=True, eager=True), "cuda")


def test_real_shards_are_timed_end_to_end(timed, starter) -> None:
    record, _ = timed("--data", starter.shards, "--workers", 0)
    assert "-data-" in record["name"]
    waits = record["samples"]["catlip_data_wait_ms"]
    assert min(waits) > 0.5  # without workers the main process decodes four pictures in each step


def test_augmented_and_deterministic_steps_are_named_as_such(timed) -> None:
    record, printed = timed("--range-augment", "--deterministic")
    assert "-augmented-deterministic-" in record["name"]
    assert "deterministic kernels" in printed


def test_ranks_share_a_record_of_one(timed) -> None:
    record, _ = timed(ranks=2)
    assert record["metrics"]["world_size"] == 2
    found = record["metrics"]["methods"]["clip"]
    assert found["images_per_s"] == pytest.approx(8e3 / found["total_ms"]["median"])
    assert any("2 processes" in note for note in record["notes"])


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [(("--precision", "fp8"), "fp8"), (("--data", "/nowhere/*.tar"), "/nowhere/*.tar")],
)
def test_what_does_not_exist_is_one_line(program, tmp_path, flags, complaint) -> None:
    done = program("bench.step_time", *TINY, "--out", tmp_path, *flags)
    one_line_error(done, complaint)


def test_methods_start_from_the_same_encoder() -> None:
    one, other = (
        methods.build(method, "hybrid_mini", 32, 10, seed=3).image_encoder.state_dict()
        for method in ("catlip", "clip")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


SMALL = Factors(model="vit_tiny16", resolution=32, batch_size=3, precision="fp32", num_classes=50)
BATCH = batch_of(SMALL, find_place("cpu"))


def small(**factors: object) -> Trainer:
    trainer = build(replace(SMALL, **factors), find_place("cpu"))
    trainer.optimization = replace(trainer.optimization, warmup_iterations=0)
    return trainer


@pytest.mark.parametrize("method", ["catlip", "clip"])
@pytest.mark.parametrize(
    "factors",
    [
        *({"attention": "naive"}, {"checkpointing": True}),
        *({"optimizer": "foreach"}, {"optimizer": "loop"}, {"grad_norm": "loop"}),
    ],
    ids=str,
)
def test_factors_of_cost_change_nothing_else(method, factors) -> None:
    losses = []
    for trainer in (small(method=method), small(method=method, **factors)):
        before = trainer.loss(BATCH).item()
        for _ in range(3):
            trainer.train_step(repeat(BATCH))
        losses.append(trainer.loss(BATCH).item())
        assert losses[-1] < before
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize("other", ["catlip_dense", "catlip_chunked"])
def test_the_forms_of_catlip_have_one_loss(other) -> None:
    losses = [trainer.loss(BATCH).item() for trainer in (small(), small(method=other))]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_the_norm_by_a_loop_is_the_norm() -> None:
    trainer = small()
    trainer.loss(BATCH).backward()
    parameters = list(trainer.objective.parameters())
    torch.testing.assert_close(norm_by_loop(parameters), gradient_norm(parameters))


def test_laps_are_named_by_what_ends() -> None:
    watch = Stopwatch(torch.device("cpu"))
    watch.mark()
    time.sleep(0.02)
    watch.mark("long")
    watch.mark("short")
    (one, long_ms), (other, short_ms) = watch.laps_ms()
    assert (one, other) == ("long", "short")
    assert long_ms >= 20 > short_ms


@pytest.mark.parametrize("method", ["catlip", "clip"])
def test_a_step_is_marked_where_its_parts_end(method) -> None:
    marks: list[str] = []
    trainer = build(replace(SMALL, method=method), find_place("cpu"), marks.append)
    trainer.train_step(repeat(BATCH))
    assert tuple(part for part, _ in groupby(marks)) == PHASES


def test_laps_of_a_part_are_added_and_a_step_ends_with_its_optimizer() -> None:
    parts = ("data_wait", "forward", "forward", "loss", "backward", "optimizer")
    laps = [(part, float(i)) for i, part in enumerate((*parts, *parts))]
    none = dict.fromkeys(PARTS, 0.0)
    assert steps_ms([*laps, ("forward", 1.0)]) == [
        none | {"data_wait": 0, "forward": 3, "loss": 3, "backward": 4, "optimizer": 5},
        none | {"data_wait": 6, "forward": 15, "loss": 9, "backward": 10, "optimizer": 11},
    ]


def test_a_ceiling_has_a_spread_and_a_datasheet_where_there_is_one() -> None:
    found = measure_ceiling(torch.device("cpu"), "fp32")
    assert found.datasheet_tflops is None
    assert 0 < found.tflops.p5 <= found.tflops.median <= found.tflops.p95
    assert datasheet_tflops("NVIDIA A100-SXM4-80GB", "bf16") == 312
    assert datasheet_tflops("NVIDIA H100 PCIe", "bf16") == 756
    assert datasheet_tflops("NVIDIA H100 NVL", "bf16") == 835
    assert datasheet_tflops("NVIDIA H100 80GB HBM3", "bf16") == 989
    assert datasheet_tflops("NVIDIA L40S", "fp16") == 362
    assert datasheet_tflops("Tesla V100-SXM2-16GB", "bf16") is None
    assert datasheet_tflops("NVIDIA L4", "bf16") == 121
    assert datasheet_tflops("NVIDIA L40", "bf16") is None  # another card than the L4


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(InputError, match="fp8"):
        Factors(precision="fp8")
