"""Real inputs shared by the tests: the words, and a small starter data set, labelled."""

import gc
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partialmethod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import program_server
import pytest
from filelock import FileLock
from hypothesis import settings
from pictures import save
from PIL import Image
from program_server import LONGEST_S, Started

import catlip  # noqa: F401  # sets how OpenMP waits, which must come before torch
from catlip.data.shards import write_shard

if TYPE_CHECKING:
    from remote_servers import S3Server

# A script starts what runs in the background with SIGINT ignored, and nohup with SIGHUP; what the
# tests start would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
settings.register_profile("no deadline", deadline=None)  # a busy machine is no failure
settings.load_profile("no deadline")
os.environ["OMP_NUM_THREADS"] = "1"  # several test processes share the cores
REPOSITORY = Path(__file__).parent.parent

Program = Callable[..., subprocess.CompletedProcess[str]]


def pytest_collection_finish() -> None:
    """Spare every collection of garbage the libraries and the tests themselves."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest test first, so that no process waits for it in the end."""
    items.sort(key=lambda item: "null_device" not in item.path.parts)


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Started]:
    """Starts what `program` runs, on one rank; it prints into `errors` and `output` there."""

    def run(*words: object, **environment: str) -> Started:
        printed = {"output": tmp_path / "output", "errors": tmp_path / "errors"}
        return program_server.start(*words, cwd=REPOSITORY, **printed, environment=environment)

    return run


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Runs `python -m module arguments`, or a file, on so many ranks, without importing torch."""
    folder = tmp_path_factory.mktemp("printed")
    output, errors = folder / "output", folder / "errors"

    def run(
        *words: object,
        cwd: Path = REPOSITORY,
        longest_s: int = LONGEST_S,
        ranks: int = 1,
        **environment: str,
    ) -> subprocess.CompletedProcess[str]:
        how = {"cwd": cwd, "output": output, "errors": errors, "environment": environment}
        code = program_server.start(*words, **how, longest_s=longest_s, ranks=ranks).wait()
        return subprocess.CompletedProcess(words, code, output.read_text(), errors.read_text())

    return run


@pytest.fixture(scope="session")
def succeed(program: Program) -> Program:
    """Runs as `program` what has to end with exit code 0."""

    def run(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
        done = program(*words, **options)
        assert done.returncode == 0, done.stderr + done.stdout
        return done

    return run


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of a test run share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@dataclass(frozen=True)
class Starter:
    """A starter data set of a few concepts: its folder, its labels and its vocabulary."""

    root: Path
    labels: Path
    vocabulary: Path

    @property
    def shards(self) -> Path:
        return self.root / "pretrain"


@pytest.fixture(scope="session")
def starter(succeed: Program, shared_folder: Path) -> Starter:
    """A small starter data set by the usual commands; one for all processes of a test run."""
    folder = shared_folder / "starter"
    made = Starter(folder / "data", folder / "labels", folder / "vocabulary.json")
    with FileLock(f"{folder}.lock"):
        if made.vocabulary.exists():  # it is written last
            return made
        small = ("--limit", 30, "--scenes", 120, "--quiet")
        succeed("catlip.data.starter", "--out", made.root, *small)
        succeed("catlip.label", made.shards, "--labels-dir", made.labels, "--quiet")
        counted = ("--threshold", 3, "--out", made.vocabulary, "--quiet")
        succeed("catlip.vocabulary", made.labels, *counted)
    return made


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What dynamo counts, without code generation, which takes minutes."""
    import torch

    quick = partialmethod(torch.nn.Module.compile, backend="aot_eager")
    monkeypatch.setattr(torch.nn.Module, "compile", quick)
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters["stats"]
    counters.clear()
    return counters


@pytest.fixture(scope="module")
def s3() -> Iterator["S3Server"]:
    from remote_servers import s3_server

    with s3_server() as server:
        yield server


@pytest.fixture(scope="session")
def small_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of noise."""
    folder, draw = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    for shard in range(2):
        samples = []
        for number in range(12):
            noise = Image.fromarray(draw.integers(256, size=(30, 26, 3), dtype=np.uint8))
            samples.append((f"{shard}{number:03}", {"png": save(noise, "PNG"), "txt": b"noise"}))
        write_shard(folder / f"{shard:05}.tar", samples)
    return folder
