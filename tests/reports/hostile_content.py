"""Contents of records that mean harm or no sense."""

import math
import re
from pathlib import Path
from random import Random

from hypothesis import strategies as st

from catlip.results.figures import render
from catlip.table import as_csv
from reports.render.page import markdown, write_report
from reports.sections import Page

ATTACK = "$\\frac{1$ \x1b]0;x\x07\x9b31m <script>alert(1)</script> \u202e\x00 | [a](b)\r=cmd"
STRANGE = (
    *(None, "12", "", True, [], {}, [[1]], {"median": "x"}),
    *(math.nan, math.inf, -1, 0, 10**400, 5e-324),
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def poisoned(tree: object) -> object:
    """Every string, and every key of free choice, with an attack behind it."""
    if isinstance(tree, dict):
        free = ("no noun", "tagged", "its ", "a label")
        return {
            f"{key} {ATTACK}" if key.startswith(free) else key: poisoned(value)
            for key, value in tree.items()
        }
    if isinstance(tree, list):
        return [poisoned(value) for value in tree]
    return (
        f"{tree} {ATTACK}"
        if isinstance(tree, str) and not re.fullmatch(r"paper|corenet|\w+\.n\.\d+", tree)
        else tree
    )


def with_leaves(tree: object, strange: object) -> object:
    """The same tree with every number and string replaced."""
    if isinstance(tree, dict):
        return {key: with_leaves(value, strange) for key, value in tree.items()}
    return [with_leaves(value, strange) for value in tree] if isinstance(tree, list) else strange


def mutilated(tree: object, random: Random) -> object:
    if random.random() < 0.03:
        return random.choice(STRANGE)
    if isinstance(tree, dict):
        return {
            key: mutilated(value, random) for key, value in tree.items() if random.random() > 0.05
        }
    return [mutilated(value, random) for value in tree] if isinstance(tree, list) else tree


def can_be_shown(page: Page, are_drawn: bool = True) -> None:
    """Text and tables are written, and figures drawn where they are asked for."""
    assert markdown(page)
    assert all(as_csv(table) for table in page.tables)
    for figure in page.figures if are_drawn else ():
        render(figure)


def shows_the_attack_as_words(page: Page, out: Path) -> None:
    """The report that is written says ATTACK, and neither browser nor terminal obeys it."""
    path = write_report(page, out)
    html, text = path.read_text(), (out / "report.md").read_text()
    assert "<script>alert" not in html.replace("<!-- <script>alert", "")
    assert "&lt;script&gt;alert(1)" in html
    assert "<script>" not in text.replace("\\<script\\>", "")
    assert not re.search("[\u202e\x00]", text)


def names_of_files(page: Page) -> list[str]:
    """The names of figures and tables, which lead nowhere but into the report's folder."""
    names = [figure.name for figure in page.figures] + [table.name for table in page.tables]
    assert all(re.fullmatch(r"[\w.-]+", name) for name in names)
    return names
