"""CLIP's objective: which of the captions of this step belongs to this image, and the reverse?
(Radford et al. 2021)

A softmax over all captions for each image and over all images for each caption; the loss is
OpenCLIP's.

    python -m baselines.pretrain --method clip
"""

from dataclasses import replace

import numpy as np
import torch
from open_clip.loss import ClipLoss
from torch import Tensor, nn

from baselines.openclip import TwoTowers, ranks, text_tower
from catlip.costs import FLOAT32, Exchange, Matmul, StepShape, TextTower
from catlip.encoder import ImageEncoder

INITIAL_TEMPERATURE = 0.07
MAX_LOGIT_SCALE = np.log(100)


class Contrastive(TwoTowers):
    """Two towers, and the symmetric cross-entropy over the pairs of all ranks, gathered with
    gradient: each rank compares its own pairs with those of all ranks, [B, W B] similarities.

    The temperature is capped in the forward pass, as in the reference release: above the cap its
    gradient is zero. OpenCLIP instead puts the parameter itself back to the cap after each step.
    """

    name, label, colour, marker = "clip", "CLIP", "#b34700", "s"
    order, asks, reads, scores_captions = 5, "contrast", "sentences", True
    needs = frozenset({"tokens"})

    def __init__(self, image_encoder: ImageEncoder, text: TextTower):
        super().__init__(image_encoder, text)
        # Shape [1], not 0-D: sharding needs a dimension. A 1-D parameter has no weight decay, as in
        # OpenCLIP.
        self.logit_scale = nn.Parameter(
            torch.tensor([np.log(1 / INITIAL_TEMPERATURE)], dtype=torch.float32)
        )
        self.loss = ClipLoss(local_loss=True, gather_with_grad=True, **ranks())

    def compare(self, image: Tensor, text: Tensor) -> Tensor:
        return self.loss(image, text, self.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp())

    def similarities(self, step: StepShape) -> Matmul:
        """Both directions."""
        return Matmul(step.batch_size, self.text.joint, step.global_batch, count=2)

    def embeddings_bytes(self, step: StepShape) -> int:
        """This rank's pairs, kept for both directions, and those gathered from all ranks."""
        own = 2 * step.batch_size * (2 * step.number_bytes + self.feature_bytes(step))
        others = 2 * step.number_bytes * step.global_batch if step.ranks > 1 else 0
        return self.text.joint * (own + others)

    def similarity_bytes(self, step: StepShape) -> int:
        """Both directions, float32 for the softmax."""
        return 2 * FLOAT32

    def exchanges(self, step: StepShape) -> list[Exchange]:
        """The embeddings of both towers gathered forward, and their gradients backward."""
        one = 2 * self.embedding_bytes(step)
        # gloo has no reduce_scatter with gradient: OpenCLIP sends gradients by all_to_all there
        back = "reduce_scatter" if step.device_type == "cuda" else "all_to_all"
        return [
            Exchange("features", "all_gather", 2, payload_bytes=one, world_size=step.ranks),
            Exchange("features", back, 2, payload_bytes=one * step.ranks, world_size=step.ranks),
        ]


class BagOfWordsContrastive(Contrastive):
    """CLIP whose text tower has no blocks: the mean of a caption's words, in any order."""

    name, label, colour, marker = "clip_bag", "CLIP, bag of words", "#d4782a", "X"
    order, asks, reads, scores_captions = 4, "contrast", "all words", True
    needs = frozenset({"tokens"})

    @classmethod
    def tower(cls, encoder: str, context: int | None = None) -> TextTower:
        return replace(text_tower(encoder, context), depth=0)
