"""A set of shards is counted once, and opened shard by shard."""

import os
import pickle
from pathlib import Path

import pytest

from catlip.cli import InputError
from catlip.data import shard_set, shards
from catlip.data.augment import Augmentation
from catlip.data.loader import DataPath
from catlip.data.sampler import ImageSize, SampleOrder, StepPlan
from catlip.data.shard_set import open_shards
from catlip.data.shards import expand, open_shard, write_shard


def write_shards(folder: Path, counts: list[int]) -> list[Path]:
    paths = [folder / f"{number:04d}.tar" for number in range(len(counts))]
    for path, count in zip(paths, counts, strict=True):
        write_shard(path, [(f"{path.stem}-{i}", {"txt": b"a dog"}) for i in range(count)])
    return paths


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CATLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def opens(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the shards that are opened from now on."""
    opened: list[str] = []
    monkeypatch.setattr(shard_set, "open_shard", lambda path: opened.append(path.name) or open_shard(path))
    return opened


@pytest.mark.parametrize("number", [3, 40])  # in this process, and over several
def test_shards_and_counts_are_those_of_opening_each(tmp_path: Path, number: int) -> None:
    paths = write_shards(tmp_path, [1 + i % 7 for i in range(number)])
    found = open_shards(paths, quiet=True)
    assert found.counts.tolist() == [len(open_shard(path)) for path in paths]
    assert [list(found[i].keys) for i in range(len(found))] == [list(open_shard(path).keys) for path in paths]


def test_a_second_start_opens_nothing_and_a_changed_shard_alone_is_counted_again(tmp_path: Path, monkeypatch) -> None:
    paths = write_shards(tmp_path, [2, 3, 4])
    open_shards(paths)
    opened = opens(monkeypatch)
    assert open_shards(paths).counts.tolist() == [2, 3, 4]
    assert opened == []
    write_shard(paths[1], [(str(i), {"txt": b"a cat, as it were"}) for i in range(9)])
    assert open_shards(paths).counts.tolist() == [2, 9, 4]
    assert opened == ["0001.tar"]


def test_the_counts_of_other_shards_of_the_same_names_are_not_taken(tmp_path: Path, monkeypatch) -> None:
    for folder, counts in (("a", [2, 3]), ("b", [4, 5])):
        (tmp_path / folder).mkdir()
        for path in write_shards(tmp_path / folder, counts):
            os.utime(path, (10**9, 10**9))  # their sizes are the same, too
        monkeypatch.chdir(tmp_path / folder)
        assert open_shards([Path("0000.tar"), Path("0001.tar")]).counts.tolist() == counts
    assert open_shards([Path("0001.tar"), Path("0000.tar")]).counts.tolist() == [5, 4]


@pytest.mark.parametrize("number", [3, 40])
def test_a_broken_shard_is_named(tmp_path: Path, number: int) -> None:
    paths = write_shards(tmp_path, [2] * number)
    paths[1].write_bytes(paths[1].read_bytes()[:700])
    with pytest.raises(InputError, match=r"0001\.tar"):
        open_shards(paths, quiet=True)
    paths[2].unlink()
    with pytest.raises(InputError, match=r"0002\.tar does not exist"):
        open_shards(paths, quiet=True)


def test_a_shard_that_changes_under_a_run_ends_it(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, [2, 3])
    found = open_shards(paths)
    write_shard(paths[1], [("other", {"txt": b""})])
    with pytest.raises(InputError, match=r"0001\.tar changed from 3 to 1"):
        found[1]


def test_few_indexes_and_files_are_open_at_a_time(tmp_path: Path, monkeypatch) -> None:
    paths = write_shards(tmp_path, [1] * 100)
    found = open_shards(paths, quiet=True)
    opened = opens(monkeypatch)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(2):
        assert [found[i].caption(0) for i in range(100)] == ["a dog"] * 100
    assert len(opened) == 200  # none of the first is still there when all have been opened
    assert found[99].caption(0) == "a dog"
    assert len(opened) == 200  # the last is
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= shards.OPEN_SHARDS


def test_a_worker_gets_the_same_set(tmp_path: Path) -> None:
    found = open_shards(write_shards(tmp_path, [2, 3]))
    copy = pickle.loads(pickle.dumps(found))
    assert (copy.paths, copy.counts.tolist()) == (found.paths, [2, 3])
    assert list(copy[1].keys) == list(found[1].keys)


def test_training_sees_what_it_sees_with_every_shard_open(starter) -> None:
    paths = expand(str(starter.shards))
    every, lazy = [open_shard(path) for path in paths], open_shards(paths)

    def batches(shards, counts) -> list[tuple[list[str], bytes]]:
        plan = StepPlan([ImageSize(32, 6)], 1, 5, 0)
        path = DataPath(shards, SampleOrder(counts, 0), plan, Augmentation(), seed=0)
        return [(batch.keys, batch.images.contiguous().numpy().tobytes()) for batch in path.batches(0, 0)]

    assert batches(every, [len(shard) for shard in every]) == batches(lazy, lazy.counts)
