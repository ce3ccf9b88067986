"""The classes: which synsets are frequent enough in the captions to be worth predicting.  (Section 3.2, "Synset vocabulary")

    python -m catlip.vocabulary runs/cc3m/labels --threshold 500 --out runs/cc3m/vocabulary.json

Captions follow a long tail, so synsets are kept only if they occur often: more than a threshold (the paper's V_tau), or the
top k (its released code). They are ordered by descending count, ties by offset; a synset's place is its class id.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from catlip.cli import InputError, run
from catlip.counts import Counts, Making, Source, Synset, count, num_imagenet_classes
from catlip.record import Record, write_atomically
from catlip.sidecar import SUFFIX, Labels
from catlip.unpickle import load_plain
from catlip.wordnet import VERSION, nouns

SCHEMA = 1
RELEASE_MAX_BYTES = 1 << 26  # the released pickle has 0.6 MB


@dataclass(frozen=True)
class Vocabulary:
    """Synsets as classes; class id = place in `synsets`.

    Attributes:
        rule, wordnet, tagger: how the captions were labelled; labels made otherwise are refused.
        source: what was counted.
        threshold, top_k: how the synsets were chosen, one of them None.
        synsets: by descending count, ties by offset.
    """

    rule: str
    wordnet: str
    tagger: str | None
    source: Source
    threshold: int | None
    top_k: int | None
    synsets: tuple[Synset, ...] = field(repr=False)

    def __post_init__(self) -> None:
        offsets = {synset.offset for synset in self.synsets}
        if len(offsets) < 2 or len(offsets) != len(self.synsets):
            raise InputError(f"a vocabulary needs two or more synsets, each once; this has {len(self.synsets)}")

    def __len__(self) -> int:
        """The number of classes."""
        return len(self.synsets)

    def encode(self, values: NDArray[np.uint32], offsets: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Synsets to class ids; those outside the vocabulary are dropped, samples without any left stay, empty.

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

    def check(self, labels: Labels) -> None:
        """Raises: InputError when the labels were made by another rule, WordNet or tagger than the vocabulary."""
        ours, theirs = Making(self.rule, self.wordnet, self.tagger), Making.of(labels.meta)
        if ours != theirs:
            raise InputError(
                f"the vocabulary was made by {ours}, but the labels of {labels.meta['shard']} by {theirs}; "
                f"label the shards with --rule {self.rule}, or build a vocabulary from these labels"
            )

    def save(self, path: Path) -> None:
        """Write it as JSON, a synset a line, atomically."""
        body = {"schema": SCHEMA, **asdict(self)}
        del body["synsets"]
        synsets = ",\n  ".join(json.dumps(astuple(synset)) for synset in self.synsets)
        head = json.dumps(body, indent=1).removesuffix("\n}")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, f'{head},\n "synsets": [\n  {synsets}\n ]\n}}\n'.encode())

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Read what `save` wrote. Raises: InputError when it is missing or not a vocabulary."""
        try:
            body = json.loads(path.read_text())
            if body.pop("schema") != SCHEMA:
                raise InputError("it was written by another version of this program")
            synsets = tuple(Synset(*synset) for synset in body.pop("synsets"))
            return cls(source=Source(**body.pop("source")), synsets=synsets, **body)
        except FileNotFoundError:
            raise InputError(f"there is no vocabulary at {path}; build one with `python -m catlip.vocabulary`") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # InputError is a ValueError
            raise InputError(f"{path} is not a vocabulary: {error}; build one with `python -m catlip.vocabulary`") from None

    @classmethod
    def from_release(cls, path: Path, top_k: int) -> "Vocabulary":
        """The released code's vocabulary: a pickle of {"n2084071": count}, of which the `top_k` first are the classes.

        The released weights have 24,320 classes. Raises: InputError when it is anything else than such a pickle.
        """
        if (size := path.stat().st_size) > RELEASE_MAX_BYTES:
            raise InputError(f"{path} has {size} bytes; the released vocabulary has 0.6 MB")
        content = path.read_bytes()
        counts = load_plain(content, str(path))
        if not isinstance(counts, dict) or not all(_is_release_entry(*entry) for entry in counts.items()):
            raise InputError(f"{path} is not a dictionary of noun synsets and counts, such as n2084071: 12345")
        if not 2 <= top_k <= len(counts):
            raise InputError(f"top_k {top_k} is not between 2 and the {len(counts)} synsets of {path}")
        kept = [(int(key[1:]), times) for key, times in counts.items()][:top_k]
        synsets = tuple(Synset(offset, nouns().name(offset), times) for offset, times in kept)
        return cls("corenet", VERSION, None, Source(None, sha256(content).hexdigest()), None, top_k, synsets)


def _is_release_entry(key: object, times: object) -> bool:
    return isinstance(key, str) and key[:1] == "n" and key[1:].isdecimal() and len(key) < 10 and type(times) is int


def build(counts: Counts, threshold: int | None = None, top_k: int | None = None) -> Vocabulary:
    """The synsets that occur more than `threshold` times, or the `top_k` most frequent.

    Raises: InputError when that leaves fewer than two, or fewer than `top_k`.
    """
    if (threshold is None) == (top_k is None):
        raise InputError("give either --threshold or --top-k")
    ranked = counts.ranked()
    kept = ranked[:top_k] if threshold is None else [synset for synset in ranked if synset.count > threshold]
    if len(kept) < max(2, top_k or 2):
        raise InputError(_too_few(ranked, len(kept), threshold, top_k))
    making = counts.making
    return Vocabulary(making.rule, making.wordnet, making.tagger, counts.source, threshold, top_k, tuple(kept))


def _too_few(ranked: Sequence[Synset], num_kept: int, threshold: int | None, top_k: int | None) -> str:
    if len(ranked) < 2:
        return f"the labels name {len(ranked)} synsets; a vocabulary needs two or more"
    cut = f"threshold {threshold}" if top_k is None else f"top-k {top_k}"
    fix = f"--threshold {ranked[1].count - 1}" if top_k is None else f"--top-k {len(ranked)}"
    most = ranked[0]
    return (
        f"{cut} leaves {num_kept} of {len(ranked)} synsets: the most frequent, {most.name}, occurs {most.count} times; "
        f"try {fix} at most"
    )


@dataclass(frozen=True)
class BuildVocabulary:
    """Count the synsets in labels made by `python -m catlip.label` and keep the frequent ones as classes.

    python -m catlip.vocabulary runs/cc3m/labels --threshold 500 --out runs/cc3m/vocabulary.json
    """

    labels: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of labels, or labels files."""
    out: Path
    """The vocabulary to write, ending in .json; a record goes to vocabulary/ beside it."""
    threshold: int | None = None
    """Keep the synsets that occur more often than this; the paper takes 500 (V_tau)."""
    top_k: int | None = None
    """Keep this many of the most frequent instead; the released code takes 24320."""
    rule: str | None = None
    """Which rule's labels to count; needed only where a folder has several."""
    quiet: bool = False
    """No progress bar."""


def main(config: BuildVocabulary) -> None:
    """Build, save, record, and print the ten most frequent classes."""
    if config.out.suffix != ".json":
        raise InputError(f"--out {config.out} does not end in .json")
    record_path = config.out.parent / "vocabulary" / config.out.name
    files = _label_files(config.labels, config.rule)
    counts = count(tqdm(files, "counting", disable=config.quiet, unit=" files"))
    vocabulary = build(counts, config.threshold, config.top_k)
    vocabulary.save(config.out)
    with Record(record_path, "vocabulary", config) as record:
        record.metrics |= {"num_classes": len(vocabulary), **counts.statistics()}
        record.metrics["imagenet_classes"] = num_imagenet_classes(synset.offset for synset in vocabulary.synsets)
        record.samples["counts"] = [synset.count for synset in counts.ranked()]
    metrics = record.metrics
    print(f"{len(vocabulary):,} classes of {metrics['unique_synsets']:,} synsets in {metrics['num_captions']:,} captions")
    print(
        f"{metrics['captions_without_label']:,} captions without a label, {metrics['labels_per_caption']:.2f} labels a caption"
    )
    print(f"{metrics['imagenet_classes']} of ImageNet-1k's 1,000 classes are among them")
    for synset in vocabulary.synsets[:10]:
        print(f"  {synset.count:>12,}  {synset.name}")
    print(f"vocabulary: {config.out}\nrecord: {record_path}")


def _label_files(places: Sequence[Path], rule: str | None) -> list[Path]:
    """Labels files in and among `places`, each folder's sorted, of one rule if one is named."""
    pattern = f"*.{rule}{SUFFIX}" if rule else f"*{SUFFIX}"
    files = [path for place in places for path in (sorted(place.glob(pattern)) if place.is_dir() else [place])]
    if not files:
        raise InputError(f"no {pattern} in {', '.join(map(str, places))}; run `python -m catlip.label` first")
    return files


if __name__ == "__main__":
    run(BuildVocabulary, main)
