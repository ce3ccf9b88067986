"""Shards are indexed and counted once and read by number; hostile and broken ones are refused."""

import io
import os
import pickle
import shutil
import tarfile
from pathlib import Path

import pytest

from catlip.cli import InputError
from catlip.data import shard_set, shards, tar_index
from catlip.data.shard_set import open_shards
from catlip.data.shards import expand, open_shard, write_shard


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CATLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def shard_of(path: Path, samples: dict[str, dict[str, bytes]]) -> shards.Shard:
    write_shard(path, samples.items())
    return open_shard(path)


def forget_open_shards() -> None:
    shards._indexed.cache_clear()
    shards._file.cache_clear()


# What is read


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    ("members", "captions"),
    [
        ({"txt": b"\xff!"}, ["\ufffd!"]),
        ({"jpg": b""}, [None]),
        ({"json": b"[1]"}, [None]),
        ({"json": DEEP}, [None]),
        ({"json": b'{"caption": ' + DEEP + b"}"}, [None]),
        ({"json": b'{"caption": "a dog"}'}, ["a dog"]),
        ({"txt": b"a dog\n \r\na cat \r\n"}, ["a dog", "a cat"]),
        ({"txt": b" a dog\n"}, [" a dog\n"]),
        ({"txt": b"\n"}, ["\n"]),
        ({"txt": b"a dog\na cat".ljust(2**20 - 7) + b"\na bird"}, ["a dog", "a cat", "a bird"]),
        ({"json": b'{"caption": ["a dog", null, "a cat\\nhere"]}'}, ["a dog", "a cat\nhere"]),
        ({"json": b'{"caption": "a dog\\na cat"}'}, ["a dog\na cat"]),
        ({"json": b'{"caption": []}'}, [None]),
        ({"json": b'{"caption": " ", "captions": ["a cat"]}'}, [" "]),
        ({"json": b'{"caption": null, "captions": ["a dog", " ", "a cat"]}'}, ["a dog", "a cat"]),
        ({"json": b'{"captions": "a dog"}'}, ["a dog"]),
        (
            {"json": b'{"caption_10": "c", "caption_2": "b", "caption_0": "a", "caption_1": null}'},
            ["a", "b", "c"],
        ),
        ({"json": b'{"caption_0": "a", "caption_1": "b"}', "txt": b"a dog"}, ["a dog"]),
        ({"json": b'{"caption_x": "a", "caption_' + b"1" * 5000 + b'": "b"}'}, [None]),
        # As img2dataset writes a text of the web that has a line break.
        ({"json": b'{"caption": "a dog\\na cat"}', "txt": b"a dog\na cat"}, ["a dog\na cat"]),
        ({"json": b'{"caption": "a dog"}', "txt": b"a dog\na cat"}, ["a dog", "a cat"]),
        ({"txt": b"a dog\na cat", "cls": b"7"}, ["7"]),
    ],
)
def test_sample_has_none_one_or_several_captions(tmp_path, members, captions) -> None:
    shard = shard_of(tmp_path / "0.tar", {"a": members, "b": {"txt": b"a bird"}})
    assert shard.captions(0) == captions
    assert shard.num_captions.tolist() == [len(captions), 1]
    assert shard.first_captions.tolist() == [0, len(captions)]
    assert shard.caption(1) == "a bird"


def test_links_and_devices_are_no_samples(tmp_path: Path) -> None:
    names = ["a.jpg", "B.JPG", "i.gif", "./c.txt", "x//y/d.seg.json", "e.tar.gz", "f", "g.Txt"]
    members = [(member(name), b"{}") for name in [*names, ".h.txt"]]
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        members.append((member("bad.png", kind=kind), b""))
        members[-1][0].linkname = "/etc/passwd"
    shard = open_shard(write_tar(tmp_path / "0.tar", members))
    assert list(shard.keys) == ["a", "B", "i", "c", "g"]
    assert (shard.image[:, 0] >= 0).tolist() == [True, True, True, False, False]


def test_missing_shard_of_a_pattern_is_named(tmp_path: Path) -> None:
    write_shard(tmp_path / "0.tar", [("a", {"txt": b""})])
    with pytest.raises(InputError, match=r"1\.tar"):
        expand(f"{tmp_path}/{{0..1}}.tar")
    with pytest.raises(InputError):
        expand([])


# The index and the digest


def test_index_is_read_and_made_again_when_damaged(tmp_path, cache, monkeypatch) -> None:
    samples = {f"{n:09d}": {"png": b"1" * 600, "txt": b"one"} for n in range(1000)}
    first = shard_of(tmp_path / "0.tar", samples)
    (index,) = (cache / "indexes").iterdir()
    whole = index.read_bytes()
    assert len(whole) < 20 * len(samples)
    for damaged in (whole[: len(whole) // 2], b"random bytes" * 100, b""):
        index.write_bytes(damaged)
        forget_open_shards()
        assert open_shard(tmp_path / "0.tar").digest == first.digest
        assert index.read_bytes() == whole
    forget_open_shards()
    monkeypatch.setattr(shards, "index_tar", lambda *_: pytest.fail("walked the tar again"))
    again = open_shard(tmp_path / "0.tar")
    assert (again.keys, again.image.tolist()) == (first.keys, first.image.tolist())


def test_another_shard_of_the_same_name_size_and_time_is_noticed(tmp_path: Path) -> None:
    path, other = tmp_path / "0.tar", tmp_path / "1.tar"
    first = shard_of(path, {"a": {"txt": b"x" * 600}, "b": {"txt": b"a dog"}})
    shard_of(other, {"a": {"txt": b"a cat"}, "b": {"txt": b"x" * 600}})
    before = path.stat()
    path.write_bytes(other.read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    with pytest.raises(InputError, match=r"0\.tar"):
        first.caption(1)
    assert open_shard(path).digest != first.digest
    assert open_shard(path).caption(0) == "a cat"


A, B = (
    {"png": b"1" * 2000, "txt": b"a dog " * 900, "json": b"{}"},
    {"png": b"2" * 512, "txt": b"a cat"},
)


@pytest.mark.parametrize(
    "other",
    [
        A | {"txt": b"a dot"},
        A | {"json": b"[]"},
        A | {"png": b"1" * 1999 + b"2"},
        {"jpg": A["png"], "txt": A["txt"], "json": A["json"]},
        A | {"txt": A["txt"][:3000] + b"bit" + A["txt"][3003:]},
    ],
)
def test_digest_is_that_of_captions_images_and_names_wherever_they_lie(tmp_path, other) -> None:
    digest = shard_of(tmp_path / "0.tar", {"a": A, "b": B}).digest
    assert shard_of(tmp_path / "other" / "moved.tar", {"a": A, "b": B}).digest == digest
    assert shard_of(tmp_path / "1.tar", {"a": other, "b": B}).digest != digest


# Damaged and hostile tars


def member(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.type = size, kind
    return made


def write_tar(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], **options: object) -> Path:
    with tarfile.open(path, "w", **options) as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_name_that_is_not_utf8_leaves_out_its_sample_alone(tmp_path: Path) -> None:
    names = ["a.txt", "\udcff\udcfe.txt", "\udcff\udcfe.json", "b.txt", "\udcff.bin"]
    members = [(member(name), b"{}") for name in names]
    path = write_tar(tmp_path / "0.tar", members, errors="surrogateescape")
    for _ in range(2):  # it is kept with the index, and with the counts
        shard, counted = open_shard(path), open_shards([path])
        assert list(shard.keys) == ["a", "b"]
        assert counted.skipped_by_cause() == {tar_index.NOT_UTF8: 1}
        assert str(path) in counted.first_skipped()[0]
        forget_open_shards()


@pytest.mark.parametrize(("name", "limit"), [("a.jpg", 64), ("a.txt", 1), ("a.json", 1)])
def test_member_that_would_fill_the_memory_is_left_out_and_counted(tmp_path, name, limit) -> None:
    sizes = {"a.cls": 1, name: limit * 2**20 + 1, "a.png": 1, "b.txt": 2**20, "b.jpg": 2**26}
    write_tar(tmp_path / "0.tar", [(member(name), bytes(size)) for name, size in sizes.items()])
    shard = open_shard(tmp_path / "0.tar")
    assert shard.keys == ["b"], "a sample is left out as a whole"
    assert (len(shard), len(shard.image), shard.text[:, 1].tolist()) == (1, 1, [2**20])
    assert list(shard.skipped.values()) == [(1, repr(name))]


def tar_of(*members: tarfile.TarInfo) -> bytes:
    """A tar of members without their content."""
    return b"".join(info.tobuf(tarfile.GNU_FORMAT) for info in members) + bytes(1024)


def extended(records: bytes) -> bytes:
    """A sample behind an extended header of these records."""
    header = member("header", len(records), tarfile.XHDTYPE).tobuf()
    return header + records.ljust(512, b"\0") + tar_of(member("a.txt"))


@pytest.mark.parametrize(
    "content",
    [
        *(tar_of(member("good.txt"), member(name)) for name in ("../a.png", "/a.png", "x/../../a")),
        tar_of(member("a.png", 2**40)),
        tar_of(member("a.png", -1024)),
        tar_of(member("a.bin", -(2**40))),
        tar_of(member("long name", 2**40, tarfile.GNUTYPE_LONGNAME)),
        tar_of(member("extended header", 2**40, tarfile.XHDTYPE)),
        extended(b"00 comment=of no length\n"),
        *(1, 700, 1500, 2000),  # bytes of a good one
        b"",
        bytes(10240),
        b"not a tar" * 100,
    ],
)
def test_tar_that_is_hostile_cut_short_or_none_is_refused(tmp_path, content) -> None:
    path = tmp_path / "0.tar"
    write_shard(path, [(str(i), {"png": bytes(900)}) for i in range(3)])
    path.write_bytes(path.read_bytes()[:content] if isinstance(content, int) else content)
    with pytest.raises(InputError, match=r"0\.tar"):
        open_shard(path)


# Sets of shards


def write_shards(folder: Path, counts: list[int]) -> list[Path]:
    paths = [folder / f"{number:04d}.tar" for number in range(len(counts))]
    for path, count in zip(paths, counts, strict=True):
        write_shard(path, [(f"{path.stem}-{i}", {"txt": b"a dog"}) for i in range(count)])
    return paths


@pytest.mark.parametrize("number", [3, 40])  # in this process, and over several
def test_shards_and_counts_are_those_of_opening_each(tmp_path: Path, number: int) -> None:
    paths = write_shards(tmp_path, [1 + i % 7 for i in range(number)])
    opened, each = open_shards(paths, quiet=True), [open_shard(path) for path in paths]
    copy = pickle.loads(pickle.dumps(opened))  # as a worker gets it
    assert opened.counts.tolist() == copy.counts.tolist() == [len(shard) for shard in each]
    assert [copy[i].keys for i in range(len(copy))] == [shard.keys for shard in each]
    for path in (paths[1], paths[2]):
        path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(InputError, match=r"0001\.tar .*0002\.tar"):
        open_shards(paths, quiet=True)
    paths[2].unlink()
    with pytest.raises(InputError, match=r"0002\.tar"):
        open_shards(paths, quiet=True)


def test_second_start_opens_nothing_but_a_changed_shard(tmp_path, cache, monkeypatch) -> None:
    paths, counted = write_shards(tmp_path, [2, 3, 4]), []
    first = open_shards(paths)
    content_of = shard_set.content_of
    monkeypatch.setattr(shard_set, "content_of", lambda it: counted.append(it) or content_of(it))
    assert open_shards(paths).digest == first.digest
    assert counted == []
    write_shard(paths[1], [(str(i), {"txt": b"a cat, as it were"}) for i in range(9)])
    with pytest.raises(InputError, match=r"0001\.tar"):
        pickle.loads(pickle.dumps(first))[1]
    assert open_shards(paths).counts.tolist() == [2, 9, 4]
    assert counted == paths
    (stored,) = (cache / "counts").iterdir()
    whole = stored.read_bytes()
    for damaged in (b"", b"nonsense", whole[:-100]):
        stored.write_bytes(damaged)
        assert open_shards(paths).counts.tolist() == [2, 9, 4]
        assert stored.read_bytes() == whole


def test_digest_of_a_set_is_of_its_content_and_order(tmp_path: Path) -> None:
    paths = write_shards(tmp_path / "a", [2, 2, 3])
    digest = open_shards(paths).digest
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert open_shards(expand(str(tmp_path / "b"))).digest == digest
    assert open_shards([paths[1], paths[0], paths[2]]).digest != digest
    one, two = paths[0].read_bytes(), paths[1].read_bytes()
    paths[0].write_bytes(two)
    paths[1].write_bytes(one)
    assert open_shards(paths).digest != digest
