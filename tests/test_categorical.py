"""The sparse loss is binary cross-entropy."""

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from catlip.categorical import sparse_binary_cross_entropy
from catlip.data.loader import RaggedLabels

LABEL_SETS = st.lists(st.sets(st.integers(0, 11)), min_size=1, max_size=6)


def ragged(label_sets) -> RaggedLabels:
    values = [label for labels in label_sets for label in sorted(labels)]
    offsets = torch.tensor([0, *map(len, label_sets)]).cumsum(0)
    return RaggedLabels(torch.tensor(values, dtype=torch.int64), offsets)


def dense_formula(logits: torch.Tensor, label_sets) -> torch.Tensor:
    target = torch.zeros_like(logits)
    for row, labels in enumerate(label_sets):
        target[row, list(labels)] = 1
    return F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / len(label_sets)


@given(label_sets=LABEL_SETS, scale=st.sampled_from([0.1, 5.0, 80.0]), seed=st.integers(0, 99))
def test_value_and_gradient_are_those_of_the_dense_formula(label_sets, scale, seed) -> None:
    torch.manual_seed(seed)
    logits = (torch.randn(len(label_sets), 12, dtype=torch.float64) * scale).requires_grad_()
    ours = sparse_binary_cross_entropy(logits, ragged(label_sets))
    theirs = dense_formula(logits, label_sets)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    (gradient,), (expected,) = (torch.autograd.grad(loss, logits) for loss in (ours, theirs))
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)


def test_half_precision_logits_are_reduced_in_full_precision() -> None:
    logits = torch.randn(8, 24_320, generator=torch.Generator().manual_seed(0)).bfloat16()
    labels = ragged([{1, 5}] * 8)
    torch.testing.assert_close(
        sparse_binary_cross_entropy(logits, labels),
        sparse_binary_cross_entropy(logits.double(), labels).float(),
        rtol=1e-5,
        atol=0,
    )
