"""A record says how busy the machine was: what the run took of the processors, and what others
took.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from catlip.record import Record
from catlip.system.machine import Usage, tree_s

BURN = (
    "import time\nbegin = time.process_time()\nwhile time.process_time() - begin < {seconds}: pass"
)


def burn(seconds: float) -> None:
    begin = time.process_time()
    while time.process_time() - begin < seconds:
        pass


def test_own_processor_time_is_that_of_the_process_and_its_children() -> None:
    usage = Usage()
    burn(0.2)
    subprocess.run([sys.executable, "-c", BURN.format(seconds=0.3)], check=True)
    found = usage.so_far()
    assert 0.45 < found["cpu_s"] < 1.5
    assert found["wall_s"] >= 0.45
    assert found["load_start"] >= 0
    assert found["load_end"] >= 0


def test_a_child_that_still_runs_counts_as_own() -> None:
    usage = Usage()
    child = subprocess.Popen(
        [sys.executable, "-c", BURN.format(seconds=0.3) + "\nprint()\ninput()"], stdin=-1, stdout=-1
    )
    try:
        child.stdout.readline()
        assert usage.so_far()["cpu_s"] > 0.25
    finally:
        child.communicate(b"\n")


@pytest.mark.skipif(
    not Path("/proc/stat").exists(), reason="other processes are counted in /proc only"
)
def test_a_process_that_is_not_ours_counts_as_another() -> None:
    """Started through a shell that ends at once, it has another parent than this process."""
    usage, busy = Usage(), BURN.format(seconds=1.0)
    done = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" >/dev/null & echo $!', sys.executable, busy],
        capture_output=True,
        text=True,
    )
    other, deadline = Path("/proc") / done.stdout.strip(), time.monotonic() + 60
    while other.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    found = usage.so_far()
    assert found["other_cpu_s"] > 0.9
    assert found["cpu_s"] < 0.9


@pytest.mark.skipif(
    not Path("/proc/stat").exists(), reason="processes are told apart in /proc only"
)
def test_the_ranks_of_a_launcher_are_one_run(monkeypatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert Usage().root == os.getppid()
    # This one is read first: the time of this process goes on between the two readings.
    own = tree_s(os.getpid())
    assert tree_s(os.getppid()) >= own > 0


def test_a_record_says_what_the_run_took_and_does_not_load_torch(tmp_path: Path) -> None:
    script = f"""
import pathlib, sys
from catlip.record import Record
with Record(pathlib.Path({str(tmp_path / "name.json")!r}), "kind", {{}}) as record:
    begun = record.partial.read_text()
    pathlib.Path({str(tmp_path / "begun.json")!r}).write_text(begun)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    environment = json.loads((tmp_path / "name.json").read_text())["environment"]
    for name in ("load_start", "load_end", "wall_s", "cpu_s", "other_cpu_s"):
        assert environment[name] >= 0
    assert "attention" not in environment
    begun = json.loads((tmp_path / "begun.json").read_text())["environment"]
    assert begun["load_start"] == environment["load_start"]


def test_a_run_that_burns_two_processes_shows_in_its_record(tmp_path: Path) -> None:
    with Record(tmp_path / "name.json", "kind", {}) as record:
        burn(0.3)
    environment = json.loads(record.path.read_text())["environment"]
    assert 0.25 < environment["cpu_s"] < environment["wall_s"] + 0.1
