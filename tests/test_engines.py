"""Work gives the same results wherever it runs, and ends when a worker dies."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from catlip.cli import InputError
from catlip.system.engines import THREADS, work_ahead, worker_pool


def square(number):
    if number == 3:
        raise InputError("three is refused")
    if number == 4:
        raise FileNotFoundError(2, "No such file", "four")
    return number * number


def fail(number):
    raise ZeroDivisionError(f"a bug with {number}")


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [1, 2])
def test_each_item_comes_with_its_result_or_with_the_users_error(workers):
    with worker_pool(workers) as apply:
        found = dict(apply(square, range(6)))
        assert dict(apply(square, [7])) == {7: 49}
        assert list(apply(square, [])) == []
    assert {item: found[item] for item in (0, 1, 2, 5)} == {0: 0, 1: 1, 2: 4, 5: 25}
    assert (str(found[3]), found[4].filename) == ("three is refused", "four")


def test_bug_is_raised_and_death_of_a_worker_is_one_line():
    with worker_pool(2) as apply, pytest.raises(ZeroDivisionError):
        list(apply(fail, range(4)))
    with pytest.raises(InputError, match="--workers"), worker_pool(2) as apply:
        list(apply(die, range(4)))


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
        for _ in range(600):
            if len(children.read_text().split()) >= 3:  # and the resource tracker
                break
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
