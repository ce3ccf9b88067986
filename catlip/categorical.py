"""CatLIP: which nouns does the caption of this image contain? (Section 3.2)

Multi-label classification over the synset vocabulary. Targets stay sparse: a caption has about
three nouns and the vocabulary 24,320 classes.
"""

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
    """

    name, label, colour, marker = "catlip", "CatLIP", "#0067a5", "o"
    order, asks, reads, scores_captions = 1, "binary", "nouns", True
    needs = frozenset({"labels"})

    def __init__(self, image_encoder: ImageEncoder, base_rates: Tensor):
        super().__init__()
        self.image_encoder = image_encoder
        self.classifier = linear_classifier(image_encoder.num_features, torch.logit(base_rates))

    @classmethod
    def build(cls, image_encoder: ImageEncoder, encoder_name: str, base_rates: Tensor) -> Self:
        return cls(image_encoder, base_rates)

    def forward(self, batch: Batch) -> Tensor:
        assert batch.labels is not None, "the loader makes what `needs` names"
        logits = self.classifier(self.image_encoder(batch.images))
        return sparse_binary_cross_entropy(logits, batch.labels)


def linear_classifier(width: int, bias: Tensor) -> nn.Linear:
    classifier = nn.Linear(width, len(bias))
    nn.init.trunc_normal_(classifier.weight, std=CLASSIFIER_STD)
    with torch.no_grad():
        classifier.bias.copy_(bias)
    return classifier


def sparse_binary_cross_entropy(logits: Tensor, labels: RaggedLabels) -> Tensor:
    """Binary cross-entropy summed over classes, averaged over images (the release's `batch_mean`),
    in float32 or wider: softplus(z) of an absent class, and softplus(z) - z of a present one, so no
    dense [B, V] target is needed. An image has no class twice.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    present = wide[labels.rows(), labels.values].sum()
    return (F.softplus(wide, threshold=EXACT_SOFTPLUS).sum() - present) / len(logits)
