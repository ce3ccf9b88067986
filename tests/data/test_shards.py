"""Shards are read by number, hostile and broken ones refused."""

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catlip.cli import InputError
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
    monkeypatch.setattr(shards, "_walk", lambda *_: pytest.fail("walked the tar again"))
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
