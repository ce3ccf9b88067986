"""A set of shards is counted once, and opened shard by shard."""

import os
import pickle
import shutil
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
    for name in ("open_shard", "content_of"):
        function = getattr(shard_set, name)
        monkeypatch.setattr(
            shard_set,
            name,
            lambda path, *known, function=function: (
                opened.append(path.name) or function(path, *known)
            ),
        )
    return opened


@pytest.mark.parametrize("number", [3, 40])  # in this process, and over several
def test_shards_and_counts_are_those_of_opening_each(tmp_path: Path, number: int) -> None:
    paths = write_shards(tmp_path, [1 + i % 7 for i in range(number)])
    found, each = open_shards(paths, quiet=True), [open_shard(path) for path in paths]
    assert found.counts.tolist() == [len(shard) for shard in each]
    assert [list(found[i].keys) for i in range(len(found))] == [list(shard.keys) for shard in each]


def test_a_second_start_opens_nothing_and_a_changed_shard_alone_is_counted_again(
    tmp_path: Path, monkeypatch
) -> None:
    paths = write_shards(tmp_path, [2, 3, 4])
    open_shards(paths)
    opened = opens(monkeypatch)
    assert open_shards(paths).counts.tolist() == [2, 3, 4]
    assert opened == []
    write_shard(paths[1], [(str(i), {"txt": b"a cat, as it were"}) for i in range(9)])
    assert open_shards(paths).counts.tolist() == [2, 9, 4]
    assert opened == ["0001.tar"]


def test_the_counts_of_other_shards_of_the_same_names_are_not_taken(
    tmp_path: Path, monkeypatch
) -> None:
    for folder, counts in (("a", [2, 3]), ("b", [4, 5])):
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
    with pytest.raises(InputError, match=r"0002\.tar"):
        open_shards(paths, quiet=True)


def test_a_shard_that_changes_under_a_run_ends_it(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, [2, 3])
    found = open_shards(paths)
    write_shard(paths[1], [(key, {"txt": b"a cat"}) for key in found[1].keys])
    again = pickle.loads(pickle.dumps(found))
    with pytest.raises(InputError, match=r"0001\.tar"):
        again[1]


def test_all_broken_shards_are_named_at_once(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, [2] * 5)
    for path in paths[1::2]:
        path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(InputError, match=r"2 of 5 shards .*0001\.tar .*0003\.tar"):
        open_shards(paths, quiet=True)


def test_the_digest_of_a_set_is_of_its_content_and_order(tmp_path: Path) -> None:
    paths = write_shards(tmp_path / "a", [2, 2, 3])
    digest = open_shards(paths).digest
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert open_shards(expand(str(tmp_path / "b"))).digest == digest
    assert open_shards([paths[1], paths[0], paths[2]]).digest != digest
    one, two = paths[0].read_bytes(), paths[1].read_bytes()
    paths[0].write_bytes(two)
    paths[1].write_bytes(one)
    exchanged = open_shards(paths)
    assert (exchanged.counts.tolist(), exchanged.digest != digest) == ([2, 2, 3], True)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04"])
def test_damaged_counts_are_made_again(tmp_path: Path, cache: Path, content: bytes) -> None:
    paths = write_shards(tmp_path, [2, 3, 4])
    first = open_shards(paths)
    (kept,) = (cache / "counts").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(content)
    again = open_shards(paths)
    assert (again.counts.tolist(), again.digest) == ([2, 3, 4], first.digest)
    assert kept.read_bytes() == whole


def test_what_was_left_out_of_shards_is_known_at_every_start(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, [2, 3])
    write_shard(paths[1], [("a", {"txt": b"a dog"}), ("\xff", {"txt": b"a cat"})])
    damaged = bytearray(paths[1].read_bytes())
    assert damaged.count("\xff".encode()) == 1
    header = damaged.index("\xff".encode())
    damaged[header : header + 2] = b"\xff\xfe"
    checksum = slice(header + 148, header + 156)
    damaged[checksum] = b" " * 8
    damaged[checksum] = b"%06o\0 " % sum(damaged[header : header + 512])
    paths[1].write_bytes(damaged)
    for _ in range(2):
        found = open_shards(paths)
        assert found.counts.tolist() == [2, 1]
        ((number, causes),) = found.skipped.items()
        assert (number, [count for count, _ in causes.values()]) == (1, [1])


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
        return [(batch.keys, batch.images.numpy().tobytes()) for batch in path.batches(0, 0)]

    assert batches(every, [len(shard) for shard in every]) == batches(lazy, lazy.counts)
