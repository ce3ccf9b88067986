"""Records that mean harm or make no sense: what can be shown is shown, and nothing breaks."""

import json
import math
import os
import re
import signal
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_support import ANY_JSON, ATTACK, GOLDEN_RECORDS, can_be_shown, poisoned

from catlip.cli import InputError
from catlip.records.record import read_record
from catlip.records.table import NOTE, Column, Table, as_csv, as_text
from catlip.system.foreign import LARGEST_FILE
from reports.check import checked
from reports.frame import WriteFrame, write_frame
from reports.page import Page, write_report
from reports.pairs import WritePairs, differences_of, write_pairs
from reports.reading import read_records

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
REASONS = {
    "pipe": "not a regular file",
    "device": "not a regular file",
    "kernel": "empty",
    "loop": "cannot be read: Too many levels of symbolic links",
    "huge": "larger than 64 MiB",
}


@pytest.fixture
def alarm():
    """A test that waits for a pipe or reads a device to its end fails."""
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits for what never comes"))
    signal.setitimer(signal.ITIMER_REAL, 20)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


@pytest.mark.usefixtures("alarm")
@pytest.mark.parametrize(("kind", "reason"), REASONS.items())
def test_trap_is_listed_and_the_rest_is_read(write, tmp_path, kind, reason):
    good = write.record("pretrain", "catlip-seed0")
    path = good.with_name("trap.json")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(LARGEST_FILE + 1)  # takes no disk
    else:
        targets = {"device": "/dev/zero", "kernel": "/proc/kmsg", "loop": path.name}
        path.symlink_to(targets[kind])
    records = read_records([path, tmp_path / "runs"])
    assert [record.name for record in records.every] == ["catlip-seed0"]
    assert [(problem.path, problem.reason) for problem in records.problems] == [(str(path), reason)]
    with pytest.raises((InputError, OSError), match=reason.removeprefix("cannot be read: ")):
        read_record(path)


@pytest.mark.usefixtures("alarm")
def test_link_out_of_the_folder_is_named_and_not_followed(write, tmp_path) -> None:
    """To a record and to a folder of records: neither is read, nor copied beside the page."""
    good = write.record("pretrain", "catlip-seed0")
    secret = write.record("pretrain", "secret", root="elsewhere", notes=["passphrase"])
    links = {good.with_name("secret.json"): secret, tmp_path / "runs/elsewhere": secret.parents[1]}
    for link, target in links.items():
        link.symlink_to(target)
    good.with_name("again").symlink_to(good.parent)  # within the folder, and a loop
    good.with_name("x.json").mkdir()
    records = read_records([tmp_path / "runs"])
    assert [record.name for record in records.every] == ["catlip-seed0"]
    assert {problem.path for problem in records.problems} == {*map(str, links)}
    write_report(records, tmp_path / "report")
    written = [path for path in (tmp_path / "report").rglob("*") if path.is_file()]
    assert not any(b"passphrase" in path.read_bytes() for path in written)
    named = read_records([tmp_path / "runs", tmp_path / "elsewhere"])
    assert sorted(record.name for record in named.every) == ["catlip-seed0", "secret"]


def test_record_that_no_row_can_be_made_of_is_named_and_the_rest_is_read(write, tmp_path, capsys):
    write.record("pretrain", "clip-seed0")
    losses = [math.inf, -math.inf] * 20
    bad = write.record("pretrain", "catlip-seed0", samples={"loss": losses})
    (problem,) = read_records([tmp_path / "runs"]).problems
    assert problem.path == str(bad)
    write_frame(WriteFrame((tmp_path / "runs",), tmp_path / "frame.csv"))
    with pytest.raises(InputError, match="no experiment"):
        write_pairs(WritePairs((tmp_path / "runs",)))
    out, err = capsys.readouterr()
    assert "of 1 records" in out
    assert err.count(str(bad)) == 2  # by either
    assert ["starter/pretrain/catlip-seed0.json"] in checked(tmp_path / "runs").errors.values()


@pytest.mark.parametrize("part", ["config", "metrics", "samples"])
def test_record_deeper_than_recursion_ends_nothing(write, tmp_path, part):
    write.record("pretrain", "catlip-seed0")
    deep = write.record("pretrain", "clip-seed0", **{part: {"x": ["DEEP"]}})
    nested = '{"x":' * 3_000 + "1" + "}" * 3_000
    deep.write_text(deep.read_text().replace('"DEEP"', nested))
    records = read_records([tmp_path / "runs"])
    assert [Path(problem.path) for problem in records.problems] == [deep] * (part != "samples")
    write_report(records, tmp_path / "report")


@pytest.mark.parametrize(
    "text",
    ["=1+1", "@SUM(A1)", "+1 and more", "-cmd|' /C calc'!A0", "\t=1", "\r=1", " =1", "\uff1d1"],
)
def test_no_cell_of_a_csv_is_a_formula(text):
    columns = [Column("Field", "field", head=True), Column(text, "value"), Column("Share", "share")]
    row = {"field": text, "value": (1.0, text), "share": text, NOTE: text}
    table = Table("t", "T", "", columns, [row, row])
    cells = [
        cell.strip('"')
        for line in as_csv(table).splitlines()
        for cell in re.findall(r'"[^"]*"|[^,]+', line)
    ]
    assert not [cell for cell in cells if cell.lstrip().startswith(("=", "@", "+", "-", "\uff1d"))]
    assert not re.search(r"[\t\r]", as_csv(table))


def copied(tmp_path, change) -> Path:
    """Every golden record, changed."""
    for path in GOLDEN_RECORDS:
        target = tmp_path / "runs" / path.relative_to(path.parents[2])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(change(json.loads(path.read_text()))))
    return tmp_path / "runs"


def test_no_word_is_markdown_or_html_or_a_path_or_steers_a_terminal(write, tmp_path):
    def attacked(record):
        record |= {part: poisoned(record[part]) for part in ("config", "metrics", "samples")}
        record["environment"] |= {"device": f"D {ATTACK}", "packages": {ATTACK: ATTACK}}
        record["samples"][f"../../{ATTACK}_top1"] = [1.0, ATTACK]
        return record | {"notes": [ATTACK], "command": ATTACK}

    folder = copied(tmp_path, attacked)
    recipe = {"encoder": "x", ATTACK: 0, f"`{ATTACK}`": 1}
    metrics = {"method": f"../../{ATTACK}", ATTACK: {ATTACK: ATTACK}}
    samples = {"images_seen": [1, 2], "loss": [2.0, 1.0]}
    parts = {"metrics": metrics, "config": {"recipe": recipe, ATTACK: ATTACK}, "samples": samples}
    odd = write.record("pretrain", "x-seed0", **parts)
    odd.with_name("bad \x1b[2J.json").write_text('{"schema": "\\u001b[2J"}')
    page = write_report(read_records([folder]), tmp_path / "report")
    # The names of figures and tables lead nowhere but into the report's folder.
    names = [*page.figures, *page.tables]
    assert all(re.fullmatch(r"[\w.-]+", name) for name in names)
    assert len(names) > 20
    text = (tmp_path / "report/report.md").read_text()
    assert "<script>" not in text.replace("\\<script\\>", "")
    assert "[a](b)" not in text.replace("\\[a\\](b)", "")
    html = (tmp_path / "report/index.html").read_text()
    assert "<script>alert" not in html.replace("<!-- <script>alert", "")
    assert "&lt;script&gt;alert(1)" in html
    for file in (tmp_path / "report").rglob("*"):
        if file.suffix in (".md", ".html", ".csv", ".svg"):
            assert not CONTROL.search(file.read_text()), file.name
    assert not any(map(CONTROL.search, map(as_text, page.tables.values())))


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32), strange=st.lists(ANY_JSON, max_size=6))
def test_page_frame_pairs_and_checks_are_made_whatever_records_hold(tmp_path, seed, strange):
    """Parts of good records are dropped or replaced by any JSON; one page in eight is drawn."""
    random = Random(seed)
    strange = [*strange, None, -1, 0, 10**400, -1e308, math.nan, math.inf, -math.inf, 5e-324]

    def replaced(tree):
        if random.random() < 0.03:
            return random.choice(strange)
        if isinstance(tree, dict):
            return {key: replaced(value) for key, value in tree.items() if random.random() > 0.05}
        return [replaced(value) for value in tree] if isinstance(tree, list) else tree

    def changed(record):
        parts = ("config", "environment", "metrics", "samples")
        return record | {name: {k: replaced(v) for k, v in record[name].items()} for name in parts}

    page = Page(read_records([copied(tmp_path, changed)]))
    can_be_shown(page, are_drawn=seed % 8 == 0)
    checked(tmp_path / "runs")
    differences_of(page.comparisons, "catlip", "clip")
