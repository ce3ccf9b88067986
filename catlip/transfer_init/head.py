"""The head itself: weight and bias of a linear classifier over new labels, from those over the
vocabulary.  (Section 4.2)

Three things that the paper does not say decide how such a head starts. *Bias*: the pre-trained one
holds how frequent a noun is in captions: right for a target of many yes or no questions, such as
COCO, but under a softmax over balanced classes it favours the words that people write most, so the
default is zero. *Scale*: rows trained for thousands of such questions are longer or shorter than a
fresh head's. *Random rows*: where the bias is copied they take the mean of the copied ones, or a
row of bias 0 among others of -8 would win every image.
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
    """A linear classifier over n labels.

    Attributes:
        weight: [n, D], of the dtype and on the device of the classifier that it came from.
        bias: [n], likewise.
        origins: n, where each row came from.
    """

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
    """A head for `labels` from a classifier over `vocabulary`, by Transfer Init.

    Args:
        weight: [V, D], any float dtype; row i is that of the vocabulary's class i.
        bias: [V].
        alpha, ties: which classes stand for a label, see `find_origins`.
        bias_init: "copy" treats it as another column of the weight, and gives random rows the mean;
            "zero"; "fresh" draws all of it as nn.Linear does.
        scale: "as_is" leaves copied rows as they are; "fresh" multiplies all of them, with their
            biases, by one number that gives them the deviation of a fresh nn.Linear; "unit" by one
            that makes the mean of their norms 1, random rows too.
        seed: of the random rows; a label's is the same whichever others are random.
    Raises: InputError when the classifier is not one over this vocabulary, or is to be rescaled and
        is zero or not finite.
    """
    if weight.ndim != 2 or len(weight) != len(vocabulary) or bias.shape != weight.shape[:1]:
        shapes = f"weight {list(weight.shape)} and bias {list(bias.shape)}"
        raise InputError(
            f"a classifier with {shapes} is not over this vocabulary of {len(vocabulary)} classes"
        )
    origins = find_origins(labels, vocabulary, alpha, ties)
    found = torch.tensor([bool(origin.found) for origin in origins])[:, None]
    bound = 1 / math.sqrt(
        weight.shape[1]
    )  # of the uniform distribution that nn.Linear draws both from
    drawn, drawn_bias = _drawn(len(origins), weight.shape[1], bound, seed)
    copied, copied_bias = _mixed(weight, origins), _mixed(bias[:, None], origins)
    if found.any():
        factor = _factor(copied[found[:, 0]], scale, bound)
        copied, copied_bias = copied * factor, copied_bias * factor
        mean_bias = copied_bias[found].mean()
    else:
        mean_bias = torch.zeros((), dtype=torch.float64)
    if scale == "unit":
        drawn = drawn / drawn.norm(dim=1).mean()
    biases = {
        "copy": torch.where(found, copied_bias, mean_bias),
        "zero": torch.zeros_like(drawn_bias),
        "fresh": drawn_bias,
    }
    return Head(
        torch.where(found, copied, drawn).to(weight), biases[bias_init][:, 0].to(bias), origins
    )


def _mixed(values: Tensor, origins: Sequence[Origin]) -> Tensor:
    """Each label's shares of the rows of `values` [V, D] as [n, D] float64 on the CPU, where sums
    have one order.

    One row of share 1 stays what it is when it is rounded back; a random label's is zero.
    """
    shares = [
        (label_id, *entry)
        for label_id, origin in enumerate(origins)
        for entry in origin.shares.items()
    ]
    label_ids = torch.tensor([label_id for label_id, _, _ in shares], dtype=torch.int64)
    class_ids = torch.tensor(
        [class_id for _, class_id, _ in shares], dtype=torch.int64, device=values.device
    )
    weights = torch.tensor([share for _, _, share in shares], dtype=torch.float64)
    rows = values.detach()[class_ids].cpu().double() * weights[:, None]
    return torch.zeros(len(origins), values.shape[1], dtype=torch.float64).index_add_(
        0, label_ids, rows
    )


def _factor(rows: Tensor, scale: Scale, bound: float) -> float:
    """What to multiply all copied rows by."""
    if scale == "as_is":
        return 1.0
    size, wanted = (
        (rows.std().item(), bound / math.sqrt(3))
        if scale == "fresh"
        else (rows.norm(dim=1).mean().item(), 1.0)
    )
    if not 0 < size < math.inf:
        raise InputError(
            f"the classifier's rows have a size of {size}, which no factor makes {wanted:.3g}; use "
            "--scale as_is"
        )
    return wanted / size


def _drawn(num_labels: int, width: int, bound: float, seed: int) -> tuple[Tensor, Tensor]:
    """Weight [n, D] and bias [n, 1] as nn.Linear draws them, float64."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.empty(num_labels, width, dtype=torch.float64).uniform_(
        -bound, bound, generator=generator
    )
    return weight, torch.empty(num_labels, 1, dtype=torch.float64).uniform_(
        -bound, bound, generator=generator
    )
