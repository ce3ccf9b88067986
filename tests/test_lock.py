"""Two processes never write into one folder, and a killed one does not stand in the way."""

import os
import secrets
import signal
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from catlip.cli import InputError
from catlip.data.shard_cache import LOCK, PARTIAL_SUFFIX, FileCache
from catlip.system.files import write_atomically
from catlip.system.lock import NAME, only_writer
from catlip.training.checkpoint import save, save_weights


@contextmanager
def held_by_another(folder: Path, with_worker: bool = False):
    """A process that has the lock, and with_worker has forked another, as loading does; its id."""
    ready, tell = os.pipe()
    child = os.fork()
    if not child:
        with only_writer(folder):
            if with_worker and not os.fork():
                time.sleep(30)
                os._exit(0)
            os.write(tell, b"!")
            time.sleep(60)
        os._exit(0)
    os.read(ready, 1)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_second_is_refused_and_ranks_that_do_not_write_do_not_lock(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with held_by_another(folder) as process:
        with only_writer(folder, wanted=False):
            pass
        with pytest.raises(InputError, match=f"{process} .*{folder}"), only_writer(folder):
            pytest.fail("both are in")


def test_killed_run_goes_on_though_its_workers_live(tmp_path) -> None:
    with held_by_another(tmp_path / "run", with_worker=True):
        pass
    with only_writer(tmp_path / "run"):
        assert (tmp_path / "run" / NAME).read_text() == f"{os.getpid()}\n"
    assert not list(tmp_path.iterdir())
    with only_writer(tmp_path / "run"):
        (tmp_path / "run" / "log.jsonl").write_text("")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["log.jsonl"]


def fetch(folder: Path) -> None:
    FileCache(folder, 100).open("0", 4, lambda file: file.write(b"data")).close()


@pytest.mark.parametrize(
    ("link", "write", "refused"),
    [
        (NAME, lambda folder: only_writer(folder).__enter__(), True),
        (LOCK, fetch, True),
        (f"0{PARTIAL_SUFFIX}", fetch, True),
        (".0.RANDOM.tmp", lambda folder: write_atomically(folder / "0", b"data"), True),
        (".0.RANDOM.tmp", lambda folder: save_weights(folder / "0", {}, {}), False),
        (".step-00000000.pt.RANDOM.tmp", lambda folder: save(folder, 0, {}, {}), False),
    ],
)
def test_link_in_a_shared_folder_does_not_lead_to_another_file(
    link, write, refused, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda _: "RANDOM")
    folder, target = tmp_path / "shared", tmp_path / "private"
    folder.mkdir()
    target.write_text("kept")
    (folder / link).symlink_to(target)
    with pytest.raises((InputError, FileExistsError)) if refused else nullcontext():
        write(folder)
    assert target.read_text() == "kept"
