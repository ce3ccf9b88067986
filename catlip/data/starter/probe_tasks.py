"""The starter scale's two probes: the concept of a drawing, and the kind of thing that it is.

A linear classifier on frozen features is fitted to two sets of drawings and tested on two others;
pre-training saw none of them, nor any other drawing by the teams of the test sets. *concepts* asks
for the concept ("violin"), *subgroups* for Unicode's subgroup ("musical-instrument"). Faces and
people, which differ by expression, gesture and gender only, are left out, and so are classes
without drawings on both sides. That leaves 435 concepts and 48 subgroups.

Settings are tuned on the *validation* task, which does not use the test teams: the classifier is
fitted to one of the two training teams and tested on one image of each drawing of the other.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catlip.cli import InputError, choose
from catlip.data.shards import Shard, expand, open_shard

LEFT_OUT_GROUPS = frozenset({"smileys-emotion", "people-body"})
VALIDATION_TEAMS = ("noto-v1", "emojione-v1")  # the team to fit to, and the team to test on
TASKS = {"concepts": "name", "subgroups": "subgroup"}  # task -> field of the metadata
Sample = tuple[Shard, int]


@dataclass(frozen=True)
class Task:
    """Samples as (shard, number in it), and a label of each, its position in `class_names`. Test
    images of one concept, several drawings by several teams, have one number in `test_concepts`.
    """

    train: list[Sample]
    train_labels: NDArray[np.int64]
    test: list[Sample]
    test_labels: NDArray[np.int64]
    class_names: list[str]
    test_concepts: NDArray[np.int64]


def load_task(root: Path, task: str, validation: bool = False) -> Task:
    """A task of TASKS; for its validation task the test teams' drawings are not opened."""
    class_field = choose("probe task", task, TASKS)
    if validation:
        train_team, test_team = VALIDATION_TEAMS
        train = _samples(root / "probe-train", class_field, team=train_team)
        test = _samples(root / "probe-train", class_field, team=test_team, view=0)
    else:
        train = _samples(root / "probe-train", class_field)
        test = _samples(root / "probe-test", class_field)
    class_names = sorted({name for _, name in train} & {name for _, name in test})
    if not class_names:
        raise InputError(
            f"{root} has no class with a drawing in both probe splits; build it without --limit"
        )
    train, test = ([pair for pair in side if pair[1] in class_names] for side in (train, test))
    metadata = [shard.metadata(number) for (shard, number), _ in test]
    concepts = [str(each[TASKS["concepts"]]) for each in metadata]
    return Task(
        [sample for sample, _ in train],
        np.searchsorted(class_names, [name for _, name in train]),
        [sample for sample, _ in test],
        np.searchsorted(class_names, [name for _, name in test]),
        class_names,
        np.unique(concepts, return_inverse=True)[1],
    )


def _samples(
    folder: Path, class_field: str, *, team: str | None = None, view: int | None = None
) -> list[tuple[Sample, str]]:
    """The images of a split without faces and people, each with its class."""
    samples = []
    for shard in map(open_shard, expand(str(folder))):
        for number in range(len(shard)):
            metadata = shard.metadata(number)
            fits = team in (None, metadata.get("source")) and view in (None, metadata.get("view"))
            if fits and metadata["group"] not in LEFT_OUT_GROUPS:
                samples.append(((shard, number), str(metadata[class_field])))
    return samples
