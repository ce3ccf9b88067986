"""The memory of a step is measured whole and by part, and what is predicted is what is found."""

import json
import shlex
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from bench.arithmetic.memory import peak_bytes, state_bytes
from bench.measuring.factors import METHOD_NAMES, Factors
from bench.measuring.training_step import build
from bench.memory import result
from bench.memory.config import Memory
from bench.memory.measure import MULTIPLE, attempt, largest_batch, main, measure
from bench.memory.tensors import SavedTensors
from catlip.costs import GIB
from catlip.training.distributed import Rank, init_distributed

SMALL = Factors("catlip", "hybrid_mini", 48, 16, "fp32", num_classes=2_000)
CHECKPOINTING = {"checkpointing": True, "num_classes": 500}
TINY = shlex.split("--model hybrid_mini --resolution 32 --budget-gib 0.25 --device cpu --quiet")


@pytest.fixture(scope="module")
def rank() -> Rank:
    return init_distributed("cpu")


@pytest.mark.parametrize(
    ("method", "how"),
    [
        *((method, {"batch_size": 32}) for method in METHOD_NAMES),
        ("catlip", {"precision": "bf16", "checkpointing": True, "batch_size": 48}),
        ("clip", {"precision": "bf16", "checkpointing": True, "batch_size": 48}),
        ("clip", {"patch_drop_rate": 0.5}),
        ("clip", {"model": "cnn", "batch_size": 32}),
        # The peak comes with all gradients made, and one block.
        ("catlip", {"model": "vit_tiny16", "resolution": 64, "batch_size": 64, **CHECKPOINTING}),
    ],
    ids=str,
)
def test_peak_is_predicted_and_holds_all_that_stays(rank, method, how) -> None:
    factors = replace(SMALL, method=method, **how)
    found, peaks = measure(factors, rank)
    assert len(set(peaks)) == 1  # the same each time
    predicted = peak_bytes(factors, device_type="cpu")
    assert predicted == pytest.approx(found.peak_gib * GIB, rel=0.03)
    assert 0 <= found.other_gib < found.peak_gib / 2
    state = state_bytes(factors)
    for part in ("parameters", "gradients", "optimizer", "average"):
        assert getattr(found, f"{part}_gib") * GIB == pytest.approx(state[part], rel=1e-4)


def test_users_encoder_holds_what_its_architecture_does(rank) -> None:
    users = replace(SMALL, model="random:hybrid_mini@48")
    assert all(module.training for module in build(users, rank).objective.modules())
    (theirs, _), (ours, _) = measure(users, rank), measure(SMALL, rank)
    assert vars(theirs) == pytest.approx(vars(ours), abs=1e-5)


def test_nothing_is_predicted_of_a_users_encoder(rank, tmp_path) -> None:
    users = {"model": "random:hybrid_mini@48", "methods": ("catlip",), "resolution": 48}
    config = Memory(**users, num_classes=500, device="cpu", quiet=True, out=tmp_path)
    main(replace(config, batch_sizes=(4, 64), budget_gib=0.03, largest=True))
    (path,) = tmp_path.iterdir()
    memory = result.Memory.read(json.loads(path.read_text())["metrics"])
    assert memory.batches[4].methods["catlip"].predicted is None
    assert memory.batches[64].too_large == {"catlip": None}
    assert 4 <= memory.largest["catlip"].images < 64
    assert memory.largest["catlip"].predicted is None


def test_saved_tensors_that_are_dropped_do_not_hide_those_at_their_address() -> None:
    class Dropping(nn.Module):
        def forward(self, numbers: Tensor) -> Tensor:
            for _ in range(5):
                numbers.exp()
            return numbers.exp()

    saved = SavedTensors(Dropping(), excluded=set())
    with saved:
        result = Dropping()(torch.zeros(100, requires_grad=True))
    assert saved.bytes() == {"image_encoder": 0, "text_tower": 0, "logits": result.nbytes}


@pytest.mark.parametrize("start", [0, 70, 5_000])
@pytest.mark.parametrize("most", [0, 1, 71, 1_000])
@pytest.mark.parametrize("multiple", [1, 8])
def test_largest_batch_is_found_from_anywhere(multiple, most, start) -> None:
    tried: list[int] = []
    found = largest_batch(lambda size: tried.append(size) or size <= most, start, multiple=multiple)
    assert found == (most // multiple * multiple or most)
    assert len(tried) == len(set(tried)) <= 30


def test_nothing_is_tried_that_will_not_fit_on_a_cpu(rank, monkeypatch) -> None:
    monkeypatch.setattr("bench.memory.measure.build", None)  # calling it would fail
    assert attempt(measure, SMALL, rank, budget=peak_bytes(SMALL, device_type="cpu") - 1) is None


def test_run_records_every_batch_and_the_largest_that_fits_the_budget(
    succeed: Callable, tmp_path
) -> None:
    options = ("--num-classes", 500, "--batch-sizes", 4096, 8, "--largest", "--out", tmp_path)
    done = succeed("bench.memory", *TINY, *options)
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("hybrid_mini-b4096-8-fp32-torch")
    assert done.stdout.splitlines()[-1] == f"wrote {path}"
    assert "did not fit" in done.stdout
    record = json.loads(path.read_text())
    memory = result.Memory.read(record["metrics"])
    assert min(memory.batches[4096].too_large.values()) > 0.25
    assert not memory.batches[4096].methods
    catlip = memory.batches[8].methods["catlip"].measured
    assert record["samples"]["catlip_b8_peak_bytes"] == [catlip.peak_gib * GIB] * 2
    found = memory.largest["catlip"]
    assert memory.largest["clip"].images < found.images
    assert found.images == pytest.approx(found.predicted, rel=0.05)
    assert found.images % MULTIPLE == 0
    largest = Factors("catlip", "hybrid_mini", 32, found.images, "fp32", num_classes=500)
    assert peak_bytes(largest, device_type="cpu") < 0.25 * GIB
