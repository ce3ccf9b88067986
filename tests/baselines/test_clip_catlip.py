"""CLIP and CatLIP at once: the sum of both losses, of the same image features."""

import torch
import torch.nn.functional as F

from bench.measuring import methods


def test_loss_and_gradient_are_those_of_the_sum_of_both_formulas() -> None:
    batch = methods.synthetic_batch(6, "hybrid_mini", 32, num_classes=10, seed=0)
    batch.images = batch.images.double() / 255
    objective = methods.build("clip_catlip", "hybrid_mini", 32, num_classes=10, seed=0).double()
    loss = objective(batch)
    features = objective.image_encoder(batch.images)
    image, text = objective.projection(features), objective.text_encoder(batch.tokens)
    similarity = F.cosine_similarity(image[:, None], text[None], dim=-1)
    similarity = similarity * objective.logit_scale.exp()
    right = torch.arange(6)
    contrast = (F.cross_entropy(similarity, right) + F.cross_entropy(similarity.T, right)) / 2
    target = torch.zeros(6, 10, dtype=torch.float64)
    target[batch.labels.rows(), batch.labels.values] = 1
    chances = torch.sigmoid(features @ objective.classifier.weight.T + objective.classifier.bias)
    nouns = -(target * chances.log() + (1 - target) * (1 - chances).log()).sum() / 6
    expected = contrast + nouns
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-10)
    parameters = [*objective.parameters()]
    found, dense = (torch.autograd.grad(value, parameters) for value in (loss, expected))
    torch.testing.assert_close(found, dense, rtol=1e-7, atol=1e-10)


def test_it_starts_from_the_frequency_of_each_noun_as_catlip_does() -> None:
    both = methods.build("clip_catlip", "hybrid_mini", 32, num_classes=10, seed=0)
    catlip = methods.build("catlip", "hybrid_mini", 32, num_classes=10, seed=0)
    assert torch.equal(both.classifier.bias, catlip.classifier.bias)
