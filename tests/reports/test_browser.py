"""The page in a browser: it fits, folds open, and asks the network for nothing.

Skipped without Debian's Chromium (`apt-get install chromium`) and Playwright.
"""

import re
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from report_support import COMMITTED, GOLDEN

from catlip.records.table import as_csv
from reports.page import write_report
from reports.reading import read_records

WIDTHS = (390, 768, 1440)
OPEN = "document.querySelectorAll('details').forEach(part => part.open = true)"
TOLD = (
    "[...document.querySelectorAll('header, #summary')].map(part => {"
    + """
    const copy = part.cloneNode(true);
    document.body.append(copy);
    copy.querySelectorAll("figure, pre, .pictures").forEach(one => one.remove());
    const words = copy.innerText;
    copy.remove();
    return words;
}).join(" ")"""
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium; nothing is downloaded."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright: pip install -e '.[dev]'"
    )
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module", params=["ours", "user"])
def report(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the committed records, and of a user's."""
    out = tmp_path_factory.mktemp("report")
    records = COMMITTED if request.param == "ours" else GOLDEN / "records"
    write_report(read_records([records]), out)
    return out / "index.html"


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 1440, "height": 900})
    yield opened
    opened.close()


def test_page_fits_at_any_width_and_asks_no_network(report, tab) -> None:
    complaints, requests = [], []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(report.as_uri())
    for look, width in product(("light", "dark", "unfolded"), WIDTHS):
        if look == "unfolded":
            tab.evaluate(OPEN)
        else:
            tab.emulate_media(color_scheme=look)
        tab.set_viewport_size({"width": width, "height": 900})
        assert tab.evaluate("document.documentElement.scrollWidth") == width, look
    assert complaints == []
    assert {url for url in requests if not url.startswith("data:")} == {report.as_uri()}


def test_first_screen_is_short(report, tab) -> None:
    """Words outside of tables, figures, pictures and commands."""
    word, number = r"\S*[^\W\d]\S*", r"\d[\d,.]*"
    tab.goto(report.as_uri())
    first = tab.evaluate(TOLD)
    assert len(re.findall(word, first)) <= 150
    assert len(re.findall(number, first)) <= 40
    box = tab.locator(".answers").bounding_box()
    assert box["y"] + box["height"] <= 900


def test_text_of_every_figure_can_be_read_on_a_phone(report, tab) -> None:
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.goto(report.as_uri())
    tab.evaluate(OPEN)
    heights = """svg => {
        const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
        const sizes = [...svg.querySelectorAll("text")].map(
            text => parseFloat(getComputedStyle(text).fontSize));
        return scale * Math.min(...sizes);
    }"""
    figures = tab.locator("main figure svg")
    assert figures.count() > 3
    for i in range(figures.count()):
        assert figures.nth(i).evaluate(heights) >= 11.9


def test_link_into_a_closed_part_opens_it_and_a_command_is_copied(report, tab) -> None:
    tab.goto(f"{report.as_uri()}#table-claims")
    assert tab.locator("#table-claims").is_visible()
    assert tab.locator("#table-claims td").first.is_visible()
    tab.evaluate(OPEN)
    commands = tab.locator("pre.command").count()
    assert tab.locator("pre.command button").count() == commands > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_on_the_page_keeps_anyone_from_reading_it(report, tab, scheme) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="needs axe: pip install -e '.[dev]'"
    )
    tab.emulate_media(color_scheme=scheme)
    tab.goto(report.as_uri())
    tab.evaluate(OPEN)
    found = axe.Axe().run(tab)
    assert found.violations_count == 0, found.generate_report()


def test_page_of_one_file_has_no_dead_link_and_saves_what_it_names(browser, tmp_path) -> None:
    page = write_report(read_records([GOLDEN / "records"]), tmp_path / "one", single_file=True)
    (path,) = (tmp_path / "one").iterdir()
    tab = browser.new_page(accept_downloads=True)
    tab.goto(path.as_uri())
    tab.evaluate(OPEN)
    names = "[...document.querySelectorAll('a[href]')].map(link => link.getAttribute('href'))"
    assert all(name.startswith(("#", "data:text/csv", "https://")) for name in tab.evaluate(names))
    with tab.expect_download() as saved:
        tab.locator("a[download='main.csv']").evaluate("link => link.click()")
    assert saved.value.suggested_filename == "main.csv"
    assert Path(saved.value.path()).read_text() == as_csv(page.tables["main"])
    tab.close()
