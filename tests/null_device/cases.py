"""What has to hold on a GPU, as far as a device that computes nothing can show it: programs run to
their record, and memory, copies and waits are as they should be. `test_null_device.py` starts
pytest on this file.
"""

import ctypes
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import pytest
import short_training
import torch
from fake_ranks import all_reduced, fake_ranks
from torch._inductor import config as inductor
from torch.utils._python_dispatch import TorchDispatchMode

from baselines.openclip import TEXT_TOWERS, TextTower
from bench.arithmetic.memory import peak_bytes
from bench.measuring import methods
from bench.measuring.factors import METHOD_NAMES, Factors
from bench.measuring.training_step import batch_of, build, free_memory
from bench.memory import measure as memory
from bench.self_check import measure as self_check
from bench.step_time import measure as step_time
from bench.waterfall import measure as waterfall
from catlip.architectures import ENCODERS, Architecture
from catlip.cli import InputError
from catlip.objective import Objective
from catlip.pretraining.method import add_range_augment
from catlip.program.progress import progress
from catlip.recipes.pretrain import CATLIP
from catlip.records.record import Record
from catlip.system import card
from catlip.system.matmul import matmul_flops_per_s
from catlip.training.distributed import Rank, init_distributed
from catlip.training.loop import copy_ahead

SMALL = {"resolution": 32, "num_classes": 50, "device": "cuda", "quiet": True}
STEPS = step_time.StepTime("hybrid_mini", batch_size=4, num_steps=2, compile=False, **SMALL)
TINY = Factors("catlip", "vit_tiny16", 32, 4, num_classes=50)
# Truncated normals need it; torch compiles it with NVRTC, which ends the process here.
torch.Tensor.erfinv_ = lambda self: self  # type: ignore[method-assign,assignment]


def counted(name: str) -> int:
    return ctypes.c_ulonglong.in_dll(ctypes.CDLL(None), f"null_{name}").value


def metrics(folder: Path, name: str = "*.json"):
    """The metrics of the one record there."""
    (path,) = folder.rglob(name)
    return json.loads(path.read_text())["metrics"]


@pytest.fixture(scope="session")
def rank() -> Rank:
    return init_distributed("cuda")


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Where the starter data already is."""
    return Path(os.environ["STARTER"])


@pytest.fixture
def quick(monkeypatch) -> None:
    """Without the seconds of multiplying matrices."""
    monkeypatch.setattr(step_time, "matmul_flops_per_s", lambda *_: [1e14, 1e14])


@pytest.mark.parametrize(
    "options",
    [
        {"methods": METHOD_NAMES},
        {"methods": ("clip",), "packed_captions": True, "precision": "fp16"},
        {"methods": ("clip",), "model": "vit_tiny16", "checkpointing": True},
        {"methods": ("clip",), "model": "random:timm/vit_tiny_patch16_224"},
    ],
    ids=str,
)
def test_steps_are_timed_beside_both_peaks(tmp_path, quick, capsys, options) -> None:
    step_time.main(replace(STEPS, out=tmp_path, **options))
    methods_timed = metrics(tmp_path)["methods"]
    assert methods_timed.keys() >= set(options["methods"])
    for method in methods_timed.values():
        assert method["total_ms"]["n"] == 2
        assert method["mfu"] == pytest.approx(method["tflops"] / 100)
        assert method["mfu_datasheet"] == pytest.approx(method["tflops"] / 835)  # of the NVL
    assert "datasheet" in capsys.readouterr().out


def test_compiled_steps_are_timed(tmp_path, quick, monkeypatch) -> None:
    monkeypatch.setitem(ENCODERS, "vit_mini16", Architecture(width=64, depth=2, heads=1))
    monkeypatch.setitem(TEXT_TOWERS, "vit_mini16", TextTower(64, depth=2, heads=1, joint=64))
    small = replace(STEPS, model="vit_mini16", methods=("clip",), out=tmp_path)
    # No variants of kernels, which all take the same time here.
    with inductor.patch({"triton.autotune_pointwise": False}):
        step_time.main(replace(small, compile=True))
    clip = metrics(tmp_path, "*-compile-*")["methods"]["clip"]
    assert clip["first_ms"] > 20 * clip["total_ms"]["median"]


def test_device_that_computes_nothing_fails_the_self_check(tmp_path) -> None:
    few = {"methods": ("clip",), "batch_size": 2, "compile": False, "out": tmp_path}
    with pytest.raises(InputError, match="failed"):
        self_check.main(self_check.SelfCheck(**SMALL, **few))
    checks = [check for ways in metrics(tmp_path)["checks"].values() for check in ways.values()]
    assert [check["passed"] for check in checks] == [False] * 4


def test_device_is_warmed_up_before_its_peak_is_measured(rank) -> None:
    begin = time.perf_counter()
    matmul_flops_per_s(rank.device, "bf16")
    assert time.perf_counter() - begin > 2.9


def test_default_batches_fit_and_a_larger_one_is_refused(tmp_path, quick) -> None:
    usual = step_time.StepTime(num_steps=2, compile=False, quiet=True, out=tmp_path)
    step_time.main(usual)
    steps = step_time.variants(replace(usual, batch_size=128, precision="bf16"))
    for method, found in metrics(tmp_path, "*-b128-*")["methods"].items():
        assert found["peak_gib"] == pytest.approx(peak_bytes(steps[method]) / 2**30, rel=0.03)
    with pytest.raises(InputError, match="out of memory"):
        step_time.main(replace(usual, batch_size=256))


@contextmanager
def held_by_another(gib: int) -> Iterator[None]:
    """So much of the device's memory is taken, and not by torch."""
    cuda, pointer = ctypes.CDLL(None), ctypes.c_void_p()
    assert cuda.cudaMalloc(ctypes.byref(pointer), ctypes.c_size_t(gib * 2**30)) == 0
    yield
    assert cuda.cudaFree(pointer) == 0


def test_default_batches_leave_what_others_hold(rank) -> None:
    free_memory()
    alone = step_time.resolve(step_time.StepTime(), rank.device)
    shared = waterfall.resolve(waterfall.Waterfall(), rank.device)
    with held_by_another(12):
        assert step_time.resolve(step_time.StepTime(), rank.device).batch_size == 64
        assert waterfall.resolve(waterfall.Waterfall(), rank.device).batch_size < shared.batch_size
    assert alone.batch_size == 128


@pytest.fixture
def stand_in(tmp_path, monkeypatch) -> Callable[..., Path]:
    """Puts an nvidia-smi first on PATH that does this; each call's arguments are a line here."""

    def install(does: str) -> Path:
        program, calls = tmp_path / "bin/nvidia-smi", tmp_path / "calls"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\necho "$@" >>"{calls}"\n{does}\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        return calls

    return install


HOT = """case "$*" in *clocks.sm*) ;; *) exit 0 ;; esac
if [ "$(grep -c clocks.sm "{calls}")" = 1 ]
then echo "1755, 1980, 310.25, 700.00, 41, 0x0000000000000000, Enabled"
else echo "1400, 1980, 699.10, 700.00, [N/A], 0x0000000000000044, Enabled"; fi"""


def test_record_has_the_state_of_the_card(tmp_path, quick, stand_in, capsys) -> None:
    calls = stand_in(HOT.format(calls=tmp_path / "calls"))
    with held_by_another(2):
        step_time.main(replace(STEPS, methods=("catlip",), out=tmp_path / "out"))
    (path,) = (tmp_path / "out").iterdir()
    uuid = torch.cuda.get_device_properties(0).uuid
    assert [f"--id=GPU-{uuid}" in line for line in calls.read_text().splitlines()].count(True) == 2
    of_each = {
        "other_gib": pytest.approx(2.59, abs=0.02),  # with what this process has from the driver
        "max_sm_mhz": 1980,
        "power_limit_w": 700,
        "ecc": "Enabled",
    }
    start = {"sm_mhz": 1755, "power_w": 310.25, "celsius": 41, "limited_by": []}
    end = {
        "sm_mhz": 1400,
        "power_w": 699.1,
        "limited_by": ["power cap", "temperature, by hardware"],
    }
    states = json.loads(path.read_text())["environment"]["card"]
    assert states == {"start": start | of_each, "end": end | of_each}
    warnings = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert any("1,400 MHz" in line for line in warnings)
    assert any("2.59 GiB" in line for line in warnings)


def test_card_works_while_it_is_looked_at(rank, stand_in) -> None:
    stand_in("sleep 0.2; echo 1, 2, 3, 4, 5, 0x1, Disabled")
    launches, random = counted("launches"), torch.cuda.get_rng_state()
    assert card.card_state()["limited_by"] == ["idle"]
    assert counted("launches") - launches > 2 * card.PRODUCTS
    assert torch.equal(torch.cuda.get_rng_state(), random)


@pytest.mark.parametrize(
    "does", ["exit 9", "exec sleep 60", "echo No devices were found", "echo 1,2,3,4,5,0x0; exit 2"]
)
def test_record_without_the_card_s_state(rank, stand_in, monkeypatch, does) -> None:
    monkeypatch.setattr(card, "TIMEOUT_S", 0.5)
    stand_in(does)
    begin = time.monotonic()
    assert card.card_state().keys() == {"other_gib"}
    assert time.monotonic() - begin < 30


def test_run_on_the_cpu_has_no_card(rank, tmp_path) -> None:
    for device, expected in (("cpu", False), ("cuda", True)):
        with Record(tmp_path / "record.json", "kind", {"device": device}) as record:
            pass
        assert ("card" in record.environment) == expected


def test_ranks_do_not_count_what_nccl_holds(rank) -> None:
    with fake_ranks(2):
        assert "other_gib" not in card.card_state()


def test_largest_batch_is_found_where_the_given_one_does_not_fit(tmp_path) -> None:
    free_memory()  # of tests before, whose errors may still hold some
    model = memory.Memory("vit_tiny16", batch_sizes=(8192,), largest=True, quiet=True, out=tmp_path)
    memory.main(model)
    found = metrics(tmp_path)
    assert found["batches"]["8192"]["too_large"].keys() == {"catlip", "clip"}
    for method in found["largest"].values():
        assert method["images"] == pytest.approx(method["predicted"], rel=0.05)
        assert method["images"] % 8 == 0


def test_waterfall_is_timed(tmp_path, quick) -> None:
    small = {"num_rounds": 1, "orders": ("forward",)}
    config = waterfall.Waterfall("hybrid_mini", batch_size=2, **SMALL, **small, out=tmp_path)
    waterfall.main(config)
    release = metrics(tmp_path)["release"]
    assert 0 < release["total"]["busy"] <= 1
    steps = release["orders"]["forward"]
    assert [step["factor"] for step in steps if "not_run" in step] == ["crop"]


def test_largest_pair_of_the_waterfall_fits(rank, tmp_path, quick) -> None:
    config = waterfall.resolve(waterfall.Waterfall(num_rounds=1), rank.device)
    start = waterfall.released_clip(config, gpu=True)
    changes = waterfall.release_changes(config.batch_size, gpu=True)
    pair = [waterfall.apply_all(start, changes[:count]) for count in (-2, -1)]
    assert [variant.method for variant in pair] == ["clip", "catlip_dense"]
    larger = [replace(variant, batch_size=16384) for variant in pair]
    with progress(disable=True) as bar:
        record = Record(tmp_path / "pairs.json", waterfall.result.Waterfall, {})
        timer = waterfall.PairTimer(config, rank, record, bar)
        assert timer.time_pair("largest", *pair).not_run is None
        free_memory()
        before = torch.cuda.memory_reserved()
        assert "out of memory" in timer.time_pair("larger", *larger).not_run
    assert torch.cuda.memory_reserved() <= before


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("method", METHOD_NAMES)
def test_step_waits_once_and_copies_the_addresses_of_gradients_alone(
    rank, method, packed, monkeypatch
) -> None:
    plain = methods.build

    def build_augmented(*arguments, **options) -> Objective:
        return add_range_augment(plain(*arguments, **options), CATLIP["datacomp_b16"])

    monkeypatch.setattr(methods, "build", build_augmented)
    factors = replace(TINY, method=method, packed_captions=packed)
    trainer, batch = build(factors, rank), batch_of(factors, rank)
    trainer.train_step(repeat(batch))
    waits, copies = counted("waits"), counted("copies_to_device")
    trainer.train_step(repeat(batch))
    assert (counted("waits") - waits, counted("copies_to_device") - copies) == (1, 1)


@pytest.mark.parametrize("method", ["clip", "clip_catlip"])
def test_micro_batches_drop_the_same_patches_in_the_backward_pass(rank, method) -> None:
    batch = batch_of(TINY, rank)
    objective = methods.build(
        Factors(method, "vit_tiny16", 32, num_classes=50, seed=0, patch_drop_rate=0.5)
    )
    objective.to(rank.device).train()
    states = []
    objective.image_encoder.register_forward_pre_hook(
        lambda *_: states.append(torch.cuda.get_rng_state())
    )
    objective(batch, batch).backward()
    first, second, *again = states
    assert not torch.equal(first, second)
    assert {state.numpy().tobytes() for state in again} == {
        state.numpy().tobytes() for state in (first, second)
    }


def test_synthetic_images_are_made_on_the_device(rank) -> None:
    before = counted("bytes_to_device")
    images = batch_of(Factors(batch_size=64), rank).images
    assert images.is_cuda
    assert counted("bytes_to_device") - before < images.nbytes / 100


def test_next_batch_is_copied_ahead_and_aside(rank) -> None:
    batch = batch_of(TINY, init_distributed("cpu")).pin_memory()
    copies, aside = counted("copies_to_device"), counted("copies_aside")
    assert next(copy_ahead(repeat(batch, 3), rank.device)).images.is_cuda
    of_two = 2 * 4  # images, tokens, values and offsets of labels
    assert counted("copies_to_device") - copies == counted("copies_aside") - aside == of_two


def test_state_for_a_checkpoint_is_copied_in_order_and_only_its_writer_waits(
    rank, tmp_path
) -> None:
    trainer, batch = build(TINY, rank), batch_of(TINY, rank)
    trainer.train_step(repeat(batch))
    waits, aside = counted("waits"), counted("copies_aside_to_host")
    write = trainer.checkpoint_writer(tmp_path, {})
    assert write
    assert counted("waits") == waits
    # The next step is queued behind them: its forward pass may already change the state.
    assert counted("copies_aside_to_host") == aside
    path = write()
    assert counted("waits") == waits + 1
    assert torch.load(path)["state"]["objective"].keys() == trainer.objective.state_dict().keys()


@pytest.mark.parametrize(("parallel", "steps"), [("ddp", 1), ("fsdp", 2)])
def test_eight_ranks_step(rank, parallel, steps, monkeypatch) -> None:
    """DDP reads back what ranks tell each other of parameters and, after a step, of buckets."""
    check = "torch.nn.parallel.distributed._verify_param_shape_across_processes"
    monkeypatch.setattr(check, lambda *_: True)
    with fake_ranks(8):
        eight = replace(rank, world_size=8)
        factors = replace(TINY, method="clip", parallel=parallel)
        trainer, batch = build(factors, eight), batch_of(factors, eight)
        if parallel == "ddp":
            trainer.replica.register_comm_hook(None, all_reduced)
        for _ in range(steps):
            trainer.train_step(repeat(batch))
        assert trainer.step == steps


class CastTokens(TorchDispatchMode):
    """Counts casts of [B, tokens, width], which weights are not."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function is torch.ops.aten._to_copy.default and result.dtype != args[0].dtype:
            self.count += result.ndim == 3
        return result


@pytest.mark.parametrize("method", ["catlip", "clip"])
@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_sharded_blocks_do_not_cast_their_residuals(rank, method, precision) -> None:
    casts = []
    for parallel in ("ddp", "fsdp"):
        factors = replace(TINY, method=method, parallel=parallel, precision=precision)
        with fake_ranks(1) if parallel == "fsdp" else nullcontext(), CastTokens() as tokens:
            trainer, batch = build(factors, rank), batch_of(factors, rank)
            trainer.train_step(repeat(batch))
        casts.append(tokens.count)
    towers = 2 if method == "clip" else 1
    blocks = 12 * towers
    # Autocast casts around the two norms of a block, forward and back.
    assert casts[0] >= 4 * blocks * (precision != "fp32")
    assert casts[1] < 6 * towers  # where tokens enter and leave the blocks


@pytest.mark.parametrize("is_deterministic", [False, True])
def test_convolutions_are_tried_unless_they_are_to_be_deterministic(rank, is_deterministic) -> None:
    torch.use_deterministic_algorithms(is_deterministic)
    try:
        build(TINY, rank)
        assert torch.backends.cudnn.benchmark != is_deterministic
    finally:
        torch.use_deterministic_algorithms(False)


def test_training_goes_on_after_an_error_that_ended_its_device(
    program, succeed, starter, tmp_path
) -> None:
    options = ("--device", "cuda", "--checkpoint-every", 4, "--num-workers", 1)
    # Of a method that needs both labels and tokens.
    command = short_training.command("clip_catlip", starter, tmp_path / "run", *options)
    assert program(*command, NULL_GPU_FAIL_AT="4000").returncode
    assert list((tmp_path / "run" / "checkpoints").iterdir())
    succeed(*command)
    assert metrics(tmp_path, "run.json")["iterations"] == 12
    assert metrics(tmp_path, "run.json")["peak_gib"] > 0
