"""CatLIP's nouns and a softmax over those of the batch: an image is compared with few classes, as
CLIP compares it with few captions.

Between CLIP on nouns and CatLIP with a softmax over all nouns: it tells what a vector for each noun
in place of one for each caption changes, and what all the other classes add.

    python -m baselines.pretrain --method batch_nouns
"""

from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor

from baselines.catlip_softmax import SoftmaxCategorical
from baselines.openclip import ranks
from catlip.costs import Exchange, StepShape
from catlip.data.loader import RaggedLabels


class BatchCategorical(SoftmaxCategorical):
    """CatLIP with a softmax over the nouns that a micro-batch's captions name, on all ranks."""

    name, label, colour, marker = "batch_nouns", "CatLIP, softmax in the batch", "#3c7a89", ">"
    order, asks, reads = 10, "softmax in the batch", "nouns"
    needs, scores_captions = frozenset({"labels"}), True

    def mask_logits(self, logits: Tensor, classes: RaggedLabels) -> Tensor:
        named = torch.zeros(logits.shape[1], dtype=torch.uint8, device=logits.device)
        named[classes.values] = 1
        if ranks()["world_size"] > 1:
            dist.all_reduce(named, dist.ReduceOp.MAX)
        # Without nouns there is no loss, but no NaN either.
        return logits.masked_fill((named == 0) & (named > 0).any(), float("-inf"))

    def kept_bytes(self, step: StepShape) -> int:
        """Adds which classes are left out."""
        return super().kept_bytes(step) + self.classifier.out_features

    def exchanges(self, step: StepShape) -> list[Exchange]:
        """Adds which classes are named, a byte each."""
        (counts,) = super().exchanges(step)
        payload = counts.payload_bytes + self.classifier.out_features
        return [replace(counts, count=counts.count + 1, payload_bytes=payload)]
