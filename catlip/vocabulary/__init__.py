"""The vocabulary: the synsets that are frequent enough in the captions to be classes (Section 3.2,
"Synset vocabulary").

Synsets in captions have a long tail, so they are kept only if they occur often: more than a
threshold (the paper's V_tau), or the top k (its released code). They are ordered by descending
count, ties by offset; a synset's position is its class id. The pruned synsets stay in the file
after the classes, for its statistics.
"""

import functools
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from catlip.captions import EDITION, LabelVersion, labeller_of, texts_of
from catlip.cli import InputError
from catlip.data.remote import read_file
from catlip.label import label_captions
from catlip.label.sidecar import read_sidecar
from catlip.records.record import plain
from catlip.system.engines import work_ahead
from catlip.system.files import write_atomically
from catlip.system.foreign import load_plain
from catlip.words.wordnet import VERSION, nouns

if TYPE_CHECKING:
    from catlip.data.loader import RaggedLabels

SCHEMA = 2
DIGEST_DIGITS = 16  # of a sha256; enough to tell a million shards apart
Wnid = Annotated[str, msgspec.Meta(pattern="^n[0-9]{1,8}$")]


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


@dataclass(frozen=True)
class Vocabulary:
    """Synsets as classes; a class id is a position in `synsets`.

    Attributes:
        rule, wordnet, tagger, edition, words: how the captions were labelled; labels made otherwise
            are refused.
        source: the captions that were counted.
        threshold, top_k: how the synsets were chosen; one of them is None.
        synsets: the classes, by descending count, ties by offset.
        pruned: the other synsets that occur, in the same order.
    """

    rule: str
    wordnet: str
    tagger: str | None
    source: CountedCaptions
    threshold: int | None
    top_k: int | None
    synsets: tuple[Synset, ...] = field(repr=False)
    pruned: tuple[Synset, ...] = field(default=(), repr=False)
    edition: int = EDITION
    words: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if len(self.synsets) < 2:
            raise InputError("a vocabulary needs two synsets or more")
        offsets = [synset.offset for synset in (*self.synsets, *self.pruned)]
        if len(offsets) != len(set(offsets)):
            raise InputError("a vocabulary has each synset once; this has one of them twice")

    def __len__(self) -> int:
        return len(self.synsets)

    def encode(
        self, values: NDArray[np.uint32], offsets: NDArray[np.integer]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Turn synsets [sum K] of samples with offsets [N+1] into class ids in [0, V) and their
        offsets. Synsets outside the vocabulary are dropped; a sample with none left stays.
        """
        known, ids = self._sorted_offsets
        rows = np.minimum(np.searchsorted(known, values), len(known) - 1)
        kept = known[rows] == values
        before = np.concatenate([[0], np.cumsum(kept)])
        return ids[rows[kept]], before[np.asarray(offsets, dtype=np.int64)]

    def classes(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The class ids [sum K] of captions, and their offsets [N+1]."""
        synsets = labeller_of(self.rule, self.words).batch(texts)
        values = np.fromiter(itertools.chain.from_iterable(synsets), dtype=np.uint32)
        return self.encode(values, np.cumsum([0, *map(len, synsets)]))

    def targets(self, texts: Sequence[str]) -> "RaggedLabels":
        """The targets of CatLIP's loss for images with these captions: of image i the class ids
        values[offsets[i] : offsets[i + 1]], int64, perhaps none.
        """
        import torch

        from catlip.data.loader import RaggedLabels

        values, offsets = self.classes(texts)
        return RaggedLabels(torch.from_numpy(values), torch.from_numpy(offsets))

    @classmethod
    def from_captions(
        cls,
        texts: Iterable[str],
        threshold: int | None = None,
        top_k: int | None = None,
        rule: str = "paper",
        words: Mapping[str, str] | None = None,
    ) -> "Vocabulary":
        """The nouns that occur in more than `threshold` captions, or the `top_k` most frequent; by
        default a threshold that fits their number. For `words` see catlip.captions.Labeller.

        Raises: InputError if fewer than two are left.
        """
        labeller = labeller_of(rule, tuple((words or {}).items()))
        samples = ((str(number), text) for number, text in enumerate(texts_of(texts)))
        labels = label_captions(samples, labeller)
        rows, meta = nouns().rows(labels.values), labels.meta
        occurrences = np.bincount(rows, minlength=len(nouns().offsets))
        digest, unlabelled = meta["captions_sha256"], sum(meta["unlabelled"].values())
        source = CountedCaptions(len(labels), (digest[:DIGEST_DIGITS],), unlabelled)
        return build(Counts(occurrences, labeller.version, source), threshold, top_k)

    @functools.cached_property
    def _sorted_offsets(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        known = np.array([synset.offset for synset in self.synsets], dtype=np.int64)
        ids = np.argsort(known)
        return known[ids], ids

    @property
    def label_version(self) -> LabelVersion:
        return LabelVersion(self.rule, self.wordnet, self.tagger, self.edition, words=self.words)

    def save(self, path: Path | str) -> None:
        """Write the vocabulary as JSON, one synset per line, atomically."""
        lists = {"synsets": self.synsets, "pruned": self.pruned}
        names = [key.name for key in fields(self) if key.name not in lists]
        if not self.words:  # older vocabularies have no such field, and runs know a file's digest
            names.remove("words")
        body = {name: plain(getattr(self, name)) for name in names}
        head = json.dumps({"schema": SCHEMA, **body}, indent=1).removesuffix("\n}")
        tail = ""
        for name, synsets in lists.items():
            lines = ",\n  ".join(json.dumps(synset) for synset in synsets)
            tail += f',\n "{name}": [\n  {lines}\n ]'
        write_atomically(Path(path), f"{head}{tail}\n}}\n".encode())

    @classmethod
    def load(cls, path: Path | str) -> "Vocabulary":
        try:
            content = read_file(Path(path))
        except FileNotFoundError:
            raise InputError(
                f"there is no vocabulary at {path}; build one with `python -m catlip.vocabulary`"
            ) from None
        try:
            if msgspec.json.decode(content)["schema"] != SCHEMA:
                raise ValueError("it was written by another version of this program")
            return msgspec.json.decode(content, type=cls)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"{path} is not a vocabulary: {error}") from None

    @classmethod
    def from_release(cls, path: Path, top_k: int) -> "Vocabulary":
        """The released code's vocabulary: a pickle of {"n2084071": count}, most frequent first. Its
        first `top_k` synsets are the classes; the released weights have 24,320.
        """
        content = path.read_bytes()
        pickled = load_plain(content, str(path))
        try:
            counts = msgspec.convert(pickled, dict[Wnid, Annotated[int, msgspec.Meta(gt=0)]])
        except msgspec.ValidationError as error:
            raise InputError(
                f"{path} does not hold counts of noun synsets, such as n2084071: 12345 ({error})"
            ) from None
        if not 2 <= top_k <= len(counts):
            raise InputError(f"top_k {top_k} is not in 2 to the {len(counts)} synsets of {path}")
        ranked = tuple(
            Synset(int(wnid[1:]), nouns().name(int(wnid[1:])), count)
            for wnid, count in counts.items()
        )
        return cls(
            rule="corenet",
            wordnet=VERSION,
            tagger=None,
            source=CountedCaptions(None, (sha256(content).hexdigest()[:DIGEST_DIGITS],)),
            threshold=None,
            top_k=top_k,
            synsets=ranked[:top_k],
            pruned=ranked[top_k:],
        )


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


def build(counts: Counts, threshold: int | None = None, top_k: int | None = None) -> Vocabulary:
    """The synsets above `threshold`, or the `top_k` first, or those above `fitting_threshold`."""
    if threshold is not None and top_k is not None:
        raise InputError("give a threshold or a top-k, not both")
    if threshold is None and top_k is None:
        threshold = fitting_threshold(counts.source.captions)
    ranked = counts.ranked()
    if threshold is None:
        num_kept = min(top_k or 0, len(ranked))
    else:
        num_kept = sum(synset.count > threshold for synset in ranked)
    if len(ranked) < 2:
        raise InputError(f"the labels name {len(ranked)} synsets; a vocabulary needs two")
    if num_kept < max(2, top_k or 2):
        fix = f"threshold {ranked[1].count - 1}" if top_k is None else f"top-k {len(ranked)}"
        raise InputError(f"{num_kept} of {len(ranked)} synsets are left; try {fix} at most")
    return Vocabulary(
        **asdict(counts.label_version),
        source=counts.source,
        threshold=threshold,
        top_k=top_k,
        synsets=tuple(ranked[:num_kept]),
        pruned=tuple(ranked[num_kept:]),
    )


def fitting_threshold(captions: int | None) -> int:
    """A threshold for a data set of a few thousand to a few hundred thousand captions.

    The paper's 500 is for millions of captions. A tenth of the root of their number is 17 for the
    starter's 28,000, whose recipe takes 16, and 20 for 40,000.
    """
    return max(2, round((captions or 0) ** 0.5 / 10))


def vocabulary_identity(path: Path) -> str:
    """A digest of a vocabulary's file, for the identity of a run and to be stored with weights."""
    return sha256(read_file(path)).hexdigest()[:16]


def check_trained_on(path: Path, trained: object, whose: str) -> None:
    """Raises InputError if `trained`, the identity that is stored with weights, is another than the
    vocabulary's at `path`, and not None; `whose` names the weights: "the weights were".
    """
    if trained is not None and trained != (identity := vocabulary_identity(path)):
        raise InputError(
            f"{path} ({identity}) is not the vocabulary that {whose} trained on ({trained})"
        )
