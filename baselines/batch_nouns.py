"""CatLIP's nouns and a softmax over those of the batch: an image is compared with few classes, as
CLIP compares it with few captions.

Between CLIP on nouns and CatLIP with a softmax over all nouns: it tells what a vector for each noun
in place of one for each caption changes, and what all the other classes add.

    python -m baselines.pretrain --method batch_nouns
"""

import torch
from torch import Tensor

from baselines.catlip_softmax import SoftmaxCategorical
from catlip.costs import StepShape
from catlip.data.loader import RaggedLabels


class BatchCategorical(SoftmaxCategorical):
    """CatLIP with a softmax over the nouns that this rank's captions of the step name."""

    name, label, colour, marker = "batch_nouns", "CatLIP, softmax in the batch", "#3c7a89", ">"

    def compared(self, logits: Tensor, classes: RaggedLabels) -> Tensor:
        absent = torch.ones(logits.shape[1], dtype=torch.bool, device=logits.device)
        absent[classes.values] = False
        absent &= len(classes.values) > 0  # without nouns there is no loss, but no NaN either
        return logits.masked_fill(absent, float("-inf"))

    def kept_bytes(self, step: StepShape) -> int:
        """Adds which classes are absent."""
        return super().kept_bytes(step) + self.classifier.out_features
