"""The class ids of samples, from the labels files of their shards. The files are checked before a
training and read when needed.
"""

import functools
import shlex
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catlip.captions import LabelVersion
from catlip.cli import InputError
from catlip.data.remote import open_file
from catlip.data.shard_set import ShardSet
from catlip.data.shards import Shard
from catlip.label.sidecar import read_labels, sidecar_path
from catlip.label.sources import TarShard
from catlip.system.engines import work_ahead
from catlip.system.foreign import read_json
from catlip.system.urls import is_remote
from catlip.vocabulary import Vocabulary

REMOTE_CHECKED = 16


class VocabularyLabels:
    """The classes of the drawn captions."""

    def __init__(self, labels_dir: Path, vocabulary: Vocabulary):
        self.labels_dir = labels_dir
        self.vocabulary = vocabulary
        self._classes_of = functools.lru_cache(maxsize=64)(self._encode)

    def __reduce__(self) -> tuple[type["VocabularyLabels"], tuple[Path, Vocabulary]]:
        # A worker reads labels of its own.
        return VocabularyLabels, (self.labels_dir, self.vocabulary)

    def __call__(
        self, captions: Sequence[tuple[Shard, int, int]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Values [sum K] and offsets [n + 1] of n captions, see `LabelSource`."""
        classes = []
        for shard, number, which in captions:
            values, offsets = self._classes_of(shard)
            row = shard.first_captions[number] + which
            classes.append(values[offsets[row] : offsets[row + 1]])
        return np.concatenate(classes), np.cumsum([0, *map(len, classes)], dtype=np.int64)

    def check(self, shards: ShardSet, patterns: Sequence[str]) -> None:
        """Check the labels files of all shards, which the user named by `patterns`, without reading
        the labels in them. Only some remote files are checked here; all are when they are read.
        """
        step = -(-len(shards) // REMOTE_CHECKED) if is_remote(self.labels_dir) else 1
        paths = shards.paths[::step]
        counts, digests = shards.counts[::step].tolist(), shards.digests[::step].tolist()
        shards_checked = zip(paths, counts, digests, strict=True)
        if faults := [fault for _, fault in work_ahead(self._find_fault, shards_checked) if fault]:
            how = f"--rule {self.vocabulary.rule} --labels-dir {self.labels_dir}"
            raise InputError(
                f"{len(faults):,} of {len(paths):,} shards have no usable labels; first error: "
                f"{faults[0]}; run `python -m catlip.label {shlex.join(patterns)} {how}`, "
                "and `python -m catlip.vocabulary` if the vocabulary is older than the labels"
            )

    def _find_fault(self, shard: tuple[Path, int, bytes]) -> str:
        """Why a shard's labels do not fit its number of samples and digest; empty if they do."""
        path, count, digest = shard
        sidecar = sidecar_path(TarShard(path), self.labels_dir, self.vocabulary.rule)
        try:
            with open_file(sidecar) as file, np.load(file) as arrays:
                # NumPy reads a member when it is asked for: here not the labels, which are larger.
                meta = read_json(sidecar, content=arrays["meta"].tobytes())
                num_samples = meta.get("samples", len(arrays["offsets"]) - 1)
            label_version = LabelVersion.from_meta(meta)
            made_from = str(meta.get("content")).encode(), num_samples
        except FileNotFoundError:
            return f"{path} has no labels at {sidecar}"
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            return f"{sidecar} is not a whole labels file ({error})"
        if made_from != (digest, count):
            return f"{path} has changed since {sidecar} was made"
        return self._version_fault(sidecar, label_version)

    def _version_fault(self, sidecar: Path, label_version: LabelVersion) -> str:
        if label_version == (wanted := self.vocabulary.label_version):
            return ""
        return f"{sidecar} was made by {label_version}, the vocabulary by {wanted}"

    def _encode(self, shard: Shard) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The classes of each caption: values [sum K], offsets [n + 1]."""
        labels = read_labels(shard, self.labels_dir, self.vocabulary.rule)
        if fault := self._version_fault(shard.path, LabelVersion.from_meta(labels.meta)):
            raise InputError(f"labels of {fault}")
        return self.vocabulary.encode(labels.values, labels.offsets)
