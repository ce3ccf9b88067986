"""A step among 8, 64 and 256 ranks sends what arithmetic says, by the code that NCCL runs.

torch's fake process group issues every collective and sends nothing, so one process is enough.
"""

from collections import Counter

import pytest
import torch
import torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore

from bench.arithmetic.exchanges import sent
from bench.communication.collectives import listen
from bench.measuring.factors import Factors
from bench.measuring.methods import CATLIP_FORMS, METHODS
from bench.measuring.training_step import batch_of, build
from catlip.training.distributed import Place

SENDING_ALIKE = {form.name for form in CATLIP_FORMS[1:]}  # as the first form of CatLIP


@pytest.fixture(params=[8, 64, 256])
def place(request, monkeypatch):
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=request.param)
    # torch and open_clip exchange in another way over gloo.
    monkeypatch.setattr(dist, "get_backend", lambda group=None: dist.Backend.NCCL)
    yield Place(0, request.param, torch.device("cpu"))
    dist.destroy_process_group()


def all_reduced(_: object, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """What DDP does with a bucket; the fake group's own answer is none that it takes."""
    dist.all_reduce(bucket.buffer())
    done: torch.futures.Future[torch.Tensor] = torch.futures.Future()
    done.set_result(bucket.buffer())
    return done


@pytest.mark.parametrize("method", sorted(METHODS.keys() - SENDING_ALIKE))
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_many_ranks_send_what_arithmetic_says(place, method, parallel) -> None:
    factors = Factors(method, "hybrid_mini", 32, 2, "fp32", num_classes=50, parallel=parallel)
    trainer, batch = build(factors, place), batch_of(factors, place)
    if parallel == "ddp":
        trainer.replica.register_comm_hook(None, all_reduced)
    for _ in range(2):  # DDP finds its buckets in the first
        trainer.train_step(iter([batch]))
    with listen() as heard:
        trainer.train_step(iter([batch]))
    found: Counter[str] = Counter()
    for collective in heard:
        if collective.what != "loss":
            found[collective.what] += collective.sent_bytes(place.world_size)
    expected: Counter[str] = Counter()
    for exchange in sent(factors, place.world_size, "cuda"):
        expected[exchange.what] += exchange.sent_bytes
    assert found == pytest.approx(expected)
