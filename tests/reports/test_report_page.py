"""The report as a whole: the same bytes from the same records, one page that needs nothing else,
every number traceable; and the programs that make it.
"""

import json
import re
import resource
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_support import GOLDEN, REPOSITORY, page_in

from catlip.records.table import MAX_ROWS, Column, Table, as_csv, as_markdown
from reports.page import write_report
from reports.reading import read_records


@pytest.fixture(scope="module")
def report(succeed, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The report of the golden records as a user makes it: its folder, and what was printed."""
    out = tmp_path_factory.mktemp("report")
    done = succeed("reports", "--records", "records", "--out", out, cwd=GOLDEN)
    return out, done.stdout


class Document(HTMLParser):
    """What a page refers to, and what can be referred to."""

    def __init__(self, text: str):
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if "href" in found else []
        names = ("src", "srcset", "data", "action")
        self.sources += [found[name] for name in names if name in found]


def files_of(folder: Path) -> Iterator[tuple[Path, bytes]]:
    return ((p.relative_to(folder), p.read_bytes()) for p in folder.rglob("*") if p.is_file())


def test_second_run_gives_the_same_files_to_the_byte(report, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(GOLDEN)
    write_report(read_records([Path("records")]), tmp_path)
    assert dict(files_of(tmp_path)) == dict(files_of(report[0]))


def test_first_tables_and_the_pages_path_are_printed(report) -> None:
    out, printed = report
    assert re.search(r"concepts +8\.4 +27\.4 +26\.6", printed)
    assert printed.rstrip().endswith(f"report: {out}/index.html")


def test_page_loads_nothing_from_outside_and_every_link_leads_somewhere(report) -> None:
    out, _ = report
    text = (out / "index.html").read_text()
    page = Document(text)
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert not {"iframe", "object", "embed"} & page.tags
    assert len(set(page.ids)) == len(page.ids)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    beside = [one for one in page.links if not one.startswith(("#", "data:", "https://"))]
    folders = {link.partition("/")[0] for link in beside}
    assert folders == {"figures", "tables", "records"}
    assert all((out / link).is_file() for link in beside)
    assert {link for link in page.links if link.startswith("https://")} == {
        "https://arxiv.org/abs/2404.15653",
        "https://github.com/apple/corenet",
    }
    text = re.sub(r'<a href="https://[^"]+">', "", text)
    assert not re.search(r"https?://|@import|url\((?!#)", text)


def test_row_leads_to_its_records_one_as_it_is_and_several_by_their_paths(report) -> None:
    out, _ = report
    one = "starter/step_time/vit_b16-b256-bf16-torch2.13-h100.json"
    copy = out / "records" / f"records-{one.replace('/', '-')}"
    assert copy.read_bytes().strip() == (GOLDEN / "records" / one).read_bytes().strip()
    several = [json.loads(path.read_text()) for path in (out / "records").glob("*.json")]
    paths = [{*found} for found in several if "schema" not in found]
    probes = {f"records/starter/linear_probe/catlip-seed{seed}.json" for seed in range(3)}
    assert probes in paths
    assert all(
        found["schema"] == 1 for one in several if "schema" not in one for found in one.values()
    )


def test_long_table_is_cut_in_the_page_and_whole_as_csv(write) -> None:
    rows = [{"one": f"row {number}"} for number in range(MAX_ROWS + 20)]
    long = Table("long", "Long", "", [Column("One", "one")], rows)
    assert len(as_csv(long).splitlines()) == len(rows) + 1
    assert as_markdown(long).count("row ") == MAX_ROWS
    for images in range(1000, 1000 + len(rows)):
        seen = {"images_seen": [1, images], "loss": [2.0, 1.0]}
        write.training("catlip", name=f"catlip-{images}", images=images, samples=seen)
    write_report(page_in(write.folder).records, write.folder / "out")
    html = (write.folder / "out/index.html").read_text()
    assert len(re.findall(r">1,\d{3}<", html)) == MAX_ROWS
    assert f"The first {MAX_ROWS} of {MAX_ROWS + 20} rows" in html
    assert "1519" in (write.folder / "out/tables/trainings.csv").read_text()


def test_record_that_holds_nothing_leaves_the_command(write) -> None:
    for kind in ("memory", "waterfall", "step_time"):
        write.record(kind, "empty", metrics={"ratios": 3, "release": 3})
    page = page_in(write.folder)
    assert len(page.records.problems) == 3
    (cost,) = (group for group in page.groups if group.anchor == "cost")
    commands = " ".join(command for _, command in cost.missing)
    assert all(f"bench.{kind}" in commands for kind in ("memory", "waterfall", "step_time"))


def test_full_disk_names_the_file_and_keeps_that_of_before(tmp_path) -> None:
    (tmp_path / "report.md").write_text("before")
    records = read_records([GOLDEN / "records"])
    # A limit on file size fails a write half-way, as a full disk does.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, limits[1]))
    try:
        with pytest.raises(OSError, match=str(tmp_path)):
            write_report(records, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "report.md").read_text() == "before"
    assert not list(tmp_path.rglob("*.tmp"))


# --- The programs ---------------------------------------------------------------------------------


def test_page_without_records_says_what_to_run_first(program, tmp_path) -> None:
    done = program("reports", "--out", "report", "--single-file", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path, _ in files_of(tmp_path / "report")] == ["index.html"]
    text = (tmp_path / "report/index.html").read_text()
    assert "./run_all.sh" in text
    assert "Table 2: " in text


def test_readme_and_results_are_what_the_records_say(succeed, tmp_path) -> None:
    """`python -m reports readme` in a copy, with other words in its place, writes them again."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/records").symlink_to(REPOSITORY / "reports/records")
    readme = (REPOSITORY / "README.md").read_text()
    begin, end = "reports readme` -->\n", "<!-- until here"
    before, after = readme.partition(begin)[0], readme.partition(end)[2]
    (tmp_path / "README.md").write_text(f"{before}{begin}other words\n{end}{after}")
    (tmp_path / "docs/results.md").write_text("other words")
    succeed("reports", "readme", cwd=tmp_path)
    for name in ("README.md", "docs/results.md"):
        assert (tmp_path / name).read_text() == (REPOSITORY / name).read_text(), (
            "python -m reports readme"
        )
    assert (tmp_path / "reports/headline.png").read_bytes()[:4] == b"\x89PNG"
    shutil.rmtree(tmp_path / "docs")
