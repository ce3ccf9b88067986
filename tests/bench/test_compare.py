"""Two records of a bench are held against each other, and only if they can be."""

import copy
import json
from typing import Any

import pytest

RECORD: dict[str, Any] = {
    "kind": "step_time",
    "config": {"model": "vit_b16", "batch_size": 4, "out": "a"},
    "environment": {"device": "Abacus", "device_count": 1},
    "metrics": {"ratios": {"clip/catlip": {"value": 1.2, "low": 1.1, "high": 1.3}}},
    "samples": {"catlip_total_ms": [10.0, 11.0, 12.0] * 2},
}


@pytest.fixture
def compare(program, tmp_path):
    """What bench.compare says of RECORD and of the same with some fields changed."""

    def run(**changes: object) -> str:
        other = copy.deepcopy(RECORD) | {"config": RECORD["config"] | {"out": "b"}} | changes
        paths = tmp_path / "one.json", tmp_path / "other.json"
        for path, record in zip(paths, (RECORD, other), strict=True):
            path.write_text(json.dumps(record))
        done = program("bench.compare", *paths)
        assert done.returncode == (2 if done.stderr else 0), done.stderr
        return done.stdout + done.stderr

    return run


def test_overlapping_intervals_agree_and_times_have_a_ratio(compare) -> None:
    said = compare(
        metrics={"ratios": {"clip/catlip": {"value": 1.35, "low": 1.25, "high": 1.4}}},
        samples={"catlip_total_ms": [20.0, 22.0] * 3},
    )
    for part in ("clip/catlip", "1.200 [1.100, 1.300]", "1.350 [1.250, 1.400]", "agree"):
        assert part in said
    assert "catlip_total_ms: other / one = 1.909" in said
    assert "differs" not in said


def test_intervals_apart_do_not_agree(compare) -> None:
    ratio = {"value": 1.5, "low": 1.4, "high": 1.6}
    assert "DISAGREE" in compare(metrics={"ratios": {"clip/catlip": ratio}})


def test_what_differs_in_the_configs_is_said(compare) -> None:
    assert "batch_size 4 and 8" in compare(config=RECORD["config"] | {"batch_size": 8})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"environment": {"device": "Loom", "device_count": 1}}, "1 x Loom"),
        ({"environment": {"device": "Abacus", "device_count": 2}}, "2 x Abacus"),
        ({"kind": "memory"}, "memory"),
        ({"samples": None}, "other.json"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_line(compare, change, complaint) -> None:
    said = compare(**change)
    assert said.startswith("error: ")
    assert complaint in said
    assert said.count("\n") == 1
