"""CLIP and CatLIP at once: one image encoder, and the sum of both losses.

python -m baselines.pretrain --method clip_catlip
"""

from typing import Self

import torch
from torch import Tensor

from baselines.clip import Contrastive
from catlip.categorical import linear_classifier, sparse_binary_cross_entropy
from catlip.costs import FLOAT32, StepShape, TextTower
from catlip.data.loader import Batch
from catlip.encoder import ImageEncoder


class ContrastiveCategorical(Contrastive):
    """CLIP, and CatLIP's classifier and loss on the same image features."""

    name, label, colour, marker = "clip_catlip", "CLIP + CatLIP", "#4d6600", "h"
    order, asks, reads = 11, "contrast and binary", "sentences and nouns"
    scores_captions = True
    needs = frozenset({"labels", "tokens"})

    def __init__(self, image_encoder: ImageEncoder, text: TextTower, base_rates: Tensor):
        super().__init__(image_encoder, text)
        bias = torch.logit(base_rates)
        self.classifier = linear_classifier(image_encoder.num_features, bias)

    @classmethod
    def build(cls, image_encoder: ImageEncoder, encoder_name: str, base_rates: Tensor) -> Self:
        return cls(image_encoder, cls.tower(encoder_name), base_rates)

    def embed(self, images: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        assert batch.labels is not None, "the loader makes what `needs` names"
        features = self.image_encoder(images)
        pairs = self.unit_vectors(features, self.captions(batch))
        loss = sparse_binary_cross_entropy(self.classifier(features), batch.labels)
        return *pairs, loss[None]

    def kept_bytes(self, step: StepShape) -> int:
        width, classes = self.classifier.in_features, self.classifier.out_features
        return super().kept_bytes(step) + step.logits_bytes(width, classes)

    def loss_bytes(self, step: StepShape) -> int:
        return 2 * FLOAT32 * step.batch_size * self.classifier.out_features
