"""Counts how often each synset occurs in the labels of a data set (Figures 2(b), 3(a), 3(b))."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from catlip.cli import InputError
from catlip.label.sidecar import Labels, Making, read_sidecar
from catlip.system.engines import work_ahead
from catlip.words.wordnet import nouns

HISTOGRAM = 33  # entries of a histogram of labels: 0 to 31, and 32 or more
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
    return merge((path, _counted(path, labels)) for path, labels in work_ahead(read_sidecar, paths))


def _counted(path: Path, labels: Labels) -> Counts:
    meta = labels.meta
    # A digest that stands for the captions of the file.
    names = f"{meta['shard']} {meta.get('part')} {meta['captions_sha256']}"
    part = sha256(names.encode()).hexdigest()[:DIGEST_DIGITS]
    known = nouns().offsets
    rows = np.minimum(np.searchsorted(known, labels.values), len(known) - 1)
    if (known[rows] != labels.values).any():
        raise InputError(f"{path} has labels that are not synsets; delete it and label again")
    of_captions = np.minimum(np.diff(labels.offsets), HISTOGRAM - 1)
    return Counts(
        np.bincount(rows, minlength=len(known)),
        Making.of(meta),
        Source(len(labels), (part,)),
        captions_by_labels=tuple(np.bincount(of_captions, minlength=HISTOGRAM).tolist()),
    )


def merge(counted: Iterable[tuple[Path, Counts]]) -> Counts:
    """The sum of the counts in files, equal to counting all their captions at once. A number that
    is unknown in one of them is unknown in the sum.
    """
    by_synset = np.zeros(len(nouns().offsets), dtype=np.int64)
    parts: set[str] = set()
    captions: int | None = 0
    histogram: tuple[int, ...] | None = (0,) * HISTOGRAM
    first: tuple[Path, Making] | None = None
    for path, counts in counted:
        first = first or (path, counts.making)
        if counts.making != first[1]:
            raise InputError(
                f"{path} was made by {counts.making}, {first[0]} by {first[1]}; all must be made "
                "in the same way: give --rule"
            )
        if again := parts & set(counts.source.parts):
            raise InputError(
                f"{len(again)} of the {len(counts.source.parts)} parts of {path} are counted "
                "already; give each once"
            )
        parts |= set(counts.source.parts)
        by_synset += counts.by_synset
        known, more = counts.source.captions, counts.captions_by_labels
        captions = None if captions is None or known is None else captions + known
        if histogram and more:
            histogram = tuple(map(sum, zip(histogram, more, strict=True)))
        else:
            histogram = None
    if first is None:
        raise InputError("no labels given; run `python -m catlip.label` first")
    source = Source(captions, tuple(sorted(parts)))
    return Counts(by_synset, first[1], source, captions_by_labels=histogram)
