"""Small runs as processes, on one rank or two."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
Launch = Callable[..., subprocess.CompletedProcess[str]]


def launch_program(
    program: str, *arguments: object, torchrun: tuple[object, ...] = (), timeout: float = 600
) -> subprocess.CompletedProcess[str]:
    """Run a program of this folder, by torchrun with these options when there are any."""
    launcher = ["-m", "torch.distributed.run", "--standalone", *torchrun] if torchrun else []
    command = [sys.executable, *launcher, HERE / program, *arguments]
    environment = os.environ | {
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
    }
    return subprocess.run(
        [*map(str, command)], env=environment, capture_output=True, text=True, timeout=timeout
    )


@pytest.fixture(scope="session")
def launch() -> Launch:
    """Starts a program of this folder."""
    return launch_program


@pytest.fixture
def small_run(launch: Launch, small_shards: Path, tmp_path: Path) -> Launch:
    """Starts small_run.py on these shards, in `run` unless told another folder."""

    def start(
        *arguments: object, out: str = "run", **options: Any
    ) -> subprocess.CompletedProcess[str]:
        return launch(
            "small_run.py", "--shards", small_shards, "--out", tmp_path / out, *arguments, **options
        )

    return start
