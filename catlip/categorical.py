"""CatLIP: which nouns does the caption of this image contain? (Section 3.2)

Multi-label classification over the synset vocabulary. Targets stay sparse: a caption has about
three nouns and the vocabulary 24,320 classes.
"""

from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catlip.costs import FLOAT32, Matmul, StepShape
from catlip.data.loader import Batch, RaggedLabels
from catlip.encoder import ImageEncoder
from catlip.objective import Objective

CLASSIFIER_STD = 0.02  # timm's for every linear layer
# Above this threshold torch's softplus returns z itself. With torch's default of 20, the error
# would be up to 2e-9.
EXACT_SOFTPLUS = 40.0


class Categorical(Objective):
    """An image encoder, a linear classifier over the vocabulary, and binary cross-entropy.

    Args:
        base_rates: [V] float in (0, 1), the fraction of training captions with each class. The bias
            starts at its log-odds, so that the first loss is as if the model knew the
            frequency of each noun, instead of V ln 2.
        chunk_classes: classes whose logits are in memory at a time; 0 for all of them, which is a
            little faster.
    """

    name, label, colour, marker = "catlip", "CatLIP", "#0067a5", "o"
    needs = frozenset({"labels"})

    def __init__(self, image_encoder: ImageEncoder, base_rates: Tensor, chunk_classes: int = 0):
        super().__init__()
        self.chunk_classes = chunk_classes
        self.image_encoder = image_encoder
        self.classifier = linear_classifier(image_encoder.num_features, torch.logit(base_rates))

    @classmethod
    def build(cls, image_encoder: ImageEncoder, encoder_name: str, base_rates: Tensor) -> Self:
        return cls(image_encoder, base_rates)

    def forward(self, batch: Batch) -> Tensor:
        assert batch.labels is not None, "the loader makes what `needs` names"
        features = self.image_encoder(batch.images)
        return classification_loss(self.classifier, features, batch.labels, self.chunk_classes)

    def recomputed(self, step: StepShape) -> list[Matmul]:
        return self.matmuls(step) if self.chunk_classes else []

    def kept_bytes(self, step: StepShape) -> int:
        return 0 if self.chunk_classes else super().kept_bytes(step)

    def loss_bytes(self, step: StepShape) -> int:
        """With chunks: the logits of one chunk, their gradient, and intermediate results."""
        if not self.chunk_classes:
            return super().loss_bytes(step)
        return 5 * FLOAT32 * step.batch_size * min(self.chunk_classes, self.classifier.out_features)


def linear_classifier(width: int, bias: Tensor) -> nn.Linear:
    classifier = nn.Linear(width, len(bias))
    nn.init.trunc_normal_(classifier.weight, std=CLASSIFIER_STD)
    with torch.no_grad():
        classifier.bias.copy_(bias)
    return classifier


def classification_loss(
    classifier: nn.Linear, features: Tensor, labels: RaggedLabels, chunk_classes: int
) -> Tensor:
    """Nats per image, with the logits of so many classes in memory at a time; 0 for all."""
    if chunk_classes:
        weight, bias = classifier.weight, classifier.bias
        return chunked_binary_cross_entropy(features, weight, bias, labels, chunk=chunk_classes)
    return sparse_binary_cross_entropy(classifier(features), labels)


def sparse_binary_cross_entropy(logits: Tensor, labels: RaggedLabels) -> Tensor:
    """Binary cross-entropy summed over classes, averaged over images (the release's `batch_mean`),
    in float32 or wider: softplus(z) of an absent class, and softplus(z) - z of a present one, so no
    dense [B, V] target is needed. An image has no class twice.
    """
    wide = _wide(logits)
    present = wide[labels.rows(), labels.values].sum()
    return (F.softplus(wide, threshold=EXACT_SOFTPLUS).sum() - present) / len(logits)


def chunked_binary_cross_entropy(
    features: Tensor, weight: Tensor, bias: Tensor, labels: RaggedLabels, chunk: int
) -> Tensor:
    """`sparse_binary_cross_entropy(F.linear(features, weight, bias), labels)`, without holding the
    [B, V] logits.

    Classes are taken `chunk` at a time, and their logits are computed again in the backward pass:
    four matrix products instead of three, and memory for a few times B x chunk numbers.
    """
    if torch.is_autocast_enabled(features.device.type):
        features = features.to(torch.get_autocast_dtype(features.device.type))
    loss: Tensor = _ChunkedLoss.apply(features, weight, bias, labels.rows(), labels.values, chunk)
    return loss / len(features)


class _ChunkedLoss(torch.autograd.Function):
    """Binary cross-entropy of a linear classifier, summed over classes and images in chunks."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        rows: Tensor,
        values: Tensor,
        chunk: int,
    ) -> Tensor:
        ctx.save_for_backward(features, weight, bias, rows, values)
        ctx.chunk = chunk
        loss = _wide(features.new_zeros(()))
        for first in range(0, len(weight), chunk):
            part = slice(first, first + chunk)
            logits = _wide_logits(features, weight[part], bias[part])
            column, present = _labels_within(values, first, logits)
            loss += (
                F.softplus(logits, threshold=EXACT_SOFTPLUS).sum()
                - (logits[rows, column] * present).sum()
            )
        return loss

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, bias, rows, values = ctx.saved_tensors
        grad_features = _wide(torch.zeros_like(features))
        grad_weight, grad_bias = torch.empty_like(weight), torch.empty_like(bias)
        for first in range(0, len(weight), ctx.chunk):
            part = slice(first, first + ctx.chunk)
            logits = _wide_logits(features, weight[part], bias[part])
            column, present = _labels_within(values, first, logits)
            grad_logits = (
                logits.sigmoid_()
                .index_put_((rows, column), -present, accumulate=True)
                .mul_(*upstream)
            )
            grad_bias[part] = grad_logits.sum(dim=0)
            grad_logits = grad_logits.to(features.dtype)
            grad_weight[part] = grad_logits.T @ features
            grad_features += grad_logits @ weight[part].to(features.dtype)
        return grad_features.to(features.dtype), grad_weight, grad_bias, None, None, None


def _wide_logits(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return _wide(F.linear(features, weight.to(features.dtype), bias.to(features.dtype)))


def _labels_within(values: Tensor, first: int, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Each label's column in these logits, and 1 if the label is one of their classes, else 0.
    Labels of other classes are kept, with any column: removing them would wait for the device.
    """
    column = values - first
    last = logits.shape[1] - 1
    return column.clamp(0, last), ((column >= 0) & (column <= last)).to(logits.dtype)


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
