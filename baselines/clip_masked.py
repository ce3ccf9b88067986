"""CLIP without false negatives: two pairs of a step that share a noun are no negatives of each
other. It tells how much CLIP loses because captions name the same things.

    python -m baselines.pretrain --method clip_masked
"""

from typing import Self

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from baselines.clip import MAX_LOGIT_SCALE, Contrastive
from catlip.costs import Exchange, Matmul, StepShape, TextTower
from catlip.data.loader import Batch
from catlip.encoder import ImageEncoder


class MaskedContrastive(Contrastive):
    """CLIP whose softmaxes leave out the similarities of pairs that share a class with the image or
    caption, other than its own. The classes are CatLIP's: nouns of the vocabulary.

    One shared noun is enough, however frequent: masking only rare nouns would need a threshold. Of
    the starter's pairs in batches of 64, that masks 2.7 %. The starter's recipe has CLIP's better
    text tower there, a bag of words.
    """

    name, label, colour, marker = "clip_masked", "CLIP, shared nouns masked", "#6b4423", "d"
    needs = frozenset({"labels", "tokens"})

    def __init__(self, image_encoder: ImageEncoder, text: TextTower, num_classes: int):
        super().__init__(image_encoder, text)
        self.num_classes = num_classes

    @classmethod
    def build(cls, image_encoder: ImageEncoder, encoder_name: str, base_rates: Tensor) -> Self:
        return cls(image_encoder, cls.tower(encoder_name), len(base_rates))

    def forward(self, *batches: Batch) -> Tensor:
        self.classes = torch.cat([self.classes_of(batch) for batch in batches])
        return super().forward(*batches)

    def classes_of(self, batch: Batch) -> Tensor:
        """[B, V] bool: which classes each caption has."""
        assert batch.labels is not None, "the loader makes what `needs` names"
        classes = torch.zeros(
            len(batch), self.num_classes, dtype=torch.bool, device=batch.images.device
        )
        classes[batch.labels.rows(), batch.labels.values] = True
        return classes

    def compare(self, image: Tensor, text: Tensor) -> Tensor:
        scale = self.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp()
        image_logits, text_logits = self.loss.get_logits(image, text, scale)
        targets = self.loss.get_ground_truth(image.device, len(image_logits))
        masked = self.shared_classes().scatter(1, targets[:, None], False)
        losses = [
            F.cross_entropy(similarity.masked_fill(masked, -torch.inf), targets)
            for similarity in (image_logits, text_logits)
        ]
        return (losses[0] + losses[1]) / 2

    def shared_classes(self) -> Tensor:
        """[B, W B] bool: which pairs of all ranks share a class with each pair of this rank."""
        everyone = self.classes
        if self.loss.world_size > 1:
            everyone = everyone.new_empty(self.loss.world_size * len(everyone), self.num_classes)
            dist.all_gather_into_tensor(everyone, self.classes)
        return self.classes.float() @ everyone.float().T > 0

    def matmuls(self, step: StepShape) -> list[Matmul]:
        """Adds the counts of shared classes, which have no gradient."""
        counts = Matmul(step.batch_size, self.num_classes, step.global_batch, trained_operands=0)
        return [*super().matmuls(step), counts]

    def similarity_bytes(self, step: StepShape) -> int:
        """Adds the mask, which both directions share."""
        return super().similarity_bytes(step) + 1

    def exchanges(self, step: StepShape) -> list[Exchange]:
        payload = step.batch_size * self.num_classes  # a byte each
        classes = Exchange("counts", "all_gather", 1, payload_bytes=payload, world_size=step.ranks)
        return [*super().exchanges(step), classes]
