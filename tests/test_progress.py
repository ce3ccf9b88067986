"""Progress: a bar on a terminal, readable lines in a log file, nothing when quiet."""

import os
import pty
import re
import sys
import termios
import time
from pathlib import Path

from catlip.program.progress import progress

REPOSITORY = Path(__file__).parent.parent


def test_off_a_terminal_two_thousand_updates_are_one_line(capsys) -> None:
    with progress(total=2000, desc="catlip-seed0", unit="step") as bar:
        for step in range(2000):
            bar.update()
            bar.set_postfix(loss=f"{step / 1000:.3f}")
    written = capsys.readouterr().err
    assert re.fullmatch(
        r"catlip-seed0: 2000/2000 in 00:0\d, [\d.]+step/s, 00:00 left, loss=1.999\n", written
    )


def test_off_a_terminal_a_line_comes_every_thirty_seconds(capsys, monkeypatch) -> None:
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    with progress(total=10, desc="train", leave=False) as bar:
        for step in range(10):
            bar.update()
            bar.set_postfix(loss=str(step))
    counts = re.findall(r"^train: (\d+)/10 ", capsys.readouterr().err, re.MULTILINE)
    assert counts == ["3", "6", "9"]


def test_what_is_of_unknown_length_is_counted(capsys) -> None:
    assert list(progress(iter("abc"), "auditing", unit=" captions")) == ["a", "b", "c"]
    assert re.fullmatch(r"auditing: 3 in 00:00, *[\d.]+ captions/s\n", capsys.readouterr().err)


def test_on_a_terminal_it_is_one_line_that_changes(monkeypatch) -> None:
    reader, writer = pty.openpty()
    termios.tcsetwinsize(writer, (24, 80))
    with os.fdopen(writer, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        for _ in progress(range(3), "steps"):
            pass
        written = ""
        while "\n" not in written:  # it arrives in pieces
            written += os.read(reader, 10000).decode()
    os.close(reader)
    assert "100%|" in written
    assert written.count("\r") > written.count("\n") == 1


def test_quiet_is_silent(capsys) -> None:
    with progress(range(3), "steps", disable=True) as bar:
        bar.set_postfix(loss="1")
        assert list(bar) == [0, 1, 2]
    assert capsys.readouterr().err == ""
