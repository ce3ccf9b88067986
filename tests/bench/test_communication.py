"""Ranks send what arithmetic says: a few over gloo, and many by the code that NCCL runs, in one
process: torch's fake process group issues every collective and sends nothing.
"""

import json
from collections import Counter, defaultdict
from functools import partial
from itertools import product, repeat

import pytest
import torch
import torch.distributed as dist
from fake_ranks import all_reduced, fake_ranks

from bench.arithmetic.exchanges import step_exchanges
from bench.communication.collectives import Listener, replay
from bench.communication.measure import time_steps
from bench.communication.result import Communication
from bench.measuring.factors import Factors
from bench.measuring.methods import METHODS
from bench.measuring.training_step import batch_of, build
from catlip.records.run import read_run
from catlip.training.distributed import Rank

SENDERS = sorted(METHODS.keys() - {"catlip_dense"})  # which sends as catlip does
TINY = ("--model", "hybrid_micro", "--resolution", 32, "--batch-size", 2, "--num-classes", 50)
TINY = (*TINY, "--num-steps", 3, "--quiet", "--device", "cpu")
# One for each way to exchange over gloo: none, whole embeddings, a ring, counts, and both.
OVER_GLOO = ["catlip", "clip", "siglip", "superclass"]


@pytest.mark.parametrize(
    ("ranks", "parallel", "precision"),
    # A ring of two ranks is no ring.
    [(2, "fsdp", "bf16"), (3, "ddp", "fp32")],
)
def test_record_has_what_ranks_send(succeed, tmp_path, ranks, parallel, precision) -> None:
    options = ("--parallel", parallel, "--precision", precision, "--methods", *OVER_GLOO)
    done = succeed("bench.communication", *TINY, *options, "--out", tmp_path, ranks=ranks)
    assert done.stdout.count("wrote ") == 1
    assert "Warning" not in done.stderr
    (path,) = tmp_path.iterdir()
    record = json.loads(path.read_text())
    metrics = record["metrics"]
    assert (metrics["world_size"], metrics["backend"]) == (ranks, "gloo")
    assert metrics["methods"].keys() == {*OVER_GLOO}
    for method, costs in metrics["methods"].items():
        found: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0])
        for row in costs["collectives"]:
            assert row["bare_ms"]["n"] == 3
            scattered = row["kind"] == "scatter"  # gloo's all_to_all is a scatter from each rank
            what = row["what"], "all_to_all" if scattered else row["kind"]
            found[what][0] += row["count"] / ranks if scattered else row["count"]
            found[what][1] += row["sent_mb"]
        factors = Factors(
            *(method, "hybrid_micro", 32, 2, precision), num_classes=50, parallel=parallel
        )
        exchanges = step_exchanges(factors, ranks, "cpu")
        expected = {(e.what, e.kind): [e.count, e.sent_bytes / 1e6] for e in exchanges}
        assert found == {what: pytest.approx(sizes) for what, sizes in expected.items()}
        assert costs["sent_mb"] == pytest.approx(costs["predicted_sent_mb"])
        assert ("exposed_ms" in costs) == (parallel == "ddp")
        steps = ("step", "step_without_exchange") if parallel == "ddp" else ("step",)
        assert {len(record["samples"][f"{method}_{step}_ms"]) for step in steps} == {3}
    run = read_run(record, Communication)
    assert not [*run.metrics.faults(run)]


@pytest.fixture
def rank(request, monkeypatch):
    # torch and open_clip exchange in another way over gloo.
    monkeypatch.setattr(dist, "get_backend", lambda group=None: dist.Backend.NCCL)
    with fake_ranks(request.param):
        yield Rank(0, request.param, torch.device("cpu"))


@pytest.mark.parametrize(
    ("rank", "method", "parallel"),
    [
        *product([8], SENDERS, ["ddp", "fsdp"]),
        *product([256], ["clip", "siglip"], ["ddp", "fsdp"]),
    ],
    indirect=["rank"],
)
def test_many_ranks_send_what_arithmetic_says(rank, method, parallel) -> None:
    factors = Factors(method, "hybrid_mini", 32, 2, "fp32", num_classes=50, parallel=parallel)
    trainer = build(factors, rank)
    step = partial(trainer.train_step, repeat(batch_of(factors, rank)))
    if parallel == "ddp":
        trainer.replica.register_comm_hook(None, all_reduced)
    for _ in range(2):  # DDP finds its buckets in the first
        step()
    with Listener() as heard:
        step()
    found: Counter[str] = Counter()
    for collective in heard.calls:
        if collective.what != "loss":
            found[collective.what] += collective.sent_bytes(rank.world_size)
    expected: Counter[str] = Counter()
    for exchange in step_exchanges(factors, rank.world_size, "cuda"):
        expected[exchange.what] += exchange.sent_bytes
    assert found == pytest.approx(expected)
    with Listener() as of_bare:
        replay(heard.calls, rank)()
    shapes = [[(c.kind, c.elements, c.dtype) for c in each.calls] for each in (heard, of_bare)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("rank", [8], indirect=True)
def test_step_time_without_exchange_sends_only_embeddings(rank):
    """And goes first in every other round."""
    factors = Factors("clip", "hybrid_micro", 32, 2, "fp32", num_classes=50)
    trainer, heard = build(factors, rank), []
    trainer.replica.register_comm_hook(None, all_reduced)

    def step() -> None:
        with Listener() as listener:
            trainer.train_step(repeat(batch_of(factors, rank)))
        heard.append(sorted({call.what for call in listener.calls}))

    time_steps(step, trainer.replica, rank, rounds=2)
    without, whole = ["features", "loss"], ["buffers", "features", "gradients", "loss"]
    assert heard == [without, whole, whole, without]
