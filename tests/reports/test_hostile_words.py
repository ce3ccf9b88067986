"""Records that mean harm or no sense: the sections on captions and labels show what they can, and
nothing breaks.
"""

import math

import pytest
from hostile_content import poisoned, shows_the_attack_as_words, with_leaves
from hypothesis import given
from hypothesis import strategies as st
from report_support import golden_record, page_in, records_in, written

from catlip.results.figures import render
from catlip.table import clipped
from reports.sections import build_page

NEW_KINDS = (
    *("vocabulary_statistics", "examples", "label_audit"),
    *("label_accuracy", "labelling_speed", "threshold"),
)


def test_words_of_captions_are_shown_and_cannot_become_part_of_the_page(golden, tmp_path):
    for kind in NEW_KINDS:
        content = golden_record(golden, kind) | {"name": kind}
        content |= {key: poisoned(content[key]) for key in ("metrics", "samples", "config")}
        written(tmp_path, content)
    shows_the_attack_as_words(page_in(tmp_path), tmp_path / "report")


@pytest.mark.parametrize("kind", NEW_KINDS)
@pytest.mark.parametrize("part", ["metrics", "samples"])
@pytest.mark.parametrize(
    "strange", [math.nan, 10**400, 5e-324, -1, None, "x", [[]], {"a": {"b": []}}]
)
def test_a_record_of_strange_values_is_left_out_or_shown(
    golden, tmp_path, write_record, kind, part, strange
):
    content = golden_record(golden, kind)
    content[part] = with_leaves(content[part], strange)
    write_record(kind, "x", **{name: content[name] for name in ("config", "metrics", "samples")})
    records = records_in(tmp_path)
    if not records.every:
        assert [f"not of kind {kind}" in problem.reason for problem in records.problems] == [True]
        return
    page = build_page(records)
    assert page.tables
    if isinstance(strange, int | float):  # else there is little to draw
        for figure in page.figures:
            render(figure)


@given(st.text(max_size=300), st.integers(2, 80))
def test_clipped_words_are_one_short_printable_line(text, most):
    found = clipped(text, most)
    assert 0 < len(found) <= most
    assert found.isprintable()
