"""SuperClass's objective: which subwords does the caption of this image have?  (Huang et al. 2024)

Classification like CatLIP's, but over raw tokens: no nouns, no WordNet, and a softmax. A token that
most captions have says little; it is not left out but weighted down by its inverse document
frequency (IDF). There is no text tower.

The loss is its authors', the model is not: they classify the mean of the patches after a LayerNorm,
this one the features of the same encoder as CatLIP's.

    python -m baselines.pretrain --method superclass
"""

import torch
from torch import Tensor

from baselines.idf import RunningIdf, distinct_subwords, sparse_cross_entropy
from catlip.categorical import linear_classifier
from catlip.costs import FLOAT32, TEXT_VOCABULARY, Exchange, StepShape
from catlip.data.loader import Batch, RaggedLabels
from catlip.encoder import ImageEncoder
from catlip.objective import Objective


class Superclass(Objective):
    """A linear classifier over CLIP's subwords, and cross-entropy with their IDF."""

    name, label, colour, marker = "superclass", "SuperClass", "#a34a83", "v"
    order, asks, reads, scores_captions = 8, "softmax", "all words", True
    needs = frozenset({"tokens"})

    def __init__(self, image_encoder: ImageEncoder, num_classes: int = TEXT_VOCABULARY):
        super().__init__()
        self.image_encoder = image_encoder
        self.classifier = linear_classifier(image_encoder.num_features, torch.zeros(num_classes))
        self.idf = RunningIdf(num_classes)

    def forward(self, batch: Batch) -> Tensor:
        classes, present = self.classes_in(batch)
        if self.training:
            self.idf.count(classes, present)
        logits = self.classifier(self.image_encoder(batch.images))
        weights = self.idf.weights(classes, present)
        return sparse_cross_entropy(logits, classes, weights)

    def classes_in(self, batch: Batch) -> tuple[RaggedLabels, Tensor]:
        """The classes of each caption, and [sum K] bool: which of them count."""
        assert batch.tokens is not None, "the loader makes what `needs` names"
        return distinct_subwords(batch.tokens)

    def loss_bytes(self, step: StepShape) -> int:
        """Three float32 gradients as large as the logits."""
        return 3 * FLOAT32 * step.batch_size * self.classifier.out_features

    def exchanges(self, step: StepShape) -> list[Exchange]:
        return [self.idf.exchange(step)]
