"""How programs end after a mistake in what the user gave."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

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
