"""A training on a CPU leaves a core to each busy process, and keeps its number of threads."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from catlip.training import threads
from catlip.training.distributed import Place
from catlip.training.threads import cores_taken_by_others, use_threads

CPU = Place(0, 1, torch.device("cpu"))
CORES = len(os.sched_getaffinity(0))


@pytest.fixture(autouse=True)
def as_a_user(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without the number of threads that tests run with, and how they wait."""
    for name in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "ALL", CORES)
    threads._beside_others.cache_clear()
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    threads._beside_others.cache_clear()


def taken(monkeypatch: pytest.MonkeyPatch, cores: float) -> None:
    """As if other processes kept so many cores busy."""
    monkeypatch.setattr(threads, "cores_taken_by_others", lambda: cores)


def test_a_busy_process_is_seen() -> None:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        assert cores_taken_by_others(1.0) > 0.3
    finally:
        process.kill()
        process.wait()


def test_what_this_process_does_itself_is_not_others(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([(100, 2.0), (250, 3.5)])  # ticks of all processes, seconds of this one
    stat = Path("/proc/stat")

    def read(path: Path) -> str:
        assert path == stat
        ticks, own = next(readings)
        monkeypatch.setattr("time.process_time", lambda: own)
        core = min(os.sched_getaffinity(0))
        ours = f"cpu{core} {ticks} 0 0 777 777 0 0 0 0 0\n"
        return f"cpu  9 9 9 9 9 9 9 9\n{ours}cpu9999 {ticks * 9} 0 0 0 0 0 0 0 0 0\n"

    monkeypatch.setattr(Path, "read_text", read)
    assert cores_taken_by_others(0.001) == 0.0


@pytest.mark.parametrize(("cores", "left"), [(0.2, CORES), (1.0, max(1, CORES - 1)), (100.0, 1)])
def test_a_core_is_left_to_each_busy_process(
    tmp_path: Path, monkeypatch, capsys, cores: float, left: int
) -> None:
    taken(monkeypatch, cores)
    use_threads(tmp_path, CPU)
    assert torch.get_num_threads() == left
    assert capsys.readouterr().err.count("\n") == (left < CORES)


def test_a_resumed_run_keeps_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken(monkeypatch, 100)
    use_threads(tmp_path / "run", CPU)
    threads._beside_others.cache_clear()
    taken(monkeypatch, 0)
    use_threads(tmp_path / "run", CPU)
    assert torch.get_num_threads() == 1
    use_threads(tmp_path / "another", CPU)
    assert torch.get_num_threads() == CORES


def test_the_user_s_own_number_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    taken(monkeypatch, 0)
    use_threads(tmp_path, CPU)
    assert torch.get_num_threads() == 1
    monkeypatch.delenv("OMP_NUM_THREADS")
    torch.set_num_threads(CORES)
    use_threads(tmp_path, CPU)
    assert torch.get_num_threads() == 1, "the run was begun with one"


def test_a_training_on_a_gpu_is_left_alone(tmp_path: Path) -> None:
    use_threads(tmp_path / "run", Place(0, 1, torch.device("cuda")))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "package", ["catlip.encoder", "baselines.methods", "bench.measuring.methods"]
)
def test_openmp_spins_less_wherever_torch_is_loaded(package: str) -> None:
    """The setting stands in the environment before torch is imported."""
    assert spin_count(package) == "10000"
    assert spin_count(package, GOMP_SPINCOUNT="7") == "7"
    assert spin_count(package, OMP_WAIT_POLICY="ACTIVE") == "None"


def spin_count(package: str, **environment: str) -> str:
    code = (
        "import os, sys, importlib.abc\n"
        "class Finder(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'torch':\n"
        "            print(os.environ.get('GOMP_SPINCOUNT')); sys.stdout.flush(); os._exit(0)\n"
        f"sys.meta_path.insert(0, Finder()); import {package}"
    )
    command = [sys.executable, "-c", code]
    environment = os.environ | environment
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout.strip()
