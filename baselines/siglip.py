"""SigLIP's objective: does this caption belong to this image, yes or no, for every pair of a step?
(Zhai et al. 2023)

A sigmoid for each pair needs no sum over the others, so ranks can pass their captions round a ring
instead of gathering all. The loss is OpenCLIP's.

    python -m baselines.pretrain --method siglip
"""

from typing import Literal

import numpy as np
import torch
from open_clip.loss import SigLipLoss
from torch import Tensor, nn

from baselines.openclip import TextTower, TwoTowers, ranks
from catlip.encoder import ImageEncoder

INITIAL_SCALE = (
    10.0  # Section 3.2 of Zhai et al., as is the bias: nearly all pairs do not belong together
)
INITIAL_BIAS = -10.0


class Sigmoid(TwoTowers):
    """Two towers, and binary cross-entropy over the pairs of all ranks.

    Args:
        image_encoder: what is to be transferred.
        text: shape of the text tower.
        exchange: how ranks get each other's captions. "bidir": from both neighbours of a ring,
            round which they travel; "gather": all at once. The gradient is the same.
    """

    def __init__(
        self,
        image_encoder: ImageEncoder,
        text: TextTower,
        exchange: Literal["bidir", "gather"] = "bidir",
    ):
        super().__init__(image_encoder, text)
        # [1], not 0-D: sharding needs a dimension, and what is 1-D has no weight decay, as in
        # OpenCLIP.
        self.logit_scale = nn.Parameter(torch.tensor([np.log(INITIAL_SCALE)], dtype=torch.float32))
        self.logit_bias = nn.Parameter(torch.tensor([INITIAL_BIAS]))
        self.loss = SigLipLoss(dist_impl=exchange, **ranks())

    def compare(self, image: Tensor, text: Tensor) -> Tensor:
        """Nats per image, summed over its pairs."""
        return self.loss(image, text, self.logit_scale.exp(), self.logit_bias)
