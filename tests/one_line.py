"""What programs say of mistakes."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


def one_line_error(done: subprocess.CompletedProcess[str], *parts: object) -> None:
    """The program ended with exit code 2 and one line on stderr, which holds each of the parts."""
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert str(part) in line


@contextmanager
def one_line_exit(capsys: pytest.CaptureFixture[str], *parts: object) -> Iterator[None]:
    """The same of a program that is called within the test's own process."""
    with pytest.raises(SystemExit) as ended:
        yield
    done = subprocess.CompletedProcess([], ended.value.code, *capsys.readouterr())
    one_line_error(done, *parts)
