"""The table of a training beside a busy process."""

import math
from pathlib import Path
from typing import Any

import pytest
from report_support import records_in

from bench.step_time.busy_machine_result import BusyMachine, busy_machine_table
from catlip.results.cells import TIMES
from reports.render.page import markdown
from reports.sections import build_page


def setting(name: str, alone: float, busy: float) -> dict[str, Any]:
    """As bench.busy_machine records it."""
    found: dict[str, Any] = {"name": name, "environment": {}, "busy_threads": 2}
    for key, seconds in (("alone", alone), ("busy", busy)):
        spread = {"p5": seconds - 1, "p95": seconds + 1, "cv": 0.1, "n": 3}
        found[f"{key}_s"] = {"median": seconds} | spread
        found[f"{key}_ratio"] = {"value": seconds / 20, "low": seconds / 21, "high": seconds / 19}
    return found


def rows_of(tmp_path: Path, write_record: Any, settings: Any) -> list[list[str]]:
    metrics = {"num_steps": 200, "settings": settings}
    write_record("busy_machine", "tiny", scale="bench", metrics=metrics)
    records = records_in(tmp_path)
    assert markdown(build_page(records))
    found = records.of(BusyMachine)
    rows = busy_machine_table("busy_machine", found).rows if found else []
    return [[cell.text for cell in row] for row in rows]


def test_each_way_to_wait_is_a_row(tmp_path: Path, write_record: Any) -> None:
    settings = [setting("libgomp's own", 20, 80), setting("fewer spins", 20.5, 40)]
    assert rows_of(tmp_path, write_record, settings) == [
        ["libgomp's own", "20.0", f"1.00{TIMES}", "80.0", f"4.00{TIMES}", "2"],
        ["fewer spins", "20.5", f"1.02{TIMES}", "40.0", f"2.00{TIMES}", "2"],
    ]


MUTILATED = {"name": [], "alone_s": math.nan, "busy_ratio": {"value": -1}}


@pytest.mark.parametrize("strange", [None, {}, "12", [None], [{}], [MUTILATED]])
def test_a_record_of_strange_numbers_gives_a_page(
    tmp_path: Path, write_record: Any, strange: Any
) -> None:
    rows_of(tmp_path, write_record, strange)
