"""Small runs as processes, on one rank or two."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Launch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def small_run(program: Launch, small_shards: Path, tmp_path: Path) -> Launch:
    """Starts small_run.py on these shards, in `run` unless told another folder."""

    def start(
        *arguments: object, out: str = "run", **options: object
    ) -> subprocess.CompletedProcess[str]:
        words = ("--shards", small_shards, "--out", tmp_path / out, *arguments)
        offline = {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
        return program("tests.training.small_run", *words, **offline, **options)

    return start
