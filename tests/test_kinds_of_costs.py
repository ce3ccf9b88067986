"""Records of costs are the same after they were read and written again, and a field that is
missing or of another type is refused.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from catlip.kinds import KINDS

ROOT = Path(__file__).parent.parent
COSTS = (
    "step_time",
    "waterfall",
    "communication",
    "memory",
    "data_path",
    "bias_init",
    "projection",
    "loop_overhead",
    "busy_machine",
)


def committed(kind: str) -> list[dict[str, Any]]:
    """The metrics of every committed record of the kind."""
    folders = (ROOT / "reports/records", ROOT / "tests/reports/golden/records")
    paths = [path for folder in folders for path in folder.glob(f"*/{kind}/*.json")]
    return [json.loads(path.read_text())["metrics"] for path in paths]


def without_null(tree: Any) -> Any:
    """None is left out of a record."""
    if isinstance(tree, dict):
        return {key: without_null(value) for key, value in tree.items() if value is not None}
    return [without_null(value) for value in tree] if isinstance(tree, list) else tree


@pytest.mark.parametrize("kind", COSTS)
def test_metrics_of_committed_records_are_the_same_after_reading_and_writing(kind: str) -> None:
    records = committed(kind)
    assert records
    for metrics in records:
        assert KINDS[kind].read(metrics).metrics() == without_null(metrics)


@pytest.mark.parametrize("kind", COSTS)
def test_a_metric_of_another_type_is_refused(kind: str) -> None:
    for metrics in committed(kind):
        for name in metrics:
            if name == "seeds" or "_loss_" not in name:
                with pytest.raises(ValueError, match=r"\$"):
                    KINDS[kind].read(metrics | {name: [[]]})


@pytest.mark.parametrize("kind", COSTS)
def test_a_record_without_metrics_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="missing required field"):
        KINDS[kind].read({})
