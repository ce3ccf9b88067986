"""How often each synset occurs in the labels of a data set, and what that says about it.  (Figures 2(b), 3(a), 3(b))"""

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catlip.cli import InputError
from catlip.sidecar import read_sidecar
from catlip.wordnet import nouns

THRESHOLDS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2500, 5000, 10000)  # with the five of Figure 3(b)


@dataclass(frozen=True)
class Synset:
    """A WordNet 3.0 noun synset: its offset, its canonical name, and how many captions name it."""

    offset: int
    name: str
    count: int


@dataclass(frozen=True)
class Source:
    """What was counted: how many captions (None where unknown), and a sha256 that stands for them."""

    captions: int | None
    digest: str


@dataclass(frozen=True)
class Making:
    """How captions were labelled; labels and vocabularies go together only when this is equal."""

    rule: str
    wordnet: str
    tagger: str | None

    @classmethod
    def of(cls, meta: dict[str, Any]) -> "Making":
        """How the labels with this `meta` were made."""
        return cls(meta["rule"], meta["wordnet"], meta["tagger"])

    def __str__(self) -> str:
        return f"rule {self.rule}, WordNet {self.wordnet}, {f'tagger {self.tagger}' if self.tagger else 'no tagger'}"


@dataclass(frozen=True)
class Counts:
    """How often each synset occurs.

    Attributes:
        by_synset: [82,115] int64, in the order of `nouns().offsets`.
        making: of the labels.
        source: the captions.
        unlabelled: how many captions have no label.
    """

    by_synset: NDArray[np.int64]
    making: Making
    source: Source
    unlabelled: int

    def ranked(self) -> list[Synset]:
        """The synsets that occur, by descending count, ties by offset."""
        found = np.flatnonzero(self.by_synset)
        order = found[np.lexsort((found, -self.by_synset[found]))]
        names, offsets = nouns().names, nouns().offsets
        return [Synset(int(offsets[row]), names[row], int(self.by_synset[row])) for row in order]

    def statistics(self) -> dict[str, Any]:
        """Captions with and without labels, unique synsets by threshold, and how many of ImageNet-1k's classes occur."""
        occurring = self.by_synset[self.by_synset > 0]
        captions = self.source.captions or 0
        return {
            "num_captions": captions,
            "captions_without_label": self.unlabelled,
            "labels_per_caption": int(occurring.sum()) / captions if captions else 0.0,
            "unique_synsets": len(occurring),
            "unique_synsets_above": {str(threshold): int((occurring > threshold).sum()) for threshold in THRESHOLDS},
            "imagenet_classes_occurring": num_imagenet_classes(synset.offset for synset in self.ranked()),
        }


def count(paths: Iterable[Path]) -> Counts:
    """Count the synsets in labels files. Raises: InputError when there are none, or they were made in different ways."""
    offsets = nouns().offsets
    by_synset = np.zeros(len(offsets), dtype=np.int64)
    making: Making | None = None
    captions, unlabelled, digest = 0, 0, sha256()
    for path in paths:
        labels = read_sidecar(path)
        found = Making.of(labels.meta)
        if making not in (None, found):
            raise InputError(
                f"{path} was made by {found}, the labels before it by {making}; a vocabulary needs one: give --rule"
            )
        making = found
        by_synset += np.bincount(np.searchsorted(offsets, labels.values), minlength=len(offsets))
        captions += len(labels)
        unlabelled += int((np.diff(labels.offsets) == 0).sum())
        digest.update(f"{labels.meta['shard']} {labels.meta['captions_sha256']}\n".encode())
    if making is None:
        raise InputError("no labels given; run `python -m catlip.label` first")
    return Counts(by_synset, making, Source(captions, digest.hexdigest()), unlabelled)


def num_imagenet_classes(synsets: Iterable[int]) -> int:
    """How many of ImageNet-1k's classes are, exactly, among `synsets`."""
    return len(set(imagenet_synsets()) & set(synsets))


def imagenet_synsets() -> list[int]:
    """The synsets of ImageNet-1k's classes, in the order of its class ids, from timm's list (which does not load torch)."""
    package = importlib.util.find_spec("timm")
    if package is None or not package.submodule_search_locations:
        raise InputError("timm, which lists ImageNet's classes, is not installed; run `pip install timm`")
    text = (Path(package.submodule_search_locations[0]) / "data/_info/imagenet_synsets.txt").read_text()
    return [int(wnid.removeprefix("n")) for wnid in text.split()]
