"""The package as it is installed."""

import subprocess
import sys
import tomllib
from pathlib import Path

import catlip

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]


def test_version_is_that_of_the_project() -> None:
    assert catlip.__version__ == PROJECT["version"]


def test_packages_fit_together() -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    others = [
        line
        for line in done.stdout.splitlines()
        if not line.startswith(("sal-detectron2", "No broken"))
    ]
    assert others == []
