"""Logistic regression on features, its L2 strength chosen on images that are held out of training:
the linear probe of CLIP and CLIP_benchmark.

Minimised is the sum of the images' cross-entropies plus strength / 2 times the squared weights,
without the biases, as by scikit-learn with C = 1 / strength; for two classes with C = 2 / strength,
as scikit-learn has one weight vector there, the difference of these two. Tried are strengths from
1e6 to 1e-6 times the features' mean variance, eight a decade. CLIP's have no unit; with one, the
range fits features of any size.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize
from torch import Tensor

from bench.downstream.probe.features import Features, hits
from catlip.program.progress import progress

EXPONENTS = [6 - eighth / 8 for eighth in range(97)]  # of ten
# Of the weights' length: the step that is left to the minimum, both in the loss's curvature. A
# gradient of a fixed size is far from it where the loss is nearly 0 or the weights are.
MAX_STEP = 1e-5
SOLVER = {"gtol": 0, "maxiter": 1000, "initial_trust_radius": 10, "max_trust_radius": 1e9}
ROWS = 2**16  # images whose logits are in memory
ROUNDS = 10
Vector = NDArray[np.float64]  # all weights, scaled
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
    their principal axes and scaled, with a last one, 1, for the bias; and each weight is scaled by
    the loss's curvature at the start: all of this takes far fewer steps.
    """
    count, values = len(train), train.values.double()
    mean = values.mean(0)
    variances, axes = torch.linalg.eigh((values - mean).T @ (values - mean) / count)
    scale = (variances.clamp_min(0) + strength * num_classes / count).sqrt()
    turned = axes / scale  # from a classifier on the values below to one on the features
    values = F.pad((values - mean) @ turned, (0, 1), value=1.0)
    penalty = F.pad(strength / count / scale.square(), (0, 1))[:, None]
    weight = values.new_zeros(values.shape[1], num_classes)
    if start is not None:
        weight[:-1], weight[-1] = scale[:, None] * (axes.T @ start[0]), start[1] + mean @ start[0]
    parts = [*zip(values.split(ROWS), train.labels.split(ROWS), strict=True)]

    def curvature(weight: Tensor) -> Tensor:
        """The second derivative by each weight."""
        result = penalty.expand_as(weight).clone()
        for rows, _ in parts:
            probability = (rows @ weight).softmax(1)
            result += rows.square().T @ (probability * (1 - probability)) / count
        return result

    def unscaled(vector: Vector) -> Tensor:
        return torch.from_numpy(vector).to(unit.device).view_as(unit) / unit

    def loss(vector: Vector) -> tuple[float, Vector]:
        """And its gradient."""
        weight = unscaled(vector)
        gradient = penalty * weight
        total = (gradient * weight).sum() / 2
        for rows, labels in parts:
            logarithms = (rows @ weight).log_softmax(1)
            total = total + F.nll_loss(logarithms, labels, reduction="sum") / count
            gradient += rows.T @ (logarithms.exp() - F.one_hot(labels, num_classes)) / count
        return total.item(), (gradient / unit).flatten().numpy(force=True)

    def change(vector: Vector, along: Vector) -> Vector:
        """Of the gradient, along a direction."""
        weight, direction = unscaled(vector), unscaled(along)
        result = penalty * direction
        for rows, _ in parts:
            probability = (rows @ weight).softmax(1)
            moved = probability * (rows @ direction)
            result += rows.T @ (moved - probability * moved.sum(1, keepdim=True)) / count
        return (result / unit).flatten().numpy(force=True)

    def is_minimum(vector: Vector) -> bool:
        _, gradient = loss(vector)
        weights = vector[:-num_classes]  # without the biases
        return bool(gradient @ gradient <= MAX_STEP**2 * (weights @ weights))

    def stop_at_minimum(intermediate_result: OptimizeResult) -> None:
        if is_minimum(intermediate_result.x):
            raise StopIteration

    for _ in range(ROUNDS):
        unit = curvature(weight).sqrt()
        vector = (weight * unit).flatten().numpy(force=True)
        if is_minimum(vector):
            break
        found = minimize(
            loss,
            vector,
            jac=True,
            hessp=change,
            method="trust-ncg",
            callback=stop_at_minimum,
            options=SOLVER,
        )
        weight = unscaled(found.x)
    bias, weight = weight[-1], turned @ weight[:-1]
    return weight, bias - mean @ weight


def hits_of(classifier: Classifier, test: Features) -> Tensor:
    """`hits` of a classifier: [n, 2] bool."""
    weight, bias = classifier
    return hits(test.values.double() @ weight + bias, test.labels)
