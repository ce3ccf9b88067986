"""Logistic regression on features, its L2 strength chosen on images that are held out of training:
the linear probe of CLIP and CLIP_benchmark.

L-BFGS minimises the sum of the images' cross-entropies plus strength / 2 times the squared weights,
without the biases, as scikit-learn does with C = 1 / strength; for two classes with
C = 2 / strength, as scikit-learn has one weight vector there, the difference of these two. Tried
are strengths from 1e6 to 1e-6 times the features' mean variance, eight a decade. CLIP's have no
unit; with one, the range fits features of any size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.downstream.probe.features import Features, hits
from catlip.program.progress import progress

EXPONENTS = [6 - eighth / 8 for eighth in range(97)]  # of ten
MAX_ITERATIONS = 1000
MIN_GRADIENT = 1e-5  # of the mean over the images, below which the minimum is reached
ROWS = 2**16  # images whose logits are in memory
Classifier = tuple[Tensor, Tensor]  # weights [D, classes] and biases [classes], float64


def choose_strength(train: Features, held_out: Features, num_classes: int, quiet: bool) -> float:
    """The strength with most held-out images right; if several are equal, the largest."""
    unit = train.values.double().var(0, correction=0).mean().clamp_min(1e-12).item()
    best, most, classifier = 0.0, -1, None
    for exponent in progress(EXPONENTS, desc="L2 sweep", disable=quiet, leave=False):
        # CLIP searches from coarse to fine, and can miss the best. Here all are tried: this is
        # affordable, since each starts at its neighbour's minimum.
        classifier = regress(train, unit * 10**exponent, num_classes, classifier)
        right = int(hits_of(classifier, held_out)[:, 0].sum())
        if right > most:
            best, most = exponent, right
    return float(unit * 10**best)


def regress(
    train: Features, strength: float, num_classes: int, start: Classifier | None = None
) -> Classifier:
    """The classifier of the minimum, whatever the start. Inside, features are centred, turned to
    their principal axes and scaled by the loss's curvature, which takes far fewer steps.
    """
    labels, count = train.labels.clone(), len(train)  # autograd refuses tensors of inference mode
    values = train.values.double()
    mean = values.mean(0)
    variances, axes = torch.linalg.eigh((values - mean).T @ (values - mean) / count)
    scale = (variances.clamp_min(0) + strength * num_classes / count).sqrt()
    turned = axes / scale  # from a classifier on the values below to one on the features
    values = (values - mean) @ turned
    weight, bias = values.new_zeros(values.shape[1], num_classes), values.new_zeros(num_classes)
    if start is not None:
        weight, bias = scale[:, None] * (axes.T @ start[0]), start[1] + mean @ start[0]
    for parameter in (weight, bias):
        parameter.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=MAX_ITERATIONS,
        tolerance_grad=MIN_GRADIENT,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = strength / (2 * count) * (weight / scale[:, None]).square().sum()
        total.backward()
        for rows, targets in zip(values.split(ROWS), labels.split(ROWS), strict=True):
            part = F.cross_entropy(rows @ weight + bias, targets, reduction="sum") / count
            part.backward()
            total = total.detach() + part.detach()
        return total

    optimizer.step(loss)
    weight = turned @ weight.detach()
    return weight, bias.detach() - mean @ weight


def hits_of(classifier: Classifier, test: Features) -> Tensor:
    """`hits` of a classifier: [n, 2] bool."""
    weight, bias = classifier
    return hits(test.values.double() @ weight + bias, test.labels)
