"""What a step computes and moves is counted operation by operation."""

from itertools import repeat

import pytest
import torch
from torch.nn.functional import embedding
from torch.nn.functional import scaled_dot_product_attention as attention

from bench.arithmetic.flops import step_flops
from bench.measuring.factors import Factors
from bench.measuring.roofline import Operations
from bench.measuring.training_step import batch_of, build
from catlip.training.distributed import Rank

CPU = Rank(0, 1, torch.device("cpu"))
A, B = torch.ones(64, 32), torch.ones(32, 16)  # 8 KiB and 2 KiB
TABLE, ROWS = torch.ones(1000, 8), torch.tensor([1, 2, 3])
OUT, SUMMANDS, QKV = torch.ones(64, 32), torch.ones(3, 8), torch.ones(3, 1, 2, 16, 16)


@pytest.mark.parametrize(
    ("operation", "flops", "moved"),
    [
        (lambda: A @ B, 2 * 64 * 32 * 16, 8192 + 2048 + 4096),
        (lambda: A + A, 0, 8192 + 8192),  # read once
        (lambda: A.add_(1), 0, 8192 + 8192),
        (lambda: A.zero_(), 0, 8192),
        (lambda: A[:32].t().reshape(-1, 1).copy_(A[32:].t().reshape(-1, 1)), 0, 4 * 4096 + 8192),
        (lambda: A.t()[:, :3], 0, 0),
        (lambda: A[:1].expand(64, 32), 0, 0),
        (lambda: torch.empty(64, 32), 0, 0),
        (lambda: embedding(ROWS, TABLE), 0, 2 * 96),  # not the whole table
        (lambda: TABLE.index_put_((ROWS,), SUMMANDS), 0, 3 * 96),
        (lambda: torch.zeros_like(A), 0, 8192),
        (lambda: torch.add(A, A, out=OUT), 0, 2 * 8192),
        # All of q, k and v, the result, and what the backward pass needs of the softmax.
        (lambda: attention(*QKV.unbind(0)), 2 * 2 * 2 * 16**3, 4 * 2048 + 128),
    ],
)  # fmt: skip
def test_bytes_read_and_written_are_counted(operation, flops: int, moved: int) -> None:
    with Operations() as operations:
        operation()
    assert [sum(counts) for counts in zip(*operations.counted, strict=True)] == [flops, moved]


def test_each_operation_takes_the_longer_of_computing_and_moving() -> None:
    operations = Operations()
    operations.counted = [(10, 1), (1, 10), (0, 0)]
    assert operations.least_seconds(flops_per_s=10, bytes_per_s=1) == 1 + 10


@pytest.mark.parametrize("method", ["catlip", "clip"])
def test_step_has_the_operations_of_the_formula_and_the_traffic_of_adam(method: str) -> None:
    factors = Factors(method, "vit_tiny16", 64, 4, num_classes=50)
    trainer = build(factors, CPU)
    with Operations() as operations:
        trainer.train_step(repeat(batch_of(factors, CPU)))
    assert sum(flops for flops, _ in operations.counted) == pytest.approx(
        step_flops(factors, recompute=True), rel=0.02
    )
    weights = 4 * sum(p.numel() for p in trainer.objective.parameters())
    (adam,) = [moved for _, moved in operations.counted if moved > 6 * weights]
    assert adam == pytest.approx(7 * weights, rel=0.02)  # reads four tensors, writes three
