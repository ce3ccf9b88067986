"""Shards are read by number, hostile and broken ones refused."""

import io
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catlip.cli import InputError
from catlip.data import tar_index
from catlip.data.shards import expand, open_shard, write_shard

KEYS = st.text("abcdefghij0123456789_-", min_size=1, max_size=20)


@given(samples=st.dictionaries(KEYS, st.tuples(st.binary(max_size=600), st.text(max_size=50)), min_size=1, max_size=20))
def test_what_was_written_is_read_in_any_order(tmp_path_factory: pytest.TempPathFactory, samples) -> None:
    path = tmp_path_factory.mktemp("shard") / "0.tar"
    write_shard(path, [(key, {"png": image, "txt": text.encode()}) for key, (image, text) in samples.items()])
    shard = open_shard(path)
    assert list(shard.keys) == list(samples)
    for number in reversed(range(len(shard))):
        assert (shard.image_bytes(number), shard.caption(number)) == samples[shard.keys[number]]


def test_the_caption_may_stand_in_the_json(tmp_path: Path) -> None:
    members = [("a", {"json": b'{"caption": "a dog"}'}), ("b", {"json": b"[1]"}), ("c", {"jpg": b""}), ("d", {"txt": b"\xff!"})]
    write_shard(tmp_path / "0.tar", members)
    assert [open_shard(tmp_path / "0.tar").caption(i) for i in range(4)] == ["a dog", None, None, "�!"]


def test_the_second_opening_reads_the_index_and_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from catlip.data import shards

    write_shard(tmp_path / "0.tar", [("a", {"txt": b"one"}), ("b", {"png": b"two"})])
    first = open_shard(tmp_path / "0.tar")
    shards._indexed.cache_clear()
    monkeypatch.setattr(shards, "index_tar", lambda *_: pytest.fail("walked the tar again"))
    again = open_shard(tmp_path / "0.tar")
    assert list(again.keys) == list(first.keys)
    assert (again.image == first.image).all()
    assert (again.text == first.text).all()


def test_a_shard_that_changed_is_read_anew(tmp_path: Path) -> None:
    for text in (b"before", b"afterwards"):
        write_shard(tmp_path / "0.tar", [("a", {"txt": text})])
        assert open_shard(tmp_path / "0.tar").caption(0) == text.decode()


@pytest.mark.parametrize("cut", [1, 700, 1500, 2000])
def test_a_shard_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "0.tar"
    write_shard(path, [(str(i), {"png": bytes(900)}) for i in range(3)])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"0\.tar"):
        open_shard(path)


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "x/../../a.png"])
def test_a_path_that_escapes_is_refused(tmp_path: Path, name: str) -> None:
    write_shard(tmp_path / "0.tar", [(name.removesuffix(".png"), {"png": b"x"})])
    with pytest.raises(InputError, match="escapes"):
        open_shard(tmp_path / "0.tar")


def test_links_and_devices_are_no_samples(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            member = tarfile.TarInfo("bad.png")
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
        member = tarfile.TarInfo("good.txt")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"fine"))
    assert list(open_shard(tmp_path / "0.tar").keys) == ["good"]


def write_headers(path: Path, members: list[tarfile.TarInfo]) -> None:
    """A tar of members without their content."""
    path.write_bytes(b"".join(member.tobuf(tarfile.GNU_FORMAT) for member in members) + bytes(1024))


def member(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.type = size, kind
    return made


def test_many_tiny_members_take_little_memory_each_and_too_many_are_refused(tmp_path: Path, monkeypatch) -> None:
    path, count = tmp_path / "0.tar", 5_000
    write_headers(path, [member(f"{i:08d}.txt") for i in range(count)])
    tracemalloc.start()
    assert len(open_shard(path)) == count
    assert tracemalloc.get_traced_memory()[1] < 500 * count
    tracemalloc.stop()
    monkeypatch.setattr(tar_index, "MAX_MEMBERS", count - 1)
    with pytest.raises(InputError, match=r"0\.tar is refused: over 4,999 members"):
        tar_index.index_tar(path)


@pytest.mark.parametrize(
    "hostile",
    [
        member("a.png", 2**40),
        member("a.png", -1024),
        member("a.bin", -(2**40)),
        member("long name", 2**40, tarfile.GNUTYPE_LONGNAME),
        member("extended header", 2**40, tarfile.XHDTYPE),
    ],
)
def test_a_header_that_lies_about_a_size_is_refused(tmp_path: Path, hostile: tarfile.TarInfo) -> None:
    write_headers(tmp_path / "0.tar", [member("good.txt"), hostile])
    with pytest.raises(InputError, match=r"0\.tar"):
        open_shard(tmp_path / "0.tar")


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_header_as_large_as_the_memory_is_not_read(tmp_path: Path, kind: bytes) -> None:
    write_headers(tmp_path / "0.tar", [member("header", 2**33, kind)])
    with open(tmp_path / "0.tar", "r+b") as file:
        file.truncate(2**33 + 10_240)  # takes no place on the disk
    tracemalloc.start()
    with pytest.raises(InputError, match="not a whole tar"):
        open_shard(tmp_path / "0.tar")
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


@pytest.mark.parametrize("content", [b"", b"\0" * 10240, b"not a tar" * 100])
def test_a_file_without_samples_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "0.tar").write_bytes(content)
    with pytest.raises(InputError, match=r"0\.tar"):
        open_shard(tmp_path / "0.tar")


def test_patterns_expand_and_a_missing_shard_is_named(tmp_path: Path) -> None:
    for number in (0, 1, 3):
        write_shard(tmp_path / f"{number:03d}.tar", [("a", {"txt": b""})])
    assert [path.name for path in expand(f"{tmp_path}/{{000..001}}.tar")] == ["000.tar", "001.tar"]
    assert len(expand([f"{tmp_path}/*.tar"])) == len(expand([str(tmp_path)])) == 3
    with pytest.raises(InputError, match=r"002\.tar"):
        expand(f"{tmp_path}/{{000..003}}.tar")
    with pytest.raises(InputError, match="no shards given"):
        expand([])
