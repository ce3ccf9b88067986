"""Logistic regression on features, its L2 strength chosen on images that are held out of training:
the linear probe of CLIP and CLIP_benchmark.

L-BFGS minimises the sum of the images' cross-entropies plus strength / 2 times the squared weights,
without the biases, as scikit-learn does with C = 1 / strength. Strengths from 1e-6 to 1e6 times the
features' mean variance are tried two decades apart, then beside the best at half the distance, down
to 8 a decade. CLIP's have no unit; with one, the range fits features of any size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.downstream.probe.features import Features, hits
from catlip.program.progress import progress

EXPONENTS = (6.0, 4.0, 2.0, 0.0, -2.0, -4.0, -6.0)  # of ten: the strengths that are tried first
STEPS = (1.0, 0.5, 0.25, 0.125)  # decades to the neighbours that are tried next
MAX_ITERATIONS = 1000
MIN_GRADIENT = 1e-6  # of the mean over the images, below which the minimum is reached
ROWS = 2**16  # images whose logits are in memory
Classifier = tuple[Tensor, Tensor]  # weights [D, classes] and biases [classes], float64


def choose_strength(train: Features, held_out: Features, num_classes: int, quiet: bool) -> float:
    """The strength with most held-out images right; of equals, the largest."""
    found: dict[float, Classifier] = {}  # by exponent of ten
    right: dict[float, int] = {}  # held-out images, likewise
    unit = train.values.double().var(0, correction=0).mean().clamp_min(1e-12).item()
    best = 0.0
    for step in progress((0.0, *STEPS), desc="L2 sweep", disable=quiet, leave=False):
        for exponent in (best + step, best - step) if found else EXPONENTS:
            if abs(exponent) <= EXPONENTS[0]:
                near = min(found, key=lambda other: abs(other - exponent), default=None)
                start = None if near is None else found[near]
                found[exponent] = regress(train, unit * 10**exponent, num_classes, start)
                right[exponent] = int(hits_of(found[exponent], held_out)[:, 0].sum())
        best = max(right, key=lambda exponent: (right[exponent], exponent))
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
        for some, of_some in zip(values.split(ROWS), labels.split(ROWS), strict=True):
            part = F.cross_entropy(some @ weight + bias, of_some, reduction="sum") / count
            part.backward()
            total = total.detach() + part.detach()
        return total

    optimizer.step(loss)
    weight = turned @ weight.detach()
    return weight, bias.detach() - mean @ weight


def hits_of(classifier: Classifier, test: Features) -> Tensor:
    """As `hits`."""
    weight, bias = classifier
    return hits(test.values.double() @ weight + bias, test.labels)
