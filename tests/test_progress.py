"""Progress: a bar on a terminal, readable lines in a log file, nothing when quiet."""

import re

from catlip.program.progress import progress


def test_updates_off_a_terminal_are_one_line(capsys) -> None:
    with progress(total=2000, desc="catlip-seed0", unit="step") as bar:
        for step in range(2000):
            bar.update()
            bar.set_postfix(loss=f"{step / 1000:.3f}", refresh=False)
    written = capsys.readouterr().err
    assert re.fullmatch(
        r"catlip-seed0: 2000/2000 in 00:0\d, [\d.]+step/s, 00:00 left, loss=1.999\n", written
    )


def test_progress_off_a_terminal_is_a_line_every_thirty_seconds(capsys, monkeypatch) -> None:
    now = [1.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    with progress(total=10, desc="train", leave=False) as bar:
        for step in range(10):
            now[0] += 10
            bar.update()
            bar.set_postfix(loss=str(step), refresh=False)
    counts = re.findall(r"^train: (\d+)/10 ", capsys.readouterr().err, re.MULTILINE)
    assert counts == ["3", "6", "9"]
