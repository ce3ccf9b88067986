"""The labels of a shard, in a file beside it or in a folder of labels.

`00012.tar` has its labels by the rule "paper" in `00012.paper.labels.npz`: the synsets of every sample, so that choosing
another vocabulary never needs another labelling. The file says what made it and from which captions, and is the
same bytes whenever those are the same.
"""

import io
import json
import zipfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catlip.cli import InputError
from catlip.data.shards import Shard
from catlip.record import write_atomically

SUFFIX = ".labels.npz"


@dataclass(frozen=True)
class Labels:
    """The synsets of a shard's samples.

    Attributes:
        values: [sum K] uint32, WordNet 3.0 noun offsets; ascending within a sample, each once.
        offsets: [N+1] uint32; sample n has `values[offsets[n]:offsets[n + 1]]`.
        meta: `rule`, `tagger`, `wordnet`; `shard` (its file name), `size` (its bytes) and `captions_sha256`; `unlabelled`,
            how many captions have no label and why, and `cut`, how many were too long to be read whole.
    """

    values: NDArray[np.uint32]
    offsets: NDArray[np.uint32]
    meta: dict[str, Any]

    def __len__(self) -> int:
        return len(self.offsets) - 1


def sidecar_path(shard: Path, labels_dir: Path | None, rule: str) -> Path:
    """Where the labels of `shard` by `rule` are kept: in `labels_dir`, or beside the shard when that is None."""
    return (labels_dir or shard.parent) / f"{shard.stem}.{rule}{SUFFIX}"


def write_sidecar(path: Path, labels: Labels) -> None:
    """Put the labels at `path`, atomically."""
    buffer = io.BytesIO()
    meta = np.frombuffer(json.dumps(labels.meta, sort_keys=True).encode(), dtype=np.uint8)
    np.savez(buffer, values=labels.values, offsets=labels.offsets, meta=meta)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())


def read_sidecar(path: Path) -> Labels:
    """The labels in a sidecar file. Raises: InputError when it is not a whole one."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            labels = Labels(arrays["values"], arrays["offsets"], json.loads(arrays["meta"].tobytes()))
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is not a whole labels file ({error}); delete it and run `python -m catlip.label` again"
        ) from None
    return labels


def read_labels(shard: Shard, labels_dir: Path | None, rule: str) -> Labels:
    """The labels of a shard, checked by its name, size and number of samples to be of this very shard.

    Raises: InputError when there are none, or they were made from another version of the shard.
    """
    path = sidecar_path(shard.path, labels_dir, rule)
    folder = f" --labels-dir {labels_dir}" if labels_dir else ""
    fix = f"run `python -m catlip.label {shard.path} --rule {rule}{folder}`"
    if not path.exists():
        raise InputError(f"shard {shard.path} has no labels at {path}; {fix}")
    labels = read_sidecar(path)
    made_from = (labels.meta["shard"], labels.meta["size"], len(labels))
    if made_from != (shard.path.name, shard.path.stat().st_size, len(shard)):
        raise InputError(f"shard {shard.path} has changed since {path} was made; {fix}")
    return labels


def captions_digest(shard: Shard) -> str:
    """The sha256 of a shard's keys and captions: what its labels depend on. Reads no image."""
    digest = sha256()
    for number in range(len(shard)):
        add_caption(digest, shard.keys[number], shard.caption(number))
    return digest.hexdigest()


def add_caption(digest: Any, key: str, caption: str | None) -> None:
    """Feed one sample to `captions_digest`'s hash; no two lists of samples feed it the same bytes."""
    content = b"" if caption is None else caption.encode("utf-8", "surrogatepass")
    digest.update(b"%s\n%d %d\n%s" % (key.encode(), caption is not None, len(content), content))
