"""SuperCLIP's objective: CLIP's, plus a question to the patches of the image: which subwords does
the caption have? (Zhao et al. 2025, arXiv 2512.14480)

    python -m baselines.pretrain --method superclip
"""

import torch
from torch import Tensor, nn

from baselines.clip import Contrastive
from baselines.idf import RunningIdf, distinct_subwords, sparse_cross_entropy
from baselines.openclip import TEXT_VOCABULARY
from catlip.categorical import linear_classifier
from catlip.costs import FLOAT32, Exchange, StepShape, TextTower
from catlip.data.loader import Batch
from catlip.encoder import NORM_EPS, ImageEncoder


class Superclip(Contrastive):
    """CLIP, plus a layer norm and a linear classifier over CLIP's subwords, which take the mean of
    the patch tokens as the encoder leaves them. The loss is the sum of both.

    A subword's weight is log((n + 1/B) / (c + 1/B)), with n captions seen and c of them with the
    subword in units of the B of a step: for any B, SuperClass's log((1 + captions) / (1 + captions
    with it)).
    """

    name, label, colour, marker = "superclip", "SuperCLIP", "#b8174f", "*"

    def __init__(self, image_encoder: ImageEncoder, text: TextTower):
        super().__init__(image_encoder, text)
        width = image_encoder.num_features
        # Not named `classifier`: a checkpoint takes the member of that name as the classifier that
        # is transferred.
        self.subwords = nn.Sequential(
            nn.LayerNorm(width, eps=NORM_EPS),
            linear_classifier(width, torch.zeros(TEXT_VOCABULARY)),
        )
        self.idf = RunningIdf(TEXT_VOCABULARY)

    def forward(self, *batches: Batch) -> Tensor:
        """In training, first counts all captions of the step."""
        if self.training:
            tokens = [batch.tokens for batch in batches if batch.tokens is not None]
            self.idf.count(*distinct_subwords(torch.cat(tokens)))
        return super().forward(*batches)

    def embed(self, images: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        assert batch.tokens is not None, "the loader makes what `needs` names"
        features, patches = self.image_encoder(images, patches=True)
        pairs = self.unit_vectors(features, self.captions(batch))
        logits = self.subwords(patches.mean(dim=1))
        subwords, present = distinct_subwords(batch.tokens)
        loss = sparse_cross_entropy(logits, subwords, self.idf.weights(subwords, present))
        return *pairs, loss[None]

    def kept_bytes(self, step: StepShape) -> int:
        """Adds the input and the output of the layer norm, and the logits."""
        width = self.projection.in_features
        inputs = step.batch_size * width * (FLOAT32 + step.number_bytes)
        return super().kept_bytes(step) + inputs + step.logits_bytes(width, TEXT_VOCABULARY)

    def loss_bytes(self, step: StepShape) -> int:
        return 3 * FLOAT32 * step.batch_size * TEXT_VOCABULARY

    def exchanges(self, step: StepShape) -> list[Exchange]:
        return [*super().exchanges(step), self.idf.exchange(step)]
