"""Before a training all labels are looked at, in a moment, and what is wrong is one line."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_data import vocabulary_of

from catlip.cli import InputError
from catlip.data.shard_set import ShardSet, open_shards
from catlip.data.shards import expand, write_shard
from catlip.label.__main__ import Label, main
from catlip.label.sidecar import read_sidecar, write_sidecar
from catlip.vocabulary.sample_labels import VocabularyLabels

VOCABULARY = vocabulary_of("dog.n.01", "cat.n.01")


def write(folder: Path, count: int) -> ShardSet:
    """Shards of two samples, with their labels."""
    for number in range(count):
        write_captions(folder / f"{number:05}.tar", b"a dog")
    labels_dir = folder / "labels"
    main(Label((str(folder),), rule="corenet", labels_dir=labels_dir, workers=1, quiet=True))
    return open_shards(expand(str(folder)), quiet=True)


def write_captions(path: Path, caption: bytes) -> None:
    write_shard(path, [(str(key), {"txt": caption}) for key in range(2)])


def sidecar(folder: Path, number: int) -> Path:
    return folder / "labels" / f"{number:05}.corenet.labels.npz"


def rewrite(path: Path, **fields: Any) -> None:
    """Write labels again with other fields; of `meta`, those that are given."""
    labels = read_sidecar(path)
    fields["meta"] = labels.meta | fields.get("meta", {})
    write_sidecar(path, replace(labels, **fields))


SPOILT: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-30]),
    "of another edition": lambda path: rewrite(path, meta={"edition": 0}),
    "of other content": lambda path: rewrite(path, meta={"content": "0" * 32}),
    "of fewer samples": lambda path: rewrite(path, offsets=read_sidecar(path).offsets[:-1]),
    "of captions overwritten at the same size": lambda path: write_captions(
        path.parents[1] / f"{path.name[:5]}.tar", b"a cat"
    ),
}


def test_labels_of_all_shards_pass(tmp_path) -> None:
    shards = write(tmp_path, 3)
    labels = VocabularyLabels(tmp_path / "labels", VOCABULARY)
    labels.check(shards, [str(tmp_path)])
    values, offsets = labels([(shards[0], 0, 0), (shards[2], 1, 0)])
    assert (values.tolist(), offsets.tolist()) == ([0, 0], [0, 1, 2])


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_wrong_labels_are_counted_and_the_first_named(tmp_path, spoil) -> None:
    shards = write(tmp_path, 4)
    for number in (1, 3):
        spoil(sidecar(tmp_path, number))
    shards.digests[:] = open_shards(shards.paths, quiet=True).digests
    pattern, labels_dir = f"{tmp_path}/{{00000..00003}}.tar", tmp_path / "labels"
    with pytest.raises(InputError) as refused:
        VocabularyLabels(labels_dir, VOCABULARY).check(shards, [pattern])
    message = str(refused.value)
    assert message.startswith("2 of 4 shards")
    assert "00001" in message
    command = f"python -m catlip.label '{pattern}' --rule corenet --labels-dir {labels_dir}"
    assert command in message
