"""Shards are read by number, hostile and broken ones refused."""

import io
import os
import re
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catlip.cli import InputError
from catlip.data import shards, tar_index
from catlip.data.shards import expand, open_shard, write_shard

KEYS = st.text("abcdefghij0123456789_-", min_size=1, max_size=20)
CAPTIONS = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=50)
CONTENTS = st.tuples(st.binary(max_size=600), CAPTIONS)


@given(samples=st.dictionaries(KEYS, CONTENTS, min_size=1, max_size=20))
def test_what_was_written_is_read_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, samples
) -> None:
    path = tmp_path_factory.mktemp("shard") / "0.tar"
    members = [
        (key, {"png": image, "txt": text.encode()}) for key, (image, text) in samples.items()
    ]
    write_shard(path, members)
    shard = open_shard(path)
    assert list(shard.keys) == list(samples)
    for number in reversed(range(len(shard))):
        assert (shard.image_bytes(number), shard.caption(number)) == samples[shard.keys[number]]


def test_the_caption_may_stand_in_the_json(tmp_path: Path) -> None:
    members = [
        ("a", {"json": b'{"caption": "a dog"}'}),
        ("b", {"json": b"[1]"}),
        ("c", {"jpg": b""}),
        ("d", {"txt": b"\xff!"}),
    ]
    write_shard(tmp_path / "0.tar", members)
    captions = [open_shard(tmp_path / "0.tar").caption(i) for i in range(4)]
    assert captions == ["a dog", None, None, "�!"]


@pytest.mark.parametrize(
    ("members", "captions"),
    [
        ({"txt": b"a dog\n \r\na cat \r\n"}, ["a dog", "a cat"]),
        ({"txt": b" a dog\n"}, [" a dog\n"]),
        ({"txt": b"\n"}, ["\n"]),
        ({"txt": b"a dog\na cat".ljust(2**20 - 7) + b"\na bird"}, ["a dog", "a cat", "a bird"]),
        (
            {"json": b'{"caption": ["a dog", null, "a cat\\nin a hat"]}'},
            ["a dog", "a cat\nin a hat"],
        ),
        ({"json": b'{"caption": "a dog\\na cat"}'}, ["a dog\na cat"]),
        ({"json": b'{"caption": []}'}, [None]),
        # As img2dataset writes a text of the web that has a line break.
        ({"json": b'{"caption": "a dog\\na cat"}', "txt": b"a dog\na cat"}, ["a dog\na cat"]),
        ({"json": b'{"caption": "a dog"}', "txt": b"a dog\na cat"}, ["a dog", "a cat"]),
        ({"txt": b"a dog\na cat", "cls": b"7"}, ["7"]),
    ],
)
def test_a_sample_may_have_several_captions(
    tmp_path: Path, members: dict[str, bytes], captions: list[str | None]
) -> None:
    write_shard(tmp_path / "0.tar", [("a", members), ("b", {"txt": b"a bird"})])
    shard = open_shard(tmp_path / "0.tar")
    assert shard.captions(0) == captions
    assert shard.num_captions.tolist() == [len(captions), 1]
    assert shard.first_captions.tolist() == [0, len(captions)]
    assert shard.caption(1) == "a bird"


def test_the_second_opening_reads_the_index_and_gives_the_same(tmp_path: Path, monkeypatch) -> None:
    write_shard(tmp_path / "0.tar", [("a", {"txt": b"one"}), ("b", {"png": b"two"})])
    first = open_shard(tmp_path / "0.tar")
    shards._indexed.cache_clear()
    monkeypatch.setattr(shards, "index_tar", lambda *_: pytest.fail("walked the tar again"))
    again = open_shard(tmp_path / "0.tar")
    assert list(again.keys) == list(first.keys)
    assert (again.image == first.image).all()
    assert (again.text == first.text).all()


@pytest.mark.parametrize("in_place", [True, False])
def test_another_shard_of_the_same_name_size_and_time_is_noticed(
    tmp_path: Path, in_place: bool
) -> None:
    path, other = tmp_path / "0.tar", tmp_path / "1.tar"
    write_shard(path, [("a", {"txt": b"x" * 600}), ("b", {"txt": b"a dog"})])
    write_shard(other, [("a", {"txt": b"a cat"}), ("b", {"txt": b"x" * 600})])
    first, before = open_shard(path), path.stat()
    assert first.caption(1) == "a dog"
    if in_place:
        path.write_bytes(other.read_bytes())
    else:
        other.rename(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert open_shard(path).digest != first.digest
    assert open_shard(path).caption(0) == "a cat"


SAMPLES = [
    ("a", {"png": b"1" * 2000, "txt": b"a dog", "json": b"{}"}),
    ("b", {"png": b"2" * 512, "txt": b"a cat"}),
]


def digest_of(path: Path, samples: list[tuple[str, dict[str, bytes]]]) -> str:
    write_shard(path, samples)
    return open_shard(path).digest


def test_the_digest_is_that_of_the_content_wherever_it_lies(tmp_path: Path) -> None:
    first = digest_of(tmp_path / "0.tar", SAMPLES)
    assert digest_of(tmp_path / "other" / "moved.tar", SAMPLES) == first
    assert len(first) == 32


@pytest.mark.parametrize(
    "members",
    [
        {"png": b"1" * 2000, "txt": b"a dot", "json": b"{}"},
        {"png": b"1" * 2000, "txt": b"a dog", "json": b"[]"},
        {"png": b"1" * 1999 + b"2", "txt": b"a dog", "json": b"{}"},
        {"jpg": b"1" * 2000, "txt": b"a dog", "json": b"{}"},
    ],
)
def test_the_digest_changes_with_captions_images_and_names_of_the_same_sizes(
    tmp_path: Path, members
) -> None:
    digest = digest_of(tmp_path / "0.tar", SAMPLES)
    assert digest != digest_of(tmp_path / "1.tar", [("a", members), SAMPLES[1]])


def test_the_digest_holds_long_captions_whole(tmp_path: Path) -> None:
    one, other = (b"a dog " * 500 + end + b" and so on" * 500 for end in (b"bit", b"sat"))
    digest = digest_of(tmp_path / "0.tar", [("a", {"txt": one})])
    assert digest != digest_of(tmp_path / "1.tar", [("a", {"txt": other})])


@pytest.mark.parametrize("damaged", ["cut short", b"random bytes" * 100, b""])
def test_a_damaged_index_is_made_again(tmp_path: Path, monkeypatch, damaged) -> None:
    monkeypatch.setenv("CATLIP_CACHE", str(tmp_path / "cache"))
    write_shard(tmp_path / "0.tar", SAMPLES)
    first = open_shard(tmp_path / "0.tar")
    (index,) = (tmp_path / "cache" / "indexes").iterdir()
    whole = index.read_bytes()
    index.write_bytes(whole[: len(whole) // 2] if damaged == "cut short" else damaged)
    shards._indexed.cache_clear()
    assert open_shard(tmp_path / "0.tar").digest == first.digest
    assert open_shard(tmp_path / "0.tar").caption(1) == "a cat"
    assert index.read_bytes() == whole


def tar_of(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], **options: str) -> Path:
    with tarfile.open(path, "w", **options) as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_a_name_that_is_not_utf8_leaves_out_its_sample_alone(tmp_path: Path) -> None:
    names = ["a.txt", "\udcff\udcfe.txt", "\udcff\udcfe.json", "b.txt", "\udcff.bin"]
    members = [(tarfile.TarInfo(name), b"{}") for name in names]
    path = tar_of(tmp_path / "0.tar", members, errors="surrogateescape")
    shard = open_shard(path)
    assert list(shard.keys) == ["a", "b"]
    assert {cause: count for cause, (count, _) in shard.skipped.items()} == {tar_index.NOT_UTF8: 1}
    shards._indexed.cache_clear()
    assert open_shard(path).skipped == shard.skipped  # kept with the index


def tar_of_dogs(path: Path, where: int, record: dict[str, str]) -> Path:
    """Three samples, of which one has an extended header."""
    members = [tarfile.TarInfo(f"{key}.txt") for key in "abc"]
    members[where].pax_headers = record
    return tar_of(path, [(member, b"a dog") for member in members], format=tarfile.PAX_FORMAT)


@pytest.mark.parametrize("where", [0, 1, 2])
@pytest.mark.parametrize(
    "record",
    [
        {"GNU.sparse.major": "0", "GNU.sparse.map": "1,x"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
    ],
)
def test_a_malformed_extended_header_leaves_out_its_sample_alone(
    tmp_path: Path, where: int, record: dict[str, str]
) -> None:
    shard = open_shard(tar_of_dogs(tmp_path / "0.tar", where, record))
    assert list(shard.keys) == [key for number, key in enumerate("abc") if number != where]
    assert [shard.caption(number) for number in range(2)] == ["a dog"] * 2
    assert sum(count for count, _ in shard.skipped.values()) == 1


def test_a_header_of_no_form_leaves_out_its_sample_alone(tmp_path: Path) -> None:
    path = tar_of_dogs(tmp_path / "0.tar", 1, {"comment": "of the second member"})
    content = path.read_bytes()
    length = content.index(b" comment=of the second member") - 2
    path.write_bytes(content[:length] + b"00" + content[length + 2 :])
    assert list(open_shard(path).keys) == ["a", "c"]
    assert list(open_shard(path).skipped) == [tar_index.MALFORMED]


def test_deeply_nested_json_is_no_caption(tmp_path: Path) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    samples = [("a", {"json": deep}), ("b", {"json": b'{"caption": ' + deep + b"}"})]
    write_shard(tmp_path / "0.tar", [*samples, ("c", {"txt": b"a dog"})])
    shard = open_shard(tmp_path / "0.tar")
    assert [shard.caption(number) for number in range(3)] == [None, None, "a dog"]
    with pytest.raises(ValueError, match=r"a\.json"):
        shard.metadata(0)


def test_names_are_read_by_one_rule_however_they_are_spelt(tmp_path: Path) -> None:
    names = [
        "a.jpg",
        "B.JPG",
        "i.gif",
        "./c.txt",
        "x//y/d.seg.json",
        "e.tar.gz",
        "f",
        "g.Txt",
        ".h.txt",
    ]
    path = tar_of(tmp_path / "0.tar", [(tarfile.TarInfo(name), b"{}") for name in names])
    shard = open_shard(path)
    assert list(shard.keys) == ["a", "B", "i", "c", "g"]
    assert (shard.image[:, 0] >= 0).tolist() == [True, True, True, False, False]


def test_a_shard_that_changes_between_opening_and_reading_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    write_shard(path, [("a", {"txt": b"a dog"})])
    shard = open_shard(path)
    write_shard(path, [("a", {"txt": b"a cat"})])
    with pytest.raises(InputError, match=r"0\.tar"):
        shard.caption(0)


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
    with pytest.raises(InputError, match=re.escape(name)):
        open_shard(tmp_path / "0.tar")


@pytest.mark.parametrize(("name", "most"), [("a.jpg", 64), ("a.txt", 1), ("a.json", 1)])
def test_a_member_that_would_fill_the_memory_is_left_out_and_counted(tmp_path, name, most) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for member_name, size in [(name, most * 2**20 + 1), ("b.txt", 2**20), ("b.jpg", 2**26)]:
            tar.addfile(member(member_name, size), io.BytesIO(bytes(size)))
    shard = open_shard(tmp_path / "0.tar")
    assert shard.keys == ["b"]
    assert shard.skipped == {f"a member of over {most} MiB": (1, repr(name))}


def test_links_and_devices_are_no_samples(tmp_path: Path) -> None:
    links = (tarfile.SYMTYPE, tarfile.LNKTYPE)
    members = []
    for kind in (*links, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
        bad = member("bad.png", kind=kind)
        bad.linkname = "/etc/passwd"
        members.append((bad, b""))
    tar_of(tmp_path / "0.tar", [*members, (member("good.txt"), b"fine")])
    assert list(open_shard(tmp_path / "0.tar").keys) == ["good"]


def write_headers(path: Path, members: list[tarfile.TarInfo]) -> None:
    """A tar of members without their content."""
    path.write_bytes(b"".join(member.tobuf(tarfile.GNU_FORMAT) for member in members) + bytes(1024))


def member(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.type = size, kind
    return made


def test_many_tiny_members_take_little_memory_each_and_too_many_are_refused(
    tmp_path: Path, monkeypatch
) -> None:
    path, count = tmp_path / "0.tar", 5_000
    write_headers(path, [member(f"{i:08d}.txt") for i in range(count)])
    tracemalloc.start()
    assert len(open_shard(path)) == count
    assert tracemalloc.get_traced_memory()[1] < 500 * count
    tracemalloc.stop()
    monkeypatch.setattr(tar_index, "MAX_MEMBERS", count - 1)
    with pytest.raises(InputError, match=r"0\.tar .*4,999"):
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
def test_a_header_that_lies_about_a_size_is_refused(
    tmp_path: Path, hostile: tarfile.TarInfo
) -> None:
    write_headers(tmp_path / "0.tar", [member("good.txt"), hostile])
    with pytest.raises(InputError, match=r"0\.tar"):
        open_shard(tmp_path / "0.tar")


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_header_as_large_as_the_memory_is_not_read(tmp_path: Path, kind: bytes) -> None:
    write_headers(tmp_path / "0.tar", [member("header", 2**33, kind)])
    with open(tmp_path / "0.tar", "r+b") as file:
        file.truncate(2**33 + 10_240)  # takes no place on the disk
    tracemalloc.start()
    with pytest.raises(InputError, match=r"0\.tar"):
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
    with pytest.raises(InputError):
        expand([])
