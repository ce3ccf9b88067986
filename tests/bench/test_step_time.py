"""The bench times what it says and writes it down."""

import gzip
import itertools
import json
import shlex
from dataclasses import replace
from itertools import groupby, islice, repeat
from typing import Any

import pytest
import torch
from torch import nn

from baselines.openclip import END, START, PackedTextTransformer
from bench.arithmetic.devices import datasheet_tflops
from bench.arithmetic.flops import step_flops
from bench.measuring import methods
from bench.measuring.factors import METHOD_NAMES, Factors
from bench.measuring.statistics import ratio
from bench.measuring.training_step import PHASES, batch_of, build, norm_by_loop
from bench.step_time import measure, result
from bench.step_time.config import StepTime
from bench.step_time.measure import PARTS, main, resolve, variants
from catlip.costs import TEXT_VOCABULARY
from catlip.data.loader import Batch
from catlip.range_augment import AugmentedObjective
from catlip.records.record import build_name
from catlip.records.run import read_run
from catlip.records.table import TIMES
from catlip.system import machine
from catlip.training.distributed import init_distributed
from catlip.training.parallel import gradient_norm, warn_if_emulated
from catlip.training.trainer import Trainer

TINY = shlex.split(
    "--model hybrid_mini --resolution 32 --batch-size 4 --num-classes 50 --num-steps 6 "
    "--device cpu --quiet"
)
CONFIG = StepTime("hybrid_mini", 32, num_classes=50, batch_size=4, device="cpu", quiet=True)


@pytest.fixture
def run_bench(succeed, tmp_path):
    """Runs the bench; its record and what was printed."""

    def run(*options: object, ranks: int = 1) -> tuple[dict[str, Any], str]:
        done = succeed("bench.step_time", *TINY, "--out", tmp_path, *options, ranks=ranks)
        (path,) = tmp_path.iterdir()
        assert f"wrote {path}" in done.stdout
        return json.loads(path.read_text()), done.stdout

    return run


def test_run_writes_every_sample_and_a_ratio_with_its_interval(run_bench) -> None:
    record, printed = run_bench("--checkpointing")
    assert record["name"].startswith("hybrid_mini-b4-fp32-checkpointing-32px-torch")
    for method in ("catlip", "clip"):
        phases = [record["samples"][f"{method}_{phase}_ms"] for phase in PARTS]
        steps = [sum(step) for step in zip(*phases, strict=True)]
        assert steps == pytest.approx(record["samples"][f"{method}_total_ms"])
        assert len(steps) == 6
    run = read_run(record, result.StepTime)
    assert not [*run.metrics.faults(run)]
    assert len({steps.first_ms for steps in run.metrics.methods.values()}) == 2
    assert 0 < run.metrics.ceiling.tflops.p5 <= run.metrics.ceiling.tflops.p95
    assert run.metrics.ceiling.datasheet_tflops is None
    assert f"{run.metrics.ratios['clip/catlip'].value:.2f}{TIMES}" in printed


def test_dry_run_names_the_record_that_a_run_writes(run_bench, succeed, tmp_path) -> None:
    options = ["bench.step_time", *TINY, "--out", tmp_path, "--methods", "catlip"]
    printed = succeed(*options, "--dry-run").stdout
    assert not [*tmp_path.iterdir()]
    run_bench("--methods", "catlip")
    (path,) = tmp_path.iterdir()
    assert f"record: {path}" in printed


def test_profiled_steps_are_none_of_the_timed_ones(succeed, tmp_path) -> None:
    done = succeed("bench.step_time", *TINY, "--out", tmp_path, "--profile", "--packed-captions")
    (path,) = tmp_path.glob("*.json")
    samples = json.loads(path.read_text())["samples"]
    for method in ("catlip", "clip", "clip:packed"):
        assert len(samples[f"{method}_total_ms"]) == 6
        trace = path.with_name(f"{path.stem}-{method.replace(':', '-')}.trace.json.gz")
        events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
        spans = [event["name"] for event in events if event.get("ph") == "X"]
        for name in ("data", "forward", "backward", "optimizer"):
            assert spans.count(name) == 5
        operations = samples[f"profile_{method}"]
        for operation in operations:  # a call that only calls the same operator again counts once
            assert 0 < operation["calls"] <= spans.count(operation["name"])
        shares = [operation["share"] for operation in operations]
        assert shares == sorted(shares, reverse=True)
        assert (len(shares), sum(shares) < 1) == (20, True)
        assert not {"forward", "backward"} & {operation["name"] for operation in operations}
        assert operations[0]["name"] in done.stdout


@pytest.mark.parametrize("others", [0, 2])
def test_rounds_timed_before_the_deadline_are_kept(monkeypatch, capsys, tmp_path, others) -> None:
    taken = itertools.count(0, 1000 * others)  # seconds of all programs, at each look
    monkeypatch.setattr(machine, "busy_s", lambda: float(next(taken)))
    monkeypatch.setattr(measure, "until_deadline", lambda rounds: islice(rounds, 5))
    main(replace(CONFIG, num_steps=100, out=tmp_path))
    (path,) = tmp_path.iterdir()
    record = json.loads(path.read_text())
    catlip, clip = (record["samples"][f"{m}_total_ms"] for m in ("catlip", "clip"))
    assert (len(catlip), len(clip), len({*catlip, *clip})) == (3, 3, 6)
    assert record["metrics"]["ratios"]["clip/catlip"]["value"] == ratio(clip, catlip).value
    assert any("3 of 100" in note for note in record["notes"])
    assert ("warning: hybrid_mini" in capsys.readouterr().out) == bool(others)


@pytest.mark.parametrize("share", [1, 1.1])
def test_step_above_the_ceiling_s_rate_is_said_to_be(monkeypatch, tmp_path, capsys, share) -> None:
    """A device of 2 TFLOP/s, by its datasheet and by products before and after the steps."""
    config = resolve(replace(CONFIG, out=tmp_path), torch.device("cpu"))
    ms = {name: step_flops(step) / 2e9 / share for name, step in variants(config).items()}
    steps = {
        method: measure.Timed(dict.fromkeys((*PARTS, "total"), [one] * 6), one, parameters=1)
        for method, one in ms.items()
    }
    monkeypatch.setattr(measure, "take_steps", lambda config, rank: steps)
    products = iter([[1e12], [3e12]])
    monkeypatch.setattr(measure, "matmul_flops_per_s", lambda device, precision: next(products))
    monkeypatch.setattr(measure, "datasheet_tflops", lambda gpu, precision: 2.0)
    main(config)
    (path,) = tmp_path.iterdir()
    record = json.loads(path.read_text())
    for said in (" ".join(record["notes"]), capsys.readouterr().out):
        assert (said.count(" computes 110%") == 2) == (share > 1)
    for method, found in record["metrics"]["methods"].items():
        assert found["mfu"] == found["mfu_datasheet"] == pytest.approx(share)
        assert found["tflops"] == pytest.approx(2 * share)
        assert found["images_per_s"] == pytest.approx(4e3 / ms[method])


def test_steps_are_compiled_on_a_gpu_by_default_where_there_are_blocks() -> None:
    for compiled, device, expected in ((None, "cuda", 1), (None, "cpu", 0), (False, "cuda", 0)):
        config = replace(CONFIG, compile=compiled)
        assert resolve(config, torch.device(device)).compile == bool(expected)
    for model, expected in (("hybrid_mini", False), ("vit_tiny16", True)):
        assert small(model=model, compile=True).implementation.compile == expected
        config = replace(CONFIG, model=model, methods=("catlip",), resolution=32)
        assert resolve(config, torch.device("cuda")).compile == expected


@pytest.mark.parametrize("native", [False, True])
def test_precision_is_one_that_the_gpu_has(monkeypatch, capsys, native) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **how: native or any(how.values()))
    assert resolve(CONFIG, torch.device("cuda")).precision == ("bf16" if native else "fp16")
    warn_if_emulated.cache_clear()
    warn_if_emulated(torch.device("cuda"), "bf16")
    assert ("--precision fp16" in capsys.readouterr().err) != native


def test_text_towers_are_also_timed_without_padding(run_bench) -> None:
    every = ("--methods", "catlip", "clip", "clip_bag")  # a bag has no padding
    record, printed = run_bench("--packed-captions", "--caption-tokens", 5, *every)
    metrics = record["metrics"]
    assert [*metrics["methods"]] == ["catlip", "clip", "clip:packed", "clip_bag"]
    flops = metrics["flops_ratios"]
    assert 1 < flops["clip:packed/catlip"] < flops["clip/catlip"]
    assert "CLIP, no padding" in printed
    assert record["config"]["caption_tokens"] == 5


def test_captions_of_ones_own_say_how_long_synthetic_ones_are(run_bench, tmp_path) -> None:
    table = tmp_path.with_suffix(".csv")
    table.write_text("caption\na dog\n" + "word " * 40)
    options = ("--methods", "clip", "--captions", table, "--text-context", 32)
    record, printed = run_bench(*options)
    assert record["config"]["caption_tokens"] == (4 + 32) / 2
    assert "captions of 18 tokens" in printed
    step = Factors("clip", "hybrid_mini", 32, text_context=32, batch_size=8)
    tokens = batch_of(step, init_distributed("cpu")).tokens
    assert tokens is not None
    assert tokens.shape == (8, 32)
    assert step_flops(step) > step_flops(replace(step, text_context=24))


def test_text_towers_are_timed_with_the_rows_of_a_training(run_bench, small_shards) -> None:
    options = ("--methods", "clip_bag", "--captions", small_shards, "--tokens-in-use", 0)
    record, printed = run_bench(*options)
    assert record["config"]["tokens_in_use"] == 4  # "noise", and what begins, ends and pads
    assert "4 tokens in use" in printed
    assert "-4tokens-" in record["name"]
    step = Factors("clip_bag", "hybrid_mini", 32, batch_size=8, tokens_in_use=4)
    assert batch_of(step, init_distributed("cpu")).tokens.unique().tolist() == [1, START, END]
    parameters = record["metrics"]["methods"]["clip_bag"]["parameters"]
    assert parameters == sum(p.numel() for p in methods.build(step).parameters())


def test_real_shards_are_timed_end_to_end(run_bench, starter, batch) -> None:
    record, _ = run_bench("--data", starter.shards, "--workers", 0)
    assert "-data-" in record["name"]
    waits = record["samples"]["catlip_data_wait_ms"]
    assert min(waits) > 0.5  # without workers the main process decodes four pictures in each step
    rank = init_distributed("cpu")
    (read,) = measure.real_batches(str(starter.shards), Factors(**SMALL), rank, count=1, workers=0)
    assert read.images.stride() == batch.images.stride()


def test_encoder_of_a_users_file_is_timed_at_its_size(run_bench, tmp_path) -> None:
    file = tmp_path.with_suffix(".py")
    file.write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 20), nn.Flatten(), nn.Linear(8, 5))\n"
    )
    users = ("--model", f"{file}:build", "--methods", "catlip", "superclass")
    record, printed = run_bench(*users, "--resolution", 20)
    catlip, superclass = record["metrics"]["methods"].values()
    assert catlip["parameters"] == 8 * (3 * 20 * 20 + 1) + (8 + 1) * 5 + (5 + 1) * 50
    # Pixels have no gradient.
    flops = 4 * (4 * 3 * 20 * 20 * 8 + 6 * 8 * 5 + 6 * 5 * 50)
    assert catlip["tflops"] == pytest.approx(flops / catlip["total_ms"]["median"] / 1e9)
    assert superclass["parameters"] > catlip["parameters"]
    assert f"{file.name}:build" in printed
    assert str(file.parent) not in printed.partition("wrote")[0]


def test_ranks_share_a_record_of_one(run_bench) -> None:
    record, _ = run_bench("--methods", "catlip", ranks=2)
    assert record["metrics"]["world_size"] == 2
    found = record["metrics"]["methods"]["catlip"]
    assert found["images_per_s"] == pytest.approx(8e3 / found["total_ms"]["median"])


def test_command_line_names_the_methods_that_there_are() -> None:
    assert tuple(methods.METHODS) == METHOD_NAMES


SMALL = {
    "model": "vit_mini16",
    "resolution": 32,
    "batch_size": 3,
    "precision": "fp32",
    "num_classes": 50,
    "caption_tokens": 9.0,
}


@pytest.fixture
def batch(vit_mini16) -> Batch:
    return batch_of(Factors(**SMALL), init_distributed("cpu"))


def small(**factors: object) -> Trainer:
    trainer = build(Factors(**SMALL | factors), init_distributed("cpu"))
    trainer.optimization = replace(trainer.optimization, warmup_iterations=0)
    return trainer


@pytest.mark.parametrize(
    ("method", "factors"),
    [
        ("catlip", {"method": "catlip_dense"}),
        *(("clip", {"attention": "naive"}), ("clip", {"checkpointing": True})),
        ("clip", {"packed_captions": True}),
        ("catlip", {"optimizer": "foreach", "grad_norm": "loop"}),
    ],
    ids=str,
)
def test_factors_of_cost_change_nothing_else(batch, method, factors) -> None:
    losses = []
    same = {"method": method, "model": "vit_tiny16"}  # whose loss falls at once
    for trainer in (small(**same), small(**same | factors)):
        before = trainer.loss(batch).item()
        for _ in range(3):
            trainer.train_step(repeat(batch))
        losses += [before, trainer.loss(batch).item()]
    assert losses[0] == pytest.approx(losses[2], rel=1e-5)
    assert losses[1] == pytest.approx(losses[3], rel=1e-3)
    assert losses[1] < losses[0]


def test_every_factor_reaches_the_trainer(vit_mini16) -> None:
    factors = {"optimizer": "foreach", "grad_norm": "loop", "attention": "naive", "seed": 4}
    factors |= {"checkpointing": True, "patch_drop_rate": 0.5, "precision": "bf16"}
    factors |= {"packed_captions": True, "text_context": 12, "range_augment": True}
    factors |= {"tokens_in_use": 100}
    for changed in (False, True):
        trainer = small(method="clip", **(factors if changed else {}))
        objective, implementation = trainer.objective, trainer.implementation
        assert isinstance(objective, AugmentedObjective) == changed
        assert implementation.optimizer == ("foreach" if changed else "fused")
        assert implementation.norm == (norm_by_loop if changed else gradient_norm)
        assert trainer.optimizer.defaults["foreach"] == changed
        assert trainer.optimization.precision == ("bf16" if changed else "fp32")
        assert trainer.seed == (4 if changed else 0)
        encoder = objective.image_encoder
        assert encoder.grad_checkpointing == changed
        assert [block.attn.fused_attn for block in encoder.blocks] == [not changed] * 2
        assert isinstance(encoder.patch_drop, nn.Identity) != changed
        text = objective.get_submodule("objective.text_encoder" if changed else "text_encoder")
        assert isinstance(text, PackedTextTransformer) == changed
        assert len(text.positional_embedding) == (12 if changed else 77)
        assert len(text.token_embedding.weight) == (101 if changed else TEXT_VOCABULARY)
    assert small(method="catlip").objective.classifier.out_features == SMALL["num_classes"]


def test_step_is_marked_where_its_parts_end(batch) -> None:
    marks: list[str] = []
    trainer = build(Factors(**SMALL, method="clip"), init_distributed("cpu"), marks.append)
    trainer.train_step(repeat(batch))
    assert tuple(part for part, _ in groupby(marks)) == PHASES


@pytest.mark.parametrize(
    ("card", "slug", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", "h100-80gb-hbm3", 989),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "h100-80gb-hbm3-mig-1g-10gb", None),
        ("NVIDIA H100 PCIe", "h100-pcie", 756),
        ("NVIDIA H200 NVL", "h200-nvl", 835),
        ("NVIDIA L40", "l40", None),
        ("NVIDIA GH200 480GB", "gh200-480gb", 989),
        ("NVIDIA GeForce RTX 5090", "geforce-rtx-5090", 209.5),
        ("NVIDIA GeForce RTX 5090 D", "geforce-rtx-5090-d", None),
        ("AMD Instinct MI300X", "amd-instinct-mi300x", 1307.4),
    ],
)
def test_records_and_datasheets_are_of_the_card(monkeypatch, card, slug, tflops) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: card)
    assert build_name(torch.device("cuda")).endswith(f"-{slug}")
    assert datasheet_tflops(card, "bf16") == tflops
