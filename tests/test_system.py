"""Locks, workers, and the time of processors."""

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from work import die, fail, square

from catlip.cli import InputError
from catlip.data.shard_cache import LOCK, PARTIAL_SUFFIX, FileCache
from catlip.system import machine
from catlip.system.engines import THREADS, work_ahead, worker_pool
from catlip.system.files import write_atomically
from catlip.system.lock import NAME, only_writer
from catlip.system.machine import Usage
from catlip.training.checkpoint import Head, save, save_weights


def test_killed_run_goes_on_though_its_workers_live(tmp_path) -> None:
    ready, tell = os.pipe()
    child = os.fork()
    if not child:
        with only_writer(tmp_path / "run"):
            if not os.fork():  # a worker, as loading has them
                time.sleep(30)
                os._exit(0)
            os.write(tell, b"!")
            time.sleep(60)
    os.read(ready, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
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
        (".step-00000000.pt.RANDOM.tmp", lambda folder: save(folder, Head(0, {}), {}), False),
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


# --- Work gives the same results wherever it runs, and ends when a worker dies.


@pytest.mark.parametrize("workers", [1, 2])
def test_each_item_comes_with_its_result_or_with_the_users_error(workers):
    with worker_pool(workers) as apply:
        found = dict(apply(square, range(6)))
        assert dict(apply(square, [7])) == {7: 49}
        assert list(apply(square, [])) == []
    assert {item: found[item] for item in (0, 1, 2, 5)} == {0: 0, 1: 1, 2: 4, 5: 25}
    assert (str(found[3]), found[4].filename) == ("three is refused", "four")


def test_bug_is_raised_and_item_whose_worker_died_is_tried_again_and_no_other_is_blamed(tmp_path):
    with worker_pool(2) as apply, pytest.raises(ZeroDivisionError):
        list(apply(fail, range(4)))
    deaths = [(tmp_path / name, count) for name, count in [("0", 0), ("1", 1), ("2", 99), ("3", 0)]]
    with worker_pool(2) as apply:
        errors = {path.name: error for (path, _), error in apply(die, deaths) if error}
    assert errors.keys() == {"2"}


KILLED = """
import time
from catlip.system.engines import worker_pool
if __name__ == "__main__":
    with worker_pool(2) as apply:
        print("begun", flush=True)
        list(apply(time.sleep, [600, 600]))
"""


def test_workers_end_with_their_parent(tmp_path: Path):
    (tmp_path / "program.py").write_text(KILLED)
    # The pipe closes when the last process has ended that writes into it.
    with subprocess.Popen([sys.executable, tmp_path / "program.py"], stdout=-1) as program:
        children = Path(f"/proc/{program.pid}/task/{program.pid}/children")
        while len(children.read_text().split()) < 3:  # and the resource tracker
            time.sleep(0.1)
        program.kill()
        output, _ = program.communicate(timeout=60)
    assert output == b"begun\n"


def test_threads_work_together_in_order_and_only_a_little_ahead():
    begun, all_have_begun = [], threading.Barrier(THREADS, timeout=60)

    def work(item: int) -> int:
        begun.append(item)
        if item < THREADS:
            all_have_begun.wait()
        time.sleep(0.01 if item % 3 else 0)
        return item**2 if item < 100 else 1 // 0

    results = work_ahead(work, iter(range(150)))
    for item in range(100):
        assert next(results) == (item, item**2)
        assert len(begun) <= item + THREADS + 1
    with pytest.raises(ZeroDivisionError):
        next(results)


HANGING = """
import signal, time
from pathlib import Path
from catlip.cli import run
from catlip.system.engines import work_ahead
from dataclasses import dataclass
signal.signal(signal.SIGINT, signal.default_int_handler)

@dataclass
class Config:
    "None."

def main(config):
    def work(item):
        Path("begun").touch()
        time.sleep(60)
    list(work_ahead(work, [1, 2]))

run(Config, main)
"""


def test_program_that_is_stopped_does_not_wait_for_its_threads(tmp_path: Path):
    (tmp_path / "program.py").write_text(HANGING)
    with subprocess.Popen([sys.executable, "program.py"], cwd=tmp_path, stderr=-1) as program:
        while not (tmp_path / "begun").exists():
            assert program.poll() is None
            time.sleep(0.05)
        program.send_signal(signal.SIGINT)
        try:
            program.communicate(timeout=20)
        finally:
            program.kill()
    assert program.returncode == 130


# --- A record says what a run took of the processors, and what others took.


@pytest.mark.parametrize("files", machine.QUOTAS)
@pytest.mark.parametrize(
    ("quota", "expected"), [("max 100000", 8), ("-1 100000", 8), ("50000 100000", 1), ("15 10", 2)]
)
def test_processors_are_those_whose_time_a_container_has(
    files, quota, expected, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    (tmp_path / "cpu").mkdir()
    for name, content in zip(files, quota.split(" ", len(files) - 1), strict=True):
        (tmp_path / name).write_text(f"{content}\n")
    assert machine.processors() == expected


BURN = (
    "import time\nbegin = time.process_time()\nwhile time.process_time() - begin < {seconds}: pass"
)


def test_time_of_a_run_is_that_of_its_children_and_of_no_others() -> None:
    """A process of another parent is started through a shell that ends at once."""
    usage = Usage()
    exec(BURN.format(seconds=0.2))
    subprocess.run([sys.executable, "-c", BURN.format(seconds=0.3)], check=True)
    waiting = BURN.format(seconds=0.3) + "\nprint()\ninput()"
    shell = ["sh", "-c", f'"$0" -c "{BURN}" >/dev/null & echo $!'.format(seconds=3), sys.executable]
    with subprocess.Popen([sys.executable, "-c", waiting], stdin=-1, stdout=-1) as child:
        child.stdout.readline()
        other = Path("/proc", subprocess.run(shell, stdout=-1, text=True).stdout.strip())
        deadline = time.monotonic() + 60
        while other.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        used = usage.so_far()
        child.communicate(b"\n")
    assert 0.7 < used["cpu_s"] < 3
    assert used["other_cpu_s"] > 2.5
    assert used["wall_s"] >= 0.45
