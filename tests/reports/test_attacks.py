"""Records that were made to harm: files that never end, cells that a spreadsheet runs, words that
steer a terminal.
"""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
from report_support import page_in
from toys import steps

from catlip.cli import InputError
from catlip.record import read_record
from catlip.system.foreign import LARGEST_FILE
from catlip.table import Cell, Table, as_csv
from reports.compare import Compare, compare
from reports.read.records import read_records
from reports.render.page import write_report
from reports.sections import Page

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
ATTACK = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e<script>alert(1)</script> | [a](b)\r=cmd"


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """What waits for a pipe or reads a device to its end fails."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise AssertionError("it waits for something that never comes")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 20)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def kernel(path: Path) -> None:
    path.symlink_to("/proc/kmsg")


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(LARGEST_FILE + 1)  # takes no disk


REASONS = {
    pipe: "not a regular file",
    device: "not a regular file",
    kernel: "empty",
    huge: "larger than 64 MiB",
}


@pytest.fixture(params=list(REASONS), ids=lambda make: make.__name__)
def trap(request, write_record, tmp_path) -> tuple[Path, str]:
    """A trap beside a good record, and the reason for which it is left out."""
    path = write_record("pretrain", "catlip-seed0").with_name("trap.json")
    request.param(path)
    return path, REASONS[request.param]


def test_a_trap_among_records_is_listed_and_the_rest_is_read(trap, tmp_path):
    path, reason = trap
    records = read_records([tmp_path / "runs", path])
    assert [record.name for record in records.every] == ["catlip-seed0"]
    assert [(problem.path, problem.reason) for problem in records.problems] == [(str(path), reason)]


def test_a_trap_named_by_itself_is_one_line(trap, tmp_path):
    path, reason = trap
    assert [problem.reason for problem in read_records([path]).problems] == [reason]
    good = path.with_name("catlip-seed0.json")
    with pytest.raises(InputError, match=reason):
        compare(Compare(path, good))
    with pytest.raises(InputError, match=reason):
        read_record(path)


@pytest.mark.parametrize(
    "text",
    ["=1+1", "@SUM(A1)", "+1 and more", "-cmd|' /C calc'!A0", "\t=1", "\r=1", " =1", "\uff1d1"],
)
def test_no_cell_of_a_csv_is_a_formula(text):
    table = Table("t", "T", ["Field", text], [[Cell(text), Cell("1", small=text, remarks=(text,))]])
    cells = [
        cell.strip('"')
        for line in as_csv(table).splitlines()
        for cell in re.findall(r'"[^"]*"|[^,]+', line)
    ]
    assert not [cell for cell in cells if cell.lstrip().startswith(("=", "@", "+", "-", "\uff1d"))]
    assert "\t" not in as_csv(table)
    assert "\r" not in as_csv(table)


@pytest.fixture
def attacked(write_record, tmp_path) -> Page:
    """The page of records with ATTACK in every string and key that a record chooses, in three ways
    of going about it.
    """
    probe = {"method": "catlip", "concepts_top1": 0.5, f"{ATTACK}_top1": 0.5}
    environment = {"device": f"D {ATTACK}", "device_count": 1, "revision": ATTACK}
    environment["packages"] = {"torch": ATTACK}
    poison = {"environment": environment, "notes": [ATTACK], "command": ATTACK}
    poison["samples"] = {ATTACK: [1.0, ATTACK]}
    for seed in range(2):
        recipe = {"encoder": "x", ATTACK: seed, f"`{ATTACK}`": seed}
        metrics = {"method": "catlip", "seed": seed, ATTACK: {ATTACK: ATTACK}}
        config = {"recipe": recipe, ATTACK: ATTACK}
        write_record("pretrain", f"catlip-seed{seed}", metrics=metrics, config=config, **poison)
        probe["pretrain_seed"] = seed
        write_record("linear_probe", f"catlip-seed{seed}", metrics=probe, **poison)
    step = {"methods": dict.fromkeys(("catlip", "clip", ATTACK), steps())}
    step["ratios"] = {"clip/catlip": {"value": 1.2}}
    config = {"model": f"m {ATTACK}", "precision": ATTACK}
    write_record("step_time", "step", metrics=step, config=config, **poison)
    (tmp_path / "runs/starter/pretrain" / "bad \x1b[2J.json").write_text('{"schema": "\\u001b[2J"}')
    return page_in(tmp_path)


def test_no_word_of_a_record_is_markdown_or_html_or_steers_a_terminal(attacked, tmp_path):
    path = write_report(attacked, tmp_path / "report")
    text = (path.parent / "report.md").read_text()
    outside = re.sub(r"`[^`\n]+`", "", text)  # code is shown as it is
    assert "<script>" not in outside.replace("\\<script\\>", "")
    assert "[a](b)" not in outside.replace("\\[a\\](b)", "")
    assert "<script>alert" not in path.read_text()
    for file in path.parent.rglob("*"):
        if file.suffix in (".md", ".html", ".csv", ".svg"):
            assert not CONTROL.search(file.read_text()), file.name


def test_comparisons_steer_no_terminal(write_record, tmp_path, capsys):
    paths = []
    for name in ("one", "other"):
        parts = {
            "config": {f"field {ATTACK}": f"{name} {ATTACK}"},
            "environment": {"device": "A", "device_count": 1},
            "samples": {f"s {ATTACK}": [1.0, 2.0]},
            "notes": [f"{name} {ATTACK}"],
        }
        paths.append(write_record("step_time", name, **parts))
    compare(Compare(*paths))
    assert not CONTROL.search(capsys.readouterr().out)
