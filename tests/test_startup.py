"""The command line of every program is read before torch and other heavy packages are imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from catlip.__main__ import programs

REPOSITORY = Path(__file__).parent.parent
HEAVY = ("torch", "timm", "torchvision", "open_clip", "matplotlib", "pandas", "scipy")
ALL = [module for module, _ in programs()]

# Each program runs in a fork of one process, which has imported what most of them need.
SCRIPT = """
import io, json, os, runpy, sys
from contextlib import redirect_stderr, redirect_stdout
import catlip.records.record, catlip.recipes.transfer

def ends(module, flag):
    sys.argv = [module, flag]
    printed = io.StringIO()
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code or 0, printed.getvalue()
    return 0, printed.getvalue()

for module in sys.argv[1:]:
    if os.fork():
        os.wait()
        continue
    wrong, _ = ends(module, "--no-such-flag")
    code, help = ends(module, "--help")
    print(json.dumps([module, wrong, code, help, sorted(sys.modules)]), flush=True)
    os._exit(0)
"""


@pytest.fixture(scope="module")
def started() -> dict[str, tuple[int, int, str, list[str]]]:
    """Program -> exit codes of a wrong flag and of --help, the help, and the modules imported."""
    command = [sys.executable, "-c", SCRIPT, *ALL]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return {name: ended for name, *ended in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("module", ALL)
def test_help_and_a_wrong_flag_need_no_heavy_package(started, module: str) -> None:
    wrong, code, help, imported = started[module]
    assert (wrong, code) == (2, 0)
    assert module.removesuffix(".__main__") in help
    assert not set(HEAVY) & set(imported)
