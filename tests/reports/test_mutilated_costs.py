"""Records of costs that lack parts, or mean harm or no sense: what can be shown is shown, and
nothing breaks.
"""

import json
import math
import re
from random import Random

import pytest
from hostile_content import (
    ATTACK,
    can_be_shown,
    mutilated,
    names_of_files,
    poisoned,
    shows_the_attack_as_words,
    with_leaves,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_support import golden_record, page_in, write

from reports.render.page import markdown, write_report

KINDS = (
    *("step_time", "memory", "communication", "waterfall"),
    *("projection", "data_path"),
)


@pytest.mark.parametrize("seed_of_kind", KINDS)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32))
def test_whatever_a_record_of_costs_lacks_a_page_is_written(golden, tmp_path, seed_of_kind, seed):
    """Keys are dropped and values replaced; one page in four is also drawn."""
    random = Random(seed)
    content = golden_record(golden, seed_of_kind)
    for part in ("metrics", "config", "environment"):
        content[part] = mutilated(content[part], random)
        content[part] = content[part] if isinstance(content[part], dict) else {}
    write(tmp_path, content)
    can_be_shown(page_in(tmp_path), are_drawn=seed % 4 == 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strange", [math.nan, -1, 0, 10**400, 5e-324, "12", None, [[]]])
def test_a_record_of_strange_numbers_gives_a_page(golden, tmp_path, kind, strange):
    content = golden_record(golden, kind)
    content["metrics"] = with_leaves(content["metrics"], strange)
    write(tmp_path, content)
    page = page_in(tmp_path)
    assert page.tables
    can_be_shown(page)


def test_no_word_of_a_record_becomes_part_of_the_page(golden, tmp_path):
    for kind in KINDS:
        content = golden_record(golden, kind)
        content |= {key: poisoned(content[key]) for key in ("metrics", "config")}
        content["environment"]["device"] += f" {ATTACK}"
        write(tmp_path, content)
    shows_the_attack_as_words(page_in(tmp_path), tmp_path / "report")


def test_what_methods_and_collectives_are_called_cannot_become_part_of_the_page(golden, tmp_path):
    attack = json.dumps(ATTACK)[1:-1]
    for kind in KINDS:
        words = json.dumps(golden_record(golden, kind))
        words = re.sub(r'"(catlip|clip)(?=["/])', lambda found: f"{found.group()} {attack}", words)
        write(tmp_path, json.loads(words))
    page = page_in(tmp_path)
    path = write_report(page, tmp_path / "report")
    assert "<script>alert" not in path.read_text().replace("<!-- <script>alert", "")
    assert len(names_of_files(page)) > 20


def test_many_records_of_a_kind_show_the_first_and_list_the_rest(golden, tmp_path):
    for number in range(5):
        write(tmp_path, golden_record(golden, "communication") | {"name": f"m{number}"})
    page = page_in(tmp_path)
    assert [table.name for table in page.tables if table.name.startswith("communication")] == [
        "communication",
        "communication_2",
        "communication_3",
    ]
    assert markdown(page).count("runs/bench/communication/m") == 5
