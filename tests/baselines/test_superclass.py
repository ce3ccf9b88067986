"""SuperClass here is the softmax cross-entropy with a dense, IDF-weighted target, without the dense
target.
"""

from collections import Counter
from dataclasses import replace
from math import log

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from baselines.openclip import END, START, CaptionTokenizer
from baselines.superclass import Superclass, distinct_subwords, sparse_cross_entropy
from bench import methods
from catlip.data.loader import Batch

CONTEXT = 24
captions = st.lists(st.lists(st.integers(0, 20), max_size=CONTEXT - 2), min_size=1, max_size=6)


def tokens_of(subwords: list[list[int]]) -> Tensor:
    rows = [[START, *some, END] for some in subwords]
    return torch.tensor([row + [0] * (CONTEXT - len(row)) for row in rows])


def superclass() -> Superclass:
    return methods.build("superclass", "hybrid_tiny", 32, num_classes=10, seed=0)


def dense_target(subwords: list[list[int]], seen: list[list[int]], num_classes: int) -> Tensor:
    """The definition, in plain Python: [B, V] float64."""
    frequency = Counter(subword for some in seen for subword in set(some))
    target = torch.zeros(len(subwords), num_classes, dtype=torch.float64)
    for row, some in zip(target, subwords, strict=True):
        for subword in set(some):
            row[subword] = log((1 + len(seen)) / (1 + frequency[subword]))
        row /= row.sum() or 1
    return target


COUNTS = superclass()


@given(captions, captions)
def test_loss_and_gradient_are_those_of_the_dense_target(
    earlier: list[list[int]], now: list[list[int]]
) -> None:
    logits = torch.randn(
        len(now), 30, dtype=torch.float64, generator=torch.Generator().manual_seed(len(now))
    )
    sparse, dense = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    counts = COUNTS
    counts.captions_with.zero_()
    counts.captions_seen.zero_()
    counts.count(*distinct_subwords(tokens_of(earlier)))
    subwords, present = distinct_subwords(tokens_of(now))
    counts.count(subwords, present)
    classes = subwords.clamp(max=29)  # what does not count is END, beyond these 30 classes
    loss = sparse_cross_entropy(sparse, classes, counts.weights(subwords, present))
    expected = (
        -(dense_target(now, earlier + now, 30) * F.log_softmax(dense, dim=1)).sum(dim=1).mean()
    )
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(sparse.grad, dense.grad, rtol=1e-12, atol=1e-12)


@given(captions)
def test_the_subwords_are_those_of_the_caption_each_once(now: list[list[int]]) -> None:
    subwords, present = distinct_subwords(tokens_of(now))
    assert subwords.shape == present.shape == (len(now), CONTEXT)
    for found, counts, some in zip(subwords, present, now, strict=True):
        assert found[counts].tolist() == sorted(set(some))


def test_captions_give_no_special_token_and_keep_the_exclamation_mark_that_looks_like_padding():
    tokens = CaptionTokenizer(CONTEXT)(["a dog !%", "a dog", "", " ".join(["dog"] * 99)])
    assert tokens[0, 3] == tokens[0, -1] == 0
    subwords, present = distinct_subwords(tokens)
    found = [set(row[counts].tolist()) for row, counts in zip(subwords, present, strict=True)]
    assert found == [
        {0, *tokens[0, 1:5].tolist()},
        set(tokens[1, 1:3].tolist()),
        set(),
        {tokens[3, 1].item()},
    ]


def test_what_every_caption_says_is_no_target_and_a_rare_word_is_most_of_one() -> None:
    subwords, present = distinct_subwords(tokens_of([[1, 2, 3], [1, 2], [1, 2], [1, 4]]))
    objective = superclass()
    objective.count(subwords, present)
    first = dict(
        zip(subwords[0].tolist(), objective.weights(subwords, present)[0].tolist(), strict=True)
    )
    assert first[1] == 0
    assert first[3] == pytest.approx(log(5 / 2) / (log(5 / 2) + log(5 / 4)))


def test_a_caption_that_says_nothing_adds_nothing() -> None:
    objective, batch = (
        superclass(),
        methods.synthetic_batch(2, "hybrid_tiny", 32, num_classes=10, seed=0),
    )
    objective(replace(batch, tokens=tokens_of([[], [5]]))).backward()
    assert all(p.grad.isfinite().all() for p in objective.parameters())
    both = objective.eval()(replace(batch, tokens=tokens_of([[], [5]])))
    second = objective(replace(batch, images=batch.images[1:], tokens=tokens_of([[5]])))
    assert second > 1
    torch.testing.assert_close(both, second / 2)


def test_captions_are_counted_in_training_only() -> None:
    objective, batch = (
        superclass(),
        methods.synthetic_batch(4, "hybrid_tiny", 32, num_classes=10, seed=0),
    )
    objective.eval()(batch)
    assert objective.captions_seen.item() == 0
    objective.train()(batch)
    assert objective.captions_seen.item() == 4
    assert objective.captions_with[batch.tokens[0, 1]] >= 1
    assert objective.captions_with[[START, END]].tolist() == [0, 0]


def test_a_resumed_run_goes_on_with_the_counts_bit_for_bit(tmp_path) -> None:
    whole = superclass()
    losses = trained(whole, range(4))
    stopped, resumed = superclass(), superclass()
    trained(stopped, range(2))
    torch.save(stopped.state_dict(), tmp_path / "state.pt")
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert trained(resumed, range(2, 4)) == losses[2:]
    state = resumed.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in whole.state_dict().items())
    assert state["captions_seen"].item() == 16


def trained(objective: Superclass, steps: range) -> list[float]:
    """The loss of each step of plain gradient descent, which keeps no state of its own."""
    optimizer, losses = torch.optim.SGD(objective.parameters(), lr=0.1), []
    for step in steps:
        loss = objective(batch_of(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def batch_of(step: int) -> Batch:
    batch = methods.synthetic_batch(4, "hybrid_tiny", 32, num_classes=10, seed=step)
    few = batch.tokens[:, 1:-1] % 20  # so that captions share words, and their counts matter
    return replace(batch, tokens=torch.cat([batch.tokens[:, :1], few, batch.tokens[:, -1:]], dim=1))
