"""How programs end after a mistake in what the user gave."""

import re
import runpy
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob

import pytest


def one_line_error(done: subprocess.CompletedProcess[str], *parts: object) -> None:
    """Exit code 2 and one line on stderr, or tyro's box of a wrong flag, with each of the parts."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    line = re.sub(r"[│╭╮╰╯─\s]+", " ", done.stderr)
    if done.stderr.startswith("error: "):
        (line,) = done.stderr.splitlines()
    for part in parts:
        assert str(part) in line


@contextmanager
def one_line_exit(capsys: pytest.CaptureFixture[str], *parts: object) -> Iterator[None]:
    """The same of a program that is called within the test's own process."""
    with pytest.raises(SystemExit) as ended:
        yield
    done = subprocess.CompletedProcess([], ended.value.code, *capsys.readouterr())
    one_line_error(done, *parts)


def refused(
    command: str,
    *parts: object,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """That `python -m COMMAND` ends so, in this process; a path with a `*` is of one file."""
    words = shlex.split(command)
    found = [sorted(glob(word)) if "*" in word else [] for word in words]
    words = [(paths or [word])[0] for word, paths in zip(words, found, strict=True)]
    monkeypatch.setattr("sys.argv", words)
    with one_line_exit(capsys, *parts):
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
