"""Makes a classifier over new labels from a classifier over the vocabulary (Section 4.2).

The paper does not state three things that matter for such a head. *Bias*: the pre-trained bias
contains how frequent a noun is in captions. That is right for many yes or no questions, such as
COCO's, but under a softmax over balanced classes it favours the words that people write most, so
the default is zero. *Scale*: rows trained for thousands of such questions have another norm than
those of a fresh head. *Random rows*: where the bias is copied they get the mean of the copied
biases; a row of bias 0 among others of -8 would win for every image.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from catlip.cli import InputError
from catlip.transfer_init import ALPHA, Bias, Origin, Scale, Ties, find_origins
from catlip.vocabulary import Vocabulary
from catlip.vocabulary.label_sets import LabelSet


@dataclass(frozen=True)
class Head:
    """A linear classifier over n labels, weight [n, D] and bias [n], and where each row is from."""

    weight: Tensor
    bias: Tensor
    origins: tuple[Origin, ...]


def transfer_rows(
    weight: Tensor,
    bias: Tensor,
    vocabulary: Vocabulary,
    labels: LabelSet,
    alpha: float = ALPHA,
    ties: Ties = "frequent",
    bias_init: Bias = "zero",
    scale: Scale = "as_is",
    seed: int = 0,
) -> Head:
    """A head for `labels` from a classifier over `vocabulary`, by Transfer Init; of the same dtype
    and on the same device.

    Args:
        weight: [V, D], any float dtype; row i is for the vocabulary's class i.
        bias: [V].
        alpha, ties: which classes stand for a label, see `find_origins`.
        bias_init: "copy" copies the bias like a column of the weight, and gives random rows the
            mean of the copied biases; "zero" sets it to 0; "fresh" draws all of it as nn.Linear
            does.
        scale: "as_is" leaves copied rows as they are. "fresh" multiplies all of them, with their
            biases, by one factor that gives them the standard deviation of a fresh nn.Linear.
            "unit" makes the mean norm of the copied rows 1, and of the random rows as well.
        seed: of the random rows; a label's row does not depend on which other rows are random.
    """
    if weight.ndim != 2 or len(weight) != len(vocabulary) or bias.shape != weight.shape[:1]:
        shapes = f"weight {list(weight.shape)} and bias {list(bias.shape)}"
        raise InputError(
            f"a classifier with {shapes} does not fit this vocabulary of {len(vocabulary)} classes"
        )
    origins = find_origins(labels, vocabulary, alpha, ties=ties)
    matched = torch.tensor([bool(origin.matched) for origin in origins])[:, None]
    # nn.Linear draws weight and bias uniformly from -bound to bound.
    bound = 1 / math.sqrt(weight.shape[1])
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.empty(len(origins), weight.shape[1], dtype=torch.float64)
    drawn_bias = torch.empty(len(origins), 1, dtype=torch.float64)
    for values in (drawn, drawn_bias):
        values.uniform_(-bound, bound, generator=generator)
    copied, copied_bias = _mean_rows(weight, origins), _mean_rows(bias[:, None], origins)
    if matched.any():
        rows, factor = copied[matched[:, 0]], 1.0
        if scale == "fresh":
            factor = bound / math.sqrt(3) / rows.std().item()
        elif scale == "unit":
            factor = 1 / rows.norm(dim=1).mean().item()
        copied, copied_bias = copied * factor, copied_bias * factor
        mean_bias = copied_bias[matched].mean()
    else:
        mean_bias = torch.zeros((), dtype=torch.float64)
    if scale == "unit":
        drawn = drawn / drawn.norm(dim=1).mean()
    biases = {
        "copy": torch.where(matched, copied_bias, mean_bias),
        "zero": torch.zeros_like(drawn_bias),
        "fresh": drawn_bias,
    }
    return Head(
        torch.where(matched, copied, drawn).to(weight), biases[bias_init][:, 0].to(bias), origins
    )


def _mean_rows(values: Tensor, origins: Sequence[Origin]) -> Tensor:
    """The weighted mean of rows of `values` [V, D] for each label, [n, D] float64, zero for a
    random one; on the CPU, where the order of sums is fixed.
    """
    labels: list[int] = []
    classes: list[int] = []
    fractions: list[float] = []
    for label_id, origin in enumerate(origins):
        labels += [label_id] * len(origin.fractions)
        classes += origin.fractions.keys()
        fractions += origin.fractions.values()
    class_ids = torch.tensor(classes, dtype=torch.int64, device=values.device)
    weights = torch.tensor(fractions, dtype=torch.float64)
    rows = values.detach()[class_ids].cpu().double() * weights[:, None]
    means = torch.zeros(len(origins), values.shape[1], dtype=torch.float64)
    return means.index_add_(0, torch.tensor(labels, dtype=torch.int64), rows)
