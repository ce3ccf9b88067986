"""Subwords as classes: CLIP's tokens that are frequent in the captions of a data set."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
import torch
from numpy.typing import NDArray

from baselines.idf import distinct_subwords
from baselines.openclip import CaptionTokenizer, rows_of_tokens
from catlip.cli import InputError
from catlip.costs import TEXT_VOCABULARY
from catlip.data.shard_set import ShardSet, open_shards
from catlip.data.shards import Shard, expand
from catlip.pretraining.config import PretrainRun
from catlip.pretraining.method import RELEASED_CLASSES, Classes
from catlip.program.progress import progress
from catlip.system.cache import cache_dir, npz_bytes, read_npz, read_or_make
from catlip.vocabulary import fitting_threshold

EDITION = 1  # raised whenever the same captions give other counts
MAX_COUNTED = 1_000_000  # captions: 40 seconds of a core
AT_ONCE = 1_000  # captions
UNKNOWN_SUBWORDS_PER_CAPTION = 10  # about as many as a sentence has


@dataclass(frozen=True)
class Subwords:
    """How many captions have each token, up to `context` of each caption: [49,408] int64, without
    those that open, close and pad a caption. The frequent ones, by the rule for nouns, are classes.
    """

    context: int
    captions: int
    captions_with: NDArray[np.int64]

    @cached_property
    def tokens(self) -> NDArray[np.int64]:
        """[V], the token of each class, ascending."""
        return np.flatnonzero(self.captions_with > fitting_threshold(self.captions))

    @cached_property
    def rows(self) -> torch.Tensor:
        """The row of each token in a table of those that occur, as `TwoTowers.share_rows` takes."""
        return rows_of_tokens(torch.from_numpy(self.captions_with > 0))

    @cached_property
    def base_rates(self) -> torch.Tensor:
        """[V] float32, the fraction of captions with each class. None is 1: every caption has a
        full stop, perhaps, and the log-odds of that would be infinite.
        """
        rates = torch.from_numpy(self.captions_with[self.tokens] / self.captions)
        return rates.clamp(max=1 - 1e-6).float()

    @cached_property
    def _tokenizer(self) -> CaptionTokenizer:
        return CaptionTokenizer(self.context)

    def __call__(
        self, captions: Sequence[tuple[Shard, int, int]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The classes of captions, as a `LabelSource`."""
        texts = [shard.caption(number, which) or "" for shard, number, which in captions]
        subwords, is_subword = distinct_subwords(self._tokenizer(texts))
        found = subwords.values.numpy()
        is_class = is_subword.numpy() & np.isin(found, self.tokens)
        counts = is_class.reshape(len(texts), self.context).sum(axis=1)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return np.searchsorted(self.tokens, found[is_class]), offsets

    def digest(self) -> str:
        return sha256(self.captions_with.tobytes()).hexdigest()[:16]


def subword_classes(config: PretrainRun, context: int) -> Classes:
    """The frequent subwords of the run's captions; a dry run may have no captions."""
    if config.dry_run and not config.shards:
        equal = UNKNOWN_SUBWORDS_PER_CAPTION / RELEASED_CLASSES
        return Classes(torch.full((RELEASED_CLASSES,), equal), identity={}, labels=None)
    shards = open_shards(expand(config.shards), config.quiet)
    subwords = count_subwords(shards, context, config.quiet)
    if not len(subwords.tokens):
        raise InputError(f"none of the subwords of {subwords.captions:,} captions is frequent")
    identity = {"subwords": subwords.digest(), "num_classes": len(subwords.tokens)}
    return Classes(subwords.base_rates, identity, labels=subwords)


def is_countable(shards: ShardSet) -> bool:
    """Whether all captions can be counted in a minute."""
    return not shards.remote and int(shards.counts.sum()) <= MAX_COUNTED


def count_subwords(shards: ShardSet, context: int, quiet: bool = False) -> Subwords:
    """Those of the captions of shards; of evenly spaced shards where all have more than MAX_COUNTED
    samples. The cache keeps the counts.
    """
    named = json.dumps([EDITION, shards.digest, context, MAX_COUNTED])
    path = cache_dir("subwords") / f"{sha256(named.encode()).hexdigest()[:32]}.npz"

    def make() -> bytes:
        captions, captions_with = _count(shards, CaptionTokenizer(context), quiet)
        return npz_bytes({"captions": np.array(captions), "captions_with": captions_with})

    arrays = read_or_make(path, make, read_npz)
    return Subwords(context, int(arrays["captions"]), arrays["captions_with"])


def _count(
    shards: ShardSet, tokenizer: CaptionTokenizer, quiet: bool
) -> tuple[int, NDArray[np.int64]]:
    total = int(shards.counts.sum())
    number = -(-len(shards) * MAX_COUNTED // max(total, MAX_COUNTED))
    chosen = np.linspace(0, len(shards), number, endpoint=False, dtype=int).tolist()
    bar = progress(chosen, "counting subwords", len(chosen), disable=quiet, unit=" shards")
    captions, captions_with = 0, np.zeros(TEXT_VOCABULARY, dtype=np.int64)
    for shard in (shards[row] for row in bar):
        texts = [text or "" for number in range(len(shard)) for text in shard.captions(number)]
        captions += len(texts)
        for start in range(0, len(texts), AT_ONCE):
            subwords, is_subword = distinct_subwords(tokenizer(texts[start : start + AT_ONCE]))
            tokens = subwords.values[is_subword].numpy()
            captions_with += np.bincount(tokens, minlength=TEXT_VOCABULARY)
    return captions, captions_with
