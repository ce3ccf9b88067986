"""Makes a classifier over new labels from a classifier over the vocabulary (Section 4.2).

The paper does not say what becomes of the *bias*. The pre-trained one contains how frequent a noun
is in captions. That is right for many yes or no questions, such as COCO's, but under a softmax over
balanced classes it favours the words that people write most, so it is zero unless it is asked for.
Then *random rows* get the mean of the copied biases; a row of bias 0 among others of -8 would win
for every image.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from catlip.cli import InputError
from catlip.transfer_init import ALPHA, Origin, find_origins
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
    copy_bias: bool = False,
    seed: int = 0,
) -> Head:
    """A head for `labels` from a classifier over `vocabulary`, by Transfer Init; of the same dtype
    and on the same device.

    Args:
        weight: [V, D], any float dtype; row i is for the vocabulary's class i.
        bias: [V].
        alpha: which classes stand for a label, see `find_origins`.
        copy_bias: copy the bias like a column of the weight, and give random rows the mean of the
            copied biases; otherwise it is 0.
        seed: of the random rows; a label's row does not depend on which other rows are random.
    """
    if weight.ndim != 2 or len(weight) != len(vocabulary) or bias.shape != weight.shape[:1]:
        shapes = f"weight {list(weight.shape)} and bias {list(bias.shape)}"
        raise InputError(
            f"a classifier with {shapes} does not fit this vocabulary of {len(vocabulary)} classes"
        )
    origins = find_origins(labels, vocabulary, alpha)
    matched = torch.tensor([bool(origin.matched) for origin in origins])
    bound = 1 / math.sqrt(weight.shape[1])  # nn.Linear draws uniformly from -bound to bound
    drawn = torch.empty(len(origins), weight.shape[1], dtype=torch.float64)
    drawn.uniform_(-bound, bound, generator=torch.Generator().manual_seed(seed))
    rows = torch.where(matched[:, None], _mean_rows(weight, origins), drawn)
    biases = torch.zeros(len(origins), dtype=torch.float64)
    if copy_bias and matched.any():
        copied = _mean_rows(bias[:, None], origins)[:, 0]
        biases = torch.where(matched, copied, copied[matched].mean())
    return Head(rows.to(weight), biases.to(bias), origins)


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
