"""SuperClass's objective: which subwords does the caption of this image have?  (Huang et al. 2024)

Classification like CatLIP's, but over raw tokens: no nouns, no WordNet, and a softmax. What says
little, because most captions have it, is weighted down by its inverse document frequency (IDF)
instead of being left out. There is no text tower.

    python -m baselines.pretrain --method superclass
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from baselines.openclip import END, START, TEXT_VOCABULARY, ranks
from catlip.categorical import CLASSIFIER_STD
from catlip.costs import FLOAT32, Exchange, StepShape
from catlip.data.loader import Batch
from catlip.encoder import ImageEncoder
from catlip.objective import Objective


class Superclass(Objective):
    """An image encoder, a linear classifier over CLIP's subwords, and cross-entropy with their
    IDF-weighted distribution.

    Document frequencies are counted over the captions trained on so far, of all ranks, this batch
    included: no pass over the data comes first. The counts are buffers, so a checkpoint holds them
    and a resumed run goes on with them.

    Args:
        image_encoder: what is to be transferred.
    Attributes:
        captions_with: [49,408] int64, how many captions had each subword.
        captions_seen: [1] int64.
    """

    name, label, colour, marker = "superclass", "SuperClass", "#a34a83", "v"
    needs = frozenset({"tokens"})
    captions_with: Tensor
    captions_seen: Tensor

    def __init__(self, image_encoder: ImageEncoder):
        super().__init__()
        self.image_encoder = image_encoder
        self.classifier = nn.Linear(image_encoder.num_features, TEXT_VOCABULARY)
        nn.init.trunc_normal_(self.classifier.weight, std=CLASSIFIER_STD)
        nn.init.zeros_(self.classifier.bias)
        self.register_buffer("captions_with", torch.zeros(TEXT_VOCABULARY, dtype=torch.int64))
        self.register_buffer("captions_seen", torch.zeros(1, dtype=torch.int64))

    def forward(self, batch: Batch) -> Tensor:
        """Nats per image."""
        assert batch.tokens is not None, "the loader makes what `needs` names"
        subwords, present = distinct_subwords(batch.tokens)
        if self.training:
            self.count(subwords, present)
        logits = self.classifier(self.image_encoder(batch.images))
        return sparse_cross_entropy(logits, subwords, self.weights(subwords, present))

    def loss_bytes(self, step: StepShape) -> int:
        """Three float32 gradients as large as the logits."""
        return 3 * FLOAT32 * step.batch_size * TEXT_VOCABULARY

    def exchanges(self, step: StepShape) -> list[Exchange]:
        """How many captions of the step have each subword."""
        return [
            Exchange(
                "counts",
                "all_reduce",
                1,
                payload_bytes=self.captions_with.nbytes,
                world_size=step.ranks,
            )
        ]

    @torch.no_grad()
    def count(self, subwords: Tensor, present: Tensor) -> None:
        """Add the captions of this batch, on all ranks, to the counts. Takes what
        `distinct_subwords` returns.
        """
        found = torch.zeros_like(self.captions_with)
        found.index_add_(0, subwords.flatten(), present.flatten().long())
        world_size = ranks()["world_size"]
        if world_size > 1:
            dist.all_reduce(found)
        self.captions_with += found
        self.captions_seen += world_size * len(subwords)

    def weights(self, subwords: Tensor, present: Tensor) -> Tensor:
        """Each subword's share of its caption's target: IDF = log((1 + captions) / (1 + captions
        with it)), divided by the sum.

        Args:
            subwords, present: [B, N], as `distinct_subwords` returns them.
        Returns: [B, N] float64; rows sum to 1, or to 0 where no subword tells the caption from any
            other.
        """
        captions, captions_with = self.captions_seen.double(), self.captions_with[subwords].double()
        idf = (torch.log1p(captions) - torch.log1p(captions_with)) * present
        total = idf.sum(dim=1, keepdim=True)
        return idf / total.masked_fill(total == 0, 1)


def distinct_subwords(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The subwords of each caption, without repetition; start, end and padding are none ("!" is: it
    is token 0, as padding is).

    Args:
        tokens: [B, N] int64, START, then subwords, then END and zeros.
    Returns: [B, N] int64 subwords, and [B, N] bool: which of them count. The shape is that of
        `tokens`, so that nothing waits
        for the device to know how many there are.
    """
    ended = (tokens == END).cumsum(dim=1) > 0
    ordered = (
        tokens.masked_fill(ended | (tokens == START), END).sort(dim=1).values
    )  # END is the greatest: last
    first = torch.ones_like(ended)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return ordered, first & (ordered != END)


def sparse_cross_entropy(logits: Tensor, classes: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy with a target distribution over few of the classes, averaged over images.

    A row that sums to s costs s logsumexp(z) - sum w_i z_i: what a dense [B, V] target would give,
    without making it.

    Args:
        logits: [B, V], any float dtype; reduced in float32 or wider.
        classes: [B, N] int64 in [0, V).
        weights: [B, N] float, 0 where a class is no target.
    Returns: a scalar in nats per image.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    weights = weights.to(wide.dtype)
    wanted = (weights * wide.gather(1, classes)).sum(dim=1)
    return (weights.sum(dim=1) * wide.logsumexp(dim=1) - wanted).mean()
