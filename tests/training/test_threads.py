"""A training on a CPU leaves a core to each busy process, and keeps its number of threads."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from catlip.training import distributed
from catlip.training.distributed import Place, use_threads

CPU = Place(0, 1, torch.device("cpu"))
CORES = len(os.sched_getaffinity(0))


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """Sets how many cores others keep busy; without the number of threads that tests run with."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(distributed, "ALL_THREADS", CORES)
    before = torch.get_num_threads()

    def set_busy(cores: float) -> None:
        distributed._threads_beside_others.cache_clear()
        monkeypatch.setattr(distributed, "cores_taken_by_others", lambda: cores)

    yield set_busy
    torch.set_num_threads(before)
    distributed._threads_beside_others.cache_clear()


@pytest.mark.parametrize(("cores", "left"), [(0.2, CORES), (1.0, max(1, CORES - 1)), (100.0, 1)])
def test_a_core_is_left_to_each_busy_process(tmp_path: Path, busy, cores, left) -> None:
    busy(cores)
    use_threads(tmp_path, CPU)
    assert torch.get_num_threads() == left


def test_a_resumed_run_keeps_its_number(tmp_path: Path, busy) -> None:
    busy(100)
    use_threads(tmp_path / "run", CPU)
    busy(0)
    use_threads(tmp_path / "run", CPU)
    assert torch.get_num_threads() == 1
    use_threads(tmp_path / "another", CPU)
    assert torch.get_num_threads() == CORES


def test_openmp_spins_less_wherever_torch_is_loaded() -> None:
    """The setting is in the environment before any module of these packages imports torch."""
    code = "import {}, os; print(os.environ['GOMP_SPINCOUNT'])"
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    for package, given in (("catlip", {}), ("baselines", {"GOMP_SPINCOUNT": "7"})):
        command = [sys.executable, "-c", code.format(package)]
        done = subprocess.run(command, env=environment | given, capture_output=True, text=True)
        assert done.stdout.strip() == given.get("GOMP_SPINCOUNT", "10000"), done.stderr
