"""CLIP's objective: which of the captions of this batch belongs to this image, and the reverse?  (Radford et al. 2021)

The text tower, tokenizer and loss are OpenCLIP's; the image encoder is the very one that CatLIP trains.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from open_clip import SimpleTokenizer
from open_clip.loss import ClipLoss
from open_clip.transformer import TextTransformer
from torch import Tensor, nn

from catlip.captions import clean
from catlip.cli import choose
from catlip.data.loader import Batch
from catlip.encoder import ImageEncoder

TEXT_VOCABULARY = 49_408  # CLIP's byte-pair tokens
INITIAL_TEMPERATURE = 0.07
MAX_LOGIT_SCALE = np.log(100)


@dataclass(frozen=True)
class TextTower:
    """Shape of a text encoder: token width, transformer blocks, attention heads, width of the joint space, tokens."""

    width: int
    depth: int
    heads: int
    joint: int = 512
    context: int = 77


# The reference release pairs ViT-B with OpenCLIP's text tower of that name, and L and H with a 768-wide one.
TEXT_TOWERS = {
    "hybrid_tiny": TextTower(192, 2, 3, joint=192, context=24),
    "vit_tiny16": TextTower(192, 12, 3, joint=192),
    "vit_small16": TextTower(384, 12, 6, joint=384),
    "vit_b16": TextTower(512, 12, 8),
    "vit_l16": TextTower(768, 12, 12),
    "vit_h16": TextTower(768, 12, 12),
    "vit_b16_conv": TextTower(512, 12, 8),
    "vit_l16_conv": TextTower(768, 12, 12),
    "vit_h16_conv": TextTower(768, 12, 12),
}


class Contrastive(nn.Module):
    """An image encoder, OpenCLIP's text tower, and the symmetric cross-entropy over the batch of all ranks.

    Each rank compares its own images and captions with everyone's (local loss), gathered with gradient.

    Args:
        image_encoder: what is to be transferred.
        text: shape of the text tower.
    """

    needs = frozenset({"tokens"})

    def __init__(self, image_encoder: ImageEncoder, text: TextTower):
        super().__init__()
        self.image_encoder = image_encoder
        self.projection = nn.Linear(image_encoder.num_features, text.joint, bias=False)
        nn.init.normal_(self.projection.weight, std=self.projection.in_features**-0.5)
        self.text_encoder = TextTransformer(
            text.context, TEXT_VOCABULARY, text.width, text.heads, text.depth, output_dim=text.joint
        )
        self.logit_scale = nn.Parameter(torch.tensor(np.log(1 / INITIAL_TEMPERATURE), dtype=torch.float32))
        ranks = {"rank": dist.get_rank(), "world_size": dist.get_world_size()} if dist.is_initialized() else {}
        self.loss = ClipLoss(local_loss=True, gather_with_grad=True, **ranks)

    def forward(self, batch: Batch) -> Tensor:
        """Nats per pair, mean of both directions."""
        assert batch.tokens is not None, "the loader makes what `needs` names"
        image = F.normalize(self.projection(self.image_encoder(batch.images)), dim=-1)
        text = F.normalize(self.text_encoder(batch.tokens), dim=-1)
        return self.loss(image, text, self.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp())


class CaptionTokenizer:
    """Captions to [n, context] int64 tokens, through the cleaning that labelling uses."""

    def __init__(self, context: int):
        self.tokenizer = SimpleTokenizer(context_length=context)

    def __call__(self, captions: list[str]) -> Tensor:
        return self.tokenizer([clean(caption) for caption in captions])


def text_tower(encoder: str) -> TextTower:
    """The text tower that goes with the image encoder of that name. Raises: InputError when there is none."""
    return choose("text tower for encoder", encoder, TEXT_TOWERS)
