"""Captions as distributions over classes, each class weighted by its inverse document frequency
(IDF), and the cross-entropy with them.

SuperClass and CatLIP with a softmax share this code. Classes are subwords or nouns.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from baselines.openclip import END, START, ranks
from catlip.costs import Exchange, StepShape
from catlip.data.loader import RaggedLabels


class RunningIdf(nn.Module):
    """Document frequencies of the classes in all captions trained on so far, on all ranks, this
    batch included: no pass over the data before training. The counts are buffers, so a checkpoint
    holds them.
    """

    captions_with: Tensor
    captions_seen: Tensor

    def __init__(self, num_classes: int):
        super().__init__()
        self.register_buffer("captions_with", torch.zeros(num_classes, dtype=torch.int64))
        self.register_buffer("captions_seen", torch.zeros(1, dtype=torch.int64))

    @torch.no_grad()
    def count(self, classes: RaggedLabels, present: Tensor) -> None:
        """Add the captions of this batch, on all ranks; `present`: which entries count."""
        counts = torch.zeros_like(self.captions_with)
        counts.index_add_(0, classes.values, present.long())
        world_size = ranks()["world_size"]
        if world_size > 1:
            dist.all_reduce(counts)
        self.captions_with += counts
        self.captions_seen += world_size * len(classes)

    def weights(self, classes: RaggedLabels, present: Tensor) -> Tensor:
        """The target of each class in its caption: its IDF, log((1 + captions) / (1 + captions with
        the class)), divided by the sum over the caption.

        Returns: [sum K] float64; 0 for a caption without classes or with only those that every
            caption has.
        """
        captions = self.captions_seen.double()
        captions_with = self.captions_with[classes.values].double()
        idf = (torch.log1p(captions) - torch.log1p(captions_with)) * present
        total = _sum_by_row(idf, classes)
        return idf / total.masked_fill(total == 0, 1)[classes.rows()]

    def exchange(self, step: StepShape) -> Exchange:
        payload = self.captions_with.nbytes
        return Exchange("counts", "all_reduce", 1, payload_bytes=payload, world_size=step.ranks)


def distinct_subwords(tokens: Tensor) -> tuple[RaggedLabels, Tensor]:
    """The distinct subwords of each caption of tokens [B, N]: START, then subwords, then END and
    zeros. "!" is a subword, although it is token 0, as padding is.

    Returns: N entries for each caption, in ascending order, and [B N] bool: which of them count.
        All are kept, so that the host does not wait for the device to tell how many count.
    """
    ended = (tokens == END).cumsum(dim=1) > 0
    # END is the greatest token, so it is sorted to the end.
    ordered = tokens.masked_fill(ended | (tokens == START), END).sort(dim=1).values
    first = torch.ones_like(ended)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    offsets = torch.arange(0, tokens.numel() + 1, tokens.shape[1], device=tokens.device)
    return RaggedLabels(ordered.flatten(), offsets), (first & (ordered != END)).flatten()


def sparse_cross_entropy(logits: Tensor, classes: RaggedLabels, weights: Tensor) -> Tensor:
    """Cross-entropy, averaged over images, in nats, with a target distribution over a few classes:
    `weights` [sum K], 0 where a class is no target. A row whose weights sum to s costs
    s logsumexp(z) - sum w_i z_i, as with a dense [B, V] target. Reduced in float32 or wider.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    weights = weights.to(wide.dtype)
    wanted = weights * wide[classes.rows(), classes.values]
    total = _sum_by_row(weights, classes) * wide.logsumexp(dim=1)
    return (total.sum() - wanted.sum()) / len(wide)


def _sum_by_row(values: Tensor, classes: RaggedLabels) -> Tensor:
    """[sum K] to [B]. Unlike `index_add_`, this adds in the same order each time on a GPU too."""
    return values.new_zeros(len(classes)).index_put_((classes.rows(),), values, accumulate=True)
