"""The labels of a shard or of a table, in a file of a folder of labels.

`00012.tar` has its labels by the rule "paper" in `00012.paper.labels.npz`, and `captions.csv`
in `captions-00000.paper.labels.npz`. The file holds the synsets of every caption, so that another
vocabulary needs no new labelling; where a sample has several captions, they follow one another. It
says what made it and from which captions; when these are the same, so are its bytes.

Before it starts, a labelling leaves a plan beside its labels files, with their names, in place of
older plans that name one of them. So a vocabulary knows what is not labelled yet, and does not
count a shard that has since left the data set; jobs that label other shards into the same folder
each have a plan there.
"""

import io
import json
import re
from collections.abc import Set
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catlip.cli import InputError
from catlip.data.remote import names_in, read_file, remove_file, write_file
from catlip.data.shards import Shard
from catlip.label.sources import Caption, Source, TarShard
from catlip.system.cache import npz_bytes, read_npz
from catlip.system.foreign import read_json
from catlip.system.urls import is_remote

SUFFIX = ".labels.npz"


@dataclass(frozen=True)
class Labels:
    """The synsets of the captions of one source.

    Attributes:
        values: [sum K] uint32, WordNet 3.0 noun offsets; ascending within a caption, each once.
        offsets: [N+1] uint32; caption n has `values[offsets[n]:offsets[n + 1]]`.
        meta: how the labels were made (the fields of `LabelVersion`); from which captions
            (`captions_sha256` and the source's `origin`); `unlabelled` (cause -> how many captions
            have no label) and `first_unlabelled` (cause -> the key of the first of them); with
            words of the user's `words_met`, those that occur.
    """

    values: NDArray[np.uint32]
    offsets: NDArray[np.uint32]
    meta: dict[str, Any]

    def __len__(self) -> int:
        return len(self.offsets) - 1


def sidecar_path(source: Source, labels_dir: Path, rule: str) -> Path:
    """The labels file of `source` by `rule`."""
    return labels_dir / f"{source.name}.{rule}{SUFFIX}"


def labelling_record(labels_dir: Path, name: str) -> Path:
    """Where the record of a labelling goes: into labelling/ beside `labels_dir`. If that is remote,
    into runs/labelling/, under a name that differs from folder to folder.
    """
    if is_remote(labels_dir):
        digest = sha256(str(labels_dir).encode()).hexdigest()[:6]  # two may have the same name
        return Path("runs") / "labelling" / f"{labels_dir.name}-{digest}-{name}.json"
    prefix = "" if labels_dir.name == "labels" else f"{labels_dir.name}-"
    return labels_dir.parent / "labelling" / f"{prefix}{name}.json"


def write_sidecar(path: Path, labels: Labels) -> None:
    meta = np.frombuffer(json.dumps(labels.meta, sort_keys=True).encode(), dtype=np.uint8)
    write_file(path, npz_bytes({"values": labels.values, "offsets": labels.offsets, "meta": meta}))


def read_sidecar(path: Path) -> Labels:
    """The labels in a file, or behind a URL. Raises: InputError if damaged, FileNotFoundError."""
    content = read_file(path)
    try:
        arrays = read_npz(io.BytesIO(content))
        meta = read_json(path, content=arrays["meta"].tobytes())
        return Labels(arrays["values"], arrays["offsets"], meta)
    except (ValueError, KeyError) as error:
        raise InputError(
            f"{path} is not a whole labels file ({error}); delete it and run `python -m "
            "catlip.label` again"
        ) from None


def read_labels(shard: Shard, labels_dir: Path, rule: str) -> Labels:
    """The labels of a shard, after a check that they were made from the content that it has now."""
    path = sidecar_path(TarShard(shard.path), labels_dir, rule)
    fix = f"run `python -m catlip.label {shard.path} --rule {rule} --labels-dir {labels_dir}`"
    if not is_remote(path) and not path.exists():
        raise InputError(f"shard {shard.path} has no labels at {path}; {fix}")
    labels = read_sidecar(path)
    if (labels.meta.get("content"), len(labels)) != (shard.digest, shard.num_captions.sum()):
        raise InputError(
            f"the labels in {path} do not match shard {shard.path} as it is now; {fix}"
        )
    return labels


def write_plan(folder: Path, rule: str, names: Set[str]) -> None:
    """Note that these labels files belong together, and no other of a plan that has one of them."""
    content = json.dumps(sorted(names), indent=0).encode()
    file = folder / f"{rule}.{sha256(content).hexdigest()[:8]}.plan"
    older = {each for each in _plan_files(folder, rule) if names & _read_plan(each, rule)}
    if file not in older:
        write_file(file, content)
    for other in older - {file}:
        remove_file(other)


def planned_names(folder: Path, rule: str) -> set[str]:
    """The labels files that a folder's plans for a rule name; none without a plan."""
    return set[str]().union(*(_read_plan(file, rule) for file in _plan_files(folder, rule)))


def _plan_files(folder: Path, rule: str) -> list[Path]:
    pattern = re.compile(rf"{rule}(\.\w+)?\.plan")
    return [folder / name for name in sorted(names_in(folder)) if pattern.fullmatch(name)]


def _read_plan(file: Path, rule: str) -> set[str]:
    return set(
        read_json(
            file, f"delete it and label again, by --rule {rule}", list, content=read_file(file)
        )
    )


def add_caption(digest: Any, key: str, caption: Caption) -> None:
    """Add a sample to the hash of all that labels depend on; other samples add other bytes."""
    content = caption.encode("utf-8", "surrogatepass") if isinstance(caption, str) else b""
    digest.update(
        b"%s\n%d %d\n%s" % (key.encode(), isinstance(caption, str), len(content), content)
    )
