"""Two processes never write into one folder, and a killed one does not stand in the way."""

import errno
import fcntl
import os
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from catlip.cli import InputError
from catlip.system.lock import NAME, only_writer


@contextmanager
def held_by_another(folder: Path, with_worker: bool = False):
    """A process that has the lock; `with_worker` it has forked another, as data loading does. Its
    id.
    """
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


def test_the_second_is_refused_with_the_folder_and_the_process(tmp_path: Path) -> None:
    with (
        held_by_another(tmp_path / "run") as process,
        pytest.raises(InputError) as refused,
        only_writer(tmp_path / "run"),
    ):
        pytest.fail("both are in")
    assert str(process) in str(refused.value)
    assert str(tmp_path / "run") in str(refused.value)


def test_the_second_may_wait(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with held_by_another(tmp_path) as process:
        threading.Timer(0.3, os.kill, (process, signal.SIGKILL)).start()
        with only_writer(tmp_path, wait=True):
            assert (tmp_path / NAME).read_text() == f"{os.getpid()}\n"
    assert f"process {process} is writing" in capsys.readouterr().err


def test_a_killed_run_goes_on_at_once_though_its_workers_live(tmp_path: Path) -> None:
    with held_by_another(tmp_path, with_worker=True):
        pass
    with only_writer(tmp_path):
        assert (tmp_path / NAME).read_text() == f"{os.getpid()}\n"
    assert not list(tmp_path.parent.glob(f"{tmp_path.name}/*"))


def test_nothing_is_left_of_a_run_that_wrote_nothing(tmp_path: Path) -> None:
    with only_writer(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()
    assert not list(tmp_path.iterdir())
    with only_writer(tmp_path / "run"):
        (tmp_path / "run" / "log.jsonl").write_text("")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["log.jsonl"]


def test_ranks_that_do_not_write_do_not_lock(tmp_path: Path) -> None:
    with held_by_another(tmp_path), only_writer(tmp_path, wanted=False):
        pass


def test_a_file_system_without_locks_is_warned_of(tmp_path: Path, monkeypatch, capsys) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    with only_writer(tmp_path / "run"):
        (tmp_path / "run" / "file").write_text("")
    assert "warning" in capsys.readouterr().err
