"""CatLIP's objective: which nouns does the caption of this image contain?  (Section 3.2)

Pre-training becomes multi-label classification over the synset vocabulary. Targets stay sparse: a caption has about three
nouns and the vocabulary 24,320 classes, so a dense target would be 99.99 % zeros.
"""

from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catlip.data.loader import Batch, RaggedLabels
from catlip.encoder import ImageEncoder

CLASSIFIER_STD = 0.02  # timm's for every linear layer
EXACT_SOFTPLUS = 40.0  # torch returns z itself above its threshold; from its default, 20, that is off by up to 2e-9


@runtime_checkable
class Objective(Protocol):
    """A method of pre-training: a module that holds the image encoder and turns a batch into a loss.

    Attributes:
        needs: the optional fields of a Batch that it reads, "labels" or "tokens".
        image_encoder: what is transferred afterwards; [B, 3, H, W] to [B, num_features].
    """

    needs: frozenset[str]
    image_encoder: ImageEncoder

    def __call__(self, batch: Batch) -> Tensor:
        """A scalar, mean per image."""
        ...


class Categorical(nn.Module):
    """An image encoder, a linear classifier over the vocabulary, and binary cross-entropy.

    Args:
        image_encoder: what is to be transferred.
        base_rates: [V] float in (0, 1), the share of training captions that hold each class. The bias starts at its
            log-odds, so that training begins at the loss of knowing how frequent each noun is instead of V ln 2.
    """

    needs = frozenset({"labels"})

    def __init__(self, image_encoder: ImageEncoder, base_rates: Tensor):
        super().__init__()
        self.image_encoder = image_encoder
        self.classifier = nn.Linear(image_encoder.num_features, len(base_rates))
        nn.init.trunc_normal_(self.classifier.weight, std=CLASSIFIER_STD)
        with torch.no_grad():
            self.classifier.bias.copy_(torch.logit(base_rates))

    def forward(self, batch: Batch) -> Tensor:
        """Nats per image."""
        assert batch.labels is not None, "the loader makes what `needs` names"
        return sparse_binary_cross_entropy(self.classifier(self.image_encoder(batch.images)), batch.labels)


def sparse_binary_cross_entropy(logits: Tensor, labels: RaggedLabels) -> Tensor:
    """Binary cross-entropy summed over classes, averaged over images (the release's `batch_mean`).

    Absent classes cost softplus(z), present ones softplus(z) - z, so one dense softplus and one gather give the same value
    as a dense [B, V] target without ever making it.

    Args:
        logits: [B, V], any float dtype; reduced in float32 or wider.
        labels: class ids in [0, V), at most once per image; an image may have none.
    Returns: a scalar in nats per image.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    present = wide[labels.rows(), labels.values].sum()
    return (F.softplus(wide, threshold=EXACT_SOFTPLUS).sum() - present) / len(logits)
