"""Counts how often each synset occurs in the labels of a data set (Figures 2(b), 3(a), 3(b))."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from catlip.cli import InputError
from catlip.label.sidecar import Making, read_sidecar
from catlip.system.engines import work_ahead
from catlip.words.wordnet import nouns

HISTOGRAM = 33  # entries of a histogram of labels: 0 to 31, and 32 or more
MAX_COUNT = 1 << 53  # of a synset: below it, floats are exact and sums do not overflow
DIGEST_DIGITS = 16  # of a sha256; enough to tell a million shards apart


class Synset(NamedTuple):
    """A WordNet 3.0 noun synset: its offset, its canonical name, and how many captions name it."""

    offset: int
    name: str
    count: int  # type: ignore[assignment]


@dataclass(frozen=True)
class Source:
    """What was counted: how many captions (None where unknown), and a digest for each of its parts,
    such as shards.
    """

    captions: int | None
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Counts:
    """How often each synset occurs.

    Attributes:
        by_synset: [82,115] int64, in the order of `nouns().offsets`.
        making: how the labels were made.
        captions_by_labels: how many captions have 0, 1, 2, ... labels, the last entry for all with
            more; None where unknown.
    """

    by_synset: NDArray[np.int64]
    making: Making
    source: Source
    captions_by_labels: tuple[int, ...] | None

    def ranked(self) -> list[Synset]:
        """The synsets that occur, by descending count, ties by offset."""
        occurring = np.flatnonzero(self.by_synset)
        order = occurring[np.lexsort((occurring, -self.by_synset[occurring]))]
        names, offsets = nouns().names, nouns().offsets
        return [Synset(int(offsets[row]), names[row], int(self.by_synset[row])) for row in order]

    def num_above(self, threshold: int) -> int:
        """How many synsets occur more often than `threshold`."""
        return int((self.by_synset > threshold).sum())


def count(paths: Iterable[Path]) -> Counts:
    """Count the synsets in labels files, all made in the same way, from different captions."""
    by_synset = np.zeros(len(nouns().offsets), dtype=np.int64)
    histogram = np.zeros(HISTOGRAM, dtype=np.int64)
    making: Making | None = None
    parts: set[str] = set()
    for path, labels in work_ahead(read_sidecar, paths):
        before, making = making, Making.of(labels.meta)
        if before not in (None, making):
            raise InputError(
                f"{path} was made by {making}, the labels before it by {before}; all must be made "
                "in the same way: give --rule"
            )
        # A digest that stands for the captions of the file.
        meta = labels.meta
        names = f"{meta['shard']} {meta.get('part')} {meta['captions_sha256']}"
        part = sha256(names.encode()).hexdigest()[:DIGEST_DIGITS]
        if part in parts:
            raise InputError(f"the captions of {path} are counted already; give each file once")
        parts.add(part)
        rows = np.minimum(np.searchsorted(nouns().offsets, labels.values), len(by_synset) - 1)
        if (nouns().offsets[rows] != labels.values).any():
            raise InputError(f"{path} has labels that are not synsets; delete it and label again")
        by_synset += np.bincount(rows, minlength=len(by_synset))
        labels_of_caption = np.minimum(np.diff(labels.offsets), HISTOGRAM - 1)
        histogram += np.bincount(labels_of_caption, minlength=HISTOGRAM)
    if making is None:
        raise InputError("no labels given; run `python -m catlip.label` first")
    source = Source(int(histogram.sum()), tuple(sorted(parts)))
    return Counts(by_synset, making, source, captions_by_labels=tuple(histogram.tolist()))


def merge(counted: Sequence[tuple[str, Counts]]) -> Counts:
    """The sum of counts, equal to counting all their captions at once. A number that is unknown in
    one of them is unknown in the sum.

    Args:
        counted: one or more, each with a name for errors.
    """
    first, start = counted[0]
    parts: set[str] = set()
    for name, counts in counted:
        if counts.making != start.making:
            raise InputError(
                f"{name} was made by {counts.making}, {first} by {start.making}; merge only what "
                "was made in the same way"
            )
        if again := parts & set(counts.source.parts):
            raise InputError(
                f"{len(again)} of the {len(counts.source.parts)} parts of {name} are also in the "
                "files before it; merge each source once"
            )
        parts |= set(counts.source.parts)
    captions = [counts.source.captions for _, counts in counted]
    histograms = [counts.captions_by_labels for _, counts in counted]
    num_captions = None if None in captions else sum(filter(None, captions))
    histogram: tuple[int, ...] | None = None
    if None not in histograms:
        histogram = tuple(map(sum, zip(*filter(None, histograms), strict=True)))
    return Counts(
        np.sum([counts.by_synset for _, counts in counted], axis=0),
        start.making,
        Source(num_captions, tuple(sorted(parts))),
        captions_by_labels=histogram,
    )
