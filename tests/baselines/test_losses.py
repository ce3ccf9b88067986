"""Each contrastive baseline has the loss and the gradient of its formula, written out densely."""

from collections import Counter
from dataclasses import replace
from math import log

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.clip import MAX_LOGIT_SCALE
from baselines.openclip import END
from bench.measuring import methods
from bench.measuring.factors import Factors
from catlip.data.loader import Batch
from catlip.objective import Objective

B = 6
RIGHT = torch.arange(B)


def build(method: str) -> Objective:
    return methods.build(Factors(method, "hybrid_mini", 32, num_classes=10, seed=0)).double()


def batch_of(step: int) -> Batch:
    """Captions of few words, so that they share some, one without any, and float64 pixels."""
    factors = Factors("catlip", "hybrid_mini", 32, B, num_classes=10)
    batch = methods.synthetic_batch(factors, seed=step)
    tokens = batch.tokens.clone()
    tokens[:, 1:-1] %= 40
    tokens[0, 1:] = 0
    tokens[0, 1] = END
    return replace(batch, images=batch.images.double() / 255, tokens=tokens)


def cosines(objective: Objective, batch: Batch) -> Tensor:
    image = objective.projection(objective.image_encoder(batch.images))
    text = objective.text_encoder(batch.tokens)
    return F.cosine_similarity(image[:, None], text[None], dim=-1)


def contrast(objective: Objective, earlier: Batch, batch: Batch) -> Tensor:
    """CLIP: the symmetric cross-entropy of the similarities."""
    similarity = cosines(objective, batch) / 0.07
    return (F.cross_entropy(similarity, RIGHT) + F.cross_entropy(similarity.T, RIGHT)) / 2


def pairwise(objective: Objective, earlier: Batch, batch: Batch) -> Tensor:
    """SigLIP: of every pair, does it belong together? It starts from no."""
    logits = 10 * cosines(objective, batch) - 10
    yes = torch.eye(B, dtype=torch.float64)
    return F.binary_cross_entropy_with_logits(logits, yes, reduction="sum") / B


def nouns(objective: Objective, earlier: Batch, batch: Batch) -> Tensor:
    """CatLIP: the binary cross-entropy of each noun."""
    target = torch.zeros(B, 10, dtype=torch.float64)
    target[batch.labels.rows(), batch.labels.values] = 1
    logits = objective.classifier(objective.image_encoder(batch.images))
    return F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / B


def subword_classes(objective: Objective, earlier: Batch, batch: Batch) -> Tensor:
    """SuperClass."""
    logits = objective.classifier(objective.image_encoder(batch.images))
    return softmax(logits, [*subwords_of(earlier), *subwords_of(batch)])


def noun_classes(objective: Objective, earlier: Batch, batch: Batch) -> Tensor:
    """CatLIP with SuperClass's softmax."""
    logits = objective.classifier(objective.image_encoder(batch.images))
    sets = [
        set(labels.tolist())
        for each in (earlier.labels, batch.labels)
        for labels in each.values.tensor_split(each.offsets[1:-1])
    ]
    return softmax(logits, sets)


def contrast_of_nouns(objective: Objective, earlier: Batch, batch: Batch) -> Tensor:
    """CLIP whose caption is the mean of its nouns' vectors, normed and projected."""
    nouns, norm, projection = objective.text_encoder
    rows = batch.labels.values.tensor_split(batch.labels.offsets[1:-1])
    text = projection(norm(torch.stack([nouns.weight[labels].mean(dim=0) for labels in rows])))
    image = objective.projection(objective.image_encoder(batch.images))
    similarity = F.cosine_similarity(image[:, None], text[None], dim=-1) / 0.07
    return (F.cross_entropy(similarity, RIGHT) + F.cross_entropy(similarity.T, RIGHT)) / 2


def subwords_of(batch: Batch) -> list[set[int]]:
    return [{*caption[1 : caption.index(END)]} for caption in batch.tokens.tolist()]


def softmax(logits: Tensor, seen: list[set[int]]) -> Tensor:
    """Cross-entropy with the IDF-weighted classes of the last B captions of those seen."""
    frequency = Counter(each for classes in seen for each in classes)
    target = torch.zeros(B, logits.shape[1], dtype=torch.float64)
    for row, classes in zip(target, seen[-B:], strict=True):
        for each in classes:
            row[each] = log((1 + len(seen)) / (1 + frequency[each]))
        row /= row.sum() or 1
    return -(target * logits.log_softmax(dim=1)).sum() / B


FORMULAS = {
    "clip": [contrast],
    "clip_bag": [contrast],
    "clip_nouns": [contrast_of_nouns],
    "siglip": [pairwise],
    "clip_catlip": [contrast, nouns],
    "superclass": [subword_classes],
    "catlip_softmax": [noun_classes],
}


@pytest.mark.parametrize("method", FORMULAS)
def test_loss_and_gradient_are_those_of_the_formula(method: str) -> None:
    objective = build(method)
    earlier, batch = batch_of(0), batch_of(1)
    for each in (earlier, batch):  # SuperClass counts the captions that it has seen
        loss = objective(each)
    expected = sum(formula(objective, earlier, batch) for formula in FORMULAS[method])
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    # Not the temperature, which is a constant in the formulas.
    parameters = [
        parameter for name, parameter in objective.named_parameters() if "logit" not in name
    ]
    found, dense = (torch.autograd.grad(value, parameters) for value in (loss, expected))
    torch.testing.assert_close(found, dense, rtol=1e-5, atol=1e-7)


def test_temperature_above_the_cap_has_no_gradient() -> None:
    objective, losses, gradients = build("clip").eval(), [], []
    for scale in (MAX_LOGIT_SCALE - 0.01, MAX_LOGIT_SCALE, 50.0):
        objective.zero_grad()
        with torch.no_grad():
            objective.logit_scale.fill_(scale)
        loss = objective(batch_of(0))
        loss.backward()
        losses.append(loss.item())
        gradients.append(objective.logit_scale.grad.item())
    assert losses[1] == losses[2] != losses[0]
    assert gradients[0] != 0
    assert gradients[2] == 0
