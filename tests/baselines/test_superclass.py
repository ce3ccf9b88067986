"""SuperClass is a softmax cross-entropy with an IDF-weighted target that is never made dense."""

from collections import Counter
from dataclasses import replace
from math import log

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from baselines.idf import RunningIdf, distinct_subwords, sparse_cross_entropy
from baselines.openclip import END, START, CaptionTokenizer
from baselines.superclass import Superclass
from bench.measuring import methods
from bench.measuring.factors import Factors
from catlip.data.loader import Batch

CONTEXT = 24
COUNTING = ("superclass", "catlip_softmax", "superclip")
captions = st.lists(st.lists(st.integers(0, 20), max_size=CONTEXT - 2), min_size=1, max_size=6)


def tokens_of(subwords: list[list[int]]) -> Tensor:
    rows = [[START, *some, END] for some in subwords]
    return torch.tensor([row + [0] * (CONTEXT - len(row)) for row in rows])


def build(method: str = "superclass") -> Superclass:
    return methods.build(Factors(method, "hybrid_mini", 32, num_classes=10, seed=0))


def dense_target(subwords: list[list[int]], seen: list[list[int]], num_classes: int) -> Tensor:
    """The definition, in plain Python: [B, V] float64."""
    frequency = Counter(subword for some in seen for subword in set(some))
    target = torch.zeros(len(subwords), num_classes, dtype=torch.float64)
    for row, some in zip(target, subwords, strict=True):
        for subword in set(some):
            row[subword] = log((1 + len(seen)) / (1 + frequency[subword]))
        row /= row.sum() or 1
    return target


@given(captions, captions)
def test_loss_and_gradient_are_those_of_the_dense_target(
    earlier: list[list[int]], now: list[list[int]]
) -> None:
    generator = torch.Generator().manual_seed(len(now))
    logits = torch.randn(len(now), END + 1, dtype=torch.float64, generator=generator)
    sparse, dense = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    idf = RunningIdf(END + 1)
    idf.count(*distinct_subwords(tokens_of(earlier)))
    subwords, present = distinct_subwords(tokens_of(now))
    idf.count(subwords, present)
    loss = sparse_cross_entropy(sparse, subwords, idf.weights(subwords, present))
    target = dense_target(now, earlier + now, END + 1)
    expected = -(target * F.log_softmax(dense, dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(sparse.grad, dense.grad, rtol=1e-12, atol=1e-12)


def counted(tokens: Tensor) -> list[list[int]]:
    """The subwords of each caption that count."""
    subwords, present = distinct_subwords(tokens)
    rows, values = subwords.rows()[present], subwords.values[present]
    return [values[rows == row].tolist() for row in range(len(subwords))]


def test_the_exclamation_mark_counts_though_its_token_is_that_of_padding() -> None:
    tokens = CaptionTokenizer(CONTEXT)(["a dog !%", "a dog"])
    assert tokens[0, 3] == tokens[0, -1] == 0
    assert [set(some) for some in counted(tokens)] == [
        {0, *tokens[0, 1:5].tolist()},
        set(tokens[1, 1:3].tolist()),
    ]


@pytest.mark.parametrize("method", COUNTING)
def test_captions_are_counted_in_training_only(method) -> None:
    objective, batch = build(method), batch_of(0)
    objective.eval()(batch)
    assert objective.idf.captions_seen.item() == 0
    objective.train()(batch)
    assert objective.idf.captions_seen.item() == 4
    subwords = [{*caption} - {START, END} for caption in batch.tokens.tolist()]
    expected = 4 * 3 if objective.needs == {"labels"} else sum(map(len, subwords))
    assert objective.idf.captions_with.sum() == expected


def batch_of(step: int) -> Batch:
    batch = methods.synthetic_batch(
        Factors("catlip", "hybrid_mini", 32, 4, num_classes=10), seed=step
    )
    few = batch.tokens[:, 1:-1] % 20  # so that captions share words, and their counts matter
    return replace(batch, tokens=torch.cat([batch.tokens[:, :1], few, batch.tokens[:, -1:]], dim=1))
