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
from report_support import GOLDEN

from reports.read.records import read_records
from reports.render.page import write_report
from reports.sections import build_page

REPOSITORY = Path(__file__).parents[2]
WIDTHS = (360, 768, 1280)


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


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the committed records."""
    page = build_page(read_records([REPOSITORY / "reports/records"]))
    return write_report(page, tmp_path_factory.mktemp("report"))


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """A tab as wide as a laptop."""
    opened = browser.new_page(viewport={"width": 1280, "height": 800})
    yield opened
    opened.close()


def test_page_fits_at_any_width_and_asks_no_network(report, tab):
    complaints, requests = [], []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(report.as_uri())
    for look, width in product(("light", "dark", "unfolded"), WIDTHS):
        if look == "unfolded":
            tab.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        else:
            tab.emulate_media(color_scheme=look)
        tab.set_viewport_size({"width": width, "height": 800})
        assert tab.evaluate("document.documentElement.scrollWidth") == width, look
    assert complaints == []
    assert {url for url in requests if not url.startswith("data:")} == {report.as_uri()}


def test_first_screen_holds_the_answers_and_the_whole_first_figure(report, tab):
    tab.set_viewport_size({"width": 1440, "height": 900})
    tab.goto(report.as_uri())
    for part in (".answers", "#figure-near_and_far"):
        box = tab.locator(part).bounding_box()
        assert box["y"] + box["height"] <= 900, part


def test_text_of_every_figure_can_be_read_on_a_phone(report, tab):
    tab.set_viewport_size({"width": 360, "height": 800})
    tab.goto(report.as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    heights = """svg => {
        const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
        const sizes = [...svg.querySelectorAll("text")].map(
            text => parseFloat(getComputedStyle(text).fontSize));
        return scale * Math.min(...sizes);
    }"""
    figures = tab.locator("main figure svg")
    assert figures.count() > 10
    for i in range(figures.count()):
        assert figures.nth(i).evaluate(heights) >= 11.9


def test_mark_of_a_footnote_copies_apart_from_its_number(report, tab):
    tab.goto(report.as_uri())
    marked = tab.locator("td:has(sup), tbody th:has(sup)").all_text_contents()
    assert all(re.search(r" \[\d+\]", text) for text in marked)


def test_link_into_a_closed_part_opens_it(report, tab):
    tab.goto(f"{report.as_uri()}#table-claims")
    assert tab.locator("#table-claims").is_visible()


def test_two_screens_hold_690_words_and_the_page_8500(report, tab):
    tab.goto(report.as_uri())
    words = "part => part.innerText.split(/\\s+/).filter(word => /\\p{L}/u.test(word)).length"
    screens = tab.locator("header, #summary")
    assert sum(screens.nth(i).evaluate(words) for i in range(screens.count())) <= 690
    tab.evaluate("document.querySelectorAll('details.appendix').forEach((d) => (d.open = true))")
    assert tab.locator("body").evaluate("body => body.innerText.split(/\\s+/).length") <= 8500
    assert tab.locator("main figure:not(.table)").count() <= 24
    assert tab.locator("main figure.table:not(details.folded > *)").count() <= 28


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_on_the_page_keeps_anyone_from_reading_it(report, tab, scheme):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="needs axe: pip install -e '.[dev]'"
    )
    tab.emulate_media(color_scheme=scheme)
    tab.goto(report.as_uri())
    tab.evaluate("document.querySelectorAll('details.appendix').forEach((d) => (d.open = true))")
    found = axe.Axe().run(tab)
    assert found.violations_count == 0, found.generate_report()


def test_page_of_one_file_has_no_dead_link_and_saves_what_it_names(browser, tmp_path) -> None:
    page = build_page(read_records([GOLDEN / "records"]))
    path = write_report(page, tmp_path / "report", single_file=True)
    assert [*path.parent.iterdir()] == [path]
    tab = browser.new_page(accept_downloads=True)
    tab.goto(path.as_uri())
    links = "[...document.querySelectorAll('a[href]')].map(link => link.getAttribute('href'))"
    names = tab.evaluate(links)
    named = {name for name in names if re.match("(records|tables|figures)/", name)}
    assert {name.partition("/")[0] for name in named} == {"records", "tables", "figures"}
    (whole := tmp_path / "whole").mkdir()
    write_report(page, whole)
    read = "async () => [...Object.entries(await files)]"
    assert {*named} <= {name for name, _ in tab.evaluate(read)}
    for name, content in tab.evaluate(read):
        assert content.encode() == (whole / name).read_bytes(), name
    name = next(name for name in named if name.startswith("records"))
    with tab.expect_download() as saved:
        tab.locator(f"a[href='{name}']").first.evaluate("link => link.click()")
    assert Path(saved.value.path()).read_bytes() == (whole / name).read_bytes()
    tab.close()
