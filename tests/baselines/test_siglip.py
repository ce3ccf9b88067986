"""SigLIP here is one yes-or-no question for each pair of a batch, starting from no."""

import torch
import torch.nn.functional as F

from bench.measuring import methods


def test_the_loss_is_the_binary_cross_entropy_of_every_pair() -> None:
    objective = methods.build("siglip", "hybrid_mini", 32, num_classes=10, seed=0).eval()
    batch = methods.synthetic_batch(6, "hybrid_mini", 32, num_classes=10, seed=0)
    image = objective.projection(objective.image_encoder(batch.images))
    text = objective.text_encoder(batch.tokens)
    # It starts where almost every pair is said not to belong together.
    logits = 10 * F.cosine_similarity(image[:, None], text[None], dim=-1) - 10
    expected = F.binary_cross_entropy_with_logits(logits, torch.eye(6), reduction="sum") / 6
    torch.testing.assert_close(objective(batch), expected)
