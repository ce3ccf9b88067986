"""SuperClass's loss over CatLIP's nouns. It tells how much of the difference between the two
methods comes from the vocabulary, and how much from the loss.

    python -m baselines.pretrain --method catlip_softmax
"""

from typing import Self

import torch
from torch import Tensor

from baselines.superclass import Superclass
from catlip.data.loader import Batch, RaggedLabels
from catlip.encoder import ImageEncoder


class SoftmaxCategorical(Superclass):
    """SuperClass over the nouns of the vocabulary; an image without nouns adds no loss."""

    name, label, colour, marker = "catlip_softmax", "CatLIP, softmax", "#5b3fa0", "p"
    order, asks, reads, scores_captions = 9, "softmax", "nouns", True
    needs = frozenset({"labels"})

    @classmethod
    def build(cls, image_encoder: ImageEncoder, encoder_name: str, base_rates: Tensor) -> Self:
        return cls(image_encoder, len(base_rates))

    def classes_in(self, batch: Batch) -> tuple[RaggedLabels, Tensor]:
        assert batch.labels is not None, "the loader makes what `needs` names"
        return batch.labels, torch.ones_like(batch.labels.values, dtype=torch.bool)
