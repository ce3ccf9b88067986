"""SigLIP's objective: does this caption belong to this image, yes or no, for every pair of a step?
(Zhai et al. 2023)

A sigmoid for each pair needs no sum over the others, so ranks pass their captions round a ring
instead of gathering all. The loss is OpenCLIP's.

    python -m baselines.pretrain --method siglip
"""

import numpy as np
import torch
from open_clip.loss import SigLipLoss
from torch import Tensor, nn

from baselines.openclip import TwoTowers, ranks
from catlip.costs import Exchange, Matmul, StepShape, TextTower
from catlip.encoder import ImageEncoder

# Both from Section 3.2 of Zhai et al.; the bias is negative because nearly all pairs do not belong
# together.
INITIAL_SCALE = 10.0
INITIAL_BIAS = -10.0


class Sigmoid(TwoTowers):
    """Two towers, and binary cross-entropy over the pairs of all ranks."""

    name, label, colour, marker = "siglip", "SigLIP", "#007a5a", "^"
    order, asks, reads, scores_captions = 7, "sigmoid", "sentences", True
    needs = frozenset({"tokens"})
    starts = frozenset({"temperature", "logit_bias"})

    def __init__(self, image_encoder: ImageEncoder, text: TextTower):
        super().__init__(image_encoder, text)
        # Shape [1], not 0-D: sharding needs a dimension. A 1-D parameter has no weight decay, as in
        # OpenCLIP.
        self.logit_scale = nn.Parameter(torch.tensor([np.log(INITIAL_SCALE)], dtype=torch.float32))
        self.logit_bias = nn.Parameter(torch.tensor([INITIAL_BIAS]))
        self.loss = SigLipLoss(dist_impl="bidir", **ranks())

    def compare(self, image: Tensor, text: Tensor) -> Tensor:
        return self.loss(image, text, self.logit_scale.exp(), self.logit_bias)

    def similarities(self, step: StepShape) -> Matmul:
        """This rank's images with the captions of each rank."""
        return Matmul(step.batch_size, self.text.joint, step.batch_size, count=step.ranks)

    def embeddings_bytes(self, step: StepShape) -> int:
        """This rank's pairs, and the captions of the other ranks."""
        own = step.batch_size * (4 * step.number_bytes + self.feature_bytes(step))
        others = (step.global_batch - step.batch_size) * step.number_bytes
        return self.text.joint * (own + others)

    def similarity_bytes(self, step: StepShape) -> int:
        """The target, and its product with the similarity; on a CPU the exponential of that too."""
        return (3 if step.device_type == "cpu" else 2) * self.feature_bytes(step)

    def exchanges(self, step: StepShape) -> list[Exchange]:
        """Captions travel in both directions at once; each gradient returns its caption's way."""
        times = 2 * (step.ranks - 1)
        payload = times * self.embedding_bytes(step)
        exchange = Exchange(
            "features", "neighbour_exchange", times, payload_bytes=payload, world_size=step.ranks
        )
        return [exchange]
