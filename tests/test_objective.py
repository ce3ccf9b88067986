"""The sparse loss is binary cross-entropy."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from catlip.data.loader import Batch, RaggedLabels
from catlip.encoder import build_encoder
from catlip.objective import Categorical, Objective, sparse_binary_cross_entropy

LABEL_SETS = st.lists(st.sets(st.integers(0, 11)), min_size=1, max_size=6)


def ragged(label_sets) -> RaggedLabels:
    values = [label for labels in label_sets for label in sorted(labels)]
    offsets = torch.tensor([0, *map(len, label_sets)]).cumsum(0)
    return RaggedLabels(torch.tensor(values, dtype=torch.int64), offsets)


def dense(label_sets, num_classes: int) -> torch.Tensor:
    target = torch.zeros(len(label_sets), num_classes, dtype=torch.float64)
    for row, labels in enumerate(label_sets):
        target[row, list(labels)] = 1
    return target


@given(label_sets=LABEL_SETS, scale=st.sampled_from([0.1, 5.0, 80.0]), seed=st.integers(0, 99))
def test_value_and_gradient_are_those_of_the_dense_formula(label_sets, scale, seed) -> None:
    torch.manual_seed(seed)
    logits = (torch.randn(len(label_sets), 12, dtype=torch.float64) * scale).requires_grad_()
    ours = sparse_binary_cross_entropy(logits, ragged(label_sets))
    (gradient,) = torch.autograd.grad(ours, logits)
    target = dense(label_sets, 12)
    theirs = F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / len(label_sets)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, torch.autograd.grad(theirs, logits)[0], rtol=1e-12, atol=1e-12)


def test_half_precision_logits_are_reduced_in_full_precision() -> None:
    logits = torch.randn(8, 24_320, generator=torch.Generator().manual_seed(0)).bfloat16()
    labels = ragged([{1, 5}] * 8)
    torch.testing.assert_close(
        sparse_binary_cross_entropy(logits, labels),
        sparse_binary_cross_entropy(logits.double(), labels).float(),
        rtol=1e-5,
        atol=0,
    )


def test_training_starts_at_the_loss_of_knowing_the_base_rates() -> None:
    rates = torch.tensor([0.5, 0.1, 0.01])
    objective = Categorical(build_encoder("hybrid_tiny", 32), rates)
    torch.nn.init.zeros_(objective.classifier.weight)
    loss = objective(Batch(torch.zeros(10, 3, 32, 32, dtype=torch.uint8), [""] * 10, ragged([{0}] * 5 + [{1}] + [set()] * 4)))
    entropy = math.log(2) - 0.1 * math.log(0.1) - 0.9 * math.log(0.9) - math.log(0.99)
    assert loss.item() == pytest.approx(entropy, abs=1e-4)


def test_it_is_an_objective_and_trains_the_encoder() -> None:
    objective = Categorical(build_encoder("hybrid_tiny", 32), torch.full((5,), 0.1))
    assert isinstance(objective, Objective)
    objective(Batch(torch.full((2, 3, 32, 32), 9, dtype=torch.uint8), ["", ""], ragged([{1}, set()]))).backward()
    assert all(parameter.grad is not None for parameter in objective.parameters())
