"""The report as a whole: the same bytes from the same records, one file that needs nothing else,
every number traceable.

After an intended change, `python tests/reports/write_golden.py` writes the expected report again.
"""

import re
import resource
from html.parser import HTMLParser
from pathlib import Path

import pytest
from one_line import one_line_error
from report_support import GOLDEN, page_in, structures

from reports.render.page import write_report


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
        self.sources += [
            found[name] for name in ("src", "srcset", "data", "action") if name in found
        ]


def test_fixed_records_give_the_same_markdown_and_tables_to_the_byte(report):
    (out, _), folder = report, GOLDEN / "expected"
    expected = {path.relative_to(folder): path for path in folder.rglob("*.*")}
    assert {path.relative_to(out) for path in out.rglob("*.csv")} == {
        path for path in expected if path.suffix == ".csv"
    }
    del expected[Path("figures.txt")]
    for name, path in expected.items():
        assert (out / name).read_bytes() == path.read_bytes(), (
            f"{name} differs; see this file's docstring"
        )


def test_fixed_records_give_figures_of_the_same_parts_and_words(report):
    found = structures(report[0] / "figures").splitlines()
    expected = (GOLDEN / "expected/figures.txt").read_text().splitlines()
    assert found == expected, "see this file's docstring"


def test_second_run_gives_the_same_page_and_figures_to_the_byte(report, page, tmp_path):
    out, _ = report
    write_report(page, tmp_path)
    for path in (path for path in out.rglob("*") if path.is_file()):
        assert (tmp_path / path.relative_to(out)).read_bytes() == path.read_bytes(), path.name


def test_headline_and_the_pages_path_are_printed(report):
    out, printed = report
    assert re.search("^CatLIP +3 +26.6 ± 0.2", printed, re.MULTILINE)
    assert printed.rstrip().endswith(f"report: {out}/index.html")


def test_page_is_one_file_that_loads_nothing_from_outside(report):
    text = (report[0] / "index.html").read_text()
    page = Document(text)
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert not {"iframe", "object", "embed"} & page.tags
    beside = [
        link for link in page.links if not link.startswith(("#", "data:", "https://"))
    ]  # nothing is lost without them
    assert all(
        re.fullmatch(r"figures/\w+\.(png|svg)|tables/\w+\.csv|records/[\w.-]+\.json", link)
        for link in beside
    )
    assert all((report[0] / link).is_file() for link in beside)
    assert {link for link in page.links if link.startswith("https://")} == {
        "https://arxiv.org/abs/2404.15653",
        "https://github.com/apple/corenet",
    }
    text = re.sub(r'<a href="https://[^"]+">', "", text)
    assert not re.search(r"https?://|@import|url\((?!#)", text)


def test_every_link_leads_somewhere_and_no_id_is_given_twice(report):
    page = Document((report[0] / "index.html").read_text())
    assert len(set(page.ids)) == len(page.ids)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


def test_page_without_records_says_what_to_run_first(succeed, tmp_path):
    done = succeed("reports", "--out", "report", cwd=tmp_path)
    assert "./run_all.sh" in done.stdout
    text = (tmp_path / "report/index.html").read_text()
    assert "Nothing has been trained or timed yet" in text
    assert "./run_all.sh" in text
    assert "Table 2: " in text


def test_records_that_answer_neither_question_are_counted(write_record, tmp_path):
    write_record("waterfall", "tiny")
    assert page_in(tmp_path).about.startswith("Of 1 record none is of a training")


def test_full_disk_names_the_file_and_keeps_that_of_before(page, tmp_path):
    (tmp_path / "report.md").write_text("before")
    # A limit on file size fails a write half-way, as a full disk does.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match=str(tmp_path)):
            write_report(page, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "report.md").read_text() == "before"
    assert not list(tmp_path.rglob("*.tmp"))


def test_place_that_cannot_be_written_is_one_line_and_exit_code_2(program, tmp_path):
    (tmp_path / "file").write_text("")
    done = program("reports", "--out", "file/report", cwd=tmp_path)
    one_line_error(done, "file/report")
