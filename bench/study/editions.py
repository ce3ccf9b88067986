"""Editions of the starter data: without concepts that the probe asks for, and with other teams of
drawers on the test side.

They are made from the shards of the data set itself, whose metadata name what is in each image.
"""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catlip.cli import InputError
from catlip.data import starter
from catlip.data.shards import Shard, expand, open_shard, write_shard
from catlip.data.starter.emoji import read_sources
from catlip.data.starter.probe_tasks import load_task


def held_out_concepts(fraction: float) -> frozenset[str]:
    """The first of the probe's concepts, in an order that was drawn once with seed 0."""
    names = Path(starter.__file__).with_name("heldout_concepts.txt").read_text().splitlines()
    return frozenset(names[: round(fraction * len(names))])


def read_teams(spelling: str) -> frozenset[str]:
    """The sets of drawings of `NAME+NAME`, of those for pre-training. Raises: InputError."""
    teams, known = frozenset(spelling.split("+")), {*_authors_of("pretrain")}
    if not teams < known:
        raise InputError(f"teams={spelling}: give one or more of {', '.join(sorted(known))}")
    return teams


def _authors_of(split: str) -> dict[str, str]:
    return {source.name: source.authors for source in read_sources() if source.split == split}


def captions_without(
    shard: Shard, captions: Sequence[str], field: str, left_out: frozenset[str]
) -> list[str | None]:
    """The captions, None where an object's `field`, name or source, is left out."""
    return [
        None if {entry[field] for entry in _metadata(shard, number)["objects"]} & left_out else text
        for number, text in enumerate(captions)
    ]


def write_probe(root: Path, shards: Sequence[Path], folder: Path, teams: frozenset[str]) -> None:
    """The probe of the data at `root`: its test images are one of each drawing by `teams`; it is
    fitted to the drawings of teams that are none of these.
    """
    folder.mkdir(parents=True)
    tested = {authors for name, authors in _authors_of("pretrain").items() if name in teams}
    fitted = _authors_of("probe-train")
    kept = {name for name, authors in fitted.items() if authors not in tested}
    if kept == {*fitted}:
        (folder / "probe-train").symlink_to((root / "probe-train").resolve())
    else:
        _write_teams(expand(str(root / "probe-train")), folder / "probe-train", kept)
    _write_teams(shards, folder / "probe-test", teams, view=0)


def _write_teams(
    shards: Sequence[Path], folder: Path, teams: Collection[str], view: int | None = None
) -> None:
    """One shard of these teams' drawings, of all views or of one."""
    samples = []
    for shard in map(open_shard, shards):
        for number, key in enumerate(shard.keys):
            metadata = shard.metadata(number)
            if metadata.get("source") in teams and view in (None, metadata["view"]):
                text = json.dumps(metadata).encode()
                samples.append((key, {"png": shard.image_bytes(number), "json": text}))
    write_shard(folder / "00000.tar", samples)


def seen_or_held_out(root: Path, task: str, left_out: Collection[str]) -> NDArray[np.str_]:
    """For each test image of a task whether its concept is `held out` or `seen`."""
    metadata = [_metadata(shard, number) for shard, number in load_task(root, task).test]
    return np.array(["held out" if one["name"] in left_out else "seen" for one in metadata])


def _metadata(shard: Shard, number: int) -> dict[str, Any]:
    metadata = shard.metadata(number)
    if "objects" not in metadata:
        raise InputError(f"{shard.path}: {shard.keys[number]} names no objects: no starter data")
    return metadata
