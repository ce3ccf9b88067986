"""CLIP here is the symmetric cross-entropy over similarities, with a capped temperature."""

import torch
import torch.nn.functional as F

from baselines.clip import MAX_LOGIT_SCALE, Contrastive
from bench.measuring import methods


def clip() -> Contrastive:
    return methods.build("clip", "hybrid_mini", 32, num_classes=10, seed=0).eval()


def test_the_loss_is_the_symmetric_cross_entropy_of_the_similarities() -> None:
    objective, batch = clip(), methods.synthetic_batch(6, "hybrid_mini", 32, num_classes=10, seed=0)
    image = objective.projection(objective.image_encoder(batch.images))
    text = objective.text_encoder(batch.tokens)
    similarity = F.cosine_similarity(image[:, None], text[None], dim=-1) / 0.07
    right = torch.arange(6)
    expected = (F.cross_entropy(similarity, right) + F.cross_entropy(similarity.T, right)) / 2
    torch.testing.assert_close(objective(batch), expected)


def test_above_the_cap_the_temperature_stays_at_it_and_has_no_gradient() -> None:
    objective, batch = clip(), methods.synthetic_batch(4, "hybrid_mini", 32, num_classes=10, seed=0)
    losses, gradients = [], []
    for scale in (MAX_LOGIT_SCALE - 0.01, MAX_LOGIT_SCALE, 50.0):
        objective.zero_grad()
        with torch.no_grad():
            objective.logit_scale.fill_(scale)
        loss = objective(batch)
        loss.backward()
        losses.append(loss.item())
        gradients.append(objective.logit_scale.grad.item())
    assert losses[1] == losses[2] != losses[0]
    assert gradients[0] != 0
    assert gradients[2] == 0
