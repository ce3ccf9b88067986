"""A record says what a run took of the processors, and what others took."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from catlip.system.machine import Usage

BURN = (
    "import time\nbegin = time.process_time()\nwhile time.process_time() - begin < {seconds}: pass"
)


def test_time_of_a_run_includes_its_children() -> None:
    usage = Usage()
    exec(BURN.format(seconds=0.2))
    subprocess.run([sys.executable, "-c", BURN.format(seconds=0.3)], check=True)
    waiting = BURN.format(seconds=0.3) + "\nprint()\ninput()"
    child = subprocess.Popen([sys.executable, "-c", waiting], stdin=-1, stdout=-1)
    try:
        child.stdout.readline()
        used = usage.so_far()
    finally:
        child.communicate(b"\n")
    assert 0.7 < used["cpu_s"] < 3
    assert used["wall_s"] >= 0.45


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="there is no /proc")
def test_process_of_another_parent_counts_as_another() -> None:
    """It is started through a shell that ends at once."""
    usage, busy = Usage(), BURN.format(seconds=0.6)
    done = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" >/dev/null & echo $!', sys.executable, busy],
        capture_output=True,
        text=True,
    )
    other, deadline = Path("/proc") / done.stdout.strip(), time.monotonic() + 60
    while other.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    used = usage.so_far()
    assert used["other_cpu_s"] > 0.5
    assert used["cpu_s"] < 0.5
