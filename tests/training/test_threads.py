"""A training on a CPU keeps its number of threads, and OpenMP's threads do not spin for long."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from catlip.training import distributed
from catlip.training.distributed import THREADS, Rank, use_threads

CPU = Rank(0, 1, torch.device("cpu"))


def test_resumed_run_keeps_its_number(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(distributed, "ALL_THREADS", 4)
    monkeypatch.setattr(distributed, "processors", lambda: 2)  # by a container's quota
    chosen: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    use_threads(tmp_path, CPU)
    (tmp_path / THREADS).write_text("3\n")
    use_threads(tmp_path, CPU)
    assert chosen == [2, 3]


def test_openmp_spins_less_wherever_torch_is_loaded() -> None:
    """The setting is in the environment before any module of these packages imports torch."""
    code = "import sys; sys.argv[0] = '-m'; import {}, os; print(os.environ['GOMP_SPINCOUNT'])"
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    for package, given in (("catlip", {}), ("baselines", {"GOMP_SPINCOUNT": "7"})):
        command = [sys.executable, "-c", code.format(package)]
        done = subprocess.run(command, env=environment | given, capture_output=True, text=True)
        assert done.stdout.strip() == given.get("GOMP_SPINCOUNT", "10000"), done.stderr
