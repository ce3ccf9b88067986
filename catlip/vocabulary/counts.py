"""Counts how often each synset occurs in the labels of a data set (Figures 2(b), 3(a), 3(b))."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from catlip.captions import LabelVersion
from catlip.cli import InputError
from catlip.label.sidecar import read_sidecar
from catlip.system.engines import work_ahead
from catlip.words.wordnet import nouns

DIGEST_DIGITS = 16  # of a sha256; enough to tell a million shards apart


class Synset(NamedTuple):
    """A WordNet 3.0 noun synset: its offset, its canonical name, and how many captions name it."""

    offset: int
    name: str
    count: int  # type: ignore[assignment]


@dataclass(frozen=True)
class CountedCaptions:
    """Captions that were counted, a digest of each part, and those without a label, if known."""

    captions: int | None
    parts: tuple[str, ...]
    without_label: int | None = None


@dataclass(frozen=True)
class Counts:
    """How often each synset occurs.

    Attributes:
        occurrences: [82,115] int64, of each synset, in the order of `nouns().offsets`.
        label_version: how the labels were made.
    """

    occurrences: NDArray[np.int64]
    label_version: LabelVersion
    source: CountedCaptions

    def ranked(self) -> list[Synset]:
        """The synsets that occur, by descending count, ties by offset."""
        occurring = np.flatnonzero(self.occurrences)
        order = occurring[np.lexsort((occurring, -self.occurrences[occurring]))]
        names, offsets = nouns().names, nouns().offsets
        return [Synset(int(offsets[row]), names[row], int(self.occurrences[row])) for row in order]


def count(paths: Iterable[Path]) -> Counts:
    """Count the synsets in labels files, all made in the same way, from different captions."""
    occurrences = np.zeros(len(nouns().offsets), dtype=np.int64)
    parts: set[str] = set()
    captions = without_label = 0
    first: tuple[Path, LabelVersion] | None = None
    for path, labels in work_ahead(read_sidecar, paths):
        meta = labels.meta
        version = LabelVersion.from_meta(meta)
        first = first or (path, version)
        if version != first[1]:
            raise InputError(
                f"{path} was made by {version}, {first[0]} by {first[1]}; all must be made in the "
                "same way: give --rule"
            )
        # A digest that stands for the captions of the file.
        names = f"{meta['shard']} {meta.get('part')} {meta['captions_sha256']}"
        part = sha256(names.encode()).hexdigest()[:DIGEST_DIGITS]
        if part in parts:
            raise InputError(f"the captions of {path} are counted already; give each file once")
        parts.add(part)
        try:
            rows = nouns().rows(labels.values)
        except InputError:
            raise InputError(
                f"{path} has labels that are not synsets; delete it and label again"
            ) from None
        occurrences += np.bincount(rows, minlength=len(occurrences))
        captions += len(labels)
        without_label += int((np.diff(labels.offsets) == 0).sum())
    if first is None:
        raise InputError("no labels given; run `python -m catlip.label` first")
    source = CountedCaptions(captions, tuple(sorted(parts)), without_label)
    return Counts(occurrences, first[1], source)
