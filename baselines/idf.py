"""Captions as distributions over classes, each class weighted by its inverse document frequency
(IDF), and the cross-entropy with them.

What SuperClass, SuperCLIP and CatLIP with a softmax share. Classes are subwords or nouns.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from baselines.openclip import END, START, ranks
from catlip.costs import Exchange, StepShape
from catlip.data.loader import RaggedLabels


class RunningIdf(nn.Module):
    """Document frequencies of the captions trained on so far, of all ranks, this batch included: no
    pass over the data comes first.

    The counts are buffers, so a checkpoint holds them and a resumed run goes on with them.

    Args:
        num_classes: V.
    Attributes:
        captions_with: [V] int64, how many captions had each class.
        captions_seen: [1] int64.
    """

    captions_with: Tensor
    captions_seen: Tensor

    def __init__(self, num_classes: int):
        super().__init__()
        self.register_buffer("captions_with", torch.zeros(num_classes, dtype=torch.int64))
        self.register_buffer("captions_seen", torch.zeros(1, dtype=torch.int64))

    @torch.no_grad()
    def count(self, classes: RaggedLabels, present: Tensor) -> None:
        """Add the captions of this batch, on all ranks, to the counts.

        Args:
            classes: of each caption.
            present: [sum K] bool, which of them count; those that do, once in a caption.
        """
        counts = torch.zeros_like(self.captions_with)
        counts.index_add_(0, classes.values, present.long())
        world_size = ranks()["world_size"]
        if world_size > 1:
            dist.all_reduce(counts)
        self.captions_with += counts
        self.captions_seen += world_size * len(classes)

    def weights(self, classes: RaggedLabels, present: Tensor) -> Tensor:
        """Each class's share of its caption's target: IDF = log((1 + captions) / (1 + captions with
        it)), divided by the sum.

        Args:
            classes, present: as above.
        Returns: [sum K] float64; those of a caption sum to 1, or to 0 where no class tells it from
            any other.
        """
        captions = self.captions_seen.double()
        captions_with = self.captions_with[classes.values].double()
        idf = (torch.log1p(captions) - torch.log1p(captions_with)) * present
        total = _sum_by_row(idf, classes)
        return idf / total.masked_fill(total == 0, 1)[classes.rows()]

    def exchange(self, step: StepShape) -> Exchange:
        """How many captions of the step have each class."""
        payload = self.captions_with.nbytes
        return Exchange("counts", "all_reduce", 1, payload_bytes=payload, world_size=step.ranks)


def distinct_subwords(tokens: Tensor) -> tuple[RaggedLabels, Tensor]:
    """The subwords of each caption, without repetition; start, end and padding are none ("!" is: it
    is token 0, as padding is).

    Args:
        tokens: [B, N] int64, START, then subwords, then END and zeros.
    Returns: N entries of each caption, in ascending order, and [B N] bool: which of them count. All
        are there, so that nothing waits for the device to know how many count.
    """
    ended = (tokens == END).cumsum(dim=1) > 0
    # END is the greatest: last
    ordered = tokens.masked_fill(ended | (tokens == START), END).sort(dim=1).values
    first = torch.ones_like(ended)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    offsets = torch.arange(0, tokens.numel() + 1, tokens.shape[1], device=tokens.device)
    return RaggedLabels(ordered.flatten(), offsets), (first & (ordered != END)).flatten()


def sparse_cross_entropy(logits: Tensor, classes: RaggedLabels, weights: Tensor) -> Tensor:
    """Cross-entropy with a target distribution over few of the classes, averaged over images.

    A row that sums to s costs s logsumexp(z) - sum w_i z_i: what a dense [B, V] target would give,
    without making it.

    Args:
        logits: [B, V], any float dtype; reduced in float32 or wider.
        classes: ids in [0, V).
        weights: [sum K] float, 0 where a class is no target.
    Returns: a scalar in nats per image.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    weights = weights.to(wide.dtype)
    wanted = weights * wide[classes.rows(), classes.values]
    total = _sum_by_row(weights, classes) * wide.logsumexp(dim=1)
    return (total.sum() - wanted.sum()) / len(wide)


def _sum_by_row(values: Tensor, classes: RaggedLabels) -> Tensor:
    """[B], of [sum K]. Unlike `index_add_`, in the same order each time on a GPU too."""
    return values.new_zeros(len(classes)).index_put_((classes.rows(),), values, accumulate=True)
