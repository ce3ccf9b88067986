"""SigLIP here is one yes-or-no question for each pair of a batch, starting from no."""

import pytest
import torch
import torch.nn.functional as F

from bench.measuring import methods


def test_the_loss_is_the_binary_cross_entropy_of_every_pair() -> None:
    objective = methods.build("siglip", "hybrid_mini", 32, num_classes=10, seed=0).eval()
    batch = methods.synthetic_batch(6, "hybrid_mini", 32, num_classes=10, seed=0)
    image = objective.projection(objective.image_encoder(batch.images))
    text = objective.text_encoder(batch.tokens)
    logits = 10 * F.cosine_similarity(image[:, None], text[None], dim=-1) - 10
    expected = F.binary_cross_entropy_with_logits(logits, torch.eye(6), reduction="sum") / 6
    torch.testing.assert_close(objective(batch), expected)


def test_it_starts_where_almost_every_pair_is_said_not_to_belong_together() -> None:
    objective = methods.build("siglip", "hybrid_mini", 32, num_classes=10, seed=0)
    assert objective.logit_scale.exp().item() == pytest.approx(10)
    assert objective.logit_bias.item() == -10
