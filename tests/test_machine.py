"""A record says what a run took of the processors, what others took, and how much energy."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from catlip.system import energy
from catlip.system.energy import EnergyMeter
from catlip.system.machine import Usage, tree_s

BURN = (
    "import time\nbegin = time.process_time()\nwhile time.process_time() - begin < {seconds}: pass"
)
needs_proc = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="there is no /proc")


def burn(seconds: float) -> None:
    begin = time.process_time()
    while time.process_time() - begin < seconds:
        pass


def test_the_time_of_a_run_is_that_of_the_process_and_its_children_ended_or_not() -> None:
    usage = Usage()
    burn(0.2)
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
    assert min(used["load_start"], used["load_end"]) >= 0


@needs_proc
def test_a_process_of_another_parent_counts_as_another() -> None:
    """It is started through a shell that ends at once."""
    usage, busy = Usage(), BURN.format(seconds=1.0)
    done = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" >/dev/null & echo $!', sys.executable, busy],
        capture_output=True,
        text=True,
    )
    other, deadline = Path("/proc") / done.stdout.strip(), time.monotonic() + 60
    while other.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    used = usage.so_far()
    assert used["other_cpu_s"] > 0.9
    assert used["cpu_s"] < 0.9


@needs_proc
def test_the_ranks_of_a_launcher_are_one_run(monkeypatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert Usage().root == os.getppid()
    # This one is read first: the time of this process goes on between the two readings.
    alone = tree_s(os.getpid())
    assert tree_s(os.getppid()) >= alone > 0


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
    begun = json.loads((tmp_path / "begun.json").read_text())["environment"]
    assert begun["load_start"] == environment["load_start"]


@pytest.fixture
def counters(tmp_path: Path, monkeypatch) -> list[Path]:
    """RAPL's folders of two packages, and of a part of the first, which is in it."""
    monkeypatch.setattr(energy, "RAPL", tmp_path)
    folders = [tmp_path / name for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0")]
    for folder in folders:
        folder.mkdir()
        (folder / "energy_uj").write_text("900000\n")
        (folder / "max_energy_range_uj").write_text("1000000\n")
    return folders


def test_energy_is_that_of_all_packages_whose_counter_may_begin_again(counters) -> None:
    meter, usage = EnergyMeter(), Usage()
    assert meter.joules() == {"processor": 0}
    (counters[0] / "energy_uj").write_text("950000\n")
    (counters[1] / "energy_uj").write_text("100000\n")  # 200,000 further round
    (counters[2] / "energy_uj").write_text("999999\n")
    assert meter.joules() == usage.so_far()["energy_j"] == {"processor": pytest.approx(0.25)}
    for folder in counters:
        (folder / "energy_uj").unlink()  # where only root may read, or without a counter
    assert EnergyMeter().joules() == {}
    assert "energy_j" not in Usage().so_far()
