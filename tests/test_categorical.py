"""The sparse loss is binary cross-entropy, all classes at once or in chunks."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from catlip.categorical import (
    Categorical,
    chunked_binary_cross_entropy,
    sparse_binary_cross_entropy,
)
from catlip.data.loader import Batch, RaggedLabels
from catlip.encoder import build_encoder

VOCABULARY = 24_320
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


def linear_classifier(
    label_sets, num_classes: int, width: int, seed: int, dtype=torch.float64
) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    shapes = [(len(label_sets), width), (num_classes, width), (num_classes,)]
    return [torch.randn(shape, generator=draw, dtype=dtype).requires_grad_() for shape in shapes]


@given(
    label_sets=LABEL_SETS,
    chunk=st.integers(1, 14),
    scale=st.sampled_from([0.1, 3.0, 30.0]),
    seed=st.integers(0, 99),
)
def test_chunks_have_value_and_gradients_of_the_dense_formula(label_sets, chunk, scale, seed):
    features, weight, bias = inputs = linear_classifier(label_sets, 12, 5, seed)
    ours = chunked_binary_cross_entropy(features, weight * scale, bias, ragged(label_sets), chunk)
    theirs = dense_formula(F.linear(features, weight * scale, bias), label_sets)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    # times 3: what comes from above, say a loss scale, must be passed on
    gradients = zip(
        torch.autograd.grad(3 * ours, inputs), torch.autograd.grad(3 * theirs, inputs), strict=True
    )
    for gradient, expected in gradients:
        torch.testing.assert_close(gradient, expected, rtol=1e-11, atol=1e-11)


def test_chunks_under_autocast_are_as_near_to_the_truth_as_all_at_once() -> None:
    """Both round each logit to bfloat16: 1 % of the largest gradient, and 0.1 % of the loss."""
    label_sets = [{1, 400}, set(), {999}, {0, 1, 2}] * 8
    inputs = linear_classifier(label_sets, 1_000, 64, seed=0, dtype=torch.float32)
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    truth = sparse_binary_cross_entropy(F.linear(*exact), ragged(label_sets))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = [
            chunked_binary_cross_entropy(*inputs, ragged(label_sets), 300),
            sparse_binary_cross_entropy(F.linear(*inputs), ragged(label_sets)),
        ]
    for loss in losses:
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(truth.item(), rel=1e-3)
        for gradient, expected in zip(
            torch.autograd.grad(loss, inputs),
            torch.autograd.grad(truth, exact, retain_graph=True),
            strict=True,
        ):
            assert gradient.dtype == torch.float32
            assert (gradient - expected).abs().max() < 0.01 * expected.abs().max()
            if expected.ndim == 2:
                assert torch.equal(gradient, gradient.bfloat16().float()), (
                    "a product in bfloat16, in the backward pass too"
                )


def test_bias_saves_the_first_16_800_nats() -> None:
    """Labels, three a caption, are drawn independently at Zipf's base rates; V ln 2 = 16,857."""
    rates = 1 / (torch.arange(VOCABULARY) + 10.0)
    rates *= 3 / rates.sum()
    drawn = torch.rand(256, VOCABULARY, generator=torch.Generator().manual_seed(0)) < rates
    images = torch.zeros(256, 3, 16, 16, dtype=torch.uint8)
    labels = ragged([set(row.nonzero().flatten().tolist()) for row in drawn])
    batch = Batch(images, [""] * len(images), labels)
    certain = torch.special.xlogy(rates, rates) + torch.special.xlog1py(1 - rates, -rates)
    entropy = -certain.sum().item()

    def first_loss(base_rates: torch.Tensor) -> float:
        torch.manual_seed(0)
        objective = Categorical(build_encoder("hybrid_mini", 16), base_rates)
        with torch.inference_mode():
            return objective(batch).item()

    # Weights of deviation 0.02 on normed features of width 128 add noise of that variance to each
    # logit.
    variance = 128 * 0.02**2
    assert first_loss(torch.full((VOCABULARY,), 0.5)) == pytest.approx(
        VOCABULARY * (math.log(2) + variance / 8), rel=0.002
    )
    assert first_loss(rates) == pytest.approx(entropy, rel=0.03)
    assert entropy < 30
