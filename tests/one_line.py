"""What programs say of mistakes."""

import subprocess


def one_line_error(done: subprocess.CompletedProcess[str], *parts: object) -> None:
    """The program ended with exit code 2 and one line on stderr, which holds each of the parts."""
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert str(part) in line
