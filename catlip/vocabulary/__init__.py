"""The vocabulary: the synsets that are frequent enough in the captions to be classes (Section 3.2,
"Synset vocabulary").

    python -m catlip.vocabulary runs/cc3m/labels --threshold 500 --out runs/cc3m/vocabulary.json
    python -m catlip.vocabulary merge part1.json part2.json --threshold 500 --out vocabulary.json
    python -m catlip.vocabulary stats runs/cc3m/vocabulary.json --against imagenet coco

Synsets in captions have a long tail, so they are kept only if they occur often: more than a
threshold (the paper's V_tau), or the top k (its released code). They are ordered by descending
count, ties by offset; a synset's position is its class id. The pruned synsets stay in the file
after the classes, so that another threshold needs no new counting.
"""

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from catlip.captions import EDITION
from catlip.cli import InputError
from catlip.data.remote import read_file
from catlip.label.sidecar import Labels
from catlip.record import plain, write_atomically
from catlip.vocabulary.counts import HISTOGRAM, MOST, Counts, Making, Source, Synset
from catlip.vocabulary.released import read_release
from catlip.words.wordnet import VERSION, nouns

T = TypeVar("T")
SCHEMA = 2


@dataclass(frozen=True)
class Vocabulary:
    """Synsets as classes; a class id is a position in `synsets`.

    Attributes:
        rule, wordnet, tagger, edition: how the captions were labelled; labels made otherwise are
            refused.
        source: what was counted.
        threshold, top_k: how the synsets were chosen; one of them is None.
        synsets: the classes, by descending count, ties by offset.
        pruned: the other synsets that occur, in the same order.
        captions_by_labels: how many captions have 0, 1, 2, ... labels (see `Counts`); None where
            unknown.
    """

    rule: str
    wordnet: str
    tagger: str | None
    source: Source
    threshold: int | None
    top_k: int | None
    synsets: tuple[Synset, ...] = field(repr=False)
    pruned: tuple[Synset, ...] = field(default=(), repr=False)
    captions_by_labels: tuple[int, ...] | None = None
    edition: int = EDITION

    def __post_init__(self) -> None:
        if len(self.synsets) < 2:
            raise InputError(
                f"a vocabulary needs two synsets or more; this has {len(self.synsets)}"
            )
        offsets = [synset.offset for synset in (*self.synsets, *self.pruned)]
        if len(offsets) != len(set(offsets)):
            raise InputError("a vocabulary has each synset once; this has one of them twice")

    def __len__(self) -> int:
        """The number of classes."""
        return len(self.synsets)

    def encode(
        self, values: NDArray[np.uint32], offsets: NDArray[np.integer]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Turn synsets into class ids. Synsets outside the vocabulary are dropped; a sample with
        none left stays, without class ids.

        Args:
            values: [sum K], synsets; sample n has `values[offsets[n]:offsets[n + 1]]`.
            offsets: [N+1].
        Returns: class ids in [0, V), and their [N+1] offsets.
        """
        known, ids = self._by_offset
        rows = np.minimum(np.searchsorted(known, values), len(known) - 1)
        kept = known[rows] == values
        before = np.concatenate([[0], np.cumsum(kept)])
        return ids[rows[kept]], before[np.asarray(offsets, dtype=np.int64)]

    @functools.cached_property
    def _by_offset(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The synsets in ascending order, and their class ids."""
        known = np.array([synset.offset for synset in self.synsets], dtype=np.int64)
        ids = np.argsort(known)
        return known[ids], ids

    @property
    def making(self) -> Making:
        """How the captions were labelled."""
        return Making(self.rule, self.wordnet, self.tagger, edition=self.edition)

    def counts(self) -> Counts:
        """The counts that the vocabulary was chosen from.

        Raises: InputError when a synset is not one of WordNet 3.0.
        """
        by_synset = np.zeros(len(nouns().offsets), dtype=np.int64)
        for synset in (*self.synsets, *self.pruned):
            nouns().name(synset.offset)
            by_synset[np.searchsorted(nouns().offsets, synset.offset)] = synset.count
        return Counts(
            by_synset, self.making, self.source, captions_by_labels=self.captions_by_labels
        )

    def check(self, labels: Labels) -> None:
        """Raises: InputError when the labels were made by another rule, edition, WordNet or tagger
        than the vocabulary.
        """
        theirs = Making.of(labels.meta)
        if self.making != theirs:
            raise InputError(
                f"the vocabulary was made by {self.making}, but the labels of "
                f"{labels.meta['shard']} by {theirs}; label the shards with --rule {self.rule}, or "
                "build a vocabulary from these labels"
            )

    def save(self, path: Path) -> None:
        """Write the vocabulary as JSON, one synset per line, atomically."""
        lists = {"synsets": self.synsets, "pruned": self.pruned}
        names = [key.name for key in fields(self) if key.name not in lists]
        body = {name: plain(getattr(self, name)) for name in names}
        head = json.dumps({"schema": SCHEMA, **body}, indent=1).removesuffix("\n}")
        tail = ""
        for name, synsets in lists.items():
            lines = ",\n  ".join(json.dumps(astuple(synset)) for synset in synsets)
            tail += f',\n "{name}": [\n  {lines}\n ]'
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, f"{head}{tail}\n}}\n".encode())

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Read what `save` wrote. Raises: InputError when it is missing or not a vocabulary."""
        try:
            content = read_file(path)
        except FileNotFoundError:
            raise InputError(
                f"there is no vocabulary at {path}; build one with `python -m catlip.vocabulary`"
            ) from None
        try:
            return _read(json.loads(content))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else error
            raise InputError(
                f"{path} is not a vocabulary: {reason}; build one with `python -m "
                "catlip.vocabulary`"
            ) from None

    @classmethod
    def from_release(cls, path: Path, top_k: int) -> "Vocabulary":
        """The released code's vocabulary: a pickle of {"n2084071": count}, whose first `top_k`
        synsets are the classes.

        The released weights have 24,320 classes.

        Raises: InputError when the file is not such a pickle, or has too few synsets.
        """
        ranked, digest = read_release(path)
        if not 2 <= top_k <= len(ranked):
            raise InputError(
                f"top_k {top_k} is not between 2 and the {len(ranked)} synsets of {path}"
            )
        return cls(
            rule="corenet",
            wordnet=VERSION,
            tagger=None,
            source=Source(None, (digest,)),
            threshold=None,
            top_k=top_k,
            synsets=ranked[:top_k],
            pruned=ranked[top_k:],
        )


def _read(body: dict[str, Any]) -> Vocabulary:
    """The vocabulary of a file with this content.

    Raises: any of the errors that `load` expects.
    """
    if body["schema"] != SCHEMA:
        raise ValueError("it was written by another version of this program")
    source = body["source"]
    return Vocabulary(
        rule=_text(body["rule"]),
        wordnet=_text(body["wordnet"]),
        tagger=_or_none(_text, body["tagger"]),
        source=Source(_or_none(_whole, source["captions"]), tuple(map(_text, source["parts"]))),
        threshold=_or_none(_whole, body["threshold"]),
        top_k=_or_none(_whole, body["top_k"]),
        synsets=tuple(_synset(*entry) for entry in body["synsets"]),
        pruned=tuple(_synset(*entry) for entry in body["pruned"]),
        captions_by_labels=_or_none(_histogram, body["captions_by_labels"]),
        edition=_whole(body["edition"]),
    )


def _or_none(read: Callable[[Any], T], value: Any) -> T | None:
    return None if value is None else read(value)


def _synset(offset: Any, name: Any, count: Any) -> Synset:
    return Synset(_whole(offset), _text(name), _whole(count))


def _histogram(values: Any) -> tuple[int, ...]:
    if len(values) != HISTOGRAM:
        raise ValueError(f"captions_by_labels has {len(values)} entries instead of {HISTOGRAM}")
    return tuple(map(_whole, values))


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < MOST:
        raise ValueError(f"{value!r:.40} is not a whole number from 0 on")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is not a text")
    return value


def build(counts: Counts, threshold: int | None = None, top_k: int | None = None) -> Vocabulary:
    """The synsets that occur more than `threshold` times, or the `top_k` most frequent; with
    neither, those above `fitting_threshold`.

    Raises: InputError when that leaves fewer than two, or fewer than `top_k`.
    """
    if threshold is not None and top_k is not None:
        raise InputError("give --threshold or --top-k, not both")
    if threshold is None and top_k is None:
        threshold = fitting_threshold(counts.source.captions)
    ranked = counts.ranked()
    if threshold is None:
        num_kept = min(top_k or 0, len(ranked))
    else:
        num_kept = sum(synset.count > threshold for synset in ranked)
    if num_kept < max(2, top_k or 2):
        raise InputError(_too_few(ranked, num_kept, threshold, top_k=top_k))
    return Vocabulary(
        **asdict(counts.making),
        source=counts.source,
        threshold=threshold,
        top_k=top_k,
        synsets=tuple(ranked[:num_kept]),
        pruned=tuple(ranked[num_kept:]),
        captions_by_labels=counts.captions_by_labels,
    )


def fitting_threshold(captions: int | None) -> int:
    """A threshold for a data set of a few thousand to a few hundred thousand captions.

    The paper's 500 is for millions of captions. A tenth of the root of their number is 17 for the
    starter's 28,000, whose recipe takes 16, and 20 for 40,000.
    """
    return max(2, round((captions or 0) ** 0.5 / 10))


def _too_few(
    ranked: Sequence[Synset], num_kept: int, threshold: int | None, top_k: int | None
) -> str:
    if len(ranked) < 2:
        return f"the labels name {len(ranked)} synsets; a vocabulary needs two or more"
    cut = f"threshold {threshold}" if top_k is None else f"top-k {top_k}"
    fix = f"--threshold {ranked[1].count - 1}" if top_k is None else f"--top-k {len(ranked)}"
    most = ranked[0]
    return (
        f"{cut} leaves {num_kept} of {len(ranked)} synsets: the most frequent, {most.name}, occurs "
        f"{most.count} times; try {fix} at most"
    )


def vocabulary_identity(path: Path) -> str:
    """A digest of a vocabulary's file, for the identity of a run and to be stored with weights."""
    return sha256(read_file(path)).hexdigest()[:16]


def check_trained_on(path: Path, trained: object, whose: str) -> None:
    """Raises: InputError when the vocabulary at `path` is not the one that weights were trained on.

    Args:
        trained: the vocabulary's identity that is stored with the weights; None if there is none,
            which is not an error.
        whose: the weights and a verb, for the message: "the weights were".
    """
    if trained is not None and trained != (identity := vocabulary_identity(path)):
        raise InputError(
            f"{path} ({identity}) is not the vocabulary that {whose} trained on ({trained})"
        )
