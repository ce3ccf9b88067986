"""Real inputs shared by the tests: the words, and a small starter data set, labelled."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from program_server import ProgramServer

import catlip  # noqa: F401  # sets how OpenMP waits, which must come before torch

settings.register_profile("no deadline", deadline=None)  # a busy machine is no failure
settings.load_profile("no deadline")
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
REPOSITORY = Path(__file__).parent.parent

Program = Callable[..., subprocess.CompletedProcess[str]]


def run_module(
    module: str, *arguments: object, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`python -m module arguments`, as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=REPOSITORY,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="session")
def program() -> Program:
    """Runs a module as a user does."""
    return run_module


@pytest.fixture(scope="session")
def forked_program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Like `program`, but spared the seconds that importing torch takes: for what ends at once."""
    server, folder = ProgramServer(), tmp_path_factory.mktemp("printed")
    output, errors = folder / "output", folder / "errors"

    def run(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        words = [*map(str, arguments)]
        code = server.run(module, words, cwd=REPOSITORY, output=output, errors=errors)
        return subprocess.CompletedProcess(
            [module, *words], code, output.read_text(), errors.read_text()
        )

    yield run
    server.close()


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
def starter(tmp_path_factory: pytest.TempPathFactory) -> Starter:
    """A small starter data set, made by the commands that make the large one."""
    folder = tmp_path_factory.mktemp("starter")
    made = Starter(folder / "data", folder / "labels", folder / "vocabulary.json")
    for command in (
        ("catlip.data.starter", "--out", made.root, "--limit", 30, "--scenes", 120, "--quiet"),
        ("catlip.label", made.shards, "--labels-dir", made.labels, "--quiet"),
        ("catlip.vocabulary", made.labels, "--threshold", 3, "--out", made.vocabulary, "--quiet"),
    ):
        done = run_module(*command)
        assert done.returncode == 0, done.stderr
    return made
