"""Real batches for a bench: the project's loader over shards, with everything that any method may
need.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from baselines.openclip import CaptionTokenizer, text_tower
from bench.measuring.methods import LABELS_PER_CAPTION
from bench.measuring.training_step import Factors
from catlip.data.augment import Augmentation
from catlip.data.loader import Batch, DataPath
from catlip.data.sampler import ImageSize, SampleOrder, StepPlan
from catlip.data.shard_set import open_shards
from catlip.data.shards import Shard, expand
from catlip.training.distributed import Place


class EvenLabels:
    """The same few classes for every sample: what labels cost a step does not depend on which
    labels they are.
    """

    def __init__(self, num_classes: int):
        apart = num_classes // LABELS_PER_CAPTION
        self.classes = np.arange(LABELS_PER_CAPTION, dtype=np.int64) * apart

    def __call__(
        self, captions: Sequence[tuple[Shard, int, int]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Values [3 n] and offsets [n + 1] of n captions."""
        values = np.tile(self.classes, len(captions))
        return values, np.arange(0, len(values) + 1, len(self.classes), dtype=np.int64)


def real_batches(
    shards: str, factors: Factors, place: Place, count: int, workers: int
) -> Iterator[Batch]:
    """`count` batches of this rank from shards, of the size that `factors` name, with labels and
    tokens.

    Raises: InputError when there are no shards, or too many of their samples cannot be read.
    """
    opened = open_shards(expand(shards), quiet=True)
    sizes = [ImageSize(factors.resolution, factors.batch_size)]
    data = DataPath(
        opened,
        SampleOrder(opened.counts, factors.seed),
        StepPlan(sizes, place.world_size, count, seed=factors.seed),
        augmentation=Augmentation(),
        seed=factors.seed,
        rank=place.rank,
        world_size=place.world_size,
        labels=EvenLabels(factors.num_classes),
        tokenize=CaptionTokenizer(text_tower(factors.model).context),
    )
    return data.batches(0, workers, pin_memory=place.device.type == "cuda")
