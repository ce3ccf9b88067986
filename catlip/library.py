"""What the programs do, for other people's trainers: loss, Transfer Init, encoders and batches.
`import catlip` has each name; docs/library.md shows them at work.
"""

import functools
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from catlip.captions import texts_of
from catlip.categorical import linear_classifier, sparse_binary_cross_entropy
from catlip.data.augment import Augmentation
from catlip.data.loader import Batch, DataPath, RaggedLabels
from catlip.data.sampler import ImageSize, SampleOrder, StepPlan
from catlip.data.shard_set import open_shards
from catlip.data.shards import Shard, expand
from catlip.encoders.load import open_encoder
from catlip.pretraining.method import base_rates_of
from catlip.program.errors import InputError
from catlip.transfer_init import ALPHA
from catlip.transfer_init.head import transfer_rows
from catlip.vocabulary import Vocabulary
from catlip.vocabulary.label_sets import LabelSet, synsets_of


class CatLIPLoss(nn.Module):
    """CatLIP's classifier and loss on an encoder's features: binary cross-entropy over the classes
    of a vocabulary, summed over classes and averaged over images (Section 3.2).

    Args:
        num_features: width D of the features.
        vocabulary: its classes; the bias starts at the log-odds of how frequent they are.

    Attributes:
        classifier: nn.Linear from D to the V classes; row i is for `vocabulary.synsets[i]`.
    """

    def __init__(self, num_features: int, vocabulary: Vocabulary):
        super().__init__()
        self.classifier = linear_classifier(num_features, torch.logit(base_rates_of(vocabulary)))

    def forward(self, features: Tensor, targets: RaggedLabels) -> Tensor:
        """A scalar in nats per image, from features [B, D] and the class ids of each image.

        Raises: catlip.program.errors.InputError for targets of another number of images.
        """
        if len(features) != len(targets):
            raise InputError(f"features of {len(features)} images, targets of {len(targets)}")
        return sparse_binary_cross_entropy(self.classifier(features), targets)


def transfer_head(
    criterion: CatLIPLoss,
    vocabulary: Vocabulary,
    class_names: Sequence[str],
    alpha: float = ALPHA,
    seed: int = 0,
) -> nn.Linear:
    """Transfer Init (Section 4.2): a classifier over new classes, whose rows are those that
    pre-training learnt for the same nouns, or for the nearest ones in WordNet. Names without any
    class as near as `alpha` get random rows.

    Raises: catlip.program.errors.InputError if criterion and vocabulary do not fit.
    """
    names = tuple(texts_of(class_names))
    labels = LabelSet("own", names, tuple(synsets_of(name) for name in names))
    rows = transfer_rows(
        criterion.classifier.weight,
        criterion.classifier.bias,
        vocabulary,
        labels=labels,
        alpha=alpha,
        seed=seed,
    )
    head = nn.Linear(rows.weight.shape[1], len(names))
    head.load_state_dict({"weight": rows.weight, "bias": rows.bias})
    return head


def load(
    spelling: str | Path, resolution: int = 0
) -> tuple[nn.Module, Callable[[bytes | Image.Image], Tensor]]:
    """An encoder in evaluation mode, on the CPU, and its preprocessing.

    Args:
        spelling: the folder of a training, a file of weights, timm:NAME, openclip:NAME/TAG,
            released:vit_b16, random:NAME@PIXELS ...; see catlip.encoders.
        resolution: of the images, in pixels; 0 for the resolution of its training.

    Returns: a module that maps images [B, 3, H, W], uint8 or float in [0, 1], to features [B, D];
        and a function from an encoded image, or a PIL image, to [3, H, W] uint8.

    Raises: catlip.program.errors.InputError if there is no such encoder.
    """
    encoder = open_encoder(str(spelling), resolution=resolution)

    def preprocess(image: bytes | Image.Image) -> Tensor:
        if isinstance(image, Image.Image):
            file = io.BytesIO()
            image.convert("RGB").save(file, "PNG", compress_level=1)
            image = file.getvalue()
        return encoder.preprocess(image)

    return encoder.module, preprocess


def batches(
    shards: str | Sequence[str],
    *,
    vocabulary: Vocabulary | None = None,
    tokenize: Callable[[list[str]], Tensor] | None = None,
    batch_size: int = 256,
    resolution: int = 224,
    crop_scale: tuple[float, float] = (0.08, 1.0),
    num_steps: int = 0,
    first_step: int = 0,
    seed: int = 0,
    num_workers: int | None = None,
) -> Iterator[Batch]:
    """Batches of image-caption shards as the suite's trainings read them: images, order, crops and
    flips depend on the seed alone, and `first_step` goes on exactly where an earlier loop stopped.

    Args:
        shards: WebDataset tars, as a path, a glob, braces or URLs.
        vocabulary: gives `batch.labels`, the classes that the captions name.
        tokenize: gives `batch.tokens`; from texts to [B, context] int64.
        crop_scale: area of a random crop, as a fraction of the picture.
        num_steps: 0 for one epoch.
        num_workers: processes that read; None for as many as help.

    Raises: catlip.program.errors.InputError for shards that cannot be read.
    """
    shard_set = open_shards(expand(shards), quiet=True)
    order = SampleOrder(shard_set.counts, seed)
    steps = num_steps or max(1, order.total // batch_size)
    data = DataPath(
        shard_set,
        order,
        StepPlan([ImageSize(resolution, batch_size)], 1, steps, seed=seed),
        augmentation=Augmentation(crop_scale),
        seed=seed,
        labels=functools.partial(_label, vocabulary) if vocabulary else None,
        tokenize=tokenize,
    )
    return data.batches(first_step, num_workers)


def _label(
    vocabulary: Vocabulary, captions: Sequence[tuple[Shard, int, int]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Classes of captions, labelled as they are read; see `LabelSource`."""
    return vocabulary.classes(
        [shard.caption(number, which) or "" for shard, number, which in captions]
    )
