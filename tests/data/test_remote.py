"""Remote shards are fetched into a bounded cache, whatever their server does meanwhile."""

import base64
import io
import multiprocessing
import os
import re
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from pictures import write_pictures
from remote_servers import BUCKET, SECRET_KEY, FaultyServer, S3Server

from catlip.cli import InputError
from catlip.data import remote, shards
from catlip.data.augment import Augmentation
from catlip.data.loader import DataPath
from catlip.data.remote import CACHE_SIZE, open_file, open_remote
from catlip.data.sampler import WINDOW_SHARDS, ImageSize, SampleOrder, StepPlan
from catlip.data.shard_cache import LOCK, PARTIAL_SUFFIX, FileCache
from catlip.data.shard_set import open_shards
from catlip.data.shards import expand, write_shard
from catlip.system.urls import add_credentials, show_urls, strip_credentials, take_credentials

MB = 10**6
CONTENT = os.urandom(3 * MB)


@pytest.fixture
def http() -> FaultyServer:
    with FaultyServer() as server:
        yield server


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own, blocks of 1 MB, short waits, and the keys of the S3 server."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CATLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "BLOCK_BYTES", MB)
    monkeypatch.setattr(remote, "DELAYS_S", (0.01, 0.02, 0.05))


def read(url: str) -> bytes:
    with open_file(Path(url)) as file:
        return file.read()


def cached(tmp_path: Path) -> list[Path]:
    """The whole files in the cache."""
    files = (tmp_path / "cache" / "shards").iterdir()
    return sorted(
        path for path in files if not path.name.startswith(".") and path.suffix != PARTIAL_SUFFIX
    )


def write_shards(folder: Path, count: int) -> list[Path]:
    """Tars of six small pictures."""
    return [write_pictures(folder / f"{number:04d}.tar", 6) for number in range(count)]


# Names


def test_remote_folders_and_globs_are_listed(s3, http) -> None:
    for name in ("1.tar", "0.tar", "notes.txt"):
        s3.put(f"listed/{name}", b"content")
    named = [Path(f"s3://{BUCKET}/listed/{number}.tar") for number in (0, 1)]
    for pattern in ("listed", "listed/", "listed/*.tar", "listed/[01].tar", "listed/{0..1}.tar"):
        assert expand(f"s3://{BUCKET}/{pattern}") == named
    assert expand(map(str, named)) == named
    paths = expand("s3://nowhere/{0000..1299}.tar")  # without a request
    assert (len(paths), paths[-1]) == (1_300, Path("s3://nowhere/1299.tar"))
    with pytest.raises(InputError, match=r"/absent/\*\.tar"):
        expand(f"s3://{BUCKET}/absent")


# Servers that fail


@pytest.mark.parametrize("faults", [["whole"], ["stall"], ["cut", "503", "cut"]])
def test_broken_transfer_is_asked_for_again(http, monkeypatch, faults) -> None:
    monkeypatch.setattr(remote, "STALLED_S", 1)
    url, http.faults = http.put("/0.tar", CONTENT), ["", *faults]
    with ThreadPoolExecutor(4) as threads:  # of which one fetches the file
        assert list(threads.map(read, [url] * 4)) == [CONTENT] * 4
    failed = [fault for fault in faults if fault in ("cut", "503", "stall")]
    # Three ranges. The server without ranges is not asked for the third; of what is cut, the part
    # that was received may save one.
    assert 2 <= http.gets["/0.tar"] - len(failed) <= (2 if faults == ["whole"] else 3)
    http.faults.append("cut")  # of a small file that is asked for once more
    assert remote.read_file(Path(url)) == CONTENT
    assert http.faults == []
    http.faults = ["503"] * 99
    with pytest.raises(InputError, match=rf"{url} .*503"):
        remote.read_file(Path(url))


@pytest.mark.parametrize("fault", ["range", "total", "gzip", "endless"])
def test_answer_to_another_question_is_refused_at_once(fault, http, tmp_path) -> None:
    url, http.faults = http.put("/0.tar", CONTENT), ["", fault]
    with pytest.raises(InputError, match=rf"{url} .*its server"):
        read(url)
    assert (cached(tmp_path), http.gets["/0.tar"]) == ([], 2)


@pytest.mark.parametrize(
    ("status", "waits"), [(429, True), (503, True), (403, False), (404, False), (500, False)]
)
def test_only_a_server_that_limits_requests_is_waited_for(
    http, monkeypatch, capsys, status, waits
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(remote.time, "sleep", slept.append)
    url, http.faults = http.put("/0.tar", CONTENT), [f"{status} 600"] * 9
    with pytest.raises(InputError, match=url):
        remote.read_file(Path(url))
    assert (max(slept, default=0) > 60) == waits
    http.faults = [f"{status} 20"] * 5  # more often than an error is tried again
    if waits:
        assert remote.read_file(Path(url)) == CONTENT
        assert "asked again in 20 s" in capsys.readouterr().err


@pytest.mark.parametrize("storage", ["s3://shards", "file://{tmp_path}/elsewhere"])
def test_file_is_written_over_and_deleted_and_an_absent_one_named(storage, s3, tmp_path) -> None:
    path = Path(storage.format(tmp_path=tmp_path) + "/new/file")
    for content in (CONTENT, b"other"):
        remote.write_file(path, content)
        assert remote.read_file(path) == content
    assert remote.names_in(path.parent) == {"file"}
    for _ in range(2):
        remote.remove_file(path)
    start = time.monotonic()
    with pytest.raises(InputError, match="new/file is not there"):
        read(str(path))
    assert time.monotonic() - start < 5
    assert remote.names_in(path.parent) == remote.names_in(path.parent / "absent") == set()
    with pytest.raises(InputError, match="s3://nobucket/file"):
        remote.write_file(Path("s3://nobucket/file"), b"content")


# Files that change


def test_shard_that_has_changed_is_noticed_where_it_is_opened(s3, tmp_path) -> None:
    paths = write_shards(tmp_path / "data", 2)
    s3.put_folder(tmp_path / "data", "changing")
    pattern = f"s3://{BUCKET}/changing/{{0000..0001}}.tar"
    opened = open_shards(expand(pattern))
    old = opened.digest
    write_shard(paths[1], [("other", {"txt": b"a cat"})])
    s3.put("changing/0001.tar", paths[1].read_bytes())
    s3.stop()  # a training is planned without asking for a shard
    try:
        again = open_shards(expand(pattern), quiet=True)
    finally:
        s3.start()
    assert (again.digest, len(again[0])) == (old, 6)
    with pytest.raises(InputError, match=r"0001\.tar has changed"):
        again[1]
    new = open_shards(expand(pattern))
    assert new.counts.tolist() == [6, 1]
    assert new.digest == open_shards(paths).digest != old
    assert new[1].caption(0) == "a cat"
    whole = new[0].image_bytes(5)
    for end in (b"", bytes(511) + b"x"):  # cut short, or replaced: it is fetched again
        for path in cached(tmp_path):
            path.write_bytes(path.read_bytes()[:512] + path.read_bytes()[1024:] + end)
        shards._file.cache_clear()
        assert new[0].image_bytes(5) == whole
    (changing,) = expand(f"s3://{BUCKET}/changing/0000.tar")
    with pytest.raises(InputError, match="has changed"):  # while it was fetched
        open_remote(changing, "7680 another")


# The cache


def file_cache(folder: Path, limit: int) -> FileCache:
    folder.mkdir(exist_ok=True)
    return FileCache(folder, limit)


def content_of(number: int) -> bytes:
    return bytes([number]) * MB


def name_of(number: int) -> str:
    return f"{number:032x}"


def hold(cache: FileCache, number: int, seconds: float = 0) -> io.FileIO:
    """The file of this number from the cache; it takes so long to fetch."""

    def fill(file: io.FileIO) -> None:
        file.write(content_of(number)[: MB // 2])
        time.sleep(seconds)
        file.write(content_of(number)[MB // 2 :])

    return cache.open(name_of(number), MB, fill)


def read_many(folder: Path, numbers: list[int]) -> None:
    cache = file_cache(folder, 3 * MB)
    for number in numbers:
        assert hold(cache, number, seconds=0.01).read() == content_of(number)


def test_two_runs_share_a_cache_that_never_exceeds_its_size(tmp_path: Path, monkeypatch) -> None:
    context = multiprocessing.get_context("fork")
    cache, most = tmp_path / "cache", 0
    file_cache(cache, 3 * MB)
    orders = [[(3 * i + k) % 9 for i in range(60)] for k in (1, 4)]
    runs = [context.Process(target=read_many, args=(cache, order)) for order in orders]
    for run in runs:
        run.start()
    while any(run.is_alive() for run in runs):
        sizes = 0
        for entry in os.scandir(cache):
            with suppress(FileNotFoundError):
                sizes += entry.stat().st_size if entry.name != LOCK else 0
        most = max(most, sizes)
    assert [run.exitcode for run in runs] == [0, 0]
    assert 2 * MB <= most <= 3 * MB
    # The file used longest ago goes first, and one that is open stays readable.
    shared = file_cache(tmp_path / "shared", 3 * MB)
    opened = [hold(shared, number) for number in range(3)]
    for number in range(3):
        os.utime(shared.folder / name_of(number), (number, 0))  # when it was used last
    hold(shared, 0).close()
    hold(shared, 3).close()
    assert sorted(path.name for path in shared.folder.glob("0*")) == [*map(name_of, (0, 2, 3))]
    assert opened[1].read() == content_of(1)
    with pytest.raises(InputError, match=CACHE_SIZE):
        shared.open(name_of(4), 4 * MB, lambda file: None)
    for size in ("-1", "much"):
        monkeypatch.setenv(CACHE_SIZE, size)
        with pytest.raises(InputError, match=CACHE_SIZE):
            open_remote(Path("s3:/shards/0"), "1 x")


def test_killed_run_leaves_no_half_file_that_another_reads(tmp_path: Path) -> None:
    cache = file_cache(tmp_path / "cache", 2 * MB)
    run = multiprocessing.get_context("fork").Process(target=hold, args=(cache, 1, 60))
    run.start()
    part = cache.folder / f"{name_of(1)}{PARTIAL_SUFFIX}"
    while not part.exists() or part.stat().st_size < MB:
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGKILL)
    run.join()
    assert [path.name for path in cache.folder.glob("*1*")] == [part.name]
    shutil.copytree(cache.folder, tmp_path / "again")
    assert hold(file_cache(tmp_path / "again", MB), 1).read() == content_of(1)
    # What it had reserved is not lost to others: two files fit.
    hold(cache, 2).close()
    hold(cache, 3).close()
    assert not part.exists()
    assert hold(cache, 1).read() == content_of(1)


def test_files_of_others_in_the_cache_are_neither_counted_nor_deleted(tmp_path: Path) -> None:
    cache = file_cache(tmp_path / "shards", 2 * MB)
    others = [
        cache.folder / name
        for name in ("00000.tar", f"00001.tar{PARTIAL_SUFFIX}", "a" * 31, "B" * 32)
    ]
    for path in others:
        path.write_bytes(bytes(2 * MB))
        os.utime(path, (0, 0))
    (cache.folder / ("a" * 32)).symlink_to(others[0])
    (cache.folder / ("b" * 32)).mkdir()
    os.mkfifo(cache.folder / f"{'c' * 32}{PARTIAL_SUFFIX}")
    for number in range(4):
        hold(cache, number).close()
    assert len([*cache.folder.glob("0000000*")]) == 2
    assert [path.stat().st_size for path in others] == [2 * MB] * 4
    for name in ("a" * 32, "b" * 32, "c" * 32, f"{'c' * 32}{PARTIAL_SUFFIX}"):
        assert os.path.lexists(cache.folder / name) == (name != "c" * 32)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
@pytest.mark.parametrize("name", [name_of(1), f"{name_of(1)}{PARTIAL_SUFFIX}", LOCK])
def test_what_is_no_file_in_the_cache_is_one_line(name, make, tmp_path) -> None:
    cache = file_cache(tmp_path / "shards", 2 * MB)
    make(cache.folder / name)
    with pytest.raises(InputError, match=re.escape(name)):
        hold(cache, 1)


# Training


def served(http, files, tmp_path):
    """The shards behind a server, of which nothing is in a cache yet."""
    for path in files:
        http.put(f"/{path.name}", path.read_bytes())
    urls = [f"http://{http.place}/{path.name}" for path in files]
    distant = open_shards(expand(urls), quiet=True)
    for path in cached(tmp_path):
        path.unlink()
    shards._indexed.cache_clear()
    shards._file.cache_clear()
    http.gets.clear()
    return distant


def test_next_window_is_fetched_ahead_and_evicts_nothing(http, tmp_path, monkeypatch) -> None:
    files = write_shards(tmp_path, 2 * WINDOW_SHARDS)
    distant = served(http, files, tmp_path)
    # Room for one window and a half.
    monkeypatch.setenv(CACHE_SIZE, str(24.5 * files[0].stat().st_size / 1e9))
    now, next_ = SampleOrder(distant.counts, seed=0).windows_at(0)
    distant.expect(now, next_)
    deadline = time.monotonic() + 20
    while len(cached(tmp_path)) < 24 and time.monotonic() < deadline:
        time.sleep(0.02)
    looked_up = [http.heads[f"/{number:04d}.tar"] for number in now]
    for number in now:
        assert distant[number].image_bytes(0)
    assert looked_up == [http.heads[f"/{number:04d}.tar"] for number in now]
    assert all(http.gets[f"/{number:04d}.tar"] == 1 for number in now)
    assert sum(http.gets[f"/{number:04d}.tar"] for number in next_) >= 8


@pytest.mark.parametrize("world_size", [1, 2])
def test_only_shards_of_the_lanes_of_a_rank_are_fetched(http, tmp_path, world_size) -> None:
    """Two lanes of 8 devices, of 12 shards each; rank 0 of 2 has the devices of the first."""
    distant = served(http, write_shards(tmp_path, 24), tmp_path)
    order = SampleOrder(distant.counts, 0, lanes=2)
    plan = StepPlan([ImageSize(16, 2)], 16, 2, seed=0)
    fields = {"accumulation": 16 // world_size, "world_size": world_size}
    path = DataPath(distant, order, plan, Augmentation(), 0, **fields)
    # The first micro-step is enough to fetch ahead for all others.
    path[0]
    lanes = [{*order(np.arange(lane, 144, 2))[0].tolist()} for lane in range(2)]
    assert not lanes[0] & lanes[1]
    expected = lanes[0] | lanes[1] if world_size == 1 else lanes[0]
    deadline = time.monotonic() + 20
    while len(cached(tmp_path)) < len(expected) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert {int(name[1:5]) for name, count in http.gets.items() if count} == expected


# Credentials


def test_signature_reaches_the_server_as_it_is_and_no_secret_a_message(http, monkeypatch) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    http.put("/a/0.tar", CONTENT)
    named = f"http://ann:hidden-word@{http.place}/a/{{0..1}}.tar?sig=hidden%2Fsignature"
    with open_file(expand(named)[0]) as file:
        assert file.read() == CONTENT
    assert http.queries == {"sig=hidden%2Fsignature"}
    message = f"{named}: hidden-word, key {SECRET_KEY}, sig=hidden%2Fsignature"
    assert not re.search(f"hidden|{SECRET_KEY}", strip_credentials(message))


def test_credentials_are_taken_from_urls_alone(monkeypatch):
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for text in (
        *("what? a caption: 12:/ no@address", "caption:/ no@address", "imagenet:/data/user@host/x"),
        *("s3://bucket/shard-?.tar", "http://host:8080/x.tar", "/data/{0..1}"),
        "hf://datasets/pixparse/cc3m-wds@main/cc3m-train-{0000..0575}.tar",
    ):
        assert take_credentials(text) == text
    path = Path("s3://bucket/{0..1}.tar")
    assert show_urls(f"`label {path}`, 12:/ C:/x") == "`label s3://bucket/{0..1}.tar`, 12:/ C:/x"
    assert show_urls(f"{Path('file:///tmp/a')} https://host/a") == "file:///tmp/a https://host/a"
    assert show_urls("imagenet:/data/x has no train/") == "imagenet:/data/x has no train/"


@pytest.mark.parametrize("odd", ["'", '"', " ", "@", ":", "%2F", "%3F"])
def test_password_of_other_characters_reaches_the_server_alone(odd, http, monkeypatch) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    http.put("/d@v1/a%200.tar", b"content")
    argument = f"--shards=http://ann:hid{odd}den@{http.place}/d@v1/a 0.tar"
    assert take_credentials(argument) == f"--shards=http://{http.place}/d@v1/a 0.tar"
    (path,) = expand(f"http://{http.place}/d@v1/a 0.tar")
    with open_file(path) as file:
        assert file.read() == b"content"
    sent = base64.b64encode(f"ann:hid{unquote(odd)}den".encode()).decode()
    assert http.authorizations == {f"Basic {sent}"}


@pytest.mark.parametrize(
    ("argument", "stripped", "elsewhere"),
    [
        ("https://u:word@host.com", "https://host.com", "https://host.com.evil.org/x"),
        ("https://u:word@host.com/", "https://host.com/", "https://host.com:81/x"),
        ("http://u:word@host:80/a", "http://host:80/a", "http://host:8000/a"),
        ("http://u:word@host/a", "http://host/a", "http://host/ab"),
        ("https://u:word@host/a", "https://host/a", "http://host/a"),
        ("http://u:word@[::1]/a-{0..1}", "http://[::1]/a-{0..1}", "http://evil/a-0"),
        ("http://host.com?sig=a@word", "http://host.com", "http://word/x"),
        ("s3:/u:word@bucket/x.tar", "s3://bucket/x.tar", "s3://bucket/y.tar"),
        ("--out=https:/u:word@h:80/a/{0..1}?word", "--out=https://h:80/a/{0..1}", "https://h/a"),
        ("https:/word@host/x.tar", "https://host/x.tar", "https://host/x"),
    ],
)
def test_credentials_leave_an_argument_and_go_to_its_host_and_folder_alone(
    argument, stripped, elsewhere, monkeypatch
) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    assert take_credentials(argument) == stripped
    url = Path(stripped.removeprefix("--out="))
    assert "word" in add_credentials(url)
    assert "word" in add_credentials(url / "b")
    assert add_credentials(Path(elsewhere)) == elsewhere
    assert "word" not in strip_credentials(f"cannot read {argument.partition('?')[0]}")


@pytest.mark.parametrize(
    "url",
    [
        *("http://u:wo/rd@host/x", "http://u:wo?rd@host/x", "http://{a,b}/"),
        *("http://u:12/rd@host/x", "https://u:12?rd@host/x", "https:/u:wo/rd@host/x"),
        *("sftp://u:wo/rd@host/x", "s3:/u:wo/rd@bucket/x", "zip://https://u:word@host/a.zip"),
        *("zip://x::https://u:word@host/a.zip", "--data=zip://d/x::https://host/a.zip?word"),
        "{https://u:word@host/a,https://u:word@host/b}",
    ],
)
def test_password_that_cannot_be_told_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InputError) as refused:
        take_credentials(url)
    assert not re.search(r"wo.?rd|12", str(refused.value).replace("password", ""))
