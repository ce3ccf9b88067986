"""The page in a browser: it fits, folds open, sorts, enlarges and prints, and asks the network for
nothing.

Needs Debian's Chromium (`apt-get install chromium`) and Playwright; without them these tests are
skipped.
"""

import os
import re
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from bench.plan.result import Plan, PlannedRun, plan_table
from catlip.results.kind import Interval
from catlip.results.run import read_run
from catlip.table import MISSING, Cell, Table
from reports.read.records import read_records
from reports.render.page import html, write_report
from reports.sections import Page, Section, build_page

REPOSITORY = Path(__file__).parents[2]
RECORDS = {
    "golden": (Path(__file__).parent / "golden", "records"),
    "committed": (REPOSITORY, "reports/records"),
}
WIDTHS = (360, 768, 1280)
# Of each column: whether rising and falling differ, and whether the third click restores the order.


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


@pytest.fixture(scope="module", params=RECORDS)
def report(
    request: pytest.FixtureRequest, browser: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The path of a page: that of the golden records, and that of those which are committed."""
    folder, records = RECORDS[request.param]
    out, before = tmp_path_factory.mktemp(request.param), Path.cwd()
    os.chdir(folder)
    try:
        return write_report(build_page(read_records([Path(records)])), out)
    finally:
        os.chdir(before)


# What takes seconds of layout and is no different on the other page.


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """A tab as wide as a laptop."""
    opened = browser.new_page(viewport={"width": 1280, "height": 800})
    yield opened
    opened.close()


def test_the_page_fits_at_any_width_and_neither_complains_nor_asks_the_network(report, tab):
    said, asked = [], []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(report.as_uri())
    for look, width in product(("light", "dark", "unfolded"), WIDTHS):
        if look == "unfolded":
            tab.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        else:
            tab.emulate_media(color_scheme=look)
        tab.set_viewport_size({"width": width, "height": 800})
        assert tab.evaluate("document.documentElement.scrollWidth") == width, look
    assert said == []
    assert {url for url in asked if not url.startswith("data:")} == {report.as_uri()}


MINUS = "\N{MINUS SIGN}"
# What a column may hold, rising; the last four are missing.
RISING = [
    f"{MINUS}1,200 ± 3",
    f"{MINUS}0.5 ± 0.2",
    "1.20e-05",
    "0.04 (0.03 to 0.05)",
    "2.1\N{MULTIPLICATION SIGN}",
    "9 of 9",
    "10 of 9",
    "1,024",
    "305 M",
    "1.9 B",
]
GONE = [MISSING, "NaN", "not run: needs a GPU", ""]


def tab_with_table(tab: Any, rows: list[list[str]]) -> Any:
    """A page with one table of three columns; gives the button of the second column's head."""
    cells = [
        [Cell(text, "n = 3", remarks=("a footnote",) if not text else ()) for text in row]
        for row in rows
    ]
    table = Table("mine", "A table", ["Name", "Value", "Mixed"], cells)
    tab.set_content(html(Page("", None, Section("only", "Only", [table]), appendices=[]), {}))
    return tab.get_by_role("button", name="Value")


def column(tab: Any, index: int = 1) -> list[str]:
    """The first lines of a column from the top; a row across the table is its heading."""
    text = f"(row.cells[{index}] ?? row.cells[0]).firstChild"
    shown = f"(/^(SUP|SMALL)$/.test({text}.nodeName) ? '' : {text}.textContent)"
    return tab.evaluate(f"[...document.querySelectorAll('tbody tr')].map(row => {shown})")


def test_a_column_sorts_as_numbers_rising_then_falling_then_as_it_was(tab):
    values = [*GONE[:2], *RISING[::2], *GONE[2:], *reversed(RISING[1::2])]
    button = tab_with_table(
        tab, [[f"row {i}", value, "1" if i else "a word"] for i, value in enumerate(values)]
    )
    head = tab.locator("th", has=button)
    expected = {"ascending": RISING + GONE, "descending": RISING[::-1] + GONE, None: values}
    for press in (button.click, lambda: button.press("Enter")):
        for state, order in expected.items():
            press()
            assert column(tab) == order
            assert head.get_attribute("aria-sort") == state
    assert tab.get_by_role("button", name="Mixed").count() == 0


def test_a_figure_opens_large_and_escape_gives_the_focus_back(report, tab):
    tab.goto(report.as_uri())
    figure, dialog = tab.locator(".figures > figure").first, tab.get_by_role("dialog")
    drawing = figure.get_by_role("img")
    button = figure.get_by_role("button", name=re.compile("^Enlarge"))
    ways = (drawing.click, lambda: button.press("Enter"), button.click)
    for width, opening in zip(WIDTHS, ways, strict=True):
        tab.set_viewport_size({"width": width, "height": 800})
        opening()
        enlarged = dialog.get_by_role("img")
        assert enlarged.get_attribute("aria-label") == drawing.get_attribute("aria-label")
        assert dialog.get_by_role("link").count() == 2
        small, large = (part.locator("svg").bounding_box()["width"] for part in (figure, dialog))
        assert large > 1.15 * small
        tab.keyboard.press("Escape")
        assert tab.locator("dialog[open]").count() == 0
        assert button.evaluate("button => button === document.activeElement")


def test_a_number_opens_its_record_each_time_it_is_asked(report, tab):
    tab.goto(report.as_uri())
    link = tab.locator("#table-headline td a").first
    target = tab.locator(f'[id="{link.get_attribute("href")[1:]}"]')
    for _ in range(2):
        link.click()
        tab.wait_for_function("document.querySelector('details:target')?.open")
        for part in ("Metrics", "Config", "Environment"):
            assert target.get_by_role("heading", name=part).first.is_visible()
        assert target.locator("pre.command").first.is_visible()
        assert 0 <= target.bounding_box()["y"] < 800
        target.evaluate("target => target.open = false")


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


def planned(method: str, devices: int, hours: float) -> PlannedRun:
    """Device-hours with a range of a tenth."""
    how = {"model": "vit_b16", "gpu": "H100", "parallel": "ddp", "checkpointing": False}
    how |= {"micro_batch": 64, "accumulation": 1, "memory_gib": 20.0, "source": "assumed"}
    how |= {"step_ms": 75.0, "exposed_ms": 1.5, "sent_mb": 830.0, "ratio": Interval(1.0)}
    taken = Interval(hours, 0.9 * hours, 1.1 * hours)
    sizes = {"devices": devices, "global_batch": 64 * devices}
    return PlannedRun(method=method, device_hours=taken, **sizes, **how)


def test_plans_can_be_calculated_with_for_other_images_devices_and_prices(tab):
    plan = Plan(images=2e9, runs=[planned("catlip", 8, 1_000), planned("catlip", 64, 1_200)])
    head = {"name": "p", "config": {}, "environment": {}, "samples": {}}
    run = read_run(head | {"metrics": plan.metrics()}, Plan)
    tab.set_content(html(Page("", None, Section("s", "S", [plan_table(run)]), []), {}))
    form = tab.locator(".calculator")
    assert "5.21 days, 1,000 device-hours (900 to 1,100), price 2,500" in form.inner_text()
    form.get_by_label("Devices").select_option("64")
    form.get_by_label("Images").fill("1")
    form.get_by_label("Price").fill("10")
    said = form.inner_text()
    assert "0.391 days, 600 device-hours (540 to 660), price 6,000 (5,400 to 6,600)" in said
