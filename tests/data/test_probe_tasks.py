"""The probe tasks: classes that both sides have, labels that agree with the drawings."""

import json

import numpy as np
import pytest

from catlip.cli import InputError
from catlip.data.shards import write_shard
from catlip.data.starter.probe_tasks import load_task

TRAIN = ["violin", "violin", "dog", "harp", "grinning face"]
TEST = ["dog", "violin", "axe", "cat", "grinning face"]
KINDS = {
    "violin": ("objects", "musical-instrument"),
    "harp": ("objects", "musical-instrument"),
    "axe": ("objects", "tool"),
    "dog": ("animals-nature", "animal-mammal"),
    "cat": ("animals-nature", "animal-mammal"),
    "grinning face": ("smileys-emotion", "face-smiling"),
}


def members(name: str) -> dict[str, bytes]:
    group, subgroup = KINDS[name]
    meta = {"name": name, "group": group, "subgroup": subgroup}
    return {"png": b"", "json": json.dumps(meta).encode()}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("CATLIP_CACHE", str(tmp_path / "cache"))
    for split, names in (("probe-train", TRAIN), ("probe-test", TEST)):
        for shard in (0, 1):  # the split lies in two shards
            numbered = list(enumerate(names))[shard::2]
            samples = [(f"{split}-{number}", members(name)) for number, name in numbered]
            write_shard(tmp_path / split / f"{shard:05d}.tar", samples)
    return tmp_path


def named(samples, labels, class_names):
    """(name in the metadata, name of the label) of each sample."""
    return sorted(
        (shard.metadata(i)["name"], class_names[label])
        for (shard, i), label in zip(samples, labels, strict=True)
    )


def test_concepts_are_the_things_that_both_sides_drew(root):
    task = load_task(root, "concepts")
    assert task.class_names == ["dog", "violin"]
    dog, violin = ("dog", "dog"), ("violin", "violin")
    assert named(task.train, task.train_labels, task.class_names) == [dog, violin, violin]
    assert named(task.test, task.test_labels, task.class_names) == [dog, violin]
    assert task.train_labels.dtype == task.test_labels.dtype == np.int64


def test_a_subgroup_holds_other_concepts_of_its_kind(root):
    task = load_task(root, "subgroups")
    assert task.class_names == ["animal-mammal", "musical-instrument"]
    assert ("harp", "musical-instrument") in named(task.train, task.train_labels, task.class_names)
    assert ("cat", "animal-mammal") in named(task.test, task.test_labels, task.class_names)
    assert "axe" not in dict(named(task.test, task.test_labels, task.class_names))


def test_faces_belong_to_no_task(root):
    for name in ("concepts", "subgroups"):
        task = load_task(root, name)
        assert "grinning face" not in dict(named(task.train, task.train_labels, task.class_names))


def test_an_unknown_task_is_answered_with_the_known_ones(root):
    with pytest.raises(InputError, match=r"colours.*concepts, subgroups"):
        load_task(root, "colours")


def test_a_missing_data_set_is_said_to_be_missing(tmp_path):
    with pytest.raises(InputError, match="probe-train"):
        load_task(tmp_path, "concepts")


def test_splits_without_a_common_class_are_refused(root):
    write_shard(root / "probe-test" / "00000.tar", [("a", members("axe"))])
    (root / "probe-test" / "00001.tar").unlink()
    with pytest.raises(InputError, match="--limit"):
        load_task(root, "concepts")
