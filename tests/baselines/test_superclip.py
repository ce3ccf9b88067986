"""SuperCLIP is CLIP's loss and a softmax over subwords on the mean patch token, in one pass."""

from collections import Counter
from dataclasses import replace
from math import log

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.openclip import END, START
from baselines.superclip import Superclip
from bench.measuring import methods
from catlip.data.loader import Batch

B = 4


def batch_of(step: int, model: str) -> Batch:
    """Captions of few words, so that they share some, and pixels as wide as the objective."""
    batch = methods.synthetic_batch(B, model, 32, num_classes=10, seed=step)
    tokens = batch.tokens.clone()
    tokens[:, 1:-1] %= 40
    return replace(batch, images=batch.images.double() / 255, tokens=tokens)


def published_target(now: Tensor, seen: list[Tensor], num_classes: int) -> Tensor:
    """q, [B, V]: n and c of the formula grow by a batch, and by the fraction of it, at a time."""
    fractions: Counter[int] = Counter()
    for tokens in seen:
        for caption in tokens.tolist():
            for subword in {*caption} - {START, END}:
                fractions[subword] += 1 / len(tokens)
    target = torch.zeros(len(now), num_classes, dtype=torch.float64)
    for row, caption in zip(target, now.tolist(), strict=True):
        for subword in {*caption} - {START, END}:
            row[subword] = log((len(seen) + 1 / B) / (fractions[subword] + 1 / B))
        row /= row.sum()
    return target


@pytest.mark.parametrize(("model", "first_patch"), [("hybrid_mini", 0), ("vit_tiny16", 1)])
def test_loss_and_gradient_are_those_of_the_formula(model, first_patch) -> None:
    objective: Superclip = methods.build("superclip", model, 32, num_classes=10, seed=0).double()
    earlier, batch = batch_of(0, model), batch_of(1, model)
    for each in (earlier, batch):
        loss = objective(each)

    encoder, (norm, linear) = objective.image_encoder, objective.subwords
    patches = encoder.forward_features(batch.images)[:, first_patch:].mean(dim=1)
    centred = patches - patches.mean(dim=1, keepdim=True)
    deviation = (centred.square().mean(dim=1, keepdim=True) + norm.eps).sqrt()
    logits = (norm.weight * centred / deviation + norm.bias) @ linear.weight.T + linear.bias
    target = published_target(batch.tokens, [earlier.tokens, batch.tokens], logits.shape[1])
    classification = -(target * logits.log_softmax(dim=1)).sum() / B
    image = objective.projection(encoder(batch.images))
    text = objective.text_encoder(batch.tokens)
    similarity = F.cosine_similarity(image[:, None], text[None], dim=-1)
    similarity = similarity * objective.logit_scale.exp()
    right = torch.arange(B)
    contrast = (F.cross_entropy(similarity, right) + F.cross_entropy(similarity.T, right)) / 2
    expected = contrast + classification
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-10)
    parameters = [*objective.parameters()]
    found, dense = (torch.autograd.grad(value, parameters) for value in (loss, expected))
    torch.testing.assert_close(found, dense, rtol=1e-7, atol=1e-10)


def test_the_image_encoder_runs_once() -> None:
    objective = methods.build("superclip", "hybrid_mini", 32, num_classes=10, seed=0)
    passes = []
    objective.image_encoder.patch_embed.register_forward_hook(lambda *_: passes.append(1))
    batch = methods.synthetic_batch(B, "hybrid_mini", 32, num_classes=10, seed=0)
    objective(batch).backward()
    assert passes == [1]
