"""Small runs as processes, on one rank or two."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from program_server import LONGEST_S

Launch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def small_run(program: Launch, small_shards: Path, tmp_path: Path) -> Launch:
    """Starts small_run.py on these shards, in `run` unless told another folder."""

    def start(
        *arguments: object, out: str = "run", longest_s: int = LONGEST_S, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        words = ("--shards", small_shards, "--out", tmp_path / out, *arguments)
        offline = {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
        options = {"longest_s": longest_s, **offline, **environment}
        return program("tests.training.small_run", *words, **options)

    return start
